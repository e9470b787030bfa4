//! The library, as programs call it: what an importer finds, and what it leaves.

mod common;

use std::fs;
use std::os::fd::AsFd as _;

use common::{image, repo};
use ostree_ext::container::OstreeImageReference;
use ostree_ext::container::store::{
    ImageImporter, LayeredImageState, PrepareResult, PreparedImport, list_images, query_image,
};
use ostree_ext::glib::VariantDict;
use ostree_ext::ostree::Repo;
use ostree_ext::{gio, prelude::*};
use tempfile::TempDir;

const NOT_CANCELLED: Option<&gio::Cancellable> = gio::Cancellable::NONE;

/// A repo and an image that can be written to a layout of its own name, time and again.
struct Place {
    directory: TempDir,
    repo: Repo,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = directory.path().join("repo");
        repo(&path, "archive");
        let repo = Repo::new_for_path(path);
        repo.open(NOT_CANCELLED).unwrap();
        Self { directory, repo }
    }

    /// Lets the image be of this version.
    fn image(&self, version: &str) -> OstreeImageReference {
        let layout = self.directory.path().join("layout");
        let source = image(&layout, version);
        format!("ostree-unverified-image:{source}").parse().unwrap()
    }

    async fn importer(&self, image: &OstreeImageReference) -> ImageImporter {
        let importer = ImageImporter::new(&self.repo, image, Default::default());
        importer.await.unwrap()
    }

    async fn import(&self, image: &OstreeImageReference) -> Box<LayeredImageState> {
        let mut importer = self.importer(image).await;
        let prepared = ready(importer.prepare().await.unwrap());
        importer.import(prepared).await.unwrap()
    }

    fn stored(&self, image: &OstreeImageReference) -> Option<Box<LayeredImageState>> {
        query_image(&self.repo, &image.imgref).unwrap()
    }

    /// The names of refs below `ostree/container/` and `prefix`.
    fn refs(&self, prefix: &str) -> usize {
        let prefix = format!("ostree/container/{prefix}");
        let refs = self.repo.list_refs(Some(&prefix), NOT_CANCELLED);
        refs.unwrap().len()
    }
}

fn ready(result: PrepareResult) -> Box<PreparedImport> {
    match result {
        PrepareResult::Ready(prepared) => prepared,
        PrepareResult::AlreadyPresent(state) => panic!("{} is there", state.merge_commit),
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(test);
}

#[test]
fn what_is_there_is_not_imported() {
    run(async {
        let place = Place::new();
        let image = place.image("1");
        let imported = place.import(&image).await;
        assert_eq!(place.stored(&image).as_ref(), Some(&imported));
        assert_eq!(imported.version(), Some("1"));
        let result = place.importer(&image).await.prepare().await.unwrap();
        let PrepareResult::AlreadyPresent(present) = result else {
            panic!("it is there");
        };
        assert_eq!(present, imported);
    });
}

#[test]
fn an_update_is_remembered_until_it_is_there() {
    run(async {
        let place = Place::new();
        let image = place.image("1");
        let first = place.import(&image).await;
        // As a signature would lie there.
        let signature = VariantDict::new(None);
        signature.insert("a signature", "of the commit");
        let signature = Some(signature.end());
        place
            .repo
            .write_commit_detached_metadata(&first.merge_commit, signature.as_ref(), NOT_CANCELLED)
            .unwrap();

        place.image("2");
        let mut importer = place.importer(&image).await;
        let prepared = ready(importer.prepare().await.unwrap());
        assert_eq!(prepared.previous_state.as_ref(), Some(&first));
        let fetched: Vec<_> = prepared.layers_to_fetch().map(|l| l.unwrap().0).collect();
        assert_eq!(fetched.len(), 1);
        assert_eq!(fetched[0].layer(), &prepared.manifest.layers()[1]);
        assert!(prepared.ostree_commit_layer.commit.is_some());

        let stored = place.stored(&image).unwrap();
        let update = stored.cached_update.as_ref().expect("it was seen");
        assert_eq!(update.manifest_digest, prepared.manifest_digest);
        assert_eq!(update.version(), Some("2"));
        let beside = place
            .repo
            .read_commit_detached_metadata(&first.merge_commit, NOT_CANCELLED)
            .unwrap();
        let beside = VariantDict::new(beside.as_ref());
        let signature: Option<String> = beside.lookup("a signature").unwrap();
        assert_eq!(signature.as_deref(), Some("of the commit"));

        let second = importer.import(prepared).await.unwrap();
        assert_eq!(second.version(), Some("2"));
        assert_eq!(second.cached_update, None);
        // The layer that the first alone had is gone.
        assert_eq!(place.refs("blob"), 2);
    });
}

/// What was looked at is what is imported, whatever the tag has become.
#[test]
fn a_tag_may_move_meanwhile() {
    run(async {
        let place = Place::new();
        let image = place.image("1");
        let mut importer = place.importer(&image).await;
        let prepared = ready(importer.prepare().await.unwrap());
        place.image("2");
        let digest = prepared.manifest_digest.clone();
        let imported = importer.import(prepared).await.unwrap();
        assert_eq!(imported.manifest_digest, digest);
        assert_eq!(imported.version(), Some("1"));
    });
}

#[test]
fn names_in_the_repo() {
    run(async {
        let place = Place::new();
        let image = place.image("1");
        let target = "ostree-image-signed:docker://quay.io/os/image:tag";
        let target: OstreeImageReference = target.parse().unwrap();
        let mut importer = place.importer(&image).await;
        importer.set_target(&target);
        let prepared = ready(importer.prepare().await.unwrap());
        let imported = importer.import(prepared).await.unwrap();
        assert_eq!(place.stored(&target), Some(imported));
        assert_eq!(place.stored(&image), None);
        let names = list_images(&place.repo).unwrap();
        assert_eq!(names, ["docker://quay.io/os/image:tag"]);

        let nameless = place.image("2");
        let mut importer = place.importer(&nameless).await;
        importer.set_no_imgref();
        importer.disable_gc();
        let prepared = ready(importer.prepare().await.unwrap());
        importer.import(prepared).await.unwrap();
        assert_eq!(list_images(&place.repo).unwrap(), names);
        assert_eq!(place.refs("blob"), 3);
    });
}

/// A handle opened by a descriptor has no path but that in `/proc`.
#[test]
fn repos_that_are_open() {
    run(async {
        let place = Place::new();
        let image = place.image("1");
        let directory = fs::File::open(place.directory.path()).unwrap();
        let repo = Repo::open_at_dir(directory.as_fd(), "repo").unwrap();
        let mut importer = ImageImporter::new(&repo, &image, Default::default())
            .await
            .unwrap();
        let prepared = ready(importer.prepare().await.unwrap());
        let imported = importer.import(prepared).await.unwrap();
        assert_eq!(place.stored(&image), Some(imported));
        let path = repo.path().path().unwrap();
        assert!(path.starts_with("/proc/self/fd"), "{}", path.display());
    });
}
