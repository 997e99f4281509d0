//! What tells a user from another one of the same name who was there before, or from itself with another password.

use std::fmt;
use std::num::ParseIntError;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Octets of an account's id in the users file.
pub(super) const ID_OCTETS: usize = 16;

/// The mark of an account: other secrets make another one, and so does adding a user anew. It may be kept beside what a
/// user leaves to be done, such as a subscription, and tells nothing of the secrets to who has not got the users file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Account(u128);

impl Account {
    /// The mark of a line of the users file: its id, when it has one, and its secrets.
    pub(super) fn of(id: Option<&str>, secrets: [Option<&Zeroizing<String>>; 2]) -> Self {
        let mut digest = Sha256::new();
        let parts = [id, secrets[0].map(|text| text.as_str()), secrets[1].map(|text| text.as_str())];
        for part in parts {
            // What is not there differs from what is empty, and no two parts run into one another.
            let octets = part.unwrap_or_default().as_bytes();
            digest.update([u8::from(part.is_some())]);
            digest.update(u64::try_from(octets.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(octets);
        }
        let mut half = [0; 16];
        half.copy_from_slice(digest.finalize().split_at(16).0);
        Self(u128::from_be_bytes(half))
    }

    /// A mark for the unit tests of other modules; absent from every build that serves.
    #[cfg(test)]
    pub(crate) fn for_tests(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        format!("{account:?}")
    }
}

impl TryFrom<String> for Account {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_no_two_run_into_one_another() {
        let text = |text: &str| Some(Zeroizing::new(text.to_owned()));
        let of = |id: Option<&str>, password: Option<Zeroizing<String>>, nt_hash: Option<Zeroizing<String>>| {
            Account::of(id, [password.as_ref(), nt_hash.as_ref()])
        };
        let all = [
            of(None, None, None),
            of(Some(""), None, None),
            of(None, text(""), None),
            of(None, text("a"), None),
            of(None, None, text("a")),
            of(Some("a"), None, None),
            of(None, text("a"), text("b")),
            of(None, text("ab"), None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one != other), "{at}");
        }
        assert_eq!(of(None, text("a"), text("b")), all[6]);
    }

    #[test]
    fn it_is_stored_as_text() {
        let account = Account::for_tests(0xAB);
        let text = serde_json::to_string(&account).unwrap();
        assert_eq!(text, "\"000000000000000000000000000000ab\"");
        assert_eq!(serde_json::from_str::<Account>(&text).unwrap(), account);
        assert!(serde_json::from_str::<Account>("\"no\"").is_err());
    }
}
