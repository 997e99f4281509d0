//! Tokens of WQL.

use super::WqlError;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind<'t>,
    /// The character at which it begins, counted from one.
    pub(super) position: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'t> {
    Word(&'t str),
    Text(String),
    Integer(i128),
    Real(f64),
    /// `=`, `<>`, `(`, …
    Sign(&'static str),
    End,
}

impl TokenKind<'_> {
    pub(super) fn describe(&self) -> String {
        match self {
            TokenKind::Word(word) => format!("\"{}\"", word.chars().take(64).collect::<String>()),
            TokenKind::Text(text) => format!("'{}'", text.chars().take(64).collect::<String>()),
            TokenKind::Integer(number) => number.to_string(),
            TokenKind::Real(number) => number.to_string(),
            TokenKind::Sign(sign) => format!("\"{sign}\""),
            TokenKind::End => "the end".to_owned(),
        }
    }
}

/// Longer signs first.
const SIGNS: [&str; 13] = ["<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "*", ";", "."];

pub(super) struct Lexer<'t> {
    rest: &'t str,
    position: u32,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Lexer { rest: text, position: 1 }
    }

    fn advance(&mut self, octets: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(octets);
        let characters = u32::try_from(taken.chars().count()).unwrap_or(u32::MAX);
        self.position = self.position.saturating_add(characters);
        self.rest = rest;
        taken
    }

    pub(super) fn next_token(&mut self) -> Result<Token<'t>, WqlError> {
        self.advance(self.rest.len() - self.rest.trim_start().len());
        let position = self.position;
        let kind = match self.rest.chars().next() {
            None => TokenKind::End,
            Some(quote @ ('\'' | '"')) => TokenKind::Text(self.text(quote)?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                TokenKind::Word(self.advance(self.rest.find(other).unwrap_or(self.rest.len())))
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+') => self.number()?,
            Some(c) => {
                let sign = SIGNS.iter().find(|sign| self.rest.starts_with(**sign));
                let Some(sign) = sign else {
                    return Err(WqlError { position, message: format!("{c:?} has no meaning here") });
                };
                self.advance(sign.len());
                TokenKind::Sign(sign)
            }
        };
        Ok(Token { kind, position })
    }

    /// The text between braces, and the character at which it begins. Braces within quotes do not count.
    pub(super) fn braced(&mut self) -> Result<(&'t str, u32), WqlError> {
        self.advance(self.rest.len() - self.rest.trim_start().len());
        let open = self.position;
        let fail = |message: &str| Err(WqlError { position: open, message: message.to_owned() });
        if !self.rest.starts_with('{') {
            return fail("expected \"{\" and an object path");
        }
        self.advance(1);
        let start = self.position;
        let (mut quote, mut escaped) = (None, false);
        for (at, c) in self.rest.char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if c == '\\' => escaped = true,
                Some(open) if c == open => quote = None,
                None if c == '}' => {
                    let text = self.advance(at);
                    self.advance(1);
                    return Ok((text, start));
                }
                None if matches!(c, '"' | '\'') => quote = Some(c),
                Some(_) | None => {}
            }
        }
        fail("the brace is not closed")
    }

    /// A string. A quote stands in it doubled or after a backslash; a backslash before anything else than a quote or a
    /// backslash stands for itself, so that people may paste identifiers as they see them.
    fn text(&mut self, quote: char) -> Result<String, WqlError> {
        let start = self.position;
        self.advance(1);
        let mut out = String::new();
        loop {
            let mut next = self.rest.chars();
            let (first, second) = (next.next(), next.next());
            let step = match (first, second) {
                (None, _) => return Err(WqlError { position: start, message: "the string has no end".to_owned() }),
                (Some('\\'), Some(c @ ('\\' | '\'' | '"'))) => (c, 2),
                (Some(c), Some(d)) if c == quote && d == quote => (c, 2),
                (Some(c), _) if c == quote => {
                    self.advance(1);
                    return Ok(out);
                }
                (Some(c), _) => (c, c.len_utf8()),
            };
            out.push(step.0);
            self.advance(step.1);
        }
    }

    fn number(&mut self) -> Result<TokenKind<'t>, WqlError> {
        let position = self.position;
        let mut end = 0;
        let mut previous = ' ';
        for c in self.rest.chars() {
            let sign = matches!(c, '+' | '-') && (end == 0 || matches!(previous, 'e' | 'E'));
            if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
                break;
            }
            previous = c;
            end += 1;
        }
        let text = self.advance(end);
        let integer = crate::cim::value::parse_integer(text).map(TokenKind::Integer);
        let real = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(TokenKind::Real);
        integer.or_else(real).ok_or_else(|| WqlError { position, message: format!("\"{text}\" is not a number") })
    }
}
