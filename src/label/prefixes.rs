//! Which of many prefixes the paths of a tree have.

/// A set of byte strings that learns which of them are prefixes of paths it is shown. One search
/// among the sorted strings a path, however many there are.
#[derive(Debug)]
pub struct Prefixes<'a> {
    /// In byte order, each once.
    sorted: Vec<Prefix<'a>>,
}

#[derive(Debug)]
struct Prefix<'a> {
    bytes: &'a [u8],
    /// The longest of the others that is a prefix of this one.
    shorter: Option<usize>,
    seen: bool,
}

impl<'a> Prefixes<'a> {
    /// The set of `prefixes`, none of them seen.
    pub fn new(prefixes: &'a [Vec<u8>]) -> Self {
        let mut all: Vec<_> = prefixes.iter().map(Vec::as_slice).collect();
        all.sort_unstable();
        all.dedup();
        let mut sorted: Vec<Prefix<'_>> = Vec::with_capacity(all.len());
        for bytes in all {
            // What is a prefix of both this and the one before is one of that one's prefixes.
            let mut shorter = sorted.len().checked_sub(1);
            while let Some(n) = shorter.filter(|&n| !bytes.starts_with(sorted[n].bytes)) {
                shorter = sorted[n].shorter;
            }
            sorted.push(Prefix {
                bytes,
                shorter,
                seen: false,
            });
        }
        Self { sorted }
    }

    /// Remembers the prefixes of `path`.
    pub fn see(&mut self, path: &[u8]) {
        let after = self.sorted.partition_point(|prefix| prefix.bytes <= path);
        // All strings from a prefix of the path to the path itself have that prefix, so every
        // prefix of the path is on this way.
        let mut next = after.checked_sub(1);
        while let Some(n) = next.filter(|&n| !self.sorted[n].seen) {
            let prefix = &mut self.sorted[n];
            prefix.seen = path.starts_with(prefix.bytes);
            next = prefix.shorter;
        }
    }

    /// Has a path been seen with this prefix, which must be of the set?
    pub fn has_seen(&self, prefix: &[u8]) -> bool {
        let found = self
            .sorted
            .binary_search_by(|other| other.bytes.cmp(prefix));
        found.is_ok_and(|n| self.sorted[n].seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_prefixes_are_seen() {
        let all = ["", "/", "/usr", "/usr/bin", "/usr/bin/x", "/usr/lib", "/v"];
        let bytes = all.map(|text| text.as_bytes().to_vec());
        let mut prefixes = Prefixes::new(&bytes);
        assert!(all.iter().all(|text| !prefixes.has_seen(text.as_bytes())));
        prefixes.see(b"/usr/bin/sh");
        let seen = |prefixes: &Prefixes| all.map(|text| prefixes.has_seen(text.as_bytes()));
        assert_eq!(
            seen(&prefixes),
            [true, true, true, true, false, false, false]
        );
        prefixes.see(b"/usr/bin/x");
        prefixes.see(b"/u");
        assert_eq!(
            seen(&prefixes),
            [true, true, true, true, true, false, false]
        );
        assert!(!prefixes.has_seen(b"/u"), "it is none of the set");
    }

    proptest! {
        #[test]
        fn as_one_would_compare_them(
            all in prop::collection::vec("[ab]{0,5}", 0..20),
            paths in prop::collection::vec("[ab]{0,8}", 0..6),
        ) {
            let bytes: Vec<_> = all.iter().map(|text| text.clone().into_bytes()).collect();
            let mut prefixes = Prefixes::new(&bytes);
            for path in &paths {
                prefixes.see(path.as_bytes());
            }
            for prefix in &all {
                let expected = paths.iter().any(|path| path.starts_with(prefix));
                prop_assert_eq!(prefixes.has_seen(prefix.as_bytes()), expected, "{}", prefix);
            }
        }
    }
}
