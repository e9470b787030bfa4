//! Writes the tables of `tests/data/contract`: questions from here, answers from the programs
//! whose words import-oci must speak.

use std::fmt::{Debug, Display};
use std::path::PathBuf;

use containers_image_proxy as proxy;
use ostree_ext::container as ox;
use ostree_ext::{ostree, refescape};

const OSTREE_EXT: &str = "ostree-ext 0.15.3";
const PROXY: &str = "containers-image-proxy 0.11.0 (what bootc 1.16 parses with)";
const CHRONO: &str = "chrono 0.4.45, DateTime::parse_from_rfc3339 (what ostree-ext parses with)";
const LIBOSTREE: &str = "libostree's ostree_validate_rev";

const DIGEST: &str = "sha256:5db6d8b5f34d3cbdaa1e82ed0152a5ac980076d19317d4269db149cbde057bb2";

const TRANSPORTS: &[&str] = &[
    "registry",
    "docker",
    "oci",
    "oci-archive",
    "docker-archive",
    "containers-storage",
    "dir",
    "docker-daemon",
    "registry:",
    "registry:quay.io/a/b",
    "docker:",
    "docker:/",
    "docker://",
    "docker://quay.io/a/b",
    "docker:quay.io/a/b",
    "oci:",
    "oci:/path:tag",
    "",
    ":",
    "OCI",
    " oci",
    "oci ",
    "http",
    "rootfs",
    "ostree",
    "tarball:/x",
];

const IMAGES: &[&str] = &[
    "docker://quay.io/fedora/fedora-bootc:latest",
    "docker://quay.io/exampleos/blah",
    "docker://busybox",
    "docker://localhost:5000/foo:latest",
    "docker://quay.io/exampleos/blah@{digest}",
    "docker://quay.io/exampleos/blah:tag@{digest}",
    "docker:///absolute",
    "docker:////",
    "docker://",
    "docker:/quay.io/exampleos/blah",
    "docker:quay.io/exampleos/blah",
    "docker:",
    "docker",
    "registry:quay.io/exampleos/blah",
    "registry:quay.io/exampleos/blah:tag",
    "registry://quay.io/exampleos/blah",
    "registry::",
    "registry: ",
    "registry:",
    "registry",
    "oci:somedir",
    "oci:/some/dir",
    "oci:/some/dir:tag",
    "oci:/some/dir:tag:more",
    "oci://some/dir",
    "oci:./relative",
    "oci:.",
    "oci:",
    "oci-archive:/path/to/foo.ociarchive",
    "oci-archive:/path/to/foo.ociarchive:tag",
    "oci-archive:",
    "docker-archive:/path/to/foo.dockerarchive",
    "docker-archive:/path/to/foo.dockerarchive:quay.io/a/b:tag",
    "docker-archive:",
    "containers-storage:localhost/someimage",
    "containers-storage:localhost/someimage:blah",
    "containers-storage:[overlay@/var/lib/containers]busybox",
    "containers-storage:{digest}",
    "containers-storage:",
    "dir:/some/dir/blah",
    "dir:relative",
    "dir:/with space/and\ttab",
    "dir:/ümläut/☃",
    "dir:",
    "docker-daemon:myimage:latest",
    "docker-daemon:{digest}",
    "docker-daemon:",
    "",
    ":",
    "::",
    ":oci:/x",
    "/bare/path",
    "quay.io/exampleos/blah",
    "quay.io/exampleos/blah:tag",
    "busybox:latest",
    "foo:bar",
    "foo://",
    "foo://bar",
    "OCI:/some/dir",
    "Docker://quay.io/exampleos/blah",
    " oci:/some/dir",
    "oci :/some/dir",
    "sif:/some/file",
    "tarball:/some/file",
    "rootfs:/some/dir",
    "ostree:blah@/ostree/repo",
    "ostree-unverified-image:oci:/some/dir",
];

const SIGNED_IMAGES: &[&str] = &[
    "ostree-unverified-registry:quay.io/exampleos/blah",
    "ostree-unverified-registry:quay.io/exampleos/blah:tag",
    "ostree-unverified-registry:quay.io/exampleos/blah:tag@{digest}",
    "ostree-unverified-registry:docker://quay.io/exampleos/blah",
    "ostree-unverified-registry:registry:quay.io/exampleos/blah",
    "ostree-unverified-registry:",
    "ostree-unverified-image:docker://quay.io/exampleos/blah",
    "ostree-unverified-image:registry:quay.io/exampleos/blah",
    "ostree-unverified-image:oci:/some/dir:tag",
    "ostree-unverified-image:oci-archive:/path/to/foo.ociarchive",
    "ostree-unverified-image:docker-archive:/path/to/foo.dockerarchive:a:b",
    "ostree-unverified-image:containers-storage:localhost/someimage:blah",
    "ostree-unverified-image:dir:/some/dir",
    "ostree-unverified-image:docker-daemon:myimage:latest",
    "ostree-unverified-image:quay.io/exampleos/blah",
    "ostree-unverified-image:quay.io/exampleos/blah:tag",
    "ostree-unverified-image:docker:quay.io/exampleos/blah",
    "ostree-unverified-image:docker://",
    "ostree-unverified-image:registry:",
    "ostree-unverified-image:",
    "ostree-unverified-image",
    "ostree-image-signed:docker://quay.io/exampleos/blah",
    "ostree-image-signed:registry:quay.io/exampleos/blah",
    "ostree-image-signed:oci:/some/dir",
    "ostree-image-signed:quay.io/exampleos/blah",
    "ostree-image-signed:",
    "ostree-image-signed-registry:quay.io/exampleos/blah",
    "ostree-remote-registry:fedora:quay.io/exampleos/blah:tag",
    "ostree-remote-registry:fedora:quay.io/exampleos/blah",
    "ostree-remote-registry:fedora:docker://quay.io/exampleos/blah",
    "ostree-remote-registry:quay.io/exampleos/blah",
    "ostree-remote-registry::quay.io/exampleos/blah",
    "ostree-remote-registry:fedora:",
    "ostree-remote-registry:fedora",
    "ostree-remote-registry:",
    "ostree-remote-image:fedora:docker://quay.io/exampleos/blah",
    "ostree-remote-image:fedora:registry:quay.io/exampleos/blah",
    "ostree-remote-image:fedora:oci-archive:/path/to/foo.ociarchive:tag",
    "ostree-remote-image::oci:/some/dir",
    "ostree-remote-image:fedora:quay.io/exampleos/blah",
    "ostree-remote-image:fedora:",
    "ostree-remote-image:fedora",
    "ostree-remote-image:docker://quay.io/exampleos/blah",
    "docker://quay.io/exampleos/blah",
    "registry:quay.io/exampleos/blah",
    "oci:/some/dir",
    "ostree:fedora:branch",
    "fedora:fedora/x86_64/coreos/stable",
    "OSTREE-IMAGE-SIGNED:docker://quay.io/exampleos/blah",
    " ostree-image-signed:docker://quay.io/exampleos/blah",
    "",
    ":",
    "no-colon",
];

const SIGNATURE_SOURCES: &[&str] = &[
    "ostree-image-signed",
    "ostree-unverified-image",
    "ostree-remote-image:fedora",
    "ostree-remote-image:with:colon",
    "ostree-remote-image:",
    "ostree-remote-image",
    "ostree-unverified-registry",
    "ostree-remote-registry:fedora",
    "ostree-image-signed:",
    "",
    "fedora",
];

const PLAIN: &[&str] = &[
    "",
    "a",
    "foo",
    "foo/bar/baz-blah/foo",
    "fedora/x86_64/coreos",
    "localhost:5000/foo:latest",
    "docker://quay.io/fedora/fedora-bootc:latest",
    "docker://quay.io/exampleos/blah:tag@{digest}",
    "registry:quay.io/coreos/fedora:latest",
    "oci:/mnt/image:tag",
    "oci:./image",
    "oci-archive:/mnt/a.ociarchive",
    "docker-archive:/path/to/foo.dockerarchive",
    "containers-storage:[overlay@/var/lib/containers]busybox",
    "rootfs:/mnt/tree",
    "{digest}",
    "/",
    "//",
    "///",
    "blah/",
    "/foo/",
    "a//b",
    "a/b//c",
    "foo-/bar",
    "foo_/bar",
    "foo./bar",
    "_",
    "__",
    "_3A_",
    "a_b__c",
    "-",
    "--",
    "-leading",
    "trailing-",
    "a/-b",
    "a/_b",
    "a/.b",
    "a/.",
    "a/..",
    "..",
    ".",
    "a.b",
    "a b",
    " ",
    "~+=,;!?*'\"\\%&()[]{}<>|^`$#@",
    "tab\there",
    "line\nfeed",
    "\u{7f}",
    "nul\0inside",
    "\0",
    "é",
    "ümläut/straße",
    "日本語",
    "☃",
    "🐳/whale",
    "e\u{301}",
    "\u{10ffff}",
    "٣",
    "UPPER/lower/123",
];

const ESCAPED: &[&str] = &[
    "foo",
    "foo/bar",
    "a-b",
    "_3A_",
    "_3a_",
    "__",
    "____",
    "a__b_2F_c",
    "a//b",
    "/a",
    "a/",
    "_",
    "a_",
    "_3A",
    "a_41",
    "___",
    "_ _",
    "_G_",
    "_3A_3A_",
    "_0_",
    "_00_",
    "_41_",
    "_0041_",
    "_+41_",
    "_-41_",
    "_D800_",
    "_DFFF_",
    "_10FFFF_",
    "_110000_",
    "_FFFFFFFF_",
    "_100000000_",
    "_1F433_",
    "_é_",
    "a.b",
    "a:b",
    "a b",
    "é",
    "a\0b",
    "",
];

const TIMES: &[&str] = &[
    "1970-01-01T00:00:00Z",
    "2024-02-29T12:34:56Z",
    "2024-02-29t12:34:56z",
    "2024-02-29 12:34:56Z",
    "2024-02-29T12:34:56.5Z",
    "2024-02-29T12:34:56.999999999Z",
    "2024-02-29T12:34:56.123456789012Z",
    "2024-02-29T12:34:56+00:00",
    "2024-02-29T12:34:56-00:00",
    "2024-02-29T12:34:56+05:30",
    "2024-02-29T12:34:56.25-11:15",
    "2024-02-29T00:00:00+23:59",
    "2016-12-31T23:59:60Z",
    "2016-12-31T23:59:60.75Z",
    "1969-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2023-02-29T00:00:00Z",
    "2024-13-01T00:00:00Z",
    "2024-02-29T24:00:00Z",
    "2024-02-29T12:34:61Z",
    "2024-02-29T12:34:56",
    "2024-02-29T12:34Z",
    "2024-02-29",
    "2024-02-29T12:34:56 UTC",
    "2024-02-29T12:34:56Z ",
    " 2024-02-29T12:34:56Z",
    "20240229T123456Z",
    "2024-02-29T12:34:56+0530",
    "2024-02-29T12:34:56Z[UTC]",
    "2024-02-29T12:34:56+01:00[Europe/Berlin]",
    "Thu, 29 Feb 2024 12:34:56 +0000",
    "1709210096",
    "now",
    "",
];

fn main() {
    let directory = PathBuf::from(std::env::args_os().nth(1).expect("directory to write to"));
    let write = |name: &str, who: &str, columns: &str, rows: Vec<String>| {
        let text = format!(
            "# The answers of {who}, as `cargo run -- ..` in generator/ prints them. A cell is a \
             JSON string, or `!` and the error.\n# {columns}\n{}\n",
            rows.join("\n")
        );
        std::fs::write(directory.join(name), text).expect("writing a table");
    };

    let transport = |t: &dyn Debug| format!("{t:?}");
    write(
        "transport.ostree-ext.tsv",
        OSTREE_EXT,
        "input\ttransport\tdisplay\tserializable_name",
        rows(TRANSPORTS, |s| {
            let t = ox::Transport::try_from(s)?;
            Ok(vec![
                transport(&t),
                t.to_string(),
                t.serializable_name().into(),
            ])
        }),
    );
    write(
        "transport.proxy.tsv",
        PROXY,
        "input\ttransport\tdisplay",
        rows(TRANSPORTS, |s| {
            let t = proxy::Transport::try_from(s)?;
            Ok(vec![transport(&t), t.to_string()])
        }),
    );
    write(
        "image-reference.ostree-ext.tsv",
        OSTREE_EXT,
        "input\ttransport\tname\tdisplay",
        rows(IMAGES, |s| {
            let i = ox::ImageReference::try_from(s)?;
            Ok(vec![transport(&i.transport), i.name.clone(), i.to_string()])
        }),
    );
    write(
        "image-reference.proxy.tsv",
        PROXY,
        "input\ttransport\tname\tdisplay",
        rows(IMAGES, |s| {
            let i = proxy::ImageReference::try_from(s)?;
            Ok(vec![transport(&i.transport), i.name.clone(), i.to_string()])
        }),
    );
    write(
        "ostree-image-reference.ostree-ext.tsv",
        OSTREE_EXT,
        "input\tsignature source\timage\tdisplay\talternate display",
        rows(SIGNED_IMAGES, |s| {
            let i = ox::OstreeImageReference::try_from(s)?;
            Ok(vec![
                i.sigverify.to_string(),
                i.imgref.to_string(),
                i.to_string(),
                format!("{i:#}"),
            ])
        }),
    );
    write(
        "signature-source.ostree-ext.tsv",
        OSTREE_EXT,
        "input\tdebug\tdisplay",
        rows(SIGNATURE_SOURCES, |s| {
            let source = ox::SignatureSource::try_from(s)?;
            Ok(vec![format!("{source:?}"), source.to_string()])
        }),
    );
    write(
        "escape.ostree-ext.tsv",
        &format!("{OSTREE_EXT}, prefix \"p\" taken off again, and of {LIBOSTREE}"),
        "input\tescaped\tvalid as a ref",
        rows(PLAIN, |s| {
            let escaped = refescape::prefix_escape_for_ref("p", s)?;
            let valid = ostree::validate_rev(&escaped).is_ok().to_string();
            Ok(vec![escaped["p/".len()..].to_owned(), valid])
        }),
    );
    write(
        "unescape.ostree-ext.tsv",
        &format!("{OSTREE_EXT}, with prefix \"p\" put before the input"),
        "input\tunescaped",
        rows(ESCAPED, |s| {
            Ok(vec![refescape::unprefix_unescape_ref(
                "p",
                &format!("p/{s}"),
            )?])
        }),
    );
    write(
        "rfc3339.chrono.tsv",
        CHRONO,
        "input\tseconds since the epoch",
        rows(TIMES, |s| {
            Ok(vec![
                chrono::DateTime::parse_from_rfc3339(s)?
                    .timestamp()
                    .to_string(),
            ])
        }),
    );
}

type Answer = Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>>;

fn rows(inputs: &[&str], answer: impl Fn(&str) -> Answer) -> Vec<String> {
    let row = |input: &&str| {
        let input = input.replace("{digest}", DIGEST);
        let cells = match answer(&input) {
            Ok(cells) => cells.iter().map(quote).collect(),
            Err(error) => vec![format!("!{}", one_line(error))],
        };
        [vec![quote(&input)], cells].concat().join("\t")
    };
    inputs.iter().map(row).collect()
}

fn quote(text: &(impl AsRef<str> + ?Sized)) -> String {
    serde_json::to_string(text.as_ref()).expect("text is JSON")
}

fn one_line(error: impl Display) -> String {
    error.to_string().escape_debug().to_string()
}
