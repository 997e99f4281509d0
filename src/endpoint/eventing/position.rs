//! Where an event stands in the row of all events: what a bookmark says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of an event. Places are in the order in which the events happened, and stay what they are over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The store's revision of the change, or of the last one before it when it was not stored itself.
    pub revision: u64,
    /// The place among the changes of that revision.
    pub place: u64,
    /// The place among the instances that the change is seen by.
    pub item: u32,
}

impl Position {
    /// After every event of a revision.
    pub(crate) fn end_of(revision: u64) -> Self {
        Self { revision, place: u64::MAX, item: u32::MAX }
    }

    /// After every event of the change.
    pub(crate) fn end(self) -> Self {
        Self { item: u32::MAX, ..self }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.revision, self.place, self.item)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NoPosition);
        let position = Self { revision: number(part()?)?, place: number(part()?)?, item: number(part()?)? };
        if parts.next().is_some() { Err(NoPosition) } else { Ok(position) }
    }
}

/// A number in digits; the library would take a sign.
pub(super) fn number<N: FromStr>(text: &str) -> Result<N, NoPosition> {
    let digits = Some(text).filter(|text| text.bytes().all(|octet| octet.is_ascii_digit())).ok_or(NoPosition)?;
    digits.parse().map_err(|_| NoPosition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_positions_read_back(revision: u64, place: u64, item: u32) {
            let position = Position { revision, place, item };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn nothing_else_does(text in "[-+0-9. ]{0,12}|\\PC{0,12}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(text.matches('.').count(), 2);
                prop_assert!(position <= position.end());
            }
        }
    }
}
