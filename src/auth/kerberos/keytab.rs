//! What a keytab holds, without its keys: a small reader of MIT's file format.
//!
//! The keys are used by MIT's library, which reads the file itself and again at each login. This reader is for what
//! must be known beforehand: which services and realms are there, and whether the file is kept as a secret.
//!
//! Format 0x0502 (MIT's "Keytab file format"), all numbers big-endian: a record is a signed 32-bit size and so many
//! octets; a negative size is a hole that a removed record left, and zero ends the file. A record is the count of the
//! components, the realm, the components (each after its 16-bit size), name type, time, 8-bit version of the key, type
//! of the key, the key after its 16-bit size, and a 32-bit version where there are octets left for one.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// The largest keytab that is read: some 10,000 keys.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;
/// Permission bits that a keytab must not have: writing for the group, anything for others.
const MODE_REFUSED: u32 = 0o027;

/// A keytab that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeytabError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others may read it, or more than its owner may write it.
    #[error("it has mode {0:04o}: whoever reads it can pose as any user (chmod 640, or 600)")]
    Exposed(u32),
    /// It is no regular file.
    #[error("it is no regular file")]
    NoFile,
    /// It does not start with the version 0x0502.
    #[error("it is no keytab of format 2")]
    Format,
    /// A record is not what its size says.
    #[error("it is damaged at octet {0}")]
    Damaged(usize),
    /// There is no key in it.
    #[error("it holds no key")]
    Empty,
}

/// A key's description. The key itself is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeytabEntry {
    /// The principal's name without the realm: `HTTP`, `host.example.com`. Octets that are not UTF-8 are replaced.
    pub components: Vec<String>,
    /// The realm.
    pub realm: String,
    /// The version of the key.
    pub version: u32,
    /// The type of the key, of IANA's registry of Kerberos encryption types.
    pub encryption_type: u16,
    /// When the entry was written, in seconds since 1970.
    pub written: u32,
}

impl KeytabEntry {
    /// The service's name when the principal is `service/host`.
    pub fn service(&self) -> Option<&str> {
        match self.components.as_slice() {
            [service, _host] => Some(service),
            _ => None,
        }
    }

    /// The type of the key in words, for those that are in use.
    pub fn encryption(&self) -> &'static str {
        match self.encryption_type {
            1..=3 => "DES",
            16 => "triple DES",
            17 => "AES-128",
            18 => "AES-256",
            19 => "AES-128 with SHA-256",
            20 => "AES-256 with SHA-384",
            23 | 24 => "RC4",
            25 => "Camellia-128",
            26 => "Camellia-256",
            _ => "unknown",
        }
    }
}

impl fmt::Display for KeytabEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.components.join("/"), self.realm)
    }
}

/// The keys of a file, described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keytab {
    /// In the file's order.
    pub entries: Vec<KeytabEntry>,
}

impl Keytab {
    /// Read a file. Refuses one that others than its owner and group may read: a service's key makes tickets of any
    /// user for that service. Blocks.
    pub fn read(path: &Path) -> Result<Self, KeytabError> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(KeytabError::NoFile);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mode = metadata.mode() & 0o7777;
        if mode & MODE_REFUSED != 0 {
            return Err(KeytabError::Exposed(mode));
        }
        if metadata.len() > FILE_OCTETS_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB").into());
        }
        // Never grown, so that no copy of a key is left behind where the buffer was before.
        let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_OCTETS_MAX).unwrap_or(0)));
        file.take(FILE_OCTETS_MAX).read_to_end(&mut octets)?;
        let keytab = Self::parse(&octets)?;
        if keytab.entries.is_empty() { Err(KeytabError::Empty) } else { Ok(keytab) }
    }

    /// Take a file's octets apart. An entry that is damaged makes the whole file so: MIT's library would stop there
    /// without a word, and the services after it would be missing.
    pub fn parse(octets: &[u8]) -> Result<Self, KeytabError> {
        let mut rest = octets.strip_prefix(&[5, 2]).ok_or(KeytabError::Format)?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let damaged = KeytabError::Damaged(octets.len().saturating_sub(rest.len()));
            let Some(size) = take(&mut rest, 4).and_then(|size| size.try_into().ok()).map(i32::from_be_bytes) else {
                return Err(damaged);
            };
            let Some(record) = usize::try_from(size.unsigned_abs()).ok().and_then(|size| take(&mut rest, size)) else {
                return Err(damaged);
            };
            match size {
                0 => break,
                ..0 => {}
                1.. => entries.push(parse_record(record).ok_or(damaged)?),
            }
        }
        Ok(Self { entries })
    }

    /// The realms of the keys that `service` chooses, each once.
    pub fn realms(&self, mut service: impl FnMut(&str) -> bool) -> BTreeSet<&str> {
        let chosen = self.entries.iter().filter(|entry| entry.service().is_some_and(&mut service));
        chosen.map(|entry| entry.realm.as_str()).collect()
    }
}

fn parse_record(mut rest: &[u8]) -> Option<KeytabEntry> {
    let count = take_u16(&mut rest)?;
    let realm = take_text(&mut rest)?;
    let components: Vec<String> = (0..count).map(|_| take_text(&mut rest)).collect::<Option<_>>()?;
    let _name_type = take_u32(&mut rest)?;
    let written = take_u32(&mut rest)?;
    let short_version = *take(&mut rest, 1)?.first()?;
    let encryption_type = take_u16(&mut rest)?;
    let key = take_u16(&mut rest)?;
    take(&mut rest, key.into())?;
    if components.is_empty() || realm.is_empty() || key == 0 {
        return None;
    }
    // Zero is filling, not a version.
    let version = take_u32(&mut rest).filter(|version| *version != 0).unwrap_or(short_version.into());
    Some(KeytabEntry { components, realm, version, encryption_type, written })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let count = take_u16(rest)?;
    Some(String::from_utf8_lossy(take(rest, count.into())?).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn counted(out: &mut Vec<u8>, octets: &[u8]) {
        out.extend_from_slice(&u16::try_from(octets.len()).unwrap().to_be_bytes());
        out.extend_from_slice(octets);
    }

    /// A record without its size.
    fn record(components: &[&str], realm: &str, version: u8, tail: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(components.len()).unwrap().to_be_bytes().to_vec();
        counted(&mut out, realm.as_bytes());
        for component in components {
            counted(&mut out, component.as_bytes());
        }
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(&1_700_000_000_u32.to_be_bytes());
        out.push(version);
        out.extend_from_slice(&18_u16.to_be_bytes());
        counted(&mut out, &[0xAA; 32]);
        out.extend_from_slice(tail);
        out
    }

    fn sized(record: &[u8]) -> Vec<u8> {
        [&i32::try_from(record.len()).unwrap().to_be_bytes(), record].concat()
    }

    fn parsed(octets: &[u8]) -> Vec<(String, u32)> {
        let keytab = Keytab::parse(octets).unwrap();
        keytab.entries.iter().map(|entry| (entry.to_string(), entry.version)).collect()
    }

    #[test]
    fn services_realms_and_versions_are_read() {
        let http = record(&["HTTP", "a.example.com"], "EXAMPLE.COM", 3, &[]);
        let wide = record(&["WSMAN", "a.example.com"], "OTHER.COM", 255, &300_u32.to_be_bytes());
        let filled = record(&["machine$"], "EXAMPLE.COM", 7, &[0; 6]);
        let hole = [&(-5_i32).to_be_bytes()[..], &[0xEE; 5]].concat();
        let octets = [&[5, 2][..], &sized(&http), &hole, &sized(&wide), &sized(&filled)].concat();
        assert_eq!(
            parsed(&octets),
            [
                ("HTTP/a.example.com@EXAMPLE.COM".to_owned(), 3),
                ("WSMAN/a.example.com@OTHER.COM".to_owned(), 300),
                ("machine$@EXAMPLE.COM".to_owned(), 7),
            ]
        );
        let keytab = Keytab::parse(&octets).unwrap();
        assert_eq!(keytab.entries[0].service(), Some("HTTP"));
        assert_eq!(keytab.entries[2].service(), None, "an account is no service");
        assert_eq!(keytab.entries[0].encryption(), "AES-256");
        assert_eq!(keytab.entries[0].written, 1_700_000_000);
        assert_eq!(keytab.realms(|service| service == "HTTP").into_iter().collect::<Vec<_>>(), ["EXAMPLE.COM"]);
    }

    #[test]
    fn a_size_of_zero_ends_the_file() {
        let http = sized(&record(&["HTTP", "a"], "R", 1, &[]));
        assert_eq!(parsed(&[&[5, 2][..], &http, &[0; 4], b"whatever"].concat()).len(), 1);
        assert_eq!(parsed(&[5, 2]), []);
    }

    #[test]
    fn what_is_no_keytab_is_refused() {
        for octets in [&b""[..], &[5], &[5, 1], b"BEGIN", &[2, 5, 0, 0]] {
            assert!(matches!(Keytab::parse(octets), Err(KeytabError::Format)), "{octets:?}");
        }
        let whole = [&[5, 2][..], &sized(&record(&["HTTP", "a"], "R", 1, &[]))].concat();
        for end in 3..whole.len() {
            assert!(matches!(Keytab::parse(&whole[..end]), Err(KeytabError::Damaged(2))), "cut at {end}");
        }
        for size in [i32::MIN, i32::MAX, -1] {
            let octets = [&[5, 2][..], &size.to_be_bytes()].concat();
            assert!(matches!(Keytab::parse(&octets), Err(KeytabError::Damaged(2))), "{size}");
        }
        for damaged in [record(&[], "R", 1, &[]), record(&["HTTP", "a"], "", 1, &[])] {
            assert!(matches!(Keytab::parse(&[&[5, 2][..], &sized(&damaged)].concat()), Err(KeytabError::Damaged(2))));
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let keytab = Keytab::parse(&[&[5, 2][..], &sized(&record(&["HTTP", "a"], "R", 1, &[]))].concat()).unwrap();
        let shown = format!("{keytab:?} {}", keytab.entries[0]).to_lowercase();
        assert!(!shown.contains("aa") && !shown.contains("170, 170"), "{shown}");
    }

    #[test]
    fn a_keytab_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.keytab");
        std::fs::write(&path, [&[5, 2][..], &sized(&record(&["HTTP", "a"], "R", 1, &[]))].concat()).unwrap();
        for (mode, taken) in
            [(0o600, true), (0o640, true), (0o400, true), (0o644, false), (0o660, false), (0o601, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Keytab::read(&path) {
                Ok(keytab) => assert!(taken && keytab.entries.len() == 1, "{mode:o}"),
                Err(KeytabError::Exposed(found)) => assert!(!taken && found == mode, "{mode:o}"),
                Err(error) => panic!("{mode:o}: {error}"),
            }
        }
        assert!(matches!(Keytab::read(directory.path()), Err(KeytabError::NoFile)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [5, 2]).unwrap();
        assert!(matches!(Keytab::read(&path), Err(KeytabError::Empty)));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Keytab::parse(&octets);
            octets.splice(0..0, [5, 2, 0, 0, 0]);
            let _ = Keytab::parse(&octets);
        }

        #[test]
        fn a_changed_octet_is_read_without_a_panic(at in 0_usize..200, octet: u8) {
            let mut octets = [&[5, 2][..], &sized(&record(&["HTTP", "a"], "R", 1, &[0, 0, 1, 0]))].concat();
            let at = at % octets.len();
            octets[at] = octet;
            let _ = Keytab::parse(&octets);
        }
    }
}
