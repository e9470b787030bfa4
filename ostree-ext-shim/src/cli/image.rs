//! `ostree container image …`

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use import_oci::images::history;
use ostree::gio::prelude::*;
use ostree::{gio, glib};

use super::arguments::{DeployArgs, Image, elsewhere};
use super::{handle_layer_progress_print, print_layer_status};
use crate::container::deploy::{
    DeployOpts, STATEROOT_DEFAULT, deploy, prune, remove_undeployed_images,
};
use crate::container::store::{
    ImageImporter, ImageProxyConfig, LayeredImageState, PrepareResult, copy, gc_image_layers,
    list_images, query_image, remove_images,
};
use crate::container::{
    ImageReference, ManifestDiff, OstreeImageReference, SignatureSource, Transport,
};
use crate::sysroot::SysrootLock;

pub(super) async fn run(command: Image) -> Result<()> {
    match command {
        Image::List { repo } => {
            for image in list_images(&open(&repo)?)? {
                println!("{image}");
            }
            Ok(())
        }
        Image::Pull {
            repo,
            imgref,
            proxy,
            quiet,
            check,
        } => {
            pull(
                &open(&repo)?,
                &imgref,
                proxy.into(),
                quiet,
                check.as_deref(),
            )
            .await
        }
        Image::History { repo, imgref } => {
            let state = stored(&repo, &imgref)?;
            print_history(&state)
        }
        Image::Metadata {
            repo,
            imgref,
            config,
        } => {
            let state = stored(&repo, &imgref)?;
            let mut stdout = io::stdout().lock();
            match config {
                true => serde_json::to_writer(&mut stdout, &state.configuration)?,
                false => serde_json::to_writer(&mut stdout, &state.manifest)?,
            }
            Ok(stdout.flush()?)
        }
        Image::Copy {
            src_repo,
            dest_repo,
            imgref,
        } => {
            let (from, to) = (open(&src_repo)?, open(&dest_repo)?);
            copy(&from, &imgref.imgref, &to, &imgref.imgref).await
        }
        Image::Remove {
            repo,
            imgrefs,
            skip_gc,
        } => {
            let repo = open(&repo)?;
            remove_images(&repo, &imgrefs)?;
            let images = imgrefs.len();
            match skip_gc {
                true => println!("Removed images: {images}"),
                false => {
                    let layers = gc_image_layers(&repo)?;
                    println!("Removed images: {images} layers: {layers}");
                }
            }
            Ok(())
        }
        Image::PruneLayers { repo } => {
            println!("Removed layers: {}", gc_image_layers(&open(&repo)?)?);
            Ok(())
        }
        Image::PruneImages {
            sysroot,
            and_layers,
            full,
        } => {
            let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(&sysroot)));
            let sysroot = locked(&sysroot).await?;
            match full {
                true => prune_all(&sysroot),
                false => prune_images(&sysroot, and_layers),
            }
        }
        Image::Deploy(args) => deploy_image(*args).await,
        Image::Elsewhere(words) => bail!(elsewhere(&words)),
    }
}

async fn pull(
    repo: &ostree::Repo,
    image: &OstreeImageReference,
    config: ImageProxyConfig,
    quiet: bool,
    check: Option<&Path>,
) -> Result<()> {
    let mut importer = ImageImporter::new(repo, image, config).await?;
    let prepared = match importer.prepare().await? {
        PrepareResult::AlreadyPresent(state) => {
            println!("No changes in {image} => {}", state.merge_commit);
            return Ok(());
        }
        PrepareResult::Ready(prepared) => prepared,
    };
    if let Some(check) = check {
        let manifest = serde_json::to_vec(&prepared.manifest)?;
        return fs::write(check, manifest)
            .with_context(|| format!("writing the manifest to {}", check.display()));
    }
    if let Some(previous) = &prepared.previous_state {
        ManifestDiff::new(&previous.manifest, &prepared.manifest).print();
    }
    print_layer_status(&prepared);
    let printer = (!quiet).then(|| {
        let (layers, bytes) = (
            importer.request_progress(),
            importer.request_layer_progress(),
        );
        tokio::spawn(handle_layer_progress_print(layers, bytes))
    });
    let imported = importer.import(prepared).await;
    if let Some(printer) = printer {
        printer.await?;
    }
    println!("Wrote: {image} => {}", imported?.merge_commit);
    Ok(())
}

/// Prints a table as ostree-ext does, which cuts no column but the first.
fn print_history(state: &LayeredImageState) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<22}{:<12}CREATED BY", "ID", "SIZE")?;
    for layer in history(state.manifest.layers(), &state.configuration) {
        let command = layer
            .origin
            .and_then(|origin| origin.created_by().as_deref());
        let (digest, size) = (layer.layer.digest().digest(), layer.layer.size());
        let size = glib::format_size(size);
        writeln!(
            out,
            "{digest:<22.20}{size:<12}{}",
            command.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn prune_images(sysroot: &SysrootLock, and_layers: bool) -> Result<()> {
    let removed = remove_undeployed_images(sysroot)?;
    if removed.is_empty() {
        println!("No unreferenced images.");
        return Ok(());
    }
    for image in removed {
        println!("Removed: {image}");
    }
    if and_layers {
        println!("Removed layers: {}", gc_image_layers(&sysroot.repo())?);
    }
    Ok(())
}

fn prune_all(sysroot: &SysrootLock) -> Result<()> {
    let pruned = prune(sysroot)?;
    if pruned.is_empty() {
        println!("No content was pruned.");
        return Ok(());
    }
    println!("Removed images: {}", pruned.n_images);
    println!("Removed layers: {}", pruned.n_layers);
    println!("Removed objects: {}", pruned.n_objects_pruned);
    println!("Freed: {}", glib::format_size(pruned.objsize));
    Ok(())
}

async fn deploy_image(args: DeployArgs) -> Result<()> {
    ensure!(
        args.ostree_remote.is_none(),
        "--ostree-remote: a signature of the commit inside an image does not cover the one that \
         is made of it; --enforce-container-sigpolicy asks for a signature of the image"
    );
    let sigverify = match args.enforce_container_sigpolicy {
        true => SignatureSource::ContainerPolicy,
        false => SignatureSource::ContainerPolicyAllowInsecure,
    };
    let image = match (args.imgref, args.image) {
        (Some(image), _) => image,
        (None, name) => OstreeImageReference {
            sigverify,
            imgref: ImageReference {
                transport: Transport::try_from(args.transport.as_deref().unwrap_or("registry"))?,
                name: name.context("--image names the image")?,
            },
        },
    };
    let sysroot = args.sysroot.as_ref().map(gio::File::for_path);
    let sysroot = locked(&ostree::Sysroot::new(sysroot.as_ref())).await?;
    let booted = sysroot.booted_deployment();
    let booted = booted.map(|booted| booted.osname().to_string());
    let stateroot = args.stateroot.or(booted);
    let kargs: Option<Vec<_>> = args
        .karg
        .as_ref()
        .map(|arguments| arguments.iter().map(String::as_str).collect());
    let options = DeployOpts {
        kargs: kargs.as_deref(),
        target_imgref: args.target_imgref.as_ref(),
        proxy_cfg: Some(args.proxy.into()),
        no_imgref: args.no_imgref,
        ..DeployOpts::default()
    };
    let stateroot = stateroot.as_deref().unwrap_or(STATEROOT_DEFAULT);
    let state = deploy(&sysroot, stateroot, &image, Some(options)).await?;
    match args.write_commitid_to {
        Some(file) => fs::write(&file, state.merge_commit)
            .with_context(|| format!("writing the commit to {}", file.display())),
        None => Ok(()),
    }
}

async fn locked(sysroot: &ostree::Sysroot) -> Result<SysrootLock> {
    let path = || format!("the system {}", sysroot.path().uri());
    sysroot.load(gio::Cancellable::NONE).with_context(path)?;
    let locked = SysrootLock::new_from_sysroot(sysroot).await?;
    // It may have changed until it was ours.
    sysroot.load(gio::Cancellable::NONE).with_context(path)?;
    Ok(locked)
}

fn open(path: &Path) -> Result<ostree::Repo> {
    let repo = ostree::Repo::new_for_path(path);
    repo.open(gio::Cancellable::NONE)
        .with_context(|| format!("opening the repo {}", path.display()))?;
    Ok(repo)
}

fn stored(repo: &Path, image: &ImageReference) -> Result<Box<LayeredImageState>> {
    let state = query_image(&open(repo)?, image)?;
    state.with_context(|| format!("the repo {} has no image {image}", repo.display()))
}
