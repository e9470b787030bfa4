//! Whatever is wrong with an image, a repo or a disk: one line says it, and the repo is as it was.
//!
//! Every case starts from a repo that holds a good import. After two failures in a row its refs
//! and objects are the same bytes, `ostree fsck` is content, `tmp` does not grow, and the next
//! good import makes the commit that it makes anywhere.

#[path = "../common/mod.rs"]
mod common;

mod disks;
mod images;
mod interruptions;
mod repo;
mod repos;
mod xattrs;
