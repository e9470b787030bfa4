//! POSIX ACLs (acl(5)) as their xattrs hold them (linux/posix_acl_xattr.h).
//!
//! A kernel does not store these bytes, but what they mean: it refuses what means nothing, lets a
//! minimal access ACL be the mode, and writes the rest anew when somebody asks for it.

/// Name of the ACL that decides on access.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of the ACL that a directory hands down.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();

/// Tags of entries. A valid ACL has its entries in the order of these numbers.
mod tag {
    pub const USER_OBJ: u16 = 0x01;
    pub const USER: u16 = 0x02;
    pub const GROUP_OBJ: u16 = 0x04;
    pub const GROUP: u16 = 0x08;
    pub const MASK: u16 = 0x10;
    pub const OTHER: u16 = 0x20;
}

/// What stands for a number where an entry is not about one.
const NO_ID: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// A valid ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the value of an xattr. The error says why a kernel would refuse it.
    pub fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let entries = value
            .strip_prefix(&VERSION)
            .ok_or("not an ACL of version 2")?;
        let (entries, []) = entries.as_chunks::<8>() else {
            return Err("an ACL that ends inside an entry");
        };
        let acl = Self(entries.iter().map(Entry::parse).collect());
        if acl.is_valid() {
            Ok(acl)
        } else {
            Err("an invalid ACL")
        }
    }

    /// Does it say no more than a mode can (acl(5): "minimal ACL")?
    pub fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// Makes it agree with the permission bits of `mode`, as chmod(2) does: the bits of the group
    /// are those of the mask where there is one.
    pub fn set_mode(&mut self, mode: u32) {
        let group = match self.count(tag::MASK) {
            0 => tag::GROUP_OBJ,
            _ => tag::MASK,
        };
        let bits = |shift: u32| ((mode >> shift) & 0o7) as u16;
        for entry in &mut self.0 {
            match entry.tag {
                tag::USER_OBJ => entry.permissions = bits(6),
                tag if tag == group => entry.permissions = bits(3),
                tag::OTHER => entry.permissions = bits(0),
                _ => {}
            }
        }
    }

    /// The value of an xattr, as a kernel writes it.
    pub fn to_bytes(&self) -> Box<[u8]> {
        let mut bytes = VERSION.to_vec();
        for entry in &self.0 {
            bytes.extend(entry.tag.to_le_bytes());
            bytes.extend(entry.permissions.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes.into()
    }

    fn is_valid(&self) -> bool {
        let named = self.count(tag::USER) + self.count(tag::GROUP);
        self.0.iter().all(Entry::is_valid)
            && self.0.is_sorted_by_key(|entry| entry.tag)
            && [tag::USER_OBJ, tag::GROUP_OBJ, tag::OTHER].map(|tag| self.count(tag)) == [1; 3]
            && (named.min(1)..=1).contains(&self.count(tag::MASK))
    }

    fn count(&self, tag: u16) -> usize {
        self.0.iter().filter(|entry| entry.tag == tag).count()
    }
}

impl Entry {
    /// Takes any eight bytes. A number where none belongs means nothing and is forgotten.
    fn parse(bytes: &[u8; 8]) -> Self {
        let [t0, t1, p0, p1, id @ ..] = *bytes;
        let tag = u16::from_le_bytes([t0, t1]);
        Self {
            tag,
            permissions: u16::from_le_bytes([p0, p1]),
            id: match tag {
                tag::USER | tag::GROUP => u32::from_le_bytes(id),
                _ => NO_ID,
            },
        }
    }

    fn is_valid(&self) -> bool {
        let valid = match self.tag {
            tag::USER | tag::GROUP => self.id != NO_ID,
            tag::USER_OBJ | tag::GROUP_OBJ | tag::MASK | tag::OTHER => true,
            _ => false,
        };
        valid && self.permissions <= 0o7
    }
}

#[cfg(test)]
pub mod tests {
    use super::tag::*;
    use super::*;

    /// The value of an xattr with these entries: tag, permissions, number.
    pub fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries.iter().map(|&(tag, permissions, id)| Entry {
            tag,
            permissions,
            id,
        });
        Acl(entries.collect()).to_bytes().into()
    }

    const U: (u16, u16, u32) = (USER_OBJ, 6, NO_ID);
    const G: (u16, u16, u32) = (GROUP_OBJ, 4, NO_ID);
    const M: (u16, u16, u32) = (MASK, 7, NO_ID);
    const O: (u16, u16, u32) = (OTHER, 0, NO_ID);
    const USER_7: (u16, u16, u32) = (USER, 5, 7);
    const GROUP_7: (u16, u16, u32) = (GROUP, 5, 7);

    /// As ext4 hands it out: mode 650, and user 7 may read and execute.
    #[test]
    fn bytes_of_a_kernel() {
        let hex = "0200000001000600ffffffff020005000700000004000400ffffffff\
                   10000500ffffffff20000000ffffffff";
        let bytes = hex::decode(hex).unwrap();
        assert_eq!(acl(&[U, USER_7, G, (MASK, 5, NO_ID), O]), bytes);
        assert_eq!(*Acl::parse(&bytes).unwrap().to_bytes(), *bytes);
    }

    #[test]
    fn what_a_kernel_takes() {
        for (entries, minimal) in [
            (&[U, G, O][..], true),
            (&[U, G, M, O], false),
            (&[U, USER_7, G, M, O], false),
            (&[U, USER_7, USER_7, G, GROUP_7, GROUP_7, M, O], false),
        ] {
            let bytes = acl(entries);
            let parsed = Acl::parse(&bytes).unwrap();
            assert_eq!(parsed.is_minimal(), minimal, "{entries:?}");
            assert_eq!(*parsed.to_bytes(), *bytes, "{entries:?}");
        }
        let with_number = acl(&[(USER_OBJ, 6, 0), G, (OTHER, 0, 99)]);
        let parsed = Acl::parse(&with_number).unwrap();
        assert_eq!(*parsed.to_bytes(), *acl(&[U, G, O]));
    }

    #[test]
    fn what_a_kernel_refuses() {
        for entries in [
            &[][..],
            &[U, G],
            &[U, O],
            &[G, O],
            &[U, G, O, O],
            &[U, U, G, O],
            &[U, O, G],
            &[U, USER_7, G, O],
            &[U, G, GROUP_7, O],
            &[U, G, M, M, O],
            &[U, G, USER_7, M, O],
            &[U, G, O, M],
            &[U, (USER, 5, NO_ID), G, M, O],
            &[U, (GROUP_OBJ, 8, NO_ID), O],
            &[U, G, (0x40, 0, NO_ID), O],
        ] {
            assert!(Acl::parse(&acl(entries)).is_err(), "{entries:?}");
        }
        let good = acl(&[U, G, O]);
        let version = [&[1], &good[1..]].concat();
        for bytes in [&b""[..], &good[..3], &good[..good.len() - 1], &version] {
            assert!(Acl::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn chmod() {
        for (before, after) in [
            ([U, G, O].to_vec(), [(7, U), (5, G), (1, O)].to_vec()),
            (
                [U, USER_7, G, GROUP_7, M, O].to_vec(),
                [(7, U), (5, USER_7), (4, G), (5, GROUP_7), (5, M), (1, O)].to_vec(),
            ),
        ] {
            let after: Vec<_> = after
                .iter()
                .map(|&(p, (tag, _, id))| (tag, p, id))
                .collect();
            let mut parsed = Acl::parse(&acl(&before)).unwrap();
            parsed.set_mode(0o2751);
            assert_eq!(*parsed.to_bytes(), *acl(&after));
        }
    }
}
