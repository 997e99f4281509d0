//! `failbackd check-config`: what the server would run with, or what is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::{ConfigError, ServeFlags, load};

/// The text to print: the configuration in force as a TOML file, each value that is no default with its origin, and
/// above it what is probably a mistake.
pub fn check_config(flags: &ServeFlags, environment: &BTreeMap<String, String>) -> Result<String, ConfigError> {
    let loaded = load(flags, environment)?;
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
