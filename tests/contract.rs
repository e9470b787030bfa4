//! The contract against the answers of the programs that read what we write:
//! `tests/data/contract/*.tsv`, made by `generator/` beside them.

use std::collections::BTreeSet;
use std::path::Path;

use import_oci::contract::{
    ImageReference, OstreeImageReference, RefName, ReferenceError, SignatureSource, Transport,
    created, ref_escape,
};
use oci_spec::image::{ImageConfiguration, ImageManifest};
use proptest::prelude::*;

/// A row: what was asked, and the cells of the answer or the error.
type Row = (String, Result<Vec<String>, String>);

fn table(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/contract")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cell = |cell: &str| -> String { serde_json::from_str(cell).expect(cell) };
    let row = |line: &str| {
        let mut cells = line.split('\t');
        let input = cell(cells.next().expect("split gives one"));
        let answer = match cells.clone().next().and_then(|cell| cell.strip_prefix('!')) {
            Some(error) => Err(error.to_owned()),
            None => Ok(cells.map(cell).collect()),
        };
        (input, answer)
    };
    let rows: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(row)
        .collect();
    assert!(rows.len() > 10, "{name} is too short to be whole");
    rows
}

/// Compares our answers with a table, but for the inputs `except`, each of which must differ.
fn compare<E: std::fmt::Display>(
    name: &str,
    except: &[&str],
    ours: impl Fn(&str) -> Result<Vec<String>, E>,
    same_sense: impl Fn(&E, &str) -> bool,
) {
    let mut unseen: BTreeSet<_> = except.iter().copied().collect();
    for (input, theirs) in table(name) {
        let ours = ours(&input);
        let same = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(ours), Err(theirs)) => same_sense(ours, theirs),
            _ => false,
        };
        let ours = ours.map_err(|e| e.to_string());
        let expected = !except.contains(&input.as_str());
        assert_eq!(
            same, expected,
            "{name}, {input:?}:\n  ours {ours:?}\ntheirs {theirs:?}"
        );
        unseen.remove(input.as_str());
    }
    assert!(unseen.is_empty(), "{name} lacks {unseen:?}");
}

/// Whether our error means what their message says.
fn same_reference_error(ours: &ReferenceError, theirs: &str) -> bool {
    let starts = match ours {
        ReferenceError::MissingColon(_) => ["Missing ':' in"].as_slice(),
        ReferenceError::UnknownTransport(_) => &["Unknown transport", "Invalid transport"],
        ReferenceError::MissingSlashes(_) => &["Missing // in docker://"],
        ReferenceError::EmptyName(_) => &["Invalid empty name"],
        ReferenceError::MissingSecondColon(_) => &["Missing second ':' in"],
        ReferenceError::UnknownScheme(_) => &["Invalid ostree image reference scheme"],
        ReferenceError::UnknownSignatureSource(_) => &["Invalid signature source"],
        ReferenceError::InvalidRegistryName { .. } => &[],
    };
    let theirs = theirs.replace('\\', "");
    starts.iter().any(|start| theirs.starts_with(start))
}

fn transport(text: &str) -> Result<Vec<String>, ReferenceError> {
    let transport = Transport::try_from(text)?;
    Ok(vec![format!("{transport:?}"), transport.to_string()])
}

fn image_reference(text: &str) -> Result<Vec<String>, ReferenceError> {
    let image: ImageReference = text.parse()?;
    let cells = [
        format!("{:?}", image.transport),
        image.name.clone(),
        image.to_string(),
    ];
    Ok(cells.into())
}

/// ostree-ext took bare names only and knew no Docker daemon; the newer parser takes whole
/// references. We take all of it.
#[test]
fn transports() {
    compare(
        "transport.ostree-ext.tsv",
        &[
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
        ],
        |text| {
            let mut cells = transport(text)?;
            cells.push(Transport::try_from(text)?.serializable_name().to_owned());
            Ok(cells)
        },
        same_reference_error,
    );
    compare(
        "transport.proxy.tsv",
        &["docker"],
        transport,
        same_reference_error,
    );
}

/// ostree-ext knew no Docker daemon, and took `docker://` for an image without a name.
#[test]
fn image_references() {
    compare(
        "image-reference.ostree-ext.tsv",
        &[
            "docker://",
            "docker:",
            "docker-daemon:",
            "docker-daemon:myimage:latest",
            "docker-daemon:sha256:5db6d8b5f34d3cbdaa1e82ed0152a5ac980076d19317d4269db149cbde057bb2",
        ],
        image_reference,
        same_reference_error,
    );
    compare(
        "image-reference.proxy.tsv",
        &[],
        image_reference,
        same_reference_error,
    );
}

#[test]
fn ostree_image_references() {
    compare(
        "ostree-image-reference.ostree-ext.tsv",
        &[
            "ostree-unverified-image:docker-daemon:myimage:latest",
            "ostree-unverified-image:docker://",
        ],
        |text| {
            let image: OstreeImageReference = text.parse()?;
            Ok(vec![
                image.sigverify.to_string(),
                image.imgref.to_string(),
                image.to_string(),
                format!("{image:#}"),
            ])
        },
        same_reference_error,
    );
}

#[test]
fn signature_sources() {
    compare(
        "signature-source.ostree-ext.tsv",
        &[],
        |text| {
            let source: SignatureSource = text.parse()?;
            Ok(vec![format!("{source:?}"), source.to_string()])
        },
        same_reference_error,
    );
}

#[test]
fn escaping() {
    compare(
        "escape.ostree-ext.tsv",
        &[],
        |text| {
            let valid = RefName::our_base_image(text)
                .and_then(|name| name.to_ref())
                .is_ok();
            Ok(vec![ref_escape::escape(text)?, valid.to_string()])
        },
        |ours, theirs| match ours {
            ref_escape::EscapeError::Empty => theirs.starts_with("Invalid empty string"),
            ref_escape::EscapeError::Nul => theirs.starts_with("Invalid embedded NUL"),
        },
    );
}

#[test]
fn unescaping() {
    compare(
        "unescape.ostree-ext.tsv",
        &[],
        |text| Ok(vec![ref_escape::unescape(text)?]),
        |ours, theirs| match ours {
            ref_escape::UnescapeError::Character(_) => theirs.starts_with("Invalid character"),
            ref_escape::UnescapeError::Number { source, .. } => theirs == source.to_string(),
            ref_escape::UnescapeError::CodePoint(_) => theirs.starts_with("converted integer"),
            ref_escape::UnescapeError::Prefix { .. } => false,
        },
    );
}

/// Dates before 1970 count as none. The rest of the exceptions are jiff's: it reads more of ISO
/// 8601 than RFC 3339 has, and neither the last day of the year 9999 nor parts of nanoseconds,
/// none of which any builder of images writes.
#[test]
fn dates() {
    let manifest = format!(
        r#"{{"schemaVersion": 2, "layers": [], "config": {{"mediaType": "a/b", "size": 2,
             "digest": "sha256:{}"}}}}"#,
        "0".repeat(64)
    );
    let manifest: ImageManifest = serde_json::from_str(&manifest).unwrap();
    compare(
        "rfc3339.chrono.tsv",
        &[
            "1969-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2024-02-29T12:34:56.123456789012Z",
            "2024-02-29T12:34Z",
            "20240229T123456Z",
            "2024-02-29T12:34:56+0530",
            "2024-02-29T12:34:56Z[UTC]",
            "2024-02-29T12:34:56+01:00[Europe/Berlin]",
        ],
        |text| {
            let mut config = ImageConfiguration::default();
            config.set_created(Some(text.to_owned()));
            let seconds = created(&manifest, &config).ok_or("no date")?;
            Ok::<_, &str>(vec![seconds.to_string()])
        },
        |_, _| true,
    );
}

proptest! {
    /// Our idea of what can be a ref is libostree's, but for its length.
    #[test]
    fn refs_are_libostrees(text in "[-a_/. :é]{1,8}") {
        let escaped = ref_escape::escape_with_prefix(RefName::BASE_IMAGE_PREFIX, &text).unwrap();
        let theirs = ostree::validate_rev(&escaped).is_ok();
        let ours = RefName::our_base_image(&text).and_then(|name| name.to_ref());
        prop_assert_eq!(ours.is_ok(), theirs, "{}", escaped);
    }

    /// The same for names that are not escaped, as far as ASCII goes.
    #[test]
    fn base_image_refs_are_libostrees(name in "[-a_/. :]{0,8}") {
        let theirs = ostree::validate_rev(&format!("ostree/container/baseimage/p/{name}")).is_ok();
        let base_image = RefName::BaseImage { project: "p".to_owned(), name };
        prop_assert_eq!(base_image.to_ref().is_ok(), theirs, "{:?}", base_image);
    }
}
