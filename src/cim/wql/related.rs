//! `ASSOCIATORS OF {path} WHERE …` and `REFERENCES OF {path} WHERE …`. The conditions stand one after the other with
//! nothing between them: `AssocClass = C ResultClass = C Role = R ResultRole = R`.

use std::fmt;

use super::lex::{Lexer, Token, TokenKind};
use super::parse::Name;
use super::{Limits, WqlError};
use crate::cim::schema::{ClassId, Schema};
use crate::cim::{AssociationQuery, NamespaceId, ObjectPath, Related};

/// A question about associations as WQL writes it: read, its names not looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociatorsOf {
    related: Related,
    /// The text between the braces.
    path: Name,
    conditions: Vec<(Condition, Name)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    AssocClass,
    ResultClass,
    Role,
    ResultRole,
}

impl Condition {
    const ALL: [(Self, &'static str); 4] = [
        (Self::AssocClass, "AssocClass"),
        (Self::ResultClass, "ResultClass"),
        (Self::Role, "Role"),
        (Self::ResultRole, "ResultRole"),
    ];

    /// What WMI allows after `REFERENCES OF`: its results are the associations, so that there is no other end to name.
    fn fits(self, related: Related) -> bool {
        related == Related::Objects || matches!(self, Self::ResultClass | Self::Role)
    }
}

/// Conditions that ask for classes or for qualifiers, and the one that leaves out what is no key.
const NOT_SERVED: [&str; 5] =
    ["ClassDefsOnly", "RequiredQualifier", "RequiredAssocQualifier", "SchemaOnly", "KeysOnly"];

fn form(related: Related) -> &'static str {
    match related {
        Related::Objects => "ASSOCIATORS",
        Related::Associations => "REFERENCES",
    }
}

impl AssociatorsOf {
    /// Whether a text is to be read as this, by its first word.
    pub fn begins(text: &str) -> bool {
        let text = text.trim_start();
        let word = text.get(..text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()));
        word.is_some_and(|word| related_of(word).is_some())
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, WqlError> {
        let octets_max = Limits::default().octets_max;
        if text.len() > octets_max {
            return Err(WqlError { position: 1, message: format!("the query is longer than {octets_max} octets") });
        }
        let mut lexer = Lexer::new(text);
        let first = lexer.next_token()?;
        let TokenKind::Word(word) = first.kind else { return expected(&first, "ASSOCIATORS or REFERENCES") };
        let Some(related) = related_of(word) else { return expected(&first, "ASSOCIATORS or REFERENCES") };
        let of = lexer.next_token()?;
        if !is_word(&of, "OF") {
            return expected(&of, "OF");
        }
        let (path, position) = lexer.braced()?;
        let path = Name { text: path.trim().to_owned(), position };
        let mut parsed = Self { related, path, conditions: Vec::new() };
        let mut token = lexer.next_token()?;
        if is_word(&token, "WHERE") {
            token = lexer.next_token()?;
            parsed.condition(&mut lexer, &token)?;
            token = lexer.next_token()?;
            while !is_end(&token) {
                parsed.condition(&mut lexer, &token)?;
                token = lexer.next_token()?;
            }
        } else if !is_end(&token) {
            return expected(&token, "WHERE or the end");
        }
        if token.kind != TokenKind::End {
            token = lexer.next_token()?;
        }
        if token.kind == TokenKind::End { Ok(parsed) } else { expected(&token, "the end") }
    }

    /// One condition, whose first token is read.
    fn condition(&mut self, lexer: &mut Lexer<'_>, token: &Token<'_>) -> Result<(), WqlError> {
        let fail = |message: String| Err(WqlError { position: token.position, message });
        let TokenKind::Word(word) = token.kind else {
            return expected(token, "AssocClass, ResultClass, Role or ResultRole");
        };
        if let Some(known) = NOT_SERVED.iter().find(|known| known.eq_ignore_ascii_case(word)) {
            return fail(format!("{known} is not served; AssocClass, ResultClass, Role and ResultRole are"));
        }
        let Some((condition, name)) = Condition::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(word)) else {
            return expected(token, "AssocClass, ResultClass, Role or ResultRole");
        };
        if !condition.fits(self.related) {
            return fail(format!("{name} has no place after REFERENCES OF, where ResultClass names the association"));
        }
        if self.conditions.iter().any(|(known, _)| known == condition) {
            return fail(format!("{name} stands twice"));
        }
        let sign = lexer.next_token()?;
        if sign.kind != TokenKind::Sign("=") {
            return expected(&sign, "\"=\"");
        }
        let value = lexer.next_token()?;
        let TokenKind::Word(text) = value.kind else { return expected(&value, "a name") };
        self.conditions.push((*condition, Name { text: text.to_owned(), position: value.position }));
        Ok(())
    }

    fn value(&self, condition: Condition) -> Option<&Name> {
        self.conditions.iter().find(|(known, _)| *known == condition).map(|(_, value)| value)
    }

    /// Looks up all names in the default namespace.
    pub fn resolve(&self, schema: &Schema) -> Result<AssociationQuery, WqlError> {
        self.resolve_in(NamespaceId::DEFAULT, schema)
    }

    /// Looks up all names in a namespace.
    pub fn resolve_in(&self, namespace: NamespaceId, schema: &Schema) -> Result<AssociationQuery, WqlError> {
        let object = ObjectPath::parse_wmi_in(&self.path.text, namespace, schema)
            .map_err(|error| WqlError { position: self.path.position, message: error.to_string() })?;
        let class = |condition: Condition| -> Result<Option<ClassId>, WqlError> {
            let Some(name) = self.value(condition) else { return Ok(None) };
            let missing =
                || WqlError { position: name.position, message: format!("there is no class \"{}\"", name.text) };
            schema.find_in(namespace, &name.text).map(Some).ok_or_else(missing)
        };
        let role = |condition: Condition| self.value(condition).map(|name| name.text.clone());
        Ok(AssociationQuery {
            related: self.related,
            object,
            association_class: class(Condition::AssocClass)?,
            result_class: class(Condition::ResultClass)?,
            is_exact: false,
            role: role(Condition::Role),
            result_role: role(Condition::ResultRole),
            properties: Vec::new(),
        })
    }
}

impl fmt::Display for AssociatorsOf {
    /// The question in one spelling: reading it again gives the same question.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} OF {{{}}}", form(self.related), self.path.text)?;
        for (at, (condition, value)) in self.conditions.iter().enumerate() {
            let name = Condition::ALL.iter().find(|(known, _)| known == condition).map_or("", |(_, name)| name);
            write!(f, "{}{name} = {}", if at == 0 { " WHERE " } else { " " }, value.text)?;
        }
        Ok(())
    }
}

fn related_of(word: &str) -> Option<Related> {
    [Related::Objects, Related::Associations].into_iter().find(|related| form(*related).eq_ignore_ascii_case(word))
}

fn is_word(token: &Token<'_>, keyword: &str) -> bool {
    matches!(token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
}

fn is_end(token: &Token<'_>) -> bool {
    matches!(token.kind, TokenKind::End | TokenKind::Sign(";"))
}

fn expected<T>(token: &Token<'_>, what: &str) -> Result<T, WqlError> {
    Err(WqlError { position: token.position, message: format!("expected {what}, found {}", token.kind.describe()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const JOB: &str = "Msvm_ConcreteJob.InstanceID=\"J}'1\"";

    fn query(text: &str) -> AssociationQuery {
        let resolved = AssociatorsOf::parse(text).and_then(|parsed| parsed.resolve(Schema::builtin()));
        resolved.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn error(text: &str) -> WqlError {
        let resolved = AssociatorsOf::parse(text).and_then(|parsed| parsed.resolve(Schema::builtin()));
        resolved.expect_err(text)
    }

    #[test]
    fn conditions_stand_in_any_order_and_case() {
        let schema = Schema::builtin();
        let text = format!(
            " associators  OF{{ {JOB} }} Where resultrole=AffectedElement Role = AffectingElement \
             ASSOCCLASS = cim_affectedjobelement ResultClass=CIM_System ;"
        );
        assert!(AssociatorsOf::begins(&text));
        let asked = query(&text);
        assert_eq!(asked.related, Related::Objects);
        assert_eq!(asked.object, ObjectPath::parse_wmi(JOB, schema).unwrap());
        assert_eq!(asked.association_class, schema.find("CIM_AffectedJobElement"));
        assert_eq!(asked.result_class, schema.find("CIM_System"));
        assert_eq!(asked.role.as_deref(), Some("AffectingElement"));
        assert_eq!(asked.result_role.as_deref(), Some("AffectedElement"));
        let references = query(&format!("REFERENCES OF {{{JOB}}} WHERE ResultClass = CIM_OwningJobElement"));
        assert_eq!((references.related, references.association_class), (Related::Associations, None));
        assert_eq!(references.result_class, schema.find("CIM_OwningJobElement"));
        let bare = query(&format!("References of {{{JOB}}}"));
        assert_eq!((bare.role, bare.result_class), (None, None));
        for other in ["SELECT * FROM x", "ASSOCIATORSOF {x}", "", "{"] {
            assert!(!AssociatorsOf::begins(other), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (rest, position, part) in [
            ("", 15, "expected \"{\""),
            ("{Msvm_ConcreteJob.InstanceID=\"a}", 15, "not closed"),
            ("{}", 16, "there is no class \"\""),
            ("{Msvm_Nothing=@}", 16, "there is no class \"Msvm_Nothing\""),
            ("{Msvm_ReplicationService=@} WHERE", 48, "found the end"),
            ("{Msvm_ReplicationService=@} AND", 43, "expected WHERE or the end"),
            ("{Msvm_ReplicationService=@} WHERE Role", 53, "expected \"=\""),
            ("{Msvm_ReplicationService=@} WHERE Role = 'x'", 56, "expected a name"),
            ("{Msvm_ReplicationService=@} WHERE Role = x AND Role = y", 58, "expected AssocClass"),
            ("{Msvm_ReplicationService=@} WHERE Role = x role = y", 58, "Role stands twice"),
            ("{Msvm_ReplicationService=@} WHERE ClassDefsOnly", 49, "ClassDefsOnly is not served"),
            ("{Msvm_ReplicationService=@} WHERE requiredqualifier = x", 49, "RequiredQualifier is not served"),
            ("{Msvm_ReplicationService=@} WHERE AssocClass = Nothing", 62, "there is no class \"Nothing\""),
            ("{Msvm_ReplicationService=@} ; x", 45, "expected the end"),
        ] {
            let error = error(&format!("ASSOCIATORS OF{rest}"));
            assert!(error.message.contains(part), "{rest}: {error}");
            assert_eq!(error.position, position, "{rest}: {error}");
        }
        let reference = error(&format!("REFERENCES OF {{{JOB}}} WHERE AssocClass = CIM_Dependency"));
        assert!(reference.message.contains("no place after REFERENCES OF"), "{reference}");
        let long = |octets: usize| format!("ASSOCIATORS OF {{{}}}", "x".repeat(octets - 17));
        assert!(AssociatorsOf::parse(&long(16_384)).is_ok() && AssociatorsOf::parse(&long(16_385)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(
            text in concat!(
                "(ASSOCIATORS|references) OF ?\\{[a-zA-Z_.=\"'\\\\}@ ]{0,24}\\}?",
                "( where( (AssocClass|ResultClass|role|ResultRole) ?= ?[a-z_]{1,4}){0,4})?;?|\\PC{0,32}",
            ),
        ) {
            let _ = AssociatorsOf::begins(&text);
            if let Ok(parsed) = AssociatorsOf::parse(&text) {
                prop_assert!(AssociatorsOf::begins(&text));
                let written = parsed.to_string();
                let again = AssociatorsOf::parse(&written);
                prop_assert_eq!(again.as_ref(), Ok(&parsed), "{}", written);
                let _ = parsed.resolve(Schema::builtin());
            }
        }
    }
}
