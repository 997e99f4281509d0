//! The file that describes a target: how to reach it, what it promises, and what must exist there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::auth::Scheme;
use crate::catalog::{Kind, NEEDS};
use crate::fixture::{Address, Fixtures};
use crate::model::Profile;

/// Promises that are no features of their own: every case of theirs runs anyway.
const PLAIN_CLAIMS: &[&str] = &["base", "cim", "invoke", "enumerate"];

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TargetFile {
    /// Where it is and what it promises.
    pub target: TargetPart,
    /// How to get in.
    pub auth: AuthPart,
    /// What exists there.
    pub fixture: FixturePart,
}

/// Where the target is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TargetPart {
    /// What people call it.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Whose reading of the standard binds it.
    pub profile: Option<Profile>,
    /// The features that it promises: a refusal does not excuse these.
    pub claims: BTreeSet<String>,
    /// A PEM file with the certificates to trust.
    pub ca: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
}

/// How to get in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuthPart {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The user.
    pub user: Option<String>,
    /// The environment variable with the password.
    pub password_env: Option<String>,
    /// A file with lines user=… and password=….
    pub file: Option<PathBuf>,
    /// A program that prints such lines.
    pub command: Option<String>,
    /// The client's certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// What exists at the target. Everything is optional: what is absent is looked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FixturePart {
    /// The class of the main instance.
    pub class_uri: String,
    /// Its keys; `__cimnamespace` among them where the URI needs it.
    pub keys: BTreeMap<String, String>,
    /// A class with several instances.
    pub many_uri: String,
    /// How many it has at least.
    pub many_min: usize,
    /// A method of the main instance.
    pub method: Option<MethodPart>,
    /// What may be written.
    pub writable: WritablePart,
    /// What may be created.
    pub creatable: CreatablePart,
    /// Where events come from.
    pub events: EventsPart,
}

/// A method: as variables `method.name`, `method.body`, `method.job_param`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MethodPart {
    /// Its name.
    pub name: String,
    /// A file with the body's content.
    pub body_file: Option<PathBuf>,
    /// The output parameter that refers to a job.
    pub job_param: String,
}

/// An instance and a property of it that may be written. An empty `uri`: none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WritablePart {
    /// The class.
    pub uri: String,
    /// The instance.
    pub keys: BTreeMap<String, String>,
    /// The property.
    pub property: String,
    /// Two values it may take.
    pub values: Vec<String>,
}

/// A class of which instances may be created.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CreatablePart {
    /// The class.
    pub uri: String,
    /// `__cimnamespace`, where the URI needs it.
    pub namespace: Option<String>,
    /// The instance's markup.
    pub body: String,
}

/// A source of events.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventsPart {
    /// The resource to subscribe to.
    pub uri: String,
    /// `__cimnamespace`, where the URI needs it.
    pub namespace: Option<String>,
    /// The filter's markup, w:Filter or e:Filter.
    pub filter: String,
}

fn address(uri: &str, keys: &BTreeMap<String, String>) -> Address {
    let namespace = keys.get("__cimnamespace").cloned();
    let selectors = keys.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Address { uri: uri.to_owned(), selectors, namespace }
}

impl TargetFile {
    /// Reads a file. Paths in it are relative to it; the error names it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut file: Self = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let auth = &mut file.auth;
        let method = file.fixture.method.iter_mut().filter_map(|method| method.body_file.as_mut());
        let all = [&mut file.target.ca, &mut auth.file, &mut auth.certificate, &mut auth.key];
        for path in all.into_iter().filter_map(|path| path.as_mut()).chain(method) {
            *path = folder.join(&*path);
        }
        if file.target.url.is_empty() {
            return Err(format!("{}: target.url is missing", path.display()));
        }
        let is_known = |claim: &&String| {
            PLAIN_CLAIMS.contains(&claim.as_str())
                || NEEDS.iter().any(|(name, kind, _)| *kind == Kind::Feature && *name == claim.as_str())
        };
        match file.target.claims.iter().find(|claim| !is_known(claim)) {
            Some(claim) => Err(format!("{}: unknown claim {claim:?}", path.display())),
            None => Ok(file),
        }
    }

    /// What is known before any probe.
    pub(crate) fn fixtures(&self) -> Result<Fixtures, String> {
        let mut fixtures = Fixtures { claims: self.target.claims.clone(), ..Fixtures::default() };
        let FixturePart { writable, creatable, events, .. } = &self.fixture;
        let mut keep = |name: &str, address: Address| _ = fixtures.addresses.insert(name.to_owned(), address);
        if !self.fixture.class_uri.is_empty() {
            keep("main", address(&self.fixture.class_uri, &self.fixture.keys));
        }
        if !writable.uri.is_empty() {
            keep("writable", address(&writable.uri, &writable.keys));
        }
        let scope = |uri: &str, namespace: &Option<String>| Address {
            uri: uri.to_owned(),
            selectors: Vec::new(),
            namespace: namespace.clone(),
        };
        if !creatable.uri.is_empty() {
            keep("creatable", scope(&creatable.uri, &creatable.namespace));
        }
        if !events.uri.is_empty() {
            keep("events", scope(&events.uri, &events.namespace));
        }
        if fixtures.addresses.contains_key("main") {
            fixtures.features.insert("get".to_owned());
        }
        let mut variables = vec![
            ("writable.property", writable.property.clone()),
            ("writable.old", writable.values.first().cloned().unwrap_or_default()),
            ("writable.new", writable.values.get(1).cloned().unwrap_or_default()),
            ("creatable.body", creatable.body.clone()),
            ("events.filter", events.filter.clone()),
        ];
        if let Some(method) = &self.fixture.method {
            let body = method
                .body_file
                .as_ref()
                .map(|path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display())));
            variables.push(("method.name", method.name.clone()));
            variables.push(("method.job_param", method.job_param.clone()));
            variables.push(("method.body", body.transpose()?.unwrap_or_default()));
        }
        let given = variables.into_iter().filter(|(_, value)| !value.is_empty());
        fixtures.variables.extend(given.map(|(name, value)| (name.to_owned(), value)));
        Ok(fixtures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../target-example.toml");

    #[test]
    fn the_example_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target-example.toml");
        let file = TargetFile::read(&path).unwrap();
        assert_eq!(file.target.profile, Some(Profile::Ms));
        let fixtures = file.fixtures().unwrap();
        assert!(fixtures.addresses.contains_key("main") && fixtures.has("get"));
        assert!(EXAMPLE.contains("[fixture]"));
    }

    #[test]
    fn mistakes_are_told() {
        assert!(toml::from_str::<TargetFile>("[target]\nurl='http://h'\nmoon=1").is_err());
        let folder = std::env::temp_dir().join(format!("wsman-conform-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("t.toml");
        for (text, mistake) in
            [("[target]\n", "url is missing"), ("[target]\nurl='http://h'\nclaims=['moon']", "claim")]
        {
            std::fs::write(&path, text).unwrap();
            assert!(TargetFile::read(&path).unwrap_err().contains(mistake));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
