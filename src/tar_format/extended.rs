//! Headers that extend the one that follows them.

/// What stands before the header of an entry and speaks of it. Empty is not there.
#[derive(Debug, Default)]
pub struct Extended {
    /// Records of a PAX header (`x`).
    pub pax: Vec<u8>,
    /// GNU's long name (`L`).
    pub name: Vec<u8>,
    /// GNU's long link target (`K`).
    pub link: Vec<u8>,
}

impl Extended {
    /// Does no such header stand there?
    pub fn is_empty(&self) -> bool {
        self.pax.is_empty() && self.name.is_empty() && self.link.is_empty()
    }

    /// Forgets, but keeps the buffers for the next entry.
    pub fn clear(&mut self) {
        self.pax.clear();
        self.name.clear();
        self.link.clear();
    }
}
