//! `failbackd check-config`: what the server would run with, or what is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Failure;
use crate::config::{ServeFlags, load};
use crate::server::check_sink_tls;
use crate::transport::{Tls, check_client_authorities};

/// The text to print: the configuration in force as a TOML file, each value that is no default with its origin, and
/// above it what is probably a mistake. A certificate that the server could not use is an error here too.
pub fn check_config(flags: &ServeFlags, environment: &BTreeMap<String, String>) -> Result<String, Failure> {
    let loaded = load(flags, environment).map_err(|error| Failure::Usage(error.to_string()))?;
    if let Some((certificate, key)) = loaded.config.certificate() {
        Tls::from_files(certificate, key).map_err(|error| Failure::Usage(format!("tls: {error}")))?;
    }
    if let Some(authorities) = loaded.config.client_certificates.authorities() {
        let told = |error| Failure::Usage(format!("client_certificates.authorities: {error}"));
        check_client_authorities(authorities).map_err(told)?;
    }
    check_sink_tls(&loaded.config.eventing).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut text = String::new();
    for warning in &loaded.warnings {
        let _ = writeln!(text, "# warning: {warning}");
    }
    text.push_str(&loaded.to_toml());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_cannot_be_used_is_told() {
        let variable = |name: &str| (format!("FAILBACKD_TLS_{name}"), "/nonexistent.pem".to_owned());
        let environment = [variable("CERTIFICATE"), variable("KEY")].into();
        let Err(Failure::Usage(problem)) = check_config(&ServeFlags::default(), &environment) else {
            panic!("taken");
        };
        assert!(problem.contains("/nonexistent.pem"), "{problem}");
    }

    #[test]
    fn authorities_that_cannot_be_used_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        let rules = "[[client_certificates.rules]]\nuser = \"a\"\nsubject = \"CN=a\"\n";
        std::fs::write(&file, format!("client_certificates.authorities = \"/nonexistent.pem\"\n{rules}")).unwrap();
        let flags = ServeFlags::from(crate::config::PlaceFlags { config: Some(file), data_dir: None });
        let Err(Failure::Usage(problem)) = check_config(&flags, &BTreeMap::new()) else { panic!("taken") };
        assert!(problem.starts_with("client_certificates.authorities: /nonexistent.pem: "), "{problem}");
    }

    #[test]
    fn a_certificate_for_sinks_that_cannot_be_used_is_told() {
        let variable = |name: &str| (format!("FAILBACKD_EVENTING_{name}"), "/nonexistent.pem".to_owned());
        let told = |names: &[&str]| {
            let environment = names.iter().map(|name| variable(name)).collect();
            match check_config(&ServeFlags::default(), &environment) {
                Err(Failure::Usage(problem)) => problem,
                other => panic!("{other:?}"),
            }
        };
        let problem = told(&["CERTIFICATE", "KEY"]);
        assert!(problem.starts_with("eventing.certificate: /nonexistent.pem: "), "{problem}");
        let problem = told(&["CERTIFICATE"]);
        assert!(problem.contains("eventing.key: the certificate needs its key"), "{problem}");
        let problem = told(&["KEY"]);
        assert!(problem.contains("eventing.certificate: the key is there without it"), "{problem}");
    }

    #[test]
    fn defaults_are_spelt_out() {
        let environment = [("FAILBACKD_X".to_owned(), String::new())].into();
        let text = check_config(&ServeFlags::default(), &environment).unwrap();
        assert!(text.starts_with("# warning: variable FAILBACKD_X"), "{text}");
        for line in
            ["http = \"127.0.0.1:5985\"\n", "max_active_transfers = 6\n", "[limits]\n", "connections_max = 4096\n"]
        {
            assert!(text.contains(line), "{text}");
        }
    }
}
