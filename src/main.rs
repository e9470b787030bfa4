//! The `import-oci` command.

fn main() {}
