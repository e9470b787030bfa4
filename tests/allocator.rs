//! A program that has `import_oci` as a library may have an allocator that is not the C library's: then
//! what Rust allocates must not be freed by GLib, and the other way round.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::num::NonZeroUsize;

use import_oci::fixup::FixupOptions;
use import_oci::import::{ImportOptions, import};
use import_oci::progress::Silent;
use import_oci::repo::{Mode, Repo};
use import_oci::source::{self, FetchOptions, Platform};
use support::command::{fsck, scratch};
use support::layout::specimen;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn an_import_frees_nothing_that_another_allocated() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let image = specimen().write(&directory.path().join("image"));
    let options = ImportOptions {
        platform: Platform::host(),
        merge: Default::default(),
        fixups: FixupOptions {
            no_kernel: true,
            ..FixupOptions::default()
        },
        squash: false,
        refs: Default::default(),
        signing: Default::default(),
        timestamp: None,
        threads: NonZeroUsize::new(2).unwrap(),
    };
    let opened = Repo::init(&repo, Mode::BareUser).unwrap();
    for is_there in [false, true] {
        let (reference, source) = source::open(&image, &FetchOptions::default()).unwrap();
        let imported = import(&opened, &reference, source, &options, &Silent).unwrap();
        assert_eq!(imported.unchanged, is_there);
    }
    fsck(&repo);
}
