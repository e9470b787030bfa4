//! Compiled Python files name the modification time of their source, which ostree sets to zero.
//!
//! Most compiled files hold time and size of their source ([`header`]). Python compiles anew where
//! they are not those of the source, and on a read-only `/usr` it does so at every start.

mod header;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::{Fixup, Image};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, InodeId};
use header::{DEPLOYED, Header, State};

/// Gives compiled Python files that are valid in the image the time that ostree gives their source.
#[derive(Debug)]
pub struct Pyc;

/// Where files of a host have times of their own.
const ELSEWHERE: [&[u8]; 3] = [b"etc", b"usr/etc", b"var"];

impl Fixup for Pyc {
    fn name(&self) -> &'static str {
        "pyc"
    }

    fn summary(&self) -> &'static str {
        "make compiled Python files valid for the modification time that ostree gives their source"
    }

    fn reason(&self) -> &'static str {
        "Python would compile every module again at every start."
    }

    fn after(&self) -> &'static [&'static str] {
        &["ostree-base", "permissions"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let mut directories: BTreeMap<ImagePath, BTreeMap<State, u32>> = BTreeMap::new();
        for (id, Compiled { paths, state }) in find(image)? {
            if let Some((offset, bytes)) = state.patch()
                && let Content::File { body, .. } = &mut image.tree.inode_mut(id).content
            {
                *body = image.bodies.patch(*body, offset, bytes);
            }
            for parent in paths.iter().filter_map(ImagePath::parent) {
                *directories
                    .entry(parent)
                    .or_default()
                    .entry(state)
                    .or_default() += 1;
            }
        }
        for (path, counts) in directories {
            for (state, count) in counts {
                self.tell(&path, state, count, report);
            }
        }
        Ok(())
    }
}

impl Pyc {
    /// One line for all files of a directory in the same state.
    fn tell(&self, path: &ImagePath, state: State, count: u32, report: &mut Report) {
        let what = match state {
            State::Done => return,
            State::Valid(_) => format!("that name the time {DEPLOYED} now"),
            State::ValidForEmpty => "of empty sources that name no time now".to_owned(),
            State::Stale => {
                "that are not of the source beside them, so that Python compiles it at \
                             every start"
                    .to_owned()
            }
        };
        let detail = format!("compiled Python files {what}: {count}");
        if state == State::Stale {
            let fix = "run python3 -m compileall after the last change of the source";
            report.advise(self.name(), path, detail, fix);
        } else {
            report.note(self.name(), Action::Changed, path, detail);
        }
    }
}

/// A compiled file that names the time of its source.
#[derive(Debug)]
struct Compiled {
    paths: Vec<ImagePath>,
    state: State,
}

/// The compiled files whose source is there, each with all its names. It is as good as the worst of
/// them.
fn find(image: &Image) -> Result<BTreeMap<InodeId, Compiled>> {
    let elsewhere = ELSEWHERE.map(|path| ImagePath::parse(path).expect("a plain path"));
    let mut found: BTreeMap<InodeId, Compiled> = BTreeMap::new();
    for (path, id) in image.tree.walk() {
        let Content::File { body, .. } = image.tree.inode(id).content else {
            continue;
        };
        let Some(source) = source_of(&path) else {
            continue;
        };
        // Python asks for the file that a link leads to.
        let Ok(Some((source, source_id))) = image.tree.resolve(&source) else {
            continue;
        };
        let has_own_time = |path: &ImagePath| elsewhere.iter().any(|top| path.starts_with(top));
        if has_own_time(&path) || has_own_time(&source) {
            continue;
        }
        let source = image.tree.inode(source_id);
        let Content::File { size, .. } = source.content else {
            continue;
        };
        let header =
            Header::read(&image.bodies, body).with_context(|| format!("reading {path}"))?;
        let Some(header) = header else {
            continue;
        };
        let state = header.state(source.metadata.mtime, size);
        let compiled = found.entry(id).or_insert(Compiled {
            paths: Vec::new(),
            state,
        });
        compiled.state = compiled.state.max(state);
        compiled.paths.push(path);
    }
    Ok(found)
}

/// How much is read of a file at `path`, in bytes from its start; `None`: nothing, or all of it by other
/// fixups.
pub fn reads_start_of(path: &ImagePath) -> Option<usize> {
    let is_compiled = path.as_bytes().ends_with(b".pyc");
    is_compiled.then_some(header::LENGTH)
}

/// The source of a compiled file: `D/X.py` of `D/__pycache__/X.cpython-313.pyc`, perhaps with
/// `.opt-1` before its end, and of `D/X.pyc`.
fn source_of(path: &ImagePath) -> Option<ImagePath> {
    let stem = path.file_name()?.strip_suffix(b".pyc")?;
    let parent = path.parent()?;
    if parent.file_name() != Some(b"__pycache__") {
        return Some(parent.join(&[stem, b".py"].concat()));
    }
    let mut parts = stem.split(|&byte| byte == b'.');
    let (module, _tag) = (parts.next()?, parts.next()?);
    let optimised = parts.next().is_none_or(|part| part.starts_with(b"opt-"));
    let plain = optimised && parts.next().is_none() && !module.is_empty();
    plain.then(|| Some(parent.parent()?.join(&[module, b".py"].concat())))?
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::super::testing::run;
    use super::header::UNCHECKED;
    use super::*;
    use crate::bodies::Bodies;
    use crate::testing::{Layers, image_path};

    const SOURCE: &str = "x = 1\n";
    const TIME: u32 = 1_700_000_000;

    /// A file compiled by Python 3.13.
    fn pyc(flags: u32, time: u32, size: u32) -> Vec<u8> {
        let words = [flags, time, size].map(u32::to_le_bytes).concat();
        [&[0xf3, 0x0d, b'\r', b'\n'], &*words, b"code"].concat()
    }

    /// One compiled by Python 3.6.
    fn old(time: u32, size: u32) -> Vec<u8> {
        let words = [time, size].map(u32::to_le_bytes).concat();
        [&[0x33, 0x0d, b'\r', b'\n'], &*words, b"code of a module"].concat()
    }

    fn valid() -> Vec<u8> {
        pyc(0, TIME, SOURCE.len() as u32)
    }

    fn done() -> Vec<u8> {
        pyc(0, DEPLOYED, SOURCE.len() as u32)
    }

    /// The content of `path`, and the notes, after compiled files lay beside `d/m.py`.
    fn after(layers: Layers, path: &str) -> (Vec<u8>, Vec<String>) {
        let (tree, bodies, notes) = apply(layers);
        let id = tree.lookup(&image_path(path)).expect("it is kept");
        let Content::File { body, size } = tree.inode(id).content else {
            panic!("{path} is no file");
        };
        assert_eq!(bodies.size(body), size);
        (bodies.read(body, 1 << 20).unwrap(), notes)
    }

    fn apply(layers: Layers) -> (crate::tree::Tree, Bodies, Vec<String>) {
        let (tree, bodies) = layers.merge();
        let mut image = Image {
            tree,
            bodies,
            packages: Default::default(),
            options: FixupOptions::default(),
        };
        let mut report = Report::default();
        Pyc.apply(&mut image, &mut report).unwrap();
        let notes = report.notes().iter();
        let notes = notes.map(|n| format!("{} {}: {}", n.action, n.path, n.detail));
        (image.tree, image.bodies, notes.collect())
    }

    fn source() -> Layers {
        Layers::new().file("d/m.py", SOURCE).mtime(TIME.into())
    }

    #[test]
    fn what_is_valid_becomes_valid_for_a_deployment() {
        let size = SOURCE.len() as u32;
        for (before, want, action) in [
            (valid(), done(), Some("changed")),
            (old(TIME, size), old(DEPLOYED, size), Some("changed")),
            (done(), done(), None),
            (old(DEPLOYED, size), old(DEPLOYED, size), None),
            (
                pyc(0, TIME - 1, size),
                pyc(0, TIME - 1, size),
                Some("warning"),
            ),
            (
                pyc(0, TIME, size + 1),
                pyc(0, TIME, size + 1),
                Some("warning"),
            ),
            (pyc(0, DEPLOYED, 7), pyc(0, DEPLOYED, 7), Some("warning")),
            (pyc(1, TIME, size), pyc(1, TIME, size), None),
            (pyc(3, TIME, size), pyc(3, TIME, size), None),
            (
                b"no compiled file at all".into(),
                b"no compiled file at all".into(),
                None,
            ),
            (b"short".into(), b"short".into(), None),
        ] {
            let path = "d/__pycache__/m.cpython-313.pyc";
            let (found, notes) = after(source().bytes(path, &before), path);
            assert_eq!(found, want, "{before:?}");
            let found = notes.iter().map(|note| note.split(':').next().unwrap());
            let want = action.map(|action| format!("{action} /d/__pycache__"));
            assert_eq!(
                found.collect::<Vec<_>>(),
                Vec::from_iter(want),
                "{before:?}"
            );
        }
    }

    #[test]
    fn of_empty_sources_nothing_is_asked() {
        let path = "d/__pycache__/m.cpython-313.pyc";
        let unchecked = [&[0xf3, 0x0d, b'\r', b'\n'], &UNCHECKED[..], b"code"].concat();
        for (before, want) in [
            (pyc(0, TIME, 0), unchecked.clone()),
            (pyc(0, DEPLOYED, 0), unchecked.clone()),
            (unchecked.clone(), unchecked),
            (pyc(0, TIME + 1, 0), pyc(0, TIME + 1, 0)),
            (old(TIME, 0), old(DEPLOYED, 0)),
        ] {
            let source = Layers::new().file("d/m.py", "").mtime(TIME.into());
            assert_eq!(after(source.bytes(path, &before), path).0, want);
        }
    }

    #[test]
    fn sources_by_name() {
        for (path, want) in [
            ("d/__pycache__/m.cpython-313.pyc", Some("/d/m.py")),
            ("d/__pycache__/m.cpython-313.opt-2.pyc", Some("/d/m.py")),
            ("__pycache__/m.pypy39.pyc", Some("/m.py")),
            ("d/m.pyc", Some("/d/m.py")),
            ("d/m.n.pyc", Some("/d/m.n.py")),
            ("d/__pycache__/m.pyc", None),
            ("d/__pycache__/m.cpython-313.other.pyc", None),
            ("d/__pycache__/m.cpython-313.opt-1.x.pyc", None),
            ("d/__pycache__/.cpython-313.pyc", None),
            ("d/m.py", None),
            ("d/m.pyo", None),
        ] {
            let found = source_of(&image_path(path)).map(|path| path.to_string());
            assert_eq!(found.as_deref(), want, "{path}");
        }
    }

    #[test]
    fn one_note_a_directory_and_each_inode_once() {
        let layers = source()
            .bytes("d/__pycache__/m.cpython-313.pyc", &valid())
            .hardlink(
                "d/__pycache__/m.cpython-313.opt-1.pyc",
                "d/__pycache__/m.cpython-313.pyc",
            )
            .bytes("d/__pycache__/m.cpython-312.pyc", &pyc(0, 1, 6))
            .bytes("d/m.pyc", &valid());
        let (found, notes) = after(layers, "d/__pycache__/m.cpython-313.opt-1.pyc");
        assert_eq!(found, done());
        assert_eq!(
            notes,
            [
                "changed /d: compiled Python files that name the time 0 now: 1",
                "changed /d/__pycache__: compiled Python files that name the time 0 now: 2",
                "warning /d/__pycache__: compiled Python files that are not of the source beside \
                 them, so that Python compiles it at every start: 1",
            ]
        );
    }

    #[test]
    fn names_of_one_file_are_as_good_as_the_worst() {
        let layers = source()
            .file("d/n.py", "x = 2\n")
            .mtime(TIME as i64 + 1)
            .bytes("d/m.pyc", &valid())
            .hardlink("d/n.pyc", "d/m.pyc");
        let (found, notes) = after(layers, "d/m.pyc");
        assert_eq!(found, valid());
        assert!(
            notes.len() == 1 && notes[0].starts_with("warning /d: ") && notes[0].ends_with(": 2"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_the_host_or_nobody_dates_is_left() {
        let layers = |directory: &str| {
            Layers::new()
                .file(&format!("{directory}/m.py"), SOURCE)
                .mtime(TIME.into())
                .bytes(&format!("{directory}/m.pyc"), &valid())
        };
        for directory in ["etc/x", "usr/etc/x", "var/lib/x"] {
            let (found, notes) = after(layers(directory), &format!("{directory}/m.pyc"));
            assert_eq!((found, notes), (valid(), Vec::new()), "{directory}");
        }
        // Without its source, or with one that a link leads to.
        let alone = Layers::new().bytes("d/m.pyc", &valid());
        assert_eq!(after(alone, "d/m.pyc"), (valid(), Vec::new()));
        let dangling = Layers::new()
            .symlink("d/m.py", "/etc/m.py")
            .bytes("d/m.pyc", &valid());
        assert_eq!(after(dangling, "d/m.pyc"), (valid(), Vec::new()));
        let linked = source()
            .symlink("d/l.py", "m.py")
            .bytes("d/l.pyc", &valid());
        assert_eq!(after(linked, "d/l.pyc").0, done());
    }

    #[test]
    fn a_second_pass_finds_nothing() {
        let layers = source().bytes("d/__pycache__/m.cpython-313.pyc", &valid());
        let (_, notes) = run(&Pyc, layers, FixupOptions::default()).unwrap();
        assert_eq!(notes, ["changed /d/__pycache__"]);
    }
}
