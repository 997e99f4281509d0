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
