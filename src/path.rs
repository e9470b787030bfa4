//! Paths inside an image: bytes, always relative to the image's root, never outside it.

use std::fmt;

/// A normalised path inside an image: components joined by `/`, without a leading or trailing
/// slash, without `.`, `..` or empty components, and without NUL. The empty path is the root.
///
/// [`Display`](fmt::Display) prints it with a leading slash and with bytes that are not printable
/// UTF-8 escaped, so that it can stand in a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ImagePath(Box<[u8]>);

/// Why a path of an archive was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has a `..` component.
    #[error("path {0} has a `..` component")]
    ParentComponent(String),
    /// It has a NUL byte.
    #[error("path {0} has a NUL byte")]
    Nul(String),
    /// A component is longer than 255 bytes (`NAME_MAX`) or the whole longer than 4096 (`PATH_MAX`).
    #[error("path {0} is too long")]
    TooLong(String),
}

/// `PATH_MAX` of Linux.
const PATH_MAX: usize = 4096;
/// `NAME_MAX` of Linux.
const NAME_MAX: usize = 255;

impl ImagePath {
    /// The root of the image.
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalises a path as archives hold it: a leading `/` or `./` and a trailing `/` are
    /// dropped, repeated slashes and `.` components folded. `..`, NUL and over-long names are
    /// refused.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.contains(&0) {
            return Err(PathError::Nul(escape(raw)));
        }
        if raw.len() > PATH_MAX {
            return Err(PathError::TooLong(escape(&raw[..NAME_MAX])));
        }
        let mut path = Vec::with_capacity(raw.len());
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::ParentComponent(escape(raw))),
                name if name.len() > NAME_MAX => return Err(PathError::TooLong(escape(name))),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        Ok(Self(path.into_boxed_slice()))
    }

    /// The bytes, without a leading slash; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is this the root?
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// The path of the directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// This path and one more component. `name` must be a single component: it is not parsed.
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'));
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path.into_boxed_slice())
    }

    /// Is this path `other`, or does it lie below it?
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .0
                .strip_prefix(&*other.0)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// This path, which is `from` or lies below it, as it is called when `from` is `to`.
    pub fn rebase(&self, from: &Self, to: &Self) -> Self {
        debug_assert!(self.starts_with(from));
        let below = self.components().skip(from.components().count());
        below.fold(to.clone(), |path, name| path.join(name))
    }

    /// The path with a leading slash, as policies and programs write it.
    pub fn to_absolute(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.0.len() + 1);
        path.push(b'/');
        path.extend_from_slice(&self.0);
        path
    }
}

/// An [`ImagePath`] on the way: it grows and shrinks by one component without being copied.
#[derive(Debug, Clone, Default)]
pub struct PathBuffer(Vec<u8>);

impl PathBuffer {
    /// Would the path be within `PATH_MAX` with one more component?
    pub fn has_room_for(&self, name: &[u8]) -> bool {
        let slash = usize::from(!self.0.is_empty());
        self.0.len() + slash + name.len() <= PATH_MAX
    }

    /// Goes down to `name`, which must be a single component, as for [`ImagePath::join`].
    pub fn push(&mut self, name: &[u8]) {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'));
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Goes up to the parent; the root stays the root.
    pub fn pop(&mut self) {
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        self.0.truncate(end);
    }

    /// Goes back to the root.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A copy of the path as it is now.
    pub fn to_path(&self) -> ImagePath {
        ImagePath(self.0.as_slice().into())
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for ImagePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `bytes` for a message: printable UTF-8 as it is, everything else as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn normalises() {
        for (raw, want) in [
            ("", "/"),
            (".", "/"),
            ("./", "/"),
            ("/", "/"),
            ("./usr//lib/./x/", "/usr/lib/x"),
            ("/etc/passwd", "/etc/passwd"),
            ("..foo/bar..", "/..foo/bar.."),
        ] {
            assert_eq!(path(raw).to_string(), want, "{raw}");
        }
    }

    #[test]
    fn refuses() {
        let long = [b'a'; 256];
        assert!(matches!(
            ImagePath::parse(b"a/../b"),
            Err(PathError::ParentComponent(_))
        ));
        assert!(matches!(ImagePath::parse(b"a\0b"), Err(PathError::Nul(_))));
        assert!(matches!(
            ImagePath::parse(&long),
            Err(PathError::TooLong(_))
        ));
        assert!(matches!(
            ImagePath::parse(&b"a/".repeat(3000)),
            Err(PathError::TooLong(_))
        ));
    }

    #[test]
    fn parts() {
        let p = path("usr/lib/x");
        assert_eq!(p.parent(), Some(path("usr/lib")));
        assert_eq!(p.file_name(), Some(&b"x"[..]));
        assert_eq!(path("usr").parent(), Some(ImagePath::root()));
        assert_eq!(ImagePath::root().parent(), None);
        assert_eq!(path("usr/lib").join(b"x"), p);
        assert!(p.starts_with(&path("usr")));
        assert!(p.starts_with(&ImagePath::root()));
        assert!(!path("usrlocal").starts_with(&path("usr")));
        assert_eq!(p.rebase(&path("usr/lib"), &path("var")), path("var/x"));
        assert_eq!(p.rebase(&p, &path("var")), path("var"));
        assert_eq!(
            p.rebase(&ImagePath::root(), &path("a")),
            path("a/usr/lib/x")
        );
        assert_eq!(p.to_absolute(), b"/usr/lib/x");
        assert_eq!(p.components().count(), 3);
        assert_eq!(ImagePath::root().components().count(), 0);
    }

    #[test]
    fn buffers_grow_and_shrink() {
        let mut buffer = PathBuffer::default();
        buffer.pop();
        for (name, want) in [("usr", "/usr"), ("lib", "/usr/lib")] {
            buffer.push(name.as_bytes());
            assert_eq!(buffer.to_path(), path(want));
        }
        for want in ["/usr", "/", "/"] {
            buffer.pop();
            assert_eq!(buffer.to_path(), path(want));
        }
        let longest = vec![b'a'; PATH_MAX];
        assert!(buffer.has_room_for(&longest));
        buffer.push(b"b");
        assert!(buffer.has_room_for(&longest[2..]));
        assert!(!buffer.has_room_for(&longest[1..]));
        buffer.clear();
        assert_eq!(buffer.to_path(), ImagePath::root());
    }

    #[test]
    fn display_escapes() {
        let p = ImagePath::parse(b"a\xffb\nc/\xc3\xa9").unwrap();
        assert_eq!(p.to_string(), "/a\\xffb\\nc/é");
    }
}
