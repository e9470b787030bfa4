//! The `import-oci` command; see `import_oci` for the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    import_oci::cli::main()
}
