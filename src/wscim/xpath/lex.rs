//! Tokens of XPath.

use crate::cim::characters::Characters;

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
    characters: Characters<'t>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { characters: Characters::new(text) }
    }

    pub(super) fn next_token(&mut self) -> Result<Token<'t>, XPathError> {
        let characters = &mut self.characters;
        characters.skip_space();
        let position = characters.position();
        let (first, second) = characters.two();
        let kind = match first {
            None => TokenKind::End,
            Some(quote @ ('"' | '\'')) => {
                characters.take(1);
                let text = characters.take_until(|c| c == quote);
                if characters.rest().is_empty() {
                    return Err(XPathError { position, message: "the text has no end".to_owned() });
                }
                characters.take(1);
                TokenKind::Text(text)
            }
            Some(c) if c.is_alphabetic() || c == '_' => {
                TokenKind::Name(characters.take_until(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))))
            }
            Some(c) if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                let text = characters.take_until(|c| !(c.is_ascii_digit() || c == '.'));
                let number = text.parse();
                let wrong = |_| XPathError { position, message: format!("\"{text}\" is not a number") };
                TokenKind::Number(number.map_err(wrong)?)
            }
            Some(c) => {
                let sign = characters.take_sign(&SIGNS);
                let unknown = || XPathError { position, message: format!("{c:?} has no meaning here") };
                TokenKind::Sign(sign.ok_or_else(unknown)?)
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
