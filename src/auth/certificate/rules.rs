//! From a certificate to the user whose login it is.
//!
//! A rule names a holder: by the certificate's fingerprint, by the subject, or by the whole user principal name (UPN).
//! All that a rule names must hold, and the first rule that holds decides. An issuer says nothing of the holder: alone
//! it would make one user of everybody to whom that authority ever issued a certificate, and is refused. The one rule
//! that does not name its holder takes the name out of the certificate: `user = "{upn}"` is the part of the UPN before
//! the `@`. It must name the domain (`upn = "*@example.com"`), for `otto@example.com` and `otto@example.org` are two
//! persons, and the issuer, for any authority could write any UPN.

use serde::{Deserialize, Serialize};

use super::name::DistinguishedName;
use super::presented::Presented;

/// The user that stands for the name in the certificate.
const OF_UPN: &str = "{upn}";

/// One rule as the configuration spells it. What is not there does not count; there is more in it than its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateRule {
    /// Whose login it is: a user of the users file, or `{upn}` for the part of the UPN before the `@`.
    pub user: String,
    /// SHA-256 of the certificate (DER), hexadecimal; colons and case do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The subject, as RFC 4514 writes it: `CN=otto,O=Example`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The issuer's name, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The user principal name in the subject's alternative names, `otto@example.com`; with the user `{upn}` the domain
    /// alone, `*@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upn: Option<String>,
}

impl CertificateRule {
    /// Every key of a rule.
    pub const KEYS: &[&str] = &["user", "fingerprint", "subject", "issuer", "upn"];
}

/// A rule that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {problem}")]
pub struct RuleError {
    /// Which one, from 1.
    pub rule: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Rules that can be used, in their order.
#[derive(Clone, Debug, Default)]
pub struct CertificateRules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    user: User,
    fingerprint: Option<[u8; 32]>,
    subject: Option<DistinguishedName>,
    issuer: Option<DistinguishedName>,
    upn: Option<Upn>,
}

#[derive(Clone, Debug)]
enum User {
    Named(String),
    OfUpn,
}

#[derive(Clone, Debug)]
enum Upn {
    Whole(String),
    /// Anybody's in this domain.
    In(String),
}

impl CertificateRules {
    /// Check rules and make them ready. The error is the first that was found.
    pub fn parse(rules: &[CertificateRule]) -> Result<Self, RuleError> {
        let parsed = rules.iter().enumerate().map(|(index, rule)| {
            Rule::parse(rule).map_err(|problem| RuleError { rule: index.saturating_add(1), problem })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// The name of the user to whom the first rule that holds gives this certificate.
    pub(super) fn user<'c>(&'c self, certificate: &'c Presented) -> Option<&'c str> {
        let rule = self.0.iter().find(|rule| rule.holds(certificate))?;
        match &rule.user {
            User::Named(user) => Some(user),
            User::OfUpn => certificate.upn.as_deref().and_then(parts).map(|(user, _)| user),
        }
    }
}

impl Rule {
    fn parse(rule: &CertificateRule) -> Result<Self, String> {
        let name = |key: &str, text: &Option<String>| {
            let name = text.as_deref().map(DistinguishedName::parse).transpose();
            name.map_err(|problem| format!("{key}: {problem}"))
        };
        let parsed = Self {
            user: if rule.user == OF_UPN { User::OfUpn } else { User::Named(rule.user.clone()) },
            fingerprint: rule.fingerprint.as_deref().map(fingerprint).transpose()?,
            subject: name("subject", &rule.subject)?,
            issuer: name("issuer", &rule.issuer)?,
            upn: rule.upn.as_deref().map(upn).transpose()?,
        };
        parsed.check().map(|()| parsed)
    }

    /// Whether the rule tells one holder from another.
    fn check(&self) -> Result<(), String> {
        match &self.user {
            User::Named(user) if user.is_empty() => Err("it has no user".to_owned()),
            User::Named(user) if user.contains(['{', '}']) => {
                Err(format!("user: {user:?} is neither a user's name nor {OF_UPN}"))
            }
            User::Named(user) => match (&self.fingerprint, &self.subject, &self.upn) {
                (_, _, Some(Upn::In(domain))) => Err(format!(
                    "everybody in {domain} would be {user}: give a whole upn, or write user = \"{OF_UPN}\""
                )),
                (None, None, None) if self.issuer.is_some() => Err(format!(
                    "every certificate of this issuer would be {user}: add a fingerprint, a subject or a upn"
                )),
                (None, None, None) => {
                    Err(format!("every certificate would be {user}: add a fingerprint, a subject or a upn"))
                }
                _ => Ok(()),
            },
            User::OfUpn => match (&self.upn, &self.issuer) {
                (Some(Upn::In(_)), Some(_)) => Ok(()),
                (Some(Upn::In(_)), None) => {
                    Err(format!("user = \"{OF_UPN}\" needs the issuer whose word for it is taken"))
                }
                _ => Err(format!("user = \"{OF_UPN}\" needs the domain: upn = \"*@example.com\"")),
            },
        }
    }

    fn holds(&self, certificate: &Presented) -> bool {
        self.fingerprint.is_none_or(|fingerprint| fingerprint == certificate.fingerprint)
            && self.subject.as_ref().is_none_or(|subject| *subject == certificate.subject)
            && self.issuer.as_ref().is_none_or(|issuer| *issuer == certificate.issuer)
            && self.upn.as_ref().is_none_or(|upn| certificate.upn.as_deref().is_some_and(|it| upn.fits(it)))
    }
}

impl Upn {
    /// Compared without the case of ASCII letters, as directories do; other letters must be the same.
    fn fits(&self, presented: &str) -> bool {
        match self {
            Self::Whole(whole) => presented.eq_ignore_ascii_case(whole),
            Self::In(domain) => parts(presented).is_some_and(|(_, it)| it.eq_ignore_ascii_case(domain)),
        }
    }
}

/// The name and the domain of a UPN that has just these.
fn parts(upn: &str) -> Option<(&str, &str)> {
    let (user, domain) = upn.split_once('@')?;
    (!user.is_empty() && !domain.is_empty() && !domain.contains('@')).then_some((user, domain))
}

fn upn(text: &str) -> Result<Upn, String> {
    let bad = |text: &str| text.contains('*') || text.chars().any(|c| c.is_whitespace() || c.is_control());
    match parts(text) {
        Some(("*", domain)) if !bad(domain) => Ok(Upn::In(domain.to_owned())),
        Some(_) if !bad(text) => Ok(Upn::Whole(text.to_owned())),
        _ => Err(format!("upn: {text:?} is neither NAME@DOMAIN nor *@DOMAIN")),
    }
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let octets: Option<Vec<u8>> = digits(text).map(|digits| {
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |octet, digit| (octet << 4) | digit)).collect()
    });
    let octets = octets.and_then(|octets| <[u8; 32]>::try_from(octets).ok());
    octets.ok_or_else(|| format!("fingerprint: {text:?} is not a SHA-256 of 64 hexadecimal digits"))
}

/// The values of the digits, an even number of them.
fn digits(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    digits.collect::<Option<Vec<u8>>>().filter(|digits| digits.len() % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(subject: &str, issuer: &str, upn: Option<&str>) -> Presented {
        Presented {
            fingerprint: [0xab; 32],
            subject: DistinguishedName::parse(subject).unwrap(),
            issuer: DistinguishedName::parse(issuer).unwrap(),
            upn: upn.map(str::to_owned),
            shown: subject.to_owned(),
            ends: std::time::Duration::ZERO,
        }
    }

    /// A rule from `key=value` words; a value may have `=` in it.
    fn rule(words: &[&str]) -> CertificateRule {
        let value =
            |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix(':')).map(str::to_owned);
        CertificateRule {
            user: value("user").unwrap_or_default(),
            fingerprint: value("fingerprint"),
            subject: value("subject"),
            issuer: value("issuer"),
            upn: value("upn"),
        }
    }

    #[test]
    fn rules_that_tell_nobody_from_anybody_are_refused() {
        for (words, told) in [
            (&["user:otto"][..], "every certificate would be otto"),
            (&["user:otto", "issuer:CN=ca"], "every certificate of this issuer would be otto"),
            (&["user:otto", "issuer:CN=ca", "upn:*@example.com"], "everybody in example.com would be otto"),
            (&["user:otto", "subject:CN=a", "upn:*@example.com"], "everybody in example.com would be otto"),
            (&["subject:CN=a"], "it has no user"),
            (&["user:{cn}", "subject:CN=a"], "neither a user's name nor {upn}"),
            (&["user:{upn}", "issuer:CN=ca"], "needs the domain"),
            (&["user:{upn}", "upn:*@example.com"], "needs the issuer"),
            (&["user:{upn}", "issuer:CN=ca", "upn:otto@example.com"], "needs the domain"),
            (&["user:{upn}", "fingerprint:00"], "64 hexadecimal digits"),
            (&["user:otto", "subject:otto"], "subject: "),
            (&["user:otto", "subject:CN=a", "issuer:x"], "issuer: "),
            (&["user:otto", "upn:otto"], "upn: "),
            (&["user:otto", "upn:*"], "upn: "),
            (&["user:otto", "upn:*@*.com"], "upn: "),
            (&["user:otto", "upn:o*@example.com"], "upn: "),
            (&["user:otto", "upn:a@b@c"], "upn: "),
        ] {
            let error = CertificateRules::parse(&[rule(&["user:a", "subject:CN=a"]), rule(words)]).unwrap_err();
            assert_eq!(error.rule, 2);
            assert!(error.problem.contains(told), "{words:?}: {error}");
        }
    }

    #[test]
    fn all_that_a_rule_names_must_hold() {
        let fingerprint = format!("fingerprint:{}", ["aB"; 32].join(":"));
        let all = ["user:otto", fingerprint.as_str(), "subject:CN=otto,O=x", "issuer:CN=ca", "upn:Otto@Example.com"];
        let rules = CertificateRules::parse(&[rule(&all)]).unwrap();
        let user = |it: &Presented| rules.user(it).map(str::to_owned);
        let right = || presented("CN=otto,O=x", "CN=ca", Some("otto@example.COM"));
        assert_eq!(user(&right()).as_deref(), Some("otto"));
        assert_eq!(user(&Presented { fingerprint: [0; 32], ..right() }), None);
        assert_eq!(user(&presented("CN=otto", "CN=ca", Some("otto@example.com"))), None);
        assert_eq!(user(&presented("CN=otto,O=x", "CN=other", Some("otto@example.com"))), None);
        assert_eq!(user(&presented("CN=otto,O=x", "CN=ca", Some("otto@example.org"))), None);
        assert_eq!(user(&presented("CN=otto,O=x", "CN=ca", None)), None);
    }

    #[test]
    fn each_criterion_does_alone_and_the_first_rule_decides() {
        let fingerprint = format!("fingerprint:{}", "AB".repeat(32));
        for words in
            [&["user:otto", fingerprint.as_str()][..], &["user:otto", "subject:CN=o"], &["user:otto", "upn:o@x"]]
        {
            let rules = CertificateRules::parse(&[rule(words), rule(&["user:vera", "subject:CN=o"])]).unwrap();
            assert_eq!(rules.user(&presented("CN=o", "CN=ca", Some("o@x"))), Some("otto"), "{words:?}");
        }
        assert_eq!(CertificateRules::default().user(&presented("CN=o", "CN=ca", Some("o@x"))), None);
    }

    #[test]
    fn the_upn_names_the_user_within_its_domain_only() {
        let rules = CertificateRules::parse(&[rule(&["user:{upn}", "issuer:CN=ca", "upn:*@example.com"])]).unwrap();
        let user = |issuer, upn| rules.user(&presented("CN=x", issuer, upn)).map(str::to_owned);
        assert_eq!(user("CN=ca", Some("otto@Example.Com")).as_deref(), Some("otto"));
        assert_eq!(user("CN=other", Some("otto@example.com")), None);
        for upn in ["otto@example.org", "otto@sub.example.com", "otto@example.com@example.com", "@example.com", "otto"]
        {
            assert_eq!(user("CN=ca", Some(upn)), None, "{upn}");
        }
        assert_eq!(user("CN=ca", Some("otto@evil@example.com")), None);
    }
}
