//! Tokens of XPath.

use super::XPathError;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind<'t>,
    /// The character at which it begins, counted from one.
    pub(super) position: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'t> {
    /// A name without colons.
    Name(&'t str),
    Text(&'t str),
    Number(f64),
    Sign(&'static str),
    End,
}

/// Longer signs first.
const SIGNS: [&str; 23] = [
    "::", "//", "..", "!=", "<=", ">=", "/", ".", "@", "[", "]", "(", ")", ",", "=", "<", ">", "*", ":", "|", "+", "-",
    "$",
];

pub(super) struct Lexer<'t> {
    rest: &'t str,
    position: u32,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text, position: 1 }
    }

    fn advance(&mut self, octets: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(octets);
        let characters = u32::try_from(taken.chars().count()).unwrap_or(u32::MAX);
        self.position = self.position.saturating_add(characters);
        self.rest = rest;
        taken
    }

    /// The octets up to the first character for which `ends` holds.
    fn until(&self, ends: impl Fn(char) -> bool) -> usize {
        self.rest.find(ends).unwrap_or(self.rest.len())
    }

    pub(super) fn next_token(&mut self) -> Result<Token<'t>, XPathError> {
        self.advance(self.rest.len() - self.rest.trim_start().len());
        let position = self.position;
        let mut next = self.rest.chars();
        let (first, second) = (next.next(), next.next());
        let kind = match first {
            None => TokenKind::End,
            Some(quote @ ('"' | '\'')) => {
                self.advance(1);
                let text = self.advance(self.until(|c| c == quote));
                if self.rest.is_empty() {
                    return Err(XPathError { position, message: "the text has no end".to_owned() });
                }
                self.advance(1);
                TokenKind::Text(text)
            }
            Some(c) if c.is_alphabetic() || c == '_' => {
                let length = self.until(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
                TokenKind::Name(self.advance(length))
            }
            Some(c) if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                let text = self.advance(self.until(|c| !(c.is_ascii_digit() || c == '.')));
                let number = text.parse();
                let wrong = |_| XPathError { position, message: format!("\"{text}\" is not a number") };
                TokenKind::Number(number.map_err(wrong)?)
            }
            Some(c) => {
                let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) else {
                    return Err(XPathError { position, message: format!("{c:?} has no meaning here") });
                };
                self.advance(sign.len());
                TokenKind::Sign(sign)
            }
        };
        Ok(Token { kind, position })
    }
}

impl TokenKind<'_> {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("\"{}\"", name.chars().take(64).collect::<String>()),
            Self::Text(text) => format!("'{}'", text.chars().take(64).collect::<String>()),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => format!("\"{sign}\""),
            Self::End => "the end".to_owned(),
        }
    }
}
