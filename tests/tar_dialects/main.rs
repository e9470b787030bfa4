//! Archives that others wrote, read by us: GNU tar, bsdtar and Python's tarfile as writers in
//! every dialect they know, the file system or what was asked for as the truth, and the `tar-core`
//! crate as a second reader. And archives that nobody would write, which must never panic.
//!
//! A writer that is not installed is said to be missing ("not run"); under `CI` it is a failure.

mod arbitrary;
mod scratch;
mod second_reader;
mod snapshot;
mod writers;
