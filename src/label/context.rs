//! Contexts, each held once.

use std::collections::HashMap;
use std::sync::Arc;

/// A context of a [`Contexts`] table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId(u32);

impl ContextId {
    /// Its place in the table, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A table of SELinux contexts: a policy has thousands of lines and some hundred contexts.
#[derive(Debug, Clone, Default)]
pub struct Contexts {
    table: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, ContextId>,
}

impl Contexts {
    /// The id of `context`, which is added if it is new.
    pub fn intern(&mut self, context: &str) -> ContextId {
        if let Some(&id) = self.ids.get(context) {
            return id;
        }
        let id = ContextId(u32::try_from(self.table.len()).expect("fewer contexts than bytes"));
        let context: Arc<str> = context.into();
        self.table.push(context.clone());
        self.ids.insert(context, id);
        id
    }

    /// The context, such as `system_u:object_r:bin_t:s0`. `id` must be of this table.
    pub fn get(&self, id: ContextId) -> &str {
        &self.table[id.index()]
    }

    /// The value of [`LABEL_XATTR`](crate::metadata::LABEL_XATTR) for it: the context **and a NUL**, as the kernel and
    /// every ostree commit hold it.
    pub fn xattr_value(&self, id: ContextId) -> Box<[u8]> {
        let mut value = self.get(id).as_bytes().to_vec();
        value.push(0);
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interns() {
        let mut contexts = Contexts::default();
        let bin = contexts.intern("u:r:bin_t:s0");
        let lib = contexts.intern("u:r:lib_t:s0");
        assert_ne!(bin, lib);
        assert_eq!(contexts.intern("u:r:bin_t:s0"), bin);
        assert_eq!(contexts.get(lib), "u:r:lib_t:s0");
        assert_eq!(&*contexts.xattr_value(bin), b"u:r:bin_t:s0\0");
    }
}
