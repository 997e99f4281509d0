//! Verdicts and results.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Level;

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As the rule says.
    Pass,
    /// Tolerable, but not what the rule says.
    NonStrict,
    /// The feature is not offered and was refused as it should be.
    Unsupported,
    /// Not run: a fixture or a permission is missing.
    NotRun,
    /// Against the rule.
    Fail,
    /// The exchange itself did not work.
    Error,
}

impl Verdict {
    /// All verdicts, best first.
    pub(crate) const ALL: [Self; 6] =
        [Self::Pass, Self::NonStrict, Self::Unsupported, Self::NotRun, Self::Fail, Self::Error];

    /// The word of reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NonStrict => "non-strict",
            Self::Unsupported => "unsupported",
            Self::NotRun => "not-run",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }

    /// The verdict that a case file may name.
    pub(crate) fn of_outcome(word: &str) -> Option<Self> {
        match word {
            "pass" | "" => Some(Self::Pass),
            "non-strict" => Some(Self::NonStrict),
            "unsupported" => Some(Self::Unsupported),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }

    /// Whether the case stops here.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Error)
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|verdict| verdict.word() == word);
        known.ok_or_else(|| de::Error::custom(format!("unknown verdict {word:?}")))
    }
}

/// The result of one case.
#[derive(Clone, Debug)]
pub(crate) struct CaseResult {
    /// The case's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The rules it examines.
    pub rules: Vec<String>,
    /// How binding it is.
    pub level: Level,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, in a sentence; empty for a plain pass.
    pub reason: String,
    /// The whole case's time in milliseconds.
    pub milliseconds: u128,
    /// What went over the wire: for `--explain` and failures.
    pub wire: Vec<Exchange>,
}

/// One exchange as it went over the wire, credentials blanked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// The request.
    pub request: String,
    /// The answer, or what happened instead.
    pub answer: String,
}
