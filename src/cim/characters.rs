//! A text that a lexer reads from its beginning on, with the place at which it stands.

/// What is left of a text, and the character at which that begins.
#[derive(Clone, Debug)]
pub(crate) struct Characters<'t> {
    rest: &'t str,
    position: u32,
}

impl<'t> Characters<'t> {
    /// The whole of a text.
    pub(crate) fn new(text: &'t str) -> Self {
        Self { rest: text, position: 1 }
    }

    /// What has not been taken.
    pub(crate) fn rest(&self) -> &'t str {
        self.rest
    }

    /// The character at which the rest begins, counted from one.
    pub(crate) fn position(&self) -> u32 {
        self.position
    }

    /// The first two characters of the rest.
    pub(crate) fn two(&self) -> (Option<char>, Option<char>) {
        let mut next = self.rest.chars();
        (next.next(), next.next())
    }

    /// Takes so many octets, which end between two characters.
    pub(crate) fn take(&mut self, octets: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(octets);
        let characters = u32::try_from(taken.chars().count()).unwrap_or(u32::MAX);
        self.position = self.position.saturating_add(characters);
        self.rest = rest;
        taken
    }

    /// Takes what stands in front of the first character for which `ends` holds, or everything.
    pub(crate) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> &'t str {
        self.take(self.rest.find(ends).unwrap_or(self.rest.len()))
    }

    /// Passes over white space.
    pub(crate) fn skip_space(&mut self) {
        self.take(self.rest.len() - self.rest.trim_start().len());
    }

    /// Takes the first of these signs with which the rest begins.
    pub(crate) fn take_sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let sign = signs.iter().find(|sign| self.rest.starts_with(**sign))?;
        self.take(sign.len());
        Some(sign)
    }
}
