//! From file, environment and flags to a [`Config`], with the origin of every value.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use serde::Deserialize as _;
use toml::de::DeTable;
use toml::{Table, Value};

use super::access::Known;
use super::key::{Key, PREFIX, leaves, merge, nested, quoted};
use super::lists::{self, List};
use super::nearest::nearest;
use super::places::Places;
use super::{Config, HooksConfig, PlaceFlags, ServeFlags};

/// The variable that names the file.
const FILE_VARIABLE: &str = "FAILBACKD_CONFIG";

/// All that is wrong with a configuration, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ConfigError {
    problems: Vec<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file, with the line.
    File(String, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, line) => write!(out, "{file}, line {line}"),
            Self::Environment(name) => out.write_str(name),
            Self::Flag(name) => out.write_str(name),
        }
    }
}

/// A configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// What does no harm but is probably a mistake.
    pub warnings: Vec<String>,
    origins: BTreeMap<Key, Origin>,
}

impl Loaded {
    /// The configuration as a TOML file that would bring it about, with the origin of each value that is no default.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let tables = Table::try_from(&self.config).unwrap_or_default();
        let mut heading = String::new();
        let (lists, mut leaves): (Vec<_>, Vec<_>) =
            leaves(&tables).into_iter().partition(|(_, value)| lists::has_sections(value));
        // Single values stand before the first table, or they would belong to it.
        leaves.sort_by_key(|(key, _)| key.0.len() > 1);
        for (key, value) in leaves {
            if key.table() != heading {
                heading = key.table();
                let _ = write!(text, "\n[{heading}]\n");
            }
            let _ = write!(text, "{} = {value}", key.name());
            if let Some(origin) = self.origins.get(&key) {
                let _ = write!(text, " # {origin}");
            }
            text.push('\n');
        }
        for (key, value) in lists {
            for (index, entry) in value.as_array().into_iter().flatten().filter_map(Value::as_table).enumerate() {
                let origin = self.origins.get(&key.entry(index)).map(|origin| format!(" # {origin}"));
                let _ = write!(text, "\n[[{key}]]{}\n{entry}\n", origin.unwrap_or_default());
            }
        }
        text
    }
}

/// Put the configuration together. `environment` is the process's (`std::env::vars`).
pub fn load(flags: &ServeFlags, environment: &BTreeMap<String, String>) -> Result<Loaded, ConfigError> {
    let mut builder = Builder::new();
    let PlaceFlags { config, .. } = &flags.place;
    let file = config.clone().or_else(|| environment.get(FILE_VARIABLE).map(Into::into));
    if let Some(path) = file {
        builder.read_file(&path);
    }
    builder.read_environment(environment);
    builder.read_flags(flags);
    builder.finish()
}

struct Builder {
    /// Every key with its default.
    known: Vec<(Key, Value)>,
    hooks: Vec<String>,
    values: BTreeMap<Key, (Value, Origin)>,
    /// Where the entries of lists of tables, and the keys in them, stand.
    entries: BTreeMap<Key, Origin>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Builder {
    fn new() -> Self {
        let known = leaves(&Table::try_from(Config::default()).unwrap_or_default());
        let hooks = Table::try_from(HooksConfig::default()).unwrap_or_default();
        Self {
            known,
            hooks: hooks.keys().cloned().collect(),
            values: BTreeMap::new(),
            entries: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("{name}: {error}")),
        };
        // The first reading has the values, the second their places.
        let (values, places) = match (toml::from_str::<Table>(&text), DeTable::parse(&text)) {
            (Ok(values), Ok(places)) => (values, places),
            (Err(error), _) | (_, Err(error)) => return self.problems.push(format!("{name}: {error}")),
        };
        let mut noted = Places::default();
        noted.note(places.get_ref(), &text, &mut Vec::new());
        let Places { lines, entries, empty_tables } = noted;
        self.entries.extend(entries.into_iter().map(|(path, line)| (Key(path), Origin::File(name.clone(), line))));
        let mut leaves: Vec<(usize, Key, Value)> = leaves(&values)
            .into_iter()
            .map(|(key, value)| (lines.get(&key.0).copied().unwrap_or(1), key, value))
            .collect();
        leaves.sort_by_key(|(line, ..)| *line);
        for (line, key, value) in leaves {
            self.take(key, value, Origin::File(name.clone(), line));
        }
        for (line, table) in empty_tables {
            self.check_table(&table, &Origin::File(name.clone(), line));
        }
    }

    /// A table without anything in it has no value to be refused by, and may still be misspelt.
    fn check_table(&mut self, table: &[String], origin: &Origin) {
        let of_vm = match table {
            [vm] | [vm, _] => vm == "vm",
            [vm, _, hooks] => vm == "vm" && hooks == "hooks",
            _ => false,
        };
        if of_vm || self.known.iter().any(|(key, _)| key.0.len() > table.len() && key.0.starts_with(table)) {
            return;
        }
        let written = Key(table.to_vec()).to_string();
        let tables: Vec<String> = self.known.iter().map(|(key, _)| key.table()).filter(|it| !it.is_empty()).collect();
        let meant = nearest(&written, tables.iter().map(String::as_str));
        self.problems.push(format!("{origin}: unknown key {written}{}", meaning(meant)));
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) {
        // A variable has no room for a list of tables.
        let single = self.known.iter().filter(|(key, _)| lists::at(&key.0).is_none());
        let variables: Vec<(String, Key, Value)> =
            single.map(|(key, value)| (key.variable(), key.clone(), value.clone())).collect();
        for (name, text) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX) && *name != FILE_VARIABLE) {
            let Some((_, key, default)) = variables.iter().find(|(variable, ..)| variable == name) else {
                let meant = nearest(name, variables.iter().map(|(variable, ..)| variable.as_str()));
                self.warnings.push(format!("variable {name} is not one of this program{}", meaning(meant)));
                continue;
            };
            let value = match default {
                Value::Integer(_) => text.trim().parse().map(Value::Integer).map_err(|_| "a whole number"),
                Value::Boolean(_) => match text.trim() {
                    "true" | "1" => Ok(Value::Boolean(true)),
                    "false" | "0" => Ok(Value::Boolean(false)),
                    _ => Err("true or false"),
                },
                Value::Array(_) => {
                    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                    Ok(words.map(Value::from).collect::<Vec<_>>().into())
                }
                _ => Ok(Value::String(text.clone())),
            };
            match value {
                Ok(value) => self.take(key.clone(), value, Origin::Environment(name.clone())),
                Err(expected) => self.problems.push(format!("{name}: {text:?} is not {expected}")),
            }
        }
    }

    fn read_flags(&mut self, flags: &ServeFlags) {
        let ServeFlags { place, http, https, allow_unencrypted, profile, record, log_format, log_level } = flags;
        let data_dir = place.data_dir.as_ref().map(|path| Value::String(path.display().to_string()));
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let format = log_format.and_then(|format| Value::try_from(format).ok());
        let profile = profile.and_then(|profile| Value::try_from(profile).ok());
        let given = [
            ("data_dir", "--data-dir", data_dir),
            ("http", "--http", text(http)),
            ("https", "--https", text(https)),
            ("allow_unencrypted", "--allow-unencrypted", allow_unencrypted.map(Value::Boolean)),
            ("profile", "--profile", profile),
            ("record", "--record", record.as_ref().map(|path| Value::String(path.display().to_string()))),
            ("log.format", "--log-format", format),
            ("log.level", "--log-level", text(log_level)),
        ];
        for (key, flag, value) in given {
            if let Some(value) = value {
                self.take(Key::of(key), value, Origin::Flag(flag));
            }
        }
    }

    /// Accept one value over whatever stood there before, if key and type are right.
    fn take(&mut self, key: Key, value: Value, origin: Origin) {
        if let Err(meant) = self.check_key(&key) {
            self.problems.push(format!("{origin}: unknown key {key}{}", meaning(meant.as_deref())));
            return;
        }
        if let (Some(list), Value::Array(entries)) = (lists::at(&key.0), &value) {
            let before = self.problems.len();
            self.check_entries(list, &key, entries, &origin);
            if before < self.problems.len() {
                return;
            }
        }
        // Alone, so that whatever is wrong is wrong with this value.
        if let Err(error) = Config::deserialize(Value::Table(nested(&key.0, value.clone()))) {
            let problem = error.message().to_owned();
            self.problems.push(format!("{origin}: {key}: {problem}"));
            return;
        }
        self.values.insert(key, (value, origin));
    }

    /// Tells what is wrong with the entries of a list of tables, each value by itself.
    fn check_entries(&mut self, list: List, key: &Key, entries: &[Value], origin: &Origin) {
        let fields =
            entries.iter().enumerate().filter_map(|(index, entry)| Some((key.entry(index), entry.as_table()?)));
        for (place, name, value) in fields.flat_map(|(at, entry)| entry.iter().map(move |(k, v)| (at.clone(), k, v))) {
            let place = place.below(name);
            let origin = self.entries.get(&place).unwrap_or(origin);
            let name = quoted(name);
            if !list.keys.contains(&name.as_str()) {
                let meant = nearest(&name, list.keys.iter().copied()).map(|meant| format!("{key}.{meant}"));
                self.problems.push(format!("{origin}: unknown key {key}.{name}{}", meaning(meant.as_deref())));
                continue;
            }
            let alone = Value::Array(vec![Value::Table(nested(std::slice::from_ref(&name), value.clone()))]);
            if let Err(error) = Config::deserialize(Value::Table(nested(&key.0, alone))) {
                self.problems.push(format!("{origin}: {key}.{name}: {}", error.message()));
            }
        }
    }

    /// Whether there is such a key; else the nearest one that there is.
    fn check_key(&self, key: &Key) -> Result<(), Option<String>> {
        let parts: Vec<&str> = key.0.iter().map(String::as_str).collect();
        if let ["vm", name, rest @ ..] = parts.as_slice() {
            return match rest {
                ["hooks", hook] if self.hooks.iter().any(|known| known == hook) => Ok(()),
                ["hooks", hook] => {
                    let meant = nearest(hook, self.hooks.iter().map(String::as_str));
                    Err(meant.map(|hook| format!("vm.{}.hooks.{hook}", quoted(name))))
                }
                _ => Err(Some(format!("vm.{}.hooks", quoted(name)))),
            };
        }
        if self.known.iter().any(|(known, _)| known == key) {
            return Ok(());
        }
        if let Some(list) = lists::above(&key.0) {
            return Err(Some(format!("[[{}]]", list.path.join("."))));
        }
        let dotted: Vec<String> = self.known.iter().map(|(known, _)| known.to_string()).collect();
        let written = key.to_string();
        if let Some(meant) = nearest(&written, dotted.iter().map(String::as_str)) {
            return Err(Some(meant.to_owned()));
        }
        // The right name in the wrong table.
        let name = key.0.last();
        Err(self.known.iter().find(|(known, _)| known.0.last() == name).map(|(known, _)| known.to_string()))
    }

    /// Tells of access rules that cannot be taken, and of what is probably a mistake in them.
    fn check_access(&mut self, config: &Config) {
        let known = if config.access.is_empty() { None } else { Known::served() };
        let list = Key::of("access");
        for (index, rule) in config.access.iter().enumerate() {
            let place = |key: Key| self.entries.get(&key).map(|origin| format!("{origin}: ")).unwrap_or_default();
            if let Some(problem) = rule.problem() {
                self.problems.push(format!("{}access: {problem}", place(list.entry(index))));
            }
            for (key, remark) in known.as_ref().map(|known| rule.remarks(known)).unwrap_or_default() {
                let origin = place(list.entry(index).below(key));
                self.warnings.push(format!("{origin}access.{key}: {remark}"));
            }
        }
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        let mut table = Table::new();
        for (key, (value, _)) in &self.values {
            merge(&mut table, nested(&key.0, value.clone()));
        }
        let config = match Config::deserialize(Value::Table(table)) {
            Ok(config) => config,
            Err(error) => {
                self.problems.push(error.message().to_owned());
                Config::default()
            }
        };
        for (key, problem) in config.problems() {
            let origin = self.values.get(&Key::of(key)).map(|(_, origin)| format!("{origin}: ")).unwrap_or_default();
            self.problems.push(format!("{origin}{key}: {problem}"));
        }
        self.check_access(&config);
        if self.problems.is_empty() {
            let values = self.values.into_iter().map(|(key, (_, origin))| (key, origin));
            let origins = values.chain(self.entries).collect();
            Ok(Loaded { config, warnings: self.warnings, origins })
        } else {
            Err(ConfigError { problems: self.problems })
        }
    }
}

fn meaning(meant: Option<&str>) -> String {
    meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::super::{LogFormat, ProfileName};
    use super::*;

    pub(in crate::config) fn load_text(
        text: &str,
        variables: &[(&str, &str)],
        flags: ServeFlags,
    ) -> Result<Loaded, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f.toml");
        fs::write(&path, text).unwrap();
        let place = PlaceFlags { config: Some(path), ..flags.place };
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load(&ServeFlags { place, ..flags }, &environment)
    }

    pub(in crate::config) fn problems(text: &str) -> String {
        load_text(text, &[], ServeFlags::default()).unwrap_err().to_string()
    }

    #[test]
    fn flags_stand_over_variables_over_the_file_over_the_defaults() {
        let file = "http = \"127.0.0.1:1\"\nhttps = \"127.0.0.1:1\"\nhost_name = \"file\"\n[limits]\njobs_max = 7\n";
        let variables =
            [("FAILBACKD_HTTPS", "off"), ("FAILBACKD_HTTP", "127.0.0.1:2"), ("FAILBACKD_LIMITS_DEPTH_MAX", "99")];
        let flags = ServeFlags { http: Some("127.0.0.1:3".to_owned()), ..ServeFlags::default() };
        let loaded = load_text(file, &variables, flags).unwrap();
        let config = &loaded.config;
        assert_eq!((config.http_address(), config.https_address()), (Some("127.0.0.1:3"), None));
        assert_eq!((config.host_name.as_str(), config.limits.jobs_max, config.limits.depth_max), ("file", 7, 99));
        assert_eq!((config.max_active_transfers, config.profile), (6, ProfileName::Ms));
        let shown = loaded.to_toml();
        assert!(shown.contains("http = \"127.0.0.1:3\" # --http\n"), "{shown}");
        assert!(shown.contains("https = \"off\" # FAILBACKD_HTTPS\n"), "{shown}");
        assert!(shown.contains("f.toml, line 5\n"), "{shown}");
    }

    #[test]
    fn the_profile_comes_from_file_variable_or_flag() {
        let profile = |text, variables: &[_], flag| {
            let flags = ServeFlags { profile: flag, ..ServeFlags::default() };
            load_text(text, variables, flags).map(|loaded| loaded.config.profile)
        };
        assert_eq!(profile("profile = \"dmtf\"", &[], None), Ok(ProfileName::Dmtf));
        assert_eq!(profile("profile = \"dmtf\"", &[("FAILBACKD_PROFILE", "ms")], None), Ok(ProfileName::Ms));
        assert_eq!(profile("", &[("FAILBACKD_PROFILE", "ms")], Some(ProfileName::Dmtf)), Ok(ProfileName::Dmtf));
        assert!(problems("profile = \"windows\"").contains("line 1: profile: unknown variant `windows`"));
    }

    #[test]
    fn what_is_shown_can_be_loaded_again() {
        let file = "[vm.\"web 01\".hooks]\npeer_stop = [\"/bin/stop\", \"web \\\"01\\\"\"]\n[log]\nformat = \"json\"\n";
        let loaded = load_text(file, &[], ServeFlags::default()).unwrap();
        assert_eq!(loaded.config.vm["web 01"].hooks.peer_stop, ["/bin/stop", "web \"01\""]);
        assert_eq!(loaded.config.log.format, LogFormat::Json);
        let again = load_text(&loaded.to_toml(), &[], ServeFlags::default()).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    #[test]
    fn a_list_of_tables_is_taken_and_shown_with_its_places() {
        let file = "[[access]]\nusers = [\"otto\"]\n\n[[access]]\nroles = [\"viewer\"]\nvms = []\n";
        let loaded = load_text(file, &[], ServeFlags::default()).unwrap();
        let shown = loaded.to_toml();
        let list = shown.split_once("\n[[access]] # ").unwrap().1;
        assert!(list.contains("f.toml, line 1\nusers = [\"otto\"]\n"), "{shown}");
        assert!(list.contains("f.toml, line 4\nroles = [\"viewer\"]\nvms = []\n"), "{shown}");
        let again = load_text(&shown, &[], ServeFlags::default()).unwrap();
        assert_eq!((again.config.access.len(), again.config), (2, loaded.config));
        let none = load_text("", &[], ServeFlags::default()).unwrap().to_toml();
        assert!(none.lines().any(|line| line == "access = []"), "{none}");
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_told_with_its_place() {
        let told = problems("[[access]]\nusers = [\"a\"]\nroles = [\"boss\"]\n[[access]]\nvms = \"x\"\n");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].contains("line 3: access.roles: unknown variant `boss`"), "{told}");
        assert!(lines[1].contains("line 5: access.vms: "), "{told}");
        assert!(problems("access = [1]\n").contains("line 1: access: "));
    }

    #[test]
    fn access_rules_that_cannot_be_meant_are_told() {
        assert!(problems("\n[[access]]\nvms = [\"web*\"]\n").contains("f.toml, line 2: access: a rule says whom"));
        for user in ["otto@example.com", "EXAMPLE\\\\otto", "otto/admin", "otto ", "*@R"] {
            let told = problems(&format!("[[access]]\nusers = [\"otto\", \"{user}\"]\nvms = []\n"));
            assert!(told.contains("f.toml, line 1: access: users go by their names"), "{told}");
        }
        let file = "[[access]]\nusers = [\"*\"]\nnamespaces = [\"\\\\Root\\\\Virtualization\\\\V2\", \"root/cimv9\"]\n\
                    classes = [\"msvm_concrete*\", \"CIM_Job\"]\nmethods = [\"getError??\", \"Initiate\"]\nvms = [\"none\"]\n\
                    [[access]]\nusers = []\n";
        let told = load_text(file, &[], ServeFlags::default()).unwrap().warnings;
        let lines: Vec<&str> =
            told.iter().filter_map(|line| line.split_once("f.toml, ").map(|(_, rest)| rest)).collect();
        assert_eq!(
            lines,
            [
                "line 3: access.namespaces: \"root/cimv9\" fits no namespace of this server",
                "line 4: access.classes: \"CIM_Job\" fits no class with instances of this server",
                "line 5: access.methods: \"Initiate\" fits no method of this server",
                "line 8: access.users: an empty list names nobody, so that the rule limits nobody",
                "line 8: access.users: the rule limits nothing: it has no namespaces, classes, methods or vms",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        for (text, line, key, meant) in [
            ("\n\ndata-dir = \"x\"\n", 3, "data-dir", "data_dir"),
            ("[limits]\nconections_max = 9\n", 2, "limits.conections_max", "limits.connections_max"),
            ("connections_max = 9\n", 1, "connections_max", "limits.connections_max"),
            ("\n[limit]\n", 2, "limit", "limits"),
            ("[vm.web01.hooks]\npeer_stopp = []\n", 2, "vm.web01.hooks.peer_stopp", "vm.web01.hooks.peer_stop"),
            ("[vm.web01]\nhook.peer_stop = []\n", 2, "vm.web01.hook.peer_stop", "vm.web01.hooks"),
            ("[[acess]]\nusers = []\n", 1, "acess", "access"),
            ("[access]\nusers = []\n", 2, "access.users", "[[access]]"),
            ("[[access]]\nusers = []\n\n[[access]]\nvm = []\n", 5, "access.vm", "access.vms"),
        ] {
            let told = problems(text);
            let expected = format!("f.toml, line {line}: unknown key {key} (did you mean {meant}?)");
            assert!(told.ends_with(&expected), "{told}\n{expected}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_places() {
        let told =
            problems("http = 5985\nallow_unencrypted = \"yes\"\n[limits]\njobs_max = -1\n[log]\nformat = \"xml\"\n");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        for line in ["line 1: http:", "line 2: allow_unencrypted:", "line 4: limits.jobs_max:", "line 6: log.format:"] {
            assert!(told.contains(line), "{told}");
        }
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for (text, key) in [
            ("http = \"nonsense\"", "http"),
            ("https = \":5986\"", "https"),
            ("max_active_transfers = 0", "max_active_transfers"),
            ("log.level = \"inof\"", "log.level"),
            ("log.level = \"info,a=b=c\"", "log.level"),
            ("tls.certificate = \"c.pem\"", "tls"),
            ("limits.envelope_octets_max = 100", "limits.envelope_octets_max"),
        ] {
            let told = problems(text);
            assert!(told.contains(&format!("{key}: ")), "{told}");
        }
    }

    #[test]
    fn levels_and_filters_are_taken() {
        for level in ["", "off", "WARN", "info,failbackd::transport=debug", "failbackd", "info,[request]=trace"] {
            let config = load_text(&format!("log.level = \"{level}\""), &[], ServeFlags::default()).unwrap().config;
            assert_eq!(config.log.level, level);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_or_parsed_is_told() {
        let flags = ServeFlags::from(PlaceFlags { config: Some(PathBuf::from("/nonexistent.toml")), data_dir: None });
        assert!(load(&flags, &BTreeMap::new()).unwrap_err().to_string().contains("/nonexistent.toml"));
        assert!(problems("http = \n").contains("line 1"));
    }

    #[test]
    fn a_strange_variable_is_a_warning_and_a_bad_one_an_error() {
        let loaded = load_text("", &[("FAILBACKD_HTP", "x"), ("OTHER", "x")], ServeFlags::default()).unwrap();
        assert_eq!(
            loaded.warnings,
            ["variable FAILBACKD_HTP is not one of this program (did you mean FAILBACKD_HTTP?)"]
        );
        let bad = load_text("", &[("FAILBACKD_ALLOW_UNENCRYPTED", "maybe")], ServeFlags::default());
        assert!(bad.unwrap_err().to_string().contains("FAILBACKD_ALLOW_UNENCRYPTED"));
    }

    #[test]
    fn every_variable_has_one_key() {
        let mut variables: Vec<String> = Builder::new().known.iter().map(|(key, _)| key.variable()).collect();
        let count = variables.len();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), count);
    }
}
