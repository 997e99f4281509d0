//! Verdicts and results.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::Level;

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As the rule says.
    Pass,
    /// Allowed either way: what was found is told.
    Informational,
    /// Tolerable, but not what the rule says.
    NonStrict,
    /// The feature is not offered and was refused as it should be.
    Unsupported,
    /// Not run: a fixture or a permission is missing.
    NotRun,
    /// The feature is not offered, and the refusal is not the one that the rules want: a failure of the refusal.
    UncleanRefusal,
    /// Against the rule.
    Fail,
    /// The exchange itself did not work.
    Error,
}

impl Verdict {
    /// All verdicts, best first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Pass,
        Self::Informational,
        Self::NonStrict,
        Self::Unsupported,
        Self::NotRun,
        Self::UncleanRefusal,
        Self::Fail,
        Self::Error,
    ];

    /// The word of reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Informational => "informational",
            Self::NonStrict => "non-strict",
            Self::Unsupported => "unsupported",
            Self::NotRun => "not-run",
            Self::UncleanRefusal => "unclean-refusal",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }

    /// The verdict that a case file may name.
    pub(crate) fn of_outcome(word: &str) -> Option<Self> {
        match word {
            "pass" | "" => Some(Self::Pass),
            "informational" => Some(Self::Informational),
            "non-strict" => Some(Self::NonStrict),
            "unsupported" => Some(Self::Unsupported),
            "unclean-refusal" => Some(Self::UncleanRefusal),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }

    /// Whether the rule is not met, so that the case stops here.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::UncleanRefusal | Self::Fail | Self::Error)
    }

    /// Whether nothing after it can tell more.
    pub(crate) fn ends_case(self) -> bool {
        self.is_bad() || self == Self::Unsupported
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
    /// How binding it is, under the run's profile.
    pub level: Level,
    /// One of the scenarios of the 2006 interoperability event.
    pub is_plugfest: bool,
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// The step that it belongs to, from 1.
    #[serde(default)]
    pub step: usize,
    /// From the request's first octet to the answer's last.
    #[serde(default)]
    pub milliseconds: u64,
    /// The request.
    pub request: String,
    /// The answer, or what happened instead.
    pub answer: String,
}
