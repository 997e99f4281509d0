//! The text of a query becomes its parts.

use std::fmt;

use super::lex::{Lexer, Token, TokenKind};
use super::{Condition, Limits, Operator, Parsed, WqlError};

/// A name and where it stands. Names are equal wherever they stand.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) position: u32,
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Integer(i128),
    Real(f64),
    Boolean(bool),
    Null,
}

/// A statement about one property.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) property: Name,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Compare(Operator, Literal),
    Like(String),
    Isa(Name),
    IsNull,
}

type Tree = Condition<Term>;

/// One side of a comparison.
enum Operand {
    Property(Name),
    Literal(Literal),
}

pub(super) fn parse(text: &str, limits: &Limits) -> Result<Parsed, WqlError> {
    if text.len() > limits.octets_max {
        let message = format!("the query is longer than {} octets", limits.octets_max);
        return Err(WqlError { position: 1, message });
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next_token()?;
    let mut parser = Parser { lexer, token, limits, depth: 0, terms: 0 };
    parser.query()
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    limits: &'t Limits,
    depth: u16,
    terms: u16,
}

impl<'t> Parser<'t> {
    fn take(&mut self) -> Result<Token<'t>, WqlError> {
        let next = self.lexer.next_token()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn fail<T>(&self, message: String) -> Result<T, WqlError> {
        Err(WqlError { position: self.token.position, message })
    }

    fn expected<T>(&self, what: &str) -> Result<T, WqlError> {
        self.fail(format!("expected {what}, found {}", self.token.kind.describe()))
    }

    fn eat(&mut self, sign: &str) -> Result<bool, WqlError> {
        let found = matches!(self.token.kind, TokenKind::Sign(known) if known == sign);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        matches!(self.token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn eat_keyword(&mut self, keyword: &str) -> Result<bool, WqlError> {
        let found = self.at_keyword(keyword);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn name(&mut self, what: &str) -> Result<Name, WqlError> {
        let TokenKind::Word(word) = self.token.kind else { return self.expected(what) };
        let Token { position, .. } = self.take()?;
        Ok(Name { text: word.to_owned(), position })
    }

    fn query(&mut self) -> Result<Parsed, WqlError> {
        if !self.eat_keyword("SELECT")? {
            return self.expected("SELECT");
        }
        let projection = self.projection()?;
        if !self.eat_keyword("FROM")? {
            return self.expected("\",\" or FROM");
        }
        let class = self.name("the name of a class after FROM")?;
        let within = if self.eat_keyword("WITHIN")? { Some(self.seconds()?) } else { None };
        let condition = if self.eat_keyword("WHERE")? { Some(self.any()?) } else { None };
        self.eat(";")?;
        if self.token.kind == TokenKind::End {
            return Ok(Parsed { projection, class, within, condition });
        }
        self.expected(if condition.is_some() { "AND, OR or the end" } else { "WHERE or the end" })
    }

    /// The number after WITHIN.
    fn seconds(&mut self) -> Result<f64, WqlError> {
        let seconds = match self.token.kind {
            // Nobody waits for longer than this, and every number up to it is exact.
            TokenKind::Integer(number) => u32::try_from(number).ok().map(f64::from),
            TokenKind::Real(number) => (0.0 <= number).then_some(number),
            _ => None,
        };
        match seconds {
            Some(seconds) => self.take().map(|_| seconds),
            None => self.expected("a number of seconds after WITHIN"),
        }
    }

    /// The list after SELECT; none when `*` is in it.
    fn projection(&mut self) -> Result<Option<Vec<Name>>, WqlError> {
        let mut names = Vec::new();
        let mut all = false;
        loop {
            if self.eat("*")? {
                all = true;
            } else {
                names.push(self.name("\"*\" or the name of a property")?);
            }
            if names.len() > usize::from(self.limits.properties_max) {
                return self.fail(format!("more than {} properties", self.limits.properties_max));
            }
            if !self.eat(",")? {
                return Ok(if all { None } else { Some(names) });
            }
        }
    }

    fn any(&mut self) -> Result<Tree, WqlError> {
        let mut parts = vec![self.all()?];
        while self.eat_keyword("OR")? {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Condition::Any))
    }

    fn all(&mut self) -> Result<Tree, WqlError> {
        let mut parts = vec![self.single()?];
        while self.eat_keyword("AND")? {
            parts.push(self.single()?);
        }
        Ok(joined(parts, Condition::All))
    }

    /// NOT, parentheses, or a term.
    fn single(&mut self) -> Result<Tree, WqlError> {
        let negated = self.at_keyword("NOT");
        if !negated && !matches!(self.token.kind, TokenKind::Sign("(")) {
            return self.term();
        }
        if self.depth >= self.limits.depth_max {
            return self.fail(format!("nested deeper than {}", self.limits.depth_max));
        }
        self.depth += 1;
        self.take()?;
        let inner = if negated {
            Condition::Not(Box::new(self.single()?))
        } else {
            let inner = self.any()?;
            if !self.eat(")")? {
                return self.expected("AND, OR or \")\"");
            }
            inner
        };
        self.depth -= 1;
        Ok(inner)
    }

    fn term(&mut self) -> Result<Tree, WqlError> {
        if self.terms >= self.limits.terms_max {
            return self.fail(format!("more than {} comparisons", self.limits.terms_max));
        }
        self.terms += 1;
        let property = match self.operand()? {
            Operand::Property(property) => property,
            Operand::Literal(literal) => return self.literal_first(literal),
        };
        let term = |test| Condition::Term(Term { property: property.clone(), test });
        let not = |condition| Condition::Not(Box::new(condition));
        if self.eat_keyword("IS")? {
            let negated = self.eat_keyword("NOT")?;
            if !self.eat_keyword("NULL")? {
                return self.expected("NULL");
            }
            return Ok(if negated { not(term(Test::IsNull)) } else { term(Test::IsNull) });
        }
        let negated = self.eat_keyword("NOT")?;
        if self.eat_keyword("LIKE")? {
            let pattern = self.text("a pattern in quotes after LIKE")?.text;
            return Ok(if negated { not(term(Test::Like(pattern))) } else { term(Test::Like(pattern)) });
        }
        if self.eat_keyword("ISA")? {
            let class = self.text("the name of a class in quotes after ISA")?;
            return Ok(if negated { not(term(Test::Isa(class))) } else { term(Test::Isa(class)) });
        }
        if negated {
            return self.expected("LIKE or ISA after NOT");
        }
        let operator = self.operator()?;
        match self.operand()? {
            Operand::Literal(literal) => Ok(term(Test::Compare(operator, literal))),
            Operand::Property(other) => {
                let message = format!("expected a literal, found \"{}\": text stands in quotes", other.text);
                Err(WqlError { position: other.position, message })
            }
        }
    }

    /// `7 = JobState`.
    fn literal_first(&mut self, literal: Literal) -> Result<Tree, WqlError> {
        let operator = self.operator()?.exchanged();
        match self.operand()? {
            Operand::Property(property) => {
                Ok(Condition::Term(Term { property, test: Test::Compare(operator, literal) }))
            }
            Operand::Literal(_) => self.fail("one side of a comparison must be a property".to_owned()),
        }
    }

    fn operator(&mut self) -> Result<Operator, WqlError> {
        let operator = match self.token.kind {
            TokenKind::Sign("=") => Operator::Equal,
            TokenKind::Sign("<>" | "!=") => Operator::NotEqual,
            TokenKind::Sign("<") => Operator::Less,
            TokenKind::Sign("<=") => Operator::LessOrEqual,
            TokenKind::Sign(">") => Operator::Greater,
            TokenKind::Sign(">=") => Operator::GreaterOrEqual,
            _ => return self.expected("a comparison (=, <>, <, <=, >, >=, LIKE, ISA or IS)"),
        };
        self.take()?;
        Ok(operator)
    }

    fn operand(&mut self) -> Result<Operand, WqlError> {
        let keyword = matches!(self.token.kind, TokenKind::Word(word) if is_joining(word));
        if !keyword && !matches!(self.token.kind, TokenKind::Sign(_) | TokenKind::End) {
            let Token { kind, position } = self.take()?;
            return Ok(match kind {
                TokenKind::Text(text) => Operand::Literal(Literal::Text(text)),
                TokenKind::Integer(number) => Operand::Literal(Literal::Integer(number)),
                TokenKind::Real(number) => Operand::Literal(Literal::Real(number)),
                TokenKind::Word(word) if word.eq_ignore_ascii_case("TRUE") => Operand::Literal(Literal::Boolean(true)),
                TokenKind::Word(word) if word.eq_ignore_ascii_case("FALSE") => {
                    Operand::Literal(Literal::Boolean(false))
                }
                TokenKind::Word(word) if word.eq_ignore_ascii_case("NULL") => Operand::Literal(Literal::Null),
                TokenKind::Word(word) => Operand::Property(Name { text: self.path(word)?, position }),
                TokenKind::Sign(_) | TokenKind::End => return self.expected("a property or a literal"),
            });
        }
        self.expected("a property or a literal")
    }

    /// `TargetInstance.JobState`: the property of an embedded instance.
    fn path(&mut self, first: &str) -> Result<String, WqlError> {
        let mut path = first.to_owned();
        if self.eat(".")? {
            let inner = self.name("the name of a property after \".\"")?;
            path.push('.');
            path.push_str(&inner.text);
        }
        Ok(path)
    }

    fn text(&mut self, what: &str) -> Result<Name, WqlError> {
        if !matches!(self.token.kind, TokenKind::Text(_)) {
            return self.expected(what);
        }
        match self.take()? {
            Token { kind: TokenKind::Text(text), position } => Ok(Name { text, position }),
            _ => self.expected(what),
        }
    }
}

/// Whether a word joins or begins conditions, so that no property can have its name.
fn is_joining(word: &str) -> bool {
    ["AND", "OR", "NOT", "LIKE", "ISA", "IS"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// One part stands for itself, several are joined.
fn joined(mut parts: Vec<Tree>, join: fn(Vec<Tree>) -> Tree) -> Tree {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// Writes a query so that parsing it gives the same parts.
pub(super) fn print(query: &Parsed, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("SELECT ")?;
    match &query.projection {
        None => f.write_str("*")?,
        Some(names) => {
            for (at, name) in names.iter().enumerate() {
                write!(f, "{}{}", if at == 0 { "" } else { ", " }, name.text)?;
            }
        }
    }
    write!(f, " FROM {}", query.class.text)?;
    if let Some(within) = query.within {
        write!(f, " WITHIN {within:?}")?;
    }
    if let Some(condition) = &query.condition {
        f.write_str(" WHERE ")?;
        print_condition(condition, f)?;
    }
    Ok(())
}

fn print_condition(condition: &Tree, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match condition {
        Condition::All(parts) => print_joined(parts, " AND ", f),
        Condition::Any(parts) => print_joined(parts, " OR ", f),
        Condition::Not(inner) => {
            f.write_str("NOT ")?;
            print_part(inner, f)
        }
        Condition::Term(term) => print_term(term, f),
    }
}

fn print_joined(parts: &[Tree], word: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at == 0 { "" } else { word })?;
        print_part(part, f)?;
    }
    Ok(())
}

/// Part of a larger condition: what is joined stands in parentheses.
fn print_part(part: &Tree, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if matches!(part, Condition::All(_) | Condition::Any(_)) {
        f.write_str("(")?;
        print_condition(part, f)?;
        return f.write_str(")");
    }
    print_condition(part, f)
}

fn print_term(term: &Term, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let property = &term.property.text;
    match &term.test {
        Test::IsNull => write!(f, "{property} IS NULL"),
        Test::Like(pattern) => write!(f, "{property} LIKE {}", Quoted(pattern)),
        Test::Isa(class) => write!(f, "{property} ISA {}", Quoted(&class.text)),
        Test::Compare(operator, literal) => {
            write!(f, "{property} {} ", operator.symbol())?;
            match literal {
                Literal::Text(text) => write!(f, "{}", Quoted(text)),
                Literal::Integer(number) => write!(f, "{number}"),
                // The debug form always has a point or an exponent, so that it stays a real number.
                Literal::Real(number) => write!(f, "{number:?}"),
                Literal::Boolean(truth) => f.write_str(if *truth { "TRUE" } else { "FALSE" }),
                Literal::Null => f.write_str("NULL"),
            }
        }
    }
}

/// A string in single quotes.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for part in self.0.split_inclusive(['\'', '\\']) {
            match part.strip_suffix(['\'', '\\']) {
                Some(before) if part.ends_with('\'') => write!(f, "{before}\\'")?,
                Some(before) => write!(f, "{before}\\\\")?,
                None => f.write_str(part)?,
            }
        }
        f.write_str("'")
    }
}
