//! Paths without a transport: what lies there?

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::archive::Archive;
use super::reference::{LocalReference, Transport};

/// Directories that nearly every root has, and no image layout.
const ROOT_DIRECTORIES: [&str; 3] = ["usr", "etc", "var"];

/// Turns `PATH` or `PATH:IMAGE` into a reference by looking at what lies there. Returns also the
/// archive that had to be opened for it, if it is one.
pub(super) fn recognise(text: &str) -> Result<(LocalReference, Option<Archive>)> {
    ensure!(!text.is_empty(), "the source is empty");
    if exists(text)? {
        let (transport, archive) = recognise_path(Path::new(text))?;
        if transport != Transport::Rootfs && text.contains(':') {
            bail!(
                "{text}: the path of an image cannot have a colon (containers-transports(5)); \
                 rename it or make a symbolic link to it"
            );
        }
        return Ok((LocalReference::within(transport, text)?, archive));
    }
    if let Some((path, _)) = text.split_once(':')
        && exists(path)?
    {
        let (transport, archive) = recognise_path(Path::new(path))?;
        ensure!(
            transport != Transport::Rootfs,
            "{text}: {path} is an unpacked root, which has no tags"
        );
        let reference = LocalReference::within(transport, text).with_context(|| text.to_owned())?;
        return Ok((reference, archive));
    }
    bail!("{text}: no such file or directory; an image in a registry is named docker://{text}");
}

fn exists(path: &str) -> Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| path.to_owned()),
    }
}

fn recognise_path(path: &Path) -> Result<(Transport, Option<Archive>)> {
    let kind = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .file_type();
    if kind.is_dir() {
        Ok((recognise_directory(path)?, None))
    } else if kind.is_file() {
        let (transport, archive) = recognise_file(path)?;
        Ok((transport, Some(archive)))
    } else {
        bail!(
            "{}: neither a file nor a directory; to read an archive from it, say which kind: \
             oci-archive: or docker-archive:",
            path.display()
        )
    }
}

fn recognise_directory(path: &Path) -> Result<Transport> {
    let has = |name: &str| path.join(name).symlink_metadata().is_ok();
    if has("oci-layout") || has("index.json") {
        Ok(Transport::Oci)
    } else if ROOT_DIRECTORIES.into_iter().any(has) {
        Ok(Transport::Rootfs)
    } else {
        bail!(
            "{}: neither an OCI image layout (it has no oci-layout, no index.json) nor an \
             unpacked root (it has none of {})",
            path.display(),
            ROOT_DIRECTORIES.join(", ")
        )
    }
}

fn recognise_file(path: &Path) -> Result<(Transport, Archive)> {
    let archive = Archive::open(path).with_context(|| {
        format!(
            "{}: looked for oci-layout (oci-archive) or manifest.json (docker-archive)",
            path.display()
        )
    })?;
    // `docker save` of Docker 25 and later writes both; the layout has the real manifest.
    if archive.contains("oci-layout") {
        Ok((Transport::OciArchive, archive))
    } else if archive.contains("manifest.json") {
        Ok((Transport::DockerArchive, archive))
    } else {
        bail!(
            "{}: a tar archive, but neither an oci-archive (it has no oci-layout) nor a \
             docker-archive (it has no manifest.json); to import an unpacked root, extract it \
             and name the directory",
            path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::source::open_as;

    fn tar_of(path: &Path, members: &[&str]) {
        let mut tar = tar::Builder::new(File::create(path).unwrap());
        for name in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            tar.append_data(&mut header, name, &[][..]).unwrap();
        }
        tar.finish().unwrap();
    }

    #[test]
    fn recognises_what_lies_there() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        for directory in ["layout", "root/etc", "col:on/usr", "empty", "lay:out"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("layout/index.json"), "{}").unwrap();
        fs::write(at("lay:out/oci-layout"), "{}").unwrap();
        fs::write(at("text"), "no archive").unwrap();
        tar_of(&at("oci.tar"), &["index.json", "./oci-layout"]);
        tar_of(&at("both.tar"), &["manifest.json", "oci-layout"]);
        tar_of(&at("docker.tar"), &["manifest.json"]);
        tar_of(&at("other.tar"), &["usr/bin/sh"]);
        for (path, want) in [
            ("layout", "oci:DIR/layout"),
            ("layout:tag", "oci:DIR/layout:tag"),
            ("root", "rootfs:DIR/root"),
            ("col:on", "rootfs:DIR/col:on"),
            ("oci.tar", "oci-archive:DIR/oci.tar"),
            ("both.tar", "oci-archive:DIR/both.tar"),
            (
                "docker.tar:a:1",
                "docker-archive:DIR/docker.tar:docker.io/library/a:1",
            ),
            ("root:tag", "has no tags"),
            ("lay:out", "cannot have a colon"),
            ("empty", "neither an OCI image layout"),
            ("text", "looked for oci-layout"),
            ("other.tar", "neither an oci-archive"),
            ("missing", "no such file or directory"),
            ("text/missing", "no such file or directory"),
        ] {
            let text = at(path).display().to_string();
            let got = match recognise(&text) {
                Ok((reference, _)) => reference.to_string(),
                Err(error) => format!("{error:#}"),
            };
            let want = want.replace("DIR", &temporary.path().display().to_string());
            assert!(got.contains(&want), "{path}: {got}");
        }
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let error = recognise(&at("socket").display().to_string()).unwrap_err();
        assert!(
            error.to_string().contains("neither a file nor a directory"),
            "{error}"
        );
        drop(socket);
    }

    #[test]
    fn an_archive_is_opened_once() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("image.tar");
        tar_of(&path, &["oci-layout"]);
        let (reference, archive) = recognise(&path.display().to_string()).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(open_as(&reference, archive).is_ok());
        assert!(open_as(&reference, None).is_err());
    }
}
