//! Keys of a [`KeyFile`] that may be missing.

use ostree::glib::{Error, GString, KeyFile, KeyFileError};

/// Lookups in which a missing key is no error.
pub trait KeyFileExt {
    /// The text of a key, if there is one.
    fn optional_string(&self, group: &str, key: &str) -> Result<Option<GString>, Error>;

    /// The truth of a key, if there is one.
    fn optional_bool(&self, group: &str, key: &str) -> Result<Option<bool>, Error>;
}

/// Makes `None` of the error that a key or its group is missing.
pub fn map_keyfile_optional<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.matches(KeyFileError::GroupNotFound)
                || error.matches(KeyFileError::KeyNotFound) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl KeyFileExt for KeyFile {
    fn optional_string(&self, group: &str, key: &str) -> Result<Option<GString>, Error> {
        map_keyfile_optional(self.string(group, key))
    }

    fn optional_bool(&self, group: &str, key: &str) -> Result<Option<bool>, Error> {
        map_keyfile_optional(self.boolean(group, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_key_is_none() {
        let file = KeyFile::new();
        assert_eq!(file.optional_string("origin", "a").unwrap(), None);
        file.set_string("origin", "b", "text");
        assert_eq!(file.optional_bool("origin", "a").unwrap(), None);
        assert_eq!(
            file.optional_string("origin", "b").unwrap().unwrap(),
            "text"
        );
        assert!(file.optional_bool("origin", "b").is_err());
    }
}
