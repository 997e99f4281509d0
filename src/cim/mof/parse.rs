//! Declarations of MOF: qualifiers, classes, instances. `#pragma` lines are read over.

use super::super::Position;
use super::super::schema::Flavor;
use super::MofError;
use super::lex::{LexError, Lexer, Token, TokenKind};

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) position: Position,
}

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Literal {
    pub(crate) kind: LiteralKind,
    pub(crate) position: Position,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LiteralKind {
    Null,
    Boolean(bool),
    Integer(i128),
    Real(f64),
    Char(u16),
    Text(String),
    /// `$name`, or the name of an enumeration's value.
    Alias(String),
    Array(Vec<Literal>),
}

/// One declaration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Declaration {
    Qualifier(QualifierDeclaration),
    Class(ClassDeclaration),
    Instance(InstanceDeclaration),
}

/// `Qualifier Key : boolean = false, Scope(property), Flavor(DisableOverride);`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QualifierDeclaration {
    pub(crate) name: Name,
    pub(crate) type_name: Name,
    pub(crate) is_array: bool,
    /// Where it may stand, in lower case.
    pub(crate) scopes: Vec<String>,
    /// Whether it is handed down, may be overridden, and is told in languages.
    pub(crate) flavor: Flavor,
}

/// A qualifier at an element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QualifierUse {
    pub(crate) name: Name,
    pub(crate) value: Option<Literal>,
}

/// `[qualifiers] class Name : Superclass { features };`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassDeclaration {
    pub(crate) qualifiers: Vec<QualifierUse>,
    pub(crate) name: Name,
    pub(crate) superclass: Option<Name>,
    pub(crate) properties: Vec<ElementDeclaration>,
    pub(crate) methods: Vec<MethodDeclaration>,
}

/// A property or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ElementDeclaration {
    pub(crate) qualifiers: Vec<QualifierUse>,
    /// The type, or the class of a reference.
    pub(crate) type_name: Name,
    pub(crate) is_reference: bool,
    pub(crate) name: Name,
    pub(crate) is_array: bool,
    pub(crate) default: Option<Literal>,
}

/// A method.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodDeclaration {
    pub(crate) qualifiers: Vec<QualifierUse>,
    pub(crate) return_type: Name,
    pub(crate) name: Name,
    pub(crate) parameters: Vec<ElementDeclaration>,
}

/// `instance of Name { property = value; };`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InstanceDeclaration {
    pub(crate) class: Name,
    pub(crate) properties: Vec<(Name, Literal)>,
}

/// Reads all declarations of a text.
pub(crate) fn parse(source: &str, text: &str) -> Result<Vec<Declaration>, MofError> {
    let mut parser = Parser::new(source, text)?;
    let mut declarations = Vec::new();
    while parser.token.kind != TokenKind::End {
        declarations.extend(parser.declaration()?);
    }
    Ok(declarations)
}

struct Parser<'t> {
    source: &'t str,
    lexer: Lexer<'t>,
    token: Token<'t>,
}

impl<'t> Parser<'t> {
    fn new(source: &'t str, text: &'t str) -> Result<Self, MofError> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token().map_err(|error| lex_error(source, error))?;
        Ok(Parser { source, lexer, token })
    }

    /// Takes the current token and reads the next.
    fn take(&mut self) -> Result<Token<'t>, MofError> {
        let next = self.lexer.next_token().map_err(|error| lex_error(self.source, error))?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn expected<T>(&self, what: &str) -> Result<T, MofError> {
        let message = format!("expected {what}, found {}", self.token.kind.describe());
        Err(MofError { source: self.source.to_owned(), position: self.token.position, message })
    }

    fn at(&self, sign: char) -> bool {
        self.token.kind == TokenKind::Sign(sign)
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        matches!(self.token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn eat(&mut self, sign: char) -> Result<bool, MofError> {
        let found = self.at(sign);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn eat_keyword(&mut self, keyword: &str) -> Result<bool, MofError> {
        let found = self.at_keyword(keyword);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: char, what: &str) -> Result<(), MofError> {
        if self.eat(sign)? { Ok(()) } else { self.expected(&format!("\"{sign}\" {what}")) }
    }

    fn name(&mut self, what: &str) -> Result<Name, MofError> {
        let TokenKind::Word(word) = self.token.kind else { return self.expected(what) };
        let Token { position, .. } = self.take()?;
        Ok(Name { text: word.to_owned(), position })
    }

    fn declaration(&mut self) -> Result<Option<Declaration>, MofError> {
        if self.at('#') {
            return self.pragma().map(|()| None);
        }
        let qualifiers = self.qualifier_list()?;
        if self.eat_keyword("class")? {
            return self.class(qualifiers).map(|class| Some(Declaration::Class(class)));
        }
        if self.eat_keyword("instance")? {
            return self.instance().map(|instance| Some(Declaration::Instance(instance)));
        }
        if qualifiers.is_empty() && self.eat_keyword("qualifier")? {
            return self.qualifier_declaration().map(|declared| Some(Declaration::Qualifier(declared)));
        }
        self.expected("a declaration (class, instance of, qualifier or #pragma)")
    }

    /// `#pragma name ("value")`
    fn pragma(&mut self) -> Result<(), MofError> {
        self.take()?;
        if !self.eat_keyword("pragma")? {
            return self.expected("\"pragma\" after \"#\"");
        }
        self.name("the name of a pragma")?;
        self.expect('(', "before the value of the pragma")?;
        self.literal()?;
        while self.eat(',')? {
            self.literal()?;
        }
        self.expect(')', "after the value of the pragma")
    }

    fn qualifier_declaration(&mut self) -> Result<QualifierDeclaration, MofError> {
        let name = self.name("the name of a qualifier")?;
        self.expect(':', "before the type of the qualifier")?;
        let type_name = self.name("the type of the qualifier")?;
        let is_array = self.array_brackets()?;
        if self.eat('=')? {
            self.literal()?;
        }
        let mut scopes = Vec::new();
        let mut flavor = Flavor::default();
        while self.eat(',')? {
            let part = self.name("Scope or Flavor")?;
            self.expect('(', "after Scope or Flavor")?;
            let mut words = vec![self.name("a word")?.text.to_ascii_lowercase()];
            while self.eat(',')? {
                words.push(self.name("a word")?.text.to_ascii_lowercase());
            }
            self.expect(')', "after the last word")?;
            if part.text.eq_ignore_ascii_case("scope") {
                scopes = words;
            } else {
                let has = |flavor: &str| words.iter().any(|word| word == flavor);
                flavor = Flavor {
                    is_handed_down: !has("restricted"),
                    is_overridable: !has("disableoverride"),
                    is_translatable: has("translatable"),
                };
            }
        }
        self.expect(';', "after the declaration of the qualifier")?;
        Ok(QualifierDeclaration { name, type_name, is_array, scopes, flavor })
    }

    fn qualifier_list(&mut self) -> Result<Vec<QualifierUse>, MofError> {
        let mut list = Vec::new();
        if !self.eat('[')? {
            return Ok(list);
        }
        loop {
            let name = self.name("the name of a qualifier")?;
            let value = if self.eat('(')? {
                let value = self.literal()?;
                self.expect(')', "after the value of the qualifier")?;
                Some(value)
            } else if self.at('{') {
                Some(self.literal()?)
            } else {
                None
            };
            if self.eat(':')? {
                while matches!(self.token.kind, TokenKind::Word(_)) {
                    self.take()?;
                }
            }
            list.push(QualifierUse { name, value });
            if !self.eat(',')? {
                self.expect(']', "or \",\" after a qualifier")?;
                return Ok(list);
            }
        }
    }

    fn class(&mut self, qualifiers: Vec<QualifierUse>) -> Result<ClassDeclaration, MofError> {
        let name = self.name("the name of the class")?;
        self.alias()?;
        let superclass = if self.eat(':')? { Some(self.name("the name of the superclass")?) } else { None };
        self.expect('{', "before the features of the class")?;
        let mut class = ClassDeclaration { qualifiers, name, superclass, properties: Vec::new(), methods: Vec::new() };
        while !self.eat('}')? {
            self.feature(&mut class)?;
        }
        self.expect(';', "after the class")?;
        Ok(class)
    }

    /// A property or a method.
    fn feature(&mut self, class: &mut ClassDeclaration) -> Result<(), MofError> {
        let qualifiers = self.qualifier_list()?;
        let type_name = self.name("a property, a method or \"}\"")?;
        let is_reference = self.eat_keyword("ref")?;
        let name = self.name("the name of a property or method")?;
        if !is_reference && self.eat('(')? {
            let parameters = self.parameters()?;
            self.expect(';', "after the method")?;
            class.methods.push(MethodDeclaration { qualifiers, return_type: type_name, name, parameters });
            return Ok(());
        }
        let is_array = self.array_brackets()?;
        let default = if self.eat('=')? { Some(self.literal()?) } else { None };
        self.expect(';', "after the property")?;
        class.properties.push(ElementDeclaration { qualifiers, type_name, is_reference, name, is_array, default });
        Ok(())
    }

    fn parameters(&mut self) -> Result<Vec<ElementDeclaration>, MofError> {
        let mut parameters = Vec::new();
        if self.eat(')')? {
            return Ok(parameters);
        }
        loop {
            let qualifiers = self.qualifier_list()?;
            let type_name = self.name("the type of a parameter")?;
            let is_reference = self.eat_keyword("ref")?;
            let name = self.name("the name of a parameter")?;
            let is_array = self.array_brackets()?;
            parameters.push(ElementDeclaration { qualifiers, type_name, is_reference, name, is_array, default: None });
            if !self.eat(',')? {
                self.expect(')', "or \",\" after a parameter")?;
                return Ok(parameters);
            }
        }
    }

    /// `[]` or `[8]`.
    fn array_brackets(&mut self) -> Result<bool, MofError> {
        if !self.eat('[')? {
            return Ok(false);
        }
        if matches!(self.token.kind, TokenKind::Integer(_)) {
            self.take()?;
        }
        self.expect(']', "after \"[\"")?;
        Ok(true)
    }

    /// `as $alias`.
    fn alias(&mut self) -> Result<(), MofError> {
        if self.eat_keyword("as")? {
            if !matches!(self.token.kind, TokenKind::Alias(_)) {
                return self.expected("an alias ($name) after \"as\"");
            }
            self.take()?;
        }
        Ok(())
    }

    fn instance(&mut self) -> Result<InstanceDeclaration, MofError> {
        if !self.eat_keyword("of")? {
            return self.expected("\"of\" after \"instance\"");
        }
        let class = self.name("the name of a class")?;
        self.alias()?;
        self.expect('{', "before the values of the instance")?;
        let mut properties = Vec::new();
        while !self.eat('}')? {
            self.qualifier_list()?;
            let name = self.name("the name of a property or \"}\"")?;
            self.expect('=', "after the name of the property")?;
            properties.push((name, self.literal()?));
            self.expect(';', "after the value")?;
        }
        self.expect(';', "after the instance")?;
        Ok(InstanceDeclaration { class, properties })
    }

    /// A value, or values in braces.
    fn literal(&mut self) -> Result<Literal, MofError> {
        let position = self.token.position;
        if !self.eat('{')? {
            return self.scalar();
        }
        let mut items = Vec::new();
        if !self.eat('}')? {
            loop {
                items.push(self.scalar()?);
                if !self.eat(',')? {
                    break;
                }
            }
            self.expect('}', "or \",\" after a value")?;
        }
        Ok(Literal { kind: LiteralKind::Array(items), position })
    }

    fn scalar(&mut self) -> Result<Literal, MofError> {
        let position = self.token.position;
        let negative = self.eat('-')?;
        let signed = negative || self.eat('+')?;
        let kind = match &self.token.kind {
            TokenKind::Integer(number) => LiteralKind::Integer(if negative { -number } else { *number }),
            TokenKind::Real(number) => LiteralKind::Real(if negative { -number } else { *number }),
            _ if signed => return self.expected("a number after the sign"),
            TokenKind::Text(_) => return Ok(Literal { kind: LiteralKind::Text(self.joined_text()?), position }),
            TokenKind::Char(unit) => LiteralKind::Char(*unit),
            TokenKind::Alias(name) => LiteralKind::Alias((*name).to_owned()),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("null") => LiteralKind::Null,
            TokenKind::Word(word) if word.eq_ignore_ascii_case("true") => LiteralKind::Boolean(true),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("false") => LiteralKind::Boolean(false),
            TokenKind::Word(word) => LiteralKind::Alias((*word).to_owned()),
            TokenKind::Sign(_) | TokenKind::End => return self.expected("a value"),
        };
        self.take()?;
        Ok(Literal { kind, position })
    }

    /// Strings that follow one another are one string.
    fn joined_text(&mut self) -> Result<String, MofError> {
        let mut joined = String::new();
        while let TokenKind::Text(part) = &self.token.kind {
            joined.push_str(part);
            self.take()?;
        }
        Ok(joined)
    }
}

fn lex_error(source: &str, error: LexError) -> MofError {
    MofError { source: source.to_owned(), position: error.position, message: error.message }
}
