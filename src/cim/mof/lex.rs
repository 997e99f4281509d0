//! Tokens of MOF.

use super::super::Position;

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: TokenKind<'t>,
    pub(crate) position: Position,
}

/// The kinds of tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind<'t> {
    /// A name or keyword.
    Word(&'t str),
    /// `$name`.
    Alias(&'t str),
    /// A string with its escapes resolved.
    Text(String),
    /// `'c'`: one UTF-16 code unit.
    Char(u16),
    /// A whole number, in any of the bases.
    Integer(i128),
    /// A number with a point.
    Real(f64),
    /// One of `{ } [ ] ( ) ; : , = # + -`.
    Sign(char),
    /// The end of the text.
    End,
}

impl TokenKind<'_> {
    /// How an error names the token.
    pub(crate) fn describe(&self) -> String {
        match self {
            TokenKind::Word(word) => format!("\"{}\"", word.chars().take(64).collect::<String>()),
            TokenKind::Alias(name) => format!("the alias ${name}"),
            TokenKind::Text(_) => "a string".to_owned(),
            TokenKind::Char(_) => "a character".to_owned(),
            TokenKind::Integer(number) => format!("the number {number}"),
            TokenKind::Real(number) => format!("the number {number}"),
            TokenKind::Sign(sign) => format!("\"{sign}\""),
            TokenKind::End => "the end of the text".to_owned(),
        }
    }
}

/// A text that has no tokens: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) position: Position,
    pub(crate) message: String,
}

/// Reads tokens off the front of a text.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'t> {
    rest: &'t str,
    position: Position,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Lexer { rest: text.strip_prefix('\u{feff}').unwrap_or(text), position: Position::START }
    }

    /// The next token; [`TokenKind::End`] again and again at the end.
    pub(crate) fn next_token(&mut self) -> Result<Token<'t>, LexError> {
        self.skip_blanks()?;
        let position = self.position;
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token { kind: TokenKind::End, position });
        };
        let kind = match first {
            '"' => TokenKind::Text(self.text()?),
            '\'' => TokenKind::Char(self.char_unit()?),
            '$' => {
                self.advance(1);
                TokenKind::Alias(self.word())
            }
            c if is_word_start(c) => TokenKind::Word(self.word()),
            c if c.is_ascii_digit() || c == '.' => self.number()?,
            '{' | '}' | '[' | ']' | '(' | ')' | ';' | ':' | ',' | '=' | '#' | '+' | '-' => {
                self.advance(1);
                TokenKind::Sign(first)
            }
            other => return Err(self.error(&format!("the character {other:?} has no meaning here"))),
        };
        Ok(Token { kind, position })
    }

    fn error(&self, message: &str) -> LexError {
        LexError { position: self.position, message: message.to_owned() }
    }

    /// Steps over so many octets, which end at the border of a character.
    fn advance(&mut self, octets: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(octets);
        self.position = self.position.after(taken);
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) -> Result<(), LexError> {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.advance(blanks);
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(end);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let end = comment.find("*/").ok_or_else(|| self.error("the comment has no end (\"*/\")"))?;
                self.advance(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !is_word_start(c) && !c.is_ascii_digit()).unwrap_or(self.rest.len());
        self.advance(end)
    }

    /// A string between double quotes.
    fn text(&mut self) -> Result<String, LexError> {
        let start = self.clone();
        let mut out = String::new();
        self.advance(1);
        loop {
            let plain = self.rest.find(['"', '\\', '\n']).ok_or_else(|| start.error("the string has no end (\")"))?;
            out.push_str(self.advance(plain));
            if self.rest.starts_with('"') {
                self.advance(1);
                return Ok(out);
            }
            if self.rest.starts_with('\n') {
                return Err(start.error("the string has no end (\") on its line"));
            }
            let unit = self.escape()?;
            self.push_unit(unit, &mut out)?;
        }
    }

    /// Adds a code unit; of a surrogate pair the second half is read, too.
    fn push_unit(&mut self, unit: u16, out: &mut String) -> Result<(), LexError> {
        let lone = self.error("the escape is half of a surrogate pair");
        let mut units = vec![unit];
        if (0xd800..0xdc00).contains(&unit) {
            if !self.rest.starts_with("\\x") && !self.rest.starts_with("\\X") {
                return Err(lone);
            }
            units.push(self.escape()?);
        }
        out.push_str(&String::from_utf16(&units).map_err(|_| lone)?);
        Ok(())
    }

    /// A backslash and what it stands for.
    fn escape(&mut self) -> Result<u16, LexError> {
        let error = self.error("the escape is none of \\b \\t \\n \\f \\r \\\" \\' \\\\ \\xhhhh");
        self.advance(1);
        let c = self.rest.chars().next().ok_or_else(|| error.clone())?;
        let unit = match c {
            'b' => 0x08,
            't' => 0x09,
            'n' => 0x0a,
            'f' => 0x0c,
            'r' => 0x0d,
            '"' => 0x22,
            '\'' => 0x27,
            '\\' => 0x5c,
            'x' | 'X' => {
                self.advance(1);
                let digits = self.rest.bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
                return u16::from_str_radix(self.advance(digits), 16).map_err(|_| error);
            }
            _ => return Err(error),
        };
        self.advance(1);
        Ok(unit)
    }

    fn char_unit(&mut self) -> Result<u16, LexError> {
        let error = self.error("a character is one UTF-16 code unit between single quotes");
        self.advance(1);
        let c = self.rest.chars().next().ok_or_else(|| error.clone())?;
        let unit = if c == '\\' {
            self.escape()?
        } else {
            self.advance(c.len_utf8());
            u16::try_from(u32::from(c)).map_err(|_| error.clone())?
        };
        if c == '\'' || !self.rest.starts_with('\'') {
            return Err(error);
        }
        self.advance(1);
        Ok(unit)
    }

    /// Decimal, `0x…`, octal with a leading zero, binary with a `b` behind, or real. Signs are tokens of their own.
    fn number(&mut self) -> Result<TokenKind<'t>, LexError> {
        let error =
            self.error("the number has no meaning (decimal, 0x hexadecimal, 0 octal, or binary with a b behind)");
        let mut end = 0;
        let mut previous = ' ';
        for c in self.rest.chars() {
            let exponent_sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E') && !self.rest.starts_with("0x");
            if !(c.is_ascii_alphanumeric() || c == '.' || exponent_sign) {
                break;
            }
            previous = c;
            end += 1;
        }
        let text = self.advance(end);
        if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return i128::from_str_radix(hex, 16).map(TokenKind::Integer).map_err(|_| error);
        }
        if let Some(binary) = text.strip_suffix(['b', 'B']) {
            return i128::from_str_radix(binary, 2).map(TokenKind::Integer).map_err(|_| error);
        }
        if text.bytes().all(|octet| octet.is_ascii_digit()) {
            let radix = if text.len() > 1 && text.starts_with('0') { 8 } else { 10 };
            return i128::from_str_radix(text, radix).map(TokenKind::Integer).map_err(|_| error);
        }
        text.parse().map(TokenKind::Real).map_err(|_| error)
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (c >= '\u{80}' && c.is_alphabetic())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn all(text: &str) -> Result<Vec<TokenKind<'_>>, LexError> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next_token()?.kind {
                TokenKind::End => return Ok(tokens),
                kind => tokens.push(kind),
            }
        }
    }

    #[test]
    fn tokens_of_every_kind() {
        use TokenKind::{Alias, Char, Integer, Real, Sign, Text, Word};
        let tokens = all("a_1 /* x */ $b // y\n \"q\\\"\\\\\\x41\" 'c' 0x1F 017 101b 9 1.5e3 {-").unwrap();
        assert_eq!(
            tokens,
            [
                Word("a_1"),
                Alias("b"),
                Text("q\"\\A".into()),
                Char(0x63),
                Integer(31),
                Integer(15),
                Integer(5),
                Integer(9),
                Real(1500.0),
                Sign('{'),
                Sign('-')
            ]
        );
        assert_eq!(all("\"\\xD83D\\xDE00\"").unwrap(), [Text("\u{1f600}".into())]);
    }

    #[test]
    fn tells_where_a_text_breaks_off() {
        for (text, line, column) in [
            ("a\n  \"x", 2, 3),
            ("/* a", 1, 1),
            ("a @", 1, 3),
            ("\"\\q\"", 1, 2),
            ("'ab'", 1, 1),
            ("0xz", 1, 1),
            ("\"\\xD800\"", 1, 8),
        ] {
            let error = all(text).unwrap_err();
            assert_eq!(error.position, Position { line, column }, "{text}: {error:?}");
        }
    }
}
