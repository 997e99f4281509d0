//! `[client_certificates]`: whose certificates clients may log in with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::auth::{CertificateRule, CertificateRules};

/// Logins by client certificate: off until authorities are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificatesConfig {
    /// The certificates (PEM) of the authorities that issue the clients'; empty takes no certificates.
    pub authorities: PathBuf,
    /// Which user a certificate belongs to, `[[client_certificates.rules]]`: the first rule that holds decides.
    pub rules: Vec<CertificateRule>,
}

impl ClientCertificatesConfig {
    /// The file of the authorities, unless certificates are not taken.
    pub fn authorities(&self) -> Option<&Path> {
        Some(self.authorities.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The rules; none when one of them cannot be meant, which the loading of a configuration has ruled out.
    pub fn rules(&self) -> CertificateRules {
        CertificateRules::parse(&self.rules).unwrap_or_default()
    }

    /// What is wrong with the values: key and problem.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(error) = CertificateRules::parse(&self.rules) {
            problems.push(("client_certificates.rules", error.to_string()));
        }
        match (self.authorities(), self.rules.is_empty()) {
            (Some(_), true) => {
                let problem = "no certificate would let anybody in: add [[client_certificates.rules]]";
                problems.push(("client_certificates.rules", problem.to_owned()));
            }
            (None, false) => {
                let problem = "nobody could present a certificate: say which authorities issue them";
                problems.push(("client_certificates.authorities", problem.to_owned()));
            }
            _ => {}
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServeFlags;
    use super::super::load::tests::{load_text, problems};

    #[test]
    fn rules_are_taken_in_both_forms_and_shown_with_their_places() {
        let sections = "[client_certificates]\nauthorities = \"ca.pem\"\n\n[[client_certificates.rules]]\nuser = \"otto\"\n\
                        subject = \"CN=otto\"\n[[client_certificates.rules]]\nuser = \"{upn}\"\nissuer = \"CN=ca\"\n\
                        upn = \"*@example.com\"\n";
        let lines = "client_certificates.authorities = \"ca.pem\"\nclient_certificates.rules = [\n  \
                     { user = \"otto\", subject = \"CN=otto\" },\n  \
                     { user = \"{upn}\", issuer = \"CN=ca\", upn = \"*@example.com\" },\n]\n";
        let [sections, lines] = [sections, lines].map(|text| load_text(text, &[], ServeFlags::default()).unwrap());
        assert_eq!(sections.config.client_certificates, lines.config.client_certificates);
        assert_eq!(lines.config.client_certificates.rules.len(), 2);
        let shown = sections.to_toml();
        assert!(shown.contains("f.toml, line 7\nissuer = \"CN=ca\"\n"), "{shown}");
        let again = load_text(&shown, &[], ServeFlags::default()).unwrap();
        assert_eq!(again.config, sections.config);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let rules = |rules: &str| format!("[client_certificates]\nauthorities = \"ca.pem\"\nrules = [{rules}]\n");
        for (text, told) in [
            (rules("{ user = \"a\", fingerprnt = \"00\" }"), "did you mean client_certificates.rules.fingerprint?"),
            (rules("{ user = 7 }"), "client_certificates.rules.user: "),
            (rules("{ user = \"a\" }"), "rule 1: every certificate would be a"),
            (rules("{ user = \"a\", subject = \"CN=a\" }, { user = \"b\", issuer = \"CN=ca\" }"), "rule 2: "),
            (rules(""), "no certificate would let anybody in"),
            (rules("").replace("rules = []", "rule = []"), "did you mean client_certificates.rules?"),
            (rules("{ user = \"a\", subject = \"CN=a\" }").replace("ca.pem", ""), "nobody could present a certificate"),
            ("[client_certificate]\nauthorities = \"x\"\n".to_owned(), "did you mean client_certificates.authorities?"),
        ] {
            let found = problems(&text);
            assert!(found.contains(told), "{found}\n{told}");
        }
    }

    #[test]
    fn a_variable_turns_certificates_on() {
        let rules = "[[client_certificates.rules]]\nuser = \"a\"\nsubject = \"CN=a\"\n";
        let variables = [("FAILBACKD_CLIENT_CERTIFICATES_AUTHORITIES", "/ca.pem")];
        let config = load_text(rules, &variables, ServeFlags::default()).unwrap().config;
        assert_eq!(config.client_certificates.authorities().unwrap().to_str(), Some("/ca.pem"));
    }
}
