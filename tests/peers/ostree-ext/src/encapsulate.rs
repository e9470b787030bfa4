//! `encapsulate REPO REF LAYOUT`: makes a commit an image.

use std::rc::Rc;

use anyhow::Result;
use ostree_ext::chunking::ObjectMetaSized;
use ostree_ext::container::{Config, ExportOpts, ImageReference, Transport, encapsulate};
use ostree_ext::objectsource::{ObjectMeta, ObjectSourceMeta};
use ostree_ext::ostree::{AT_FDCWD, ObjectType, Repo, gio};

const NOT_CANCELLED: Option<&gio::Cancellable> = gio::Cancellable::NONE;

/// The components whose files go into layers of their own, as those of packages do.
const COMPONENTS: [&str; 2] = ["one", "other"];

pub async fn run(repo: &str, reference: &str, layout: &str) -> Result<()> {
    let repo = Repo::open_at(AT_FDCWD, repo, NOT_CANCELLED)?;
    let layout = ImageReference {
        transport: Transport::OciDir,
        name: layout.to_owned(),
    };
    let components = components(&repo, reference)?;
    let mut options = ExportOpts::default();
    options.contentmeta = Some(&components);
    let digest = encapsulate(&repo, reference, &Config::default(), Some(options), &layout).await?;
    println!("{digest}");
    Ok(())
}

/// Every file belongs to a component, by turns in the order of their checksums.
fn components(repo: &Repo, reference: &str) -> Result<ObjectMetaSized> {
    let commit = repo.require_rev(reference)?;
    let mut files: Vec<_> = repo
        .traverse_commit(&commit, 0, NOT_CANCELLED)?
        .into_iter()
        .filter(|object| object.object_type() == ObjectType::File)
        .map(|object| object.checksum().to_owned())
        .collect();
    files.sort();
    let mut objects = ObjectMeta::default();
    for (number, checksum) in files.into_iter().enumerate() {
        let component = COMPONENTS[number % COMPONENTS.len()];
        objects.map.insert(checksum, component.into());
    }
    for component in COMPONENTS {
        let name: Rc<str> = component.into();
        objects.set.insert(ObjectSourceMeta {
            identifier: name.clone(),
            name: name.clone(),
            srcid: name,
            change_time_offset: 0,
            change_frequency: 1,
        });
    }
    ObjectMetaSized::compute_sizes(repo, objects)
}
