//! A program written against ostree-ext 0.15, which `ostree-ext-shim` takes as it is:
//! `pull SYSROOT IMAGE` imports an image into the repo of a system, shows what the repo knows of it,
//! deploys it, and removes what is not deployed.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use ostree_ext::container::deploy::{self, DeployOpts, ORIGIN_CONTAINER};
use ostree_ext::container::store::{self, ImageImporter, ImageProxyConfig, PrepareResult};
use ostree_ext::container::{ManifestDiff, OstreeImageReference, version_for_config};
use ostree_ext::keyfileext::KeyFileExt as _;
use ostree_ext::sysroot::SysrootLock;
use ostree_ext::{cli, gio, ostree};

const NOT_CANCELLED: Option<&gio::Cancellable> = gio::Cancellable::NONE;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<()> {
    let [sysroot, image] = arguments else {
        bail!("usage: pull SYSROOT IMAGE");
    };
    let image = OstreeImageReference::try_from(image.as_str())?;
    let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(sysroot)));
    sysroot.load(NOT_CANCELLED)?;
    let sysroot = SysrootLock::new_from_sysroot(&sysroot).await?;
    pull(&sysroot.repo(), &image).await?;
    show(&sysroot.repo(), &image)?;
    deploy_image(&sysroot, &image).await?;
    clean_up(&sysroot, &image)
}

async fn pull(repo: &ostree::Repo, image: &OstreeImageReference) -> Result<()> {
    let mut importer = ImageImporter::new(repo, image, ImageProxyConfig::default()).await?;
    importer.require_bootable();
    let mut progress = importer.request_progress();
    let prepared = match importer.prepare().await? {
        PrepareResult::AlreadyPresent(state) => {
            println!("present {}", state.manifest_digest);
            return Ok(());
        }
        PrepareResult::Ready(prepared) => prepared,
    };
    println!("manifest {}", prepared.manifest_digest);
    println!("version {:?}", version_for_config(&prepared.config));
    println!("layers {}", prepared.all_layers().count());
    println!("of the commit {}", prepared.ostree_layers.len() + 1);
    println!("derived {}", prepared.layers.len());
    for layer in prepared.layers_to_fetch() {
        let (layer, made_by) = layer?;
        let layer = layer.layer();
        println!("fetch {} {} {made_by}", layer.digest(), layer.size());
    }
    if let Some(previous) = &prepared.previous_state {
        let diff = ManifestDiff::new(&previous.manifest, &prepared.manifest);
        println!("added {} removed {}", diff.n_added, diff.n_removed);
    }
    // Layers need not come in the order of the manifest.
    let printer = tokio::spawn(async move {
        let mut lines = Vec::new();
        let mut under_way = false;
        while let Some(step) = progress.recv().await {
            assert_ne!(under_way, step.is_starting(), "one layer after the other");
            under_way = step.is_starting();
            lines.push(cli::layer_progress_format(&step));
        }
        lines
    });
    let state = importer.import(prepared).await?;
    let mut lines = printer.await?;
    lines.sort();
    for line in lines {
        println!("{line}");
    }
    println!("commit {}", state.get_commit());
    Ok(())
}

/// Everything that the repo says of the image.
fn show(repo: &ostree::Repo, image: &OstreeImageReference) -> Result<()> {
    let state = store::query_image(repo, &image.imgref)?.context("it was imported")?;
    println!("stored {}", state.manifest_digest);
    let again = store::query_image_commit(repo, &state.merge_commit)?;
    println!("the same {}", *again == *state);
    for image in store::list_images(repo)? {
        println!("image {image}");
    }
    for layer in state.manifest.layers() {
        println!("layer {} {}", layer.digest(), layer.media_type());
    }
    println!("architecture {}", state.configuration.architecture());
    Ok(())
}

async fn deploy_image(sysroot: &ostree::Sysroot, image: &OstreeImageReference) -> Result<()> {
    let mut options = DeployOpts::default();
    let kargs = ["root=LABEL=root", "rw"];
    options.kargs = Some(&kargs);
    let state = deploy::deploy(sysroot, "os", image, Some(options)).await?;
    sysroot.load(NOT_CANCELLED)?;
    for deployment in sysroot.deployments() {
        println!("deployed {}", deployment.csum() == state.merge_commit);
        let origin = deployment.origin().context("an origin")?;
        let origin = origin.optional_string("origin", ORIGIN_CONTAINER)?;
        println!("origin {origin:?}");
        let bootconfig = deployment
            .bootconfig()
            .context("an entry of the boot loader")?;
        let options = bootconfig.get("options").unwrap_or_default();
        // libostree adds which deployment it is.
        let options = options
            .split(' ')
            .filter(|option| !option.starts_with("ostree="));
        println!("options {:?}", options.collect::<Vec<_>>());
    }
    Ok(())
}

fn clean_up(sysroot: &SysrootLock, image: &OstreeImageReference) -> Result<()> {
    let repo = sysroot.repo();
    let undeployed = deploy::remove_undeployed_images(sysroot)?;
    println!("undeployed {}", undeployed.len());
    println!("layers without an image {}", store::gc_image_layers(&repo)?);
    println!("removed {}", store::remove_image(&repo, &image.imgref)?);
    println!(
        "removed again {}",
        store::remove_image(&repo, &image.imgref)?
    );
    println!("images {:?}", store::list_images(&repo)?);
    println!("pruned {}", !deploy::prune(sysroot)?.is_empty());
    Ok(())
}
