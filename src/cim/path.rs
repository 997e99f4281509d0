//! Object paths (DSP0004 section 8.2) and their text as WMI writes it:
//! `\\HOST\root\virtualization\v2:Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="…"`.

use std::fmt;

use super::Text;
use super::schema::{Class, ClassId, NamespaceId, Property, Schema};
use super::value::{CimType, Value};

/// How deep references may be nested in the keys of a path.
const DEPTH_MAX: u8 = 4;
/// Longest path that is read.
const OCTETS_MAX: usize = 16_384;

/// Which instance: its class and key values. On input the keys may be fewer than the class has.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectPath {
    /// The namespace with forward slashes, if the path named one.
    pub namespace: Option<Text>,
    /// The class.
    pub class: ClassId,
    /// Slots and values of the keys, in the order given.
    pub keys: Vec<(u16, Value)>,
}

/// Why a text is not an object path, and at which character of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The character, counted from one.
    pub column: u32,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {} of the object path: {}", self.column, self.message)
    }
}

impl std::error::Error for PathError {}

impl ObjectPath {
    /// The path of an instance, with all of its key values.
    pub fn of(class: &Class, instance: &super::CimInstance) -> ObjectPath {
        let keys = class.keys.iter().map(|slot| (*slot, instance.get(*slot).clone())).collect();
        ObjectPath { namespace: None, class: class.id, keys }
    }

    /// The value of a key, if the path has it.
    pub fn key(&self, slot: u16) -> Option<&Value> {
        self.keys.iter().find(|(known, _)| *known == slot).map(|(_, value)| value)
    }

    /// The value of a key by name, without regard to case.
    pub fn key_by_name(&self, schema: &Schema, name: &str) -> Option<&Value> {
        self.key(schema.class(self.class).slot(name)?)
    }

    /// Reads the text of a path: with or without host (`\\HOST\…` or `//HOST/…`, which is not kept) and namespace, keys
    /// in double or single quotes with backslash escapes or bare, `Class="value"` for a class with one key, and the
    /// singleton `Class=@`. A backslash before any other character than a quote or a backslash stands for itself.
    /// A path that names no namespace is one of the default namespace.
    pub fn parse_wmi(text: &str, schema: &Schema) -> Result<ObjectPath, PathError> {
        Self::parse_wmi_in(text, NamespaceId::DEFAULT, schema)
    }

    /// As [`ObjectPath::parse_wmi`]; a path that names no namespace is one of this.
    pub fn parse_wmi_in(text: &str, namespace: NamespaceId, schema: &Schema) -> Result<ObjectPath, PathError> {
        parse_nested(text, namespace, schema, 0)
    }

    /// The text of the path, keys in the order of the path. Without a namespace of its own it has `\\HOST\` and the
    /// namespace given.
    pub fn to_wmi_string(&self, schema: &Schema, host: &str, namespace: &str) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(namespace).replace('/', "\\");
        format!("\\\\{host}\\{namespace}:{}", self.to_relative_string(schema, host, &namespace))
    }

    /// The text of the path without host and namespace. Paths within it have both.
    pub fn to_relative_string(&self, schema: &Schema, host: &str, namespace: &str) -> String {
        let class = schema.class(self.class);
        let mut out = class.name.to_string();
        if self.keys.is_empty() {
            out.push_str("=@");
        }
        for (at, (slot, value)) in self.keys.iter().enumerate() {
            out.push(if at == 0 { '.' } else { ',' });
            out.push_str(class.property_at(*slot).map_or("", |property| &property.name));
            out.push('=');
            match value {
                Value::String(text) => quote(text, &mut out),
                Value::Datetime(datetime) => quote(&datetime.to_dsp0004(), &mut out),
                Value::Reference(path) => quote(&path.to_wmi_string(schema, host, namespace), &mut out),
                Value::Boolean(truth) => out.push_str(if *truth { "TRUE" } else { "FALSE" }),
                other => out.push_str(&other.to_string()),
            }
        }
        out
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

fn parse_nested(text: &str, inside: NamespaceId, schema: &Schema, depth: u8) -> Result<ObjectPath, PathError> {
    let mut reader = Reader { text, rest: text, inside, schema, depth };
    if text.len() > OCTETS_MAX {
        return reader.fail(&format!("longer than {OCTETS_MAX} octets"));
    }
    if depth > DEPTH_MAX {
        return reader.fail(&format!("paths nested deeper than {DEPTH_MAX}"));
    }
    reader.path()
}

struct Reader<'t, 's> {
    text: &'t str,
    rest: &'t str,
    /// The namespace, unless the text names another.
    inside: NamespaceId,
    schema: &'s Schema,
    depth: u8,
}

impl<'t> Reader<'t, '_> {
    fn fail<T>(&self, message: &str) -> Result<T, PathError> {
        let read = self.text.len() - self.rest.len();
        let before = self.text.get(..read).map_or(0, |read| read.chars().count());
        Err(PathError { column: u32::try_from(before + 1).unwrap_or(u32::MAX), message: message.to_owned() })
    }

    fn eat(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The text before the first character that `ends` holds for.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'t str {
        let (taken, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn path(&mut self) -> Result<ObjectPath, PathError> {
        self.rest = self.rest.trim();
        self.text = self.rest;
        let namespace = self.namespace()?;
        let name = self.until(|c| matches!(c, '.' | '='));
        let Some(class) = self.schema.find_in(self.inside, name).map(|id| self.schema.class(id)) else {
            self.rest = self.rest_from(name);
            let shown: String = name.chars().take(64).collect();
            return self.fail(&format!("there is no class \"{shown}\""));
        };
        let keys = if self.eat('.') {
            self.keys(class)?
        } else if self.eat('=') {
            if self.eat('@') { Vec::new() } else { vec![self.only_key(class)?] }
        } else {
            return self.fail("expected \".\" and the keys, or \"=\" and the only key's value, after the class");
        };
        if !self.rest.is_empty() {
            return self.fail("expected \",\" and a further key, or the end");
        }
        Ok(ObjectPath { namespace, class: class.id, keys })
    }

    /// The text from the start of a part of it on.
    fn rest_from(&self, part: &'t str) -> &'t str {
        let start = self.text.len() - self.rest.len() - part.len();
        self.text.get(start..).unwrap_or(self.rest)
    }

    /// Host and namespace, if the text has a colon before the first key.
    fn namespace(&mut self) -> Result<Option<Text>, PathError> {
        let head_end = self.rest.find(['=', '"', '\'']).unwrap_or(self.rest.len());
        let (head, _) = self.rest.split_at(head_end);
        let Some((before, _)) = head.split_once(':') else { return Ok(None) };
        let mut namespace = before.replace('\\', "/");
        if let Some(with_host) = namespace.strip_prefix("//") {
            match with_host.split_once('/') {
                Some((host, inner)) if !host.is_empty() => namespace = inner.to_owned(),
                _ => return self.fail("expected \\\\host\\namespace before \":\""),
            }
        }
        let namespace = namespace.trim_matches('/').to_owned();
        if namespace.is_empty() || namespace.split('/').any(str::is_empty) {
            return self.fail("expected a namespace before \":\"");
        }
        let Some(named) = self.schema.find_namespace(&namespace) else {
            let shown: String = namespace.chars().take(64).collect();
            return self.fail(&format!("there is no namespace \"{shown}\""));
        };
        self.inside = named;
        self.until(|c| c == ':');
        self.eat(':');
        Ok(Some(Text::Owned(namespace)))
    }

    fn keys(&mut self, class: &Class) -> Result<Vec<(u16, Value)>, PathError> {
        let mut keys: Vec<(u16, Value)> = Vec::new();
        loop {
            let start = self.rest;
            let name = self.until(|c| matches!(c, '=' | ',')).trim();
            let found = class.property(name).filter(|(_, property)| property.is_key);
            let Some((slot, property)) = found else {
                self.rest = start;
                let shown: String = name.chars().take(64).collect();
                return self.fail(&format!("\"{shown}\" is not a key of {}", class.name));
            };
            if keys.iter().any(|(known, _)| *known == slot) {
                self.rest = start;
                return self.fail(&format!("the key {} stands twice", property.name));
            }
            if !self.eat('=') {
                return self.fail(&format!("expected \"=\" after {}", property.name));
            }
            keys.push((slot, self.value(property)?));
            if !self.eat(',') {
                return Ok(keys);
            }
        }
    }

    /// The value of a class with one key.
    fn only_key(&mut self, class: &Class) -> Result<(u16, Value), PathError> {
        match class.keys.as_slice() {
            [slot] => {
                let property = class.property_at(*slot).map(|property| self.value(property));
                property.map_or_else(|| self.fail("the class has no key"), |value| Ok((*slot, value?)))
            }
            keys => self.fail(&format!("{} has {} keys: name each one", class.name, keys.len())),
        }
    }

    fn value(&mut self, property: &Property) -> Result<Value, PathError> {
        let start = self.rest;
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let text = match quote {
            Some(quote) => self.quoted(quote)?,
            None => self.until(|c| c == ',').trim().to_owned(),
        };
        let after = std::mem::replace(&mut self.rest, start);
        if quote.is_none() && matches!(property.cim_type, CimType::String | CimType::Datetime | CimType::Reference) {
            return self.fail(&format!("the value of {} stands without quotes", property.name));
        }
        let value = if property.cim_type == CimType::Reference {
            parse_nested(&text, self.inside, self.schema, self.depth + 1)
                .map(Value::from)
                .map_err(|error| error.to_string())
        } else {
            Value::parse(property.cim_type, &text).map_err(|error| error.to_string())
        };
        match value {
            Ok(value) => {
                self.rest = after;
                Ok(value)
            }
            Err(message) => self.fail(&format!("the value of {}: {message}", property.name)),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        let start = self.rest;
        self.eat(quote);
        let mut out = String::new();
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or_default();
                return Ok(out);
            }
            match chars.peek() {
                Some((_, escaped)) if c == '\\' && matches!(escaped, '\\' | '"' | '\'') => {
                    out.push(*escaped);
                    chars.next();
                }
                _ => out.push(c),
            }
        }
        self.rest = start;
        self.fail("the quote has no end")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<ObjectPath, PathError> {
        ObjectPath::parse_wmi(text, Schema::builtin())
    }

    fn name_of(text: &str) -> String {
        let schema = Schema::builtin();
        let path = read(text).unwrap();
        path.key_by_name(schema, "name").unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn reads_every_form_that_clients_write() {
        for text in [
            r#"\\HOST\root\virtualization\v2:Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="G""#,
            r"//host/root/virtualization/v2:msvm_computersystem.creationclassname='Msvm_ComputerSystem',name='G'",
            r#"\\.\root\virtualization\v2:Msvm_ComputerSystem.Name="G",CreationClassName="Msvm_ComputerSystem""#,
            r#"root/virtualization/v2:Msvm_ComputerSystem.Name="G""#,
            r#" Msvm_ComputerSystem.Name="G" "#,
        ] {
            assert_eq!(name_of(text), "G", "{text}");
        }
        let path = read(r#"\\H\root\virtualization\v2:Msvm_ConcreteJob="a\\b\"c\d""#).unwrap();
        assert_eq!(path.namespace.as_deref(), Some("root/virtualization/v2"));
        assert_eq!(path.keys[0].1.as_str(), Some(r#"a\b"c\d"#));
        assert_eq!(read("Msvm_ReplicationService=@").unwrap().keys, []);
        let colon = read(r#"Msvm_ReplicationSettingData.InstanceID="Microsoft:G\\HVR\\0""#).unwrap();
        assert_eq!((colon.namespace, colon.keys[0].1.as_str()), (None, Some(r"Microsoft:G\HVR\0")));
    }

    #[test]
    fn reads_and_writes_paths_within_paths() {
        let text = concat!(
            r#"\\H\root\virtualization\v2:Msvm_SystemReplicationRelationship."#,
            r#"Antecedent="\\\\H\\root\\virtualization\\v2:"#,
            r#"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"G\"","#,
            r#"Dependent="\\\\H\\root\\virtualization\\v2:"#,
            r#"Msvm_ReplicationRelationship.InstanceID=\"Microsoft:G\\\\HVR\\\\0\"""#,
        );
        let path = read(text).unwrap();
        let inner = path.keys[1].1.as_reference().unwrap();
        assert_eq!(inner.keys[0].1.as_str(), Some(r"Microsoft:G\HVR\0"));
        assert_eq!(path.to_wmi_string(Schema::builtin(), "H", "root/virtualization/v2"), text);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (text, expected) in [
            ("", "character 1 of the object path: there is no class \"\""),
            ("root/x:No.A=1", "character 1 of the object path: there is no namespace \"root/x\""),
            ("root/CIMV2:No.A=1", "character 12 of the object path: there is no class \"No\""),
            (
                "Msvm_Error",
                "character 11 of the object path: expected \".\" and the keys, or \"=\" and the only key's value, \
                 after the class",
            ),
            ("Msvm_ConcreteJob.X=1", "character 18 of the object path: \"X\" is not a key of Msvm_ConcreteJob"),
            ("Msvm_ConcreteJob.InstanceID=\"a", "character 29 of the object path: the quote has no end"),
            (
                "Msvm_ConcreteJob.InstanceID=a",
                "character 29 of the object path: the value of InstanceID stands without \
             quotes",
            ),
            (
                "Msvm_ConcreteJob=\"a\",",
                "character 21 of the object path: expected \",\" and a further key, or the end",
            ),
            (
                "Msvm_ComputerSystem=\"a\"",
                "character 21 of the object path: Msvm_ComputerSystem has 2 keys: name each one",
            ),
            (r"\\h:Msvm_Error=@", r#"character 1 of the object path: expected \\host\namespace before ":""#),
            ("a//b:Msvm_Error=@", "character 1 of the object path: expected a namespace before \":\""),
            (
                "Msvm_ConcreteJob.InstanceID=\"a\",instanceid=\"b\"",
                "character 33 of the object path: the key InstanceID stands twice",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_key_round_trips(id in "\\PC{0,40}") {
            let schema = Schema::builtin();
            let class = schema.class_by_name("Msvm_ConcreteJob").unwrap();
            let path = ObjectPath { namespace: None, class: class.id, keys: vec![(0, Value::from(id))] };
            let again = ObjectPath::parse_wmi(&path.to_relative_string(schema, "H", "root"), schema).unwrap();
            prop_assert_eq!(again, path);
        }

        #[test]
        fn no_text_panics(text in "(Msvm_ConcreteJob[.=])?[\\\\/\"'=,.:@a-zé]{0,30}") {
            let _ = read(&text);
        }
    }
}
