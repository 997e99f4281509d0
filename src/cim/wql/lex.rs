//! Tokens of WQL.

use crate::cim::characters::Characters;

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
    characters: Characters<'t>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Lexer { characters: Characters::new(text) }
    }

    pub(super) fn next_token(&mut self) -> Result<Token<'t>, WqlError> {
        let characters = &mut self.characters;
        characters.skip_space();
        let position = characters.position();
        let kind = match characters.two().0 {
            None => TokenKind::End,
            Some(quote @ ('\'' | '"')) => TokenKind::Text(self.text(quote)?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                TokenKind::Word(characters.take_until(|c| !c.is_ascii_alphanumeric() && c != '_'))
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+') => self.number()?,
            Some(c) => {
                let sign = characters.take_sign(&SIGNS);
                let unknown = || WqlError { position, message: format!("{c:?} has no meaning here") };
                TokenKind::Sign(sign.ok_or_else(unknown)?)
            }
        };
        Ok(Token { kind, position })
    }

    /// The text between braces, and the character at which it begins. Braces within quotes do not count.
    pub(super) fn braced(&mut self) -> Result<(&'t str, u32), WqlError> {
        let characters = &mut self.characters;
        characters.skip_space();
        let open = characters.position();
        let fail = |message: &str| Err(WqlError { position: open, message: message.to_owned() });
        if characters.take_sign(&["{"]).is_none() {
            return fail("expected \"{\" and an object path");
        }
        let start = characters.position();
        let (mut quote, mut escaped) = (None, false);
        for (at, c) in characters.rest().char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if c == '\\' => escaped = true,
                Some(open) if c == open => quote = None,
                None if c == '}' => {
                    let text = characters.take(at);
                    characters.take(1);
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
        let characters = &mut self.characters;
        let start = characters.position();
        characters.take(1);
        let mut out = String::new();
        loop {
            let step = match characters.two() {
                (None, _) => return Err(WqlError { position: start, message: "the string has no end".to_owned() }),
                (Some('\\'), Some(c @ ('\\' | '\'' | '"'))) => (c, 2),
                (Some(c), Some(d)) if c == quote && d == quote => (c, 2),
                (Some(c), _) if c == quote => {
                    characters.take(1);
                    return Ok(out);
                }
                (Some(c), _) => (c, c.len_utf8()),
            };
            out.push(step.0);
            characters.take(step.1);
        }
    }

    fn number(&mut self) -> Result<TokenKind<'t>, WqlError> {
        let position = self.characters.position();
        let mut end = 0;
        let mut previous = ' ';
        for c in self.characters.rest().chars() {
            let sign = matches!(c, '+' | '-') && (end == 0 || matches!(previous, 'e' | 'E'));
            if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
                break;
            }
            previous = c;
            end += 1;
        }
        let text = self.characters.take(end);
        let integer = crate::cim::value::parse_integer(text).map(TokenKind::Integer);
        let real = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(TokenKind::Real);
        integer.or_else(real).ok_or_else(|| WqlError { position, message: format!("\"{text}\" is not a number") })
    }
}
