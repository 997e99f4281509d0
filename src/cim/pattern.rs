//! Patterns that names are compared with, without regard to case, in two spellings.
//!
//! LIKE of WQL: `%` any characters, `_` one, `[abc]`, `[a-z]` one of these, `[^a-z]` none of these. A special character
//! stands for itself in brackets: `[%]`, `[_]`, `[[]`. Wildcards as in names of files: `*` any characters, `?` one.

/// A pattern, ready to be matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Many,
    One,
    Set { negated: bool, ranges: Vec<(char, char)> },
    Char(char),
}

impl Pattern {
    /// Reads a pattern with wildcards: nothing but `*` and `?` is special.
    pub fn wildcards(text: &str) -> Self {
        let mut pieces = Vec::new();
        for c in text.chars() {
            match c {
                '*' if pieces.last() == Some(&Piece::Many) => {}
                '*' => pieces.push(Piece::Many),
                '?' => pieces.push(Piece::One),
                _ => pieces.push(Piece::Char(folded(c))),
            }
        }
        Pattern { pieces }
    }

    /// Reads a pattern of LIKE. A bracket without end stands for itself.
    pub fn like(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        // Once a bracket has no end, none after it has one: this keeps the search from being repeated.
        let mut sets_end = true;
        while let Some(c) = rest.chars().next() {
            rest = rest.strip_prefix(c).unwrap_or_default();
            if c == '[' && sets_end {
                if let Some((piece, after_set)) = set(rest) {
                    pieces.push(piece);
                    rest = after_set;
                    continue;
                }
                sets_end = false;
            }
            match c {
                '%' if pieces.last() == Some(&Piece::Many) => {}
                '%' => pieces.push(Piece::Many),
                '_' => pieces.push(Piece::One),
                _ => pieces.push(Piece::Char(folded(c))),
            }
        }
        Pattern { pieces }
    }

    /// Whether the whole text has the pattern. Takes at most pattern times text steps: on a mismatch only the last `%`
    /// is tried again, one character further.
    pub fn matches(&self, text: &str) -> bool {
        let mut at = 0;
        let mut chars = text.chars();
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = chars.clone();
            let c = chars.next();
            match (self.pieces.get(at), c) {
                (Some(Piece::Many), _) => {
                    at += 1;
                    retry = Some((at, here.clone()));
                    chars = here;
                }
                (Some(piece), Some(c)) if piece.admits(c) => at += 1,
                (None, None) => return true,
                _ => {
                    let Some((after_many, from)) = retry.as_mut() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    at = *after_many;
                    chars = from.clone();
                }
            }
        }
    }
}

impl Piece {
    fn admits(&self, c: char) -> bool {
        match self {
            Piece::Many => false,
            Piece::One => true,
            Piece::Char(wanted) => folded(c) == *wanted,
            Piece::Set { negated, ranges } => {
                let upper = c.to_uppercase().next().unwrap_or(c);
                let within = |c: char| ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
                (within(c) || within(folded(c)) || within(upper)) != *negated
            }
        }
    }
}

fn folded(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// The set after its `[`, and what follows its `]`. The reference pages write ranges with `=`, people with `-`.
fn set(text: &str) -> Option<(Piece, &str)> {
    let (negated, members) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    // A bracket that comes first is a member.
    let end = members.char_indices().find(|(at, c)| *c == ']' && *at > 0)?.0;
    let (members, rest) = (members.get(..end)?, members.get(end + 1..)?);
    let members: Vec<char> = members.chars().collect();
    let mut ranges = Vec::new();
    let mut left = members.as_slice();
    while let Some((first, after)) = left.split_first() {
        if let ['-' | '=', last, beyond @ ..] = after {
            ranges.push((*first, *last));
            left = beyond;
        } else {
            ranges.push((*first, *first));
            left = after;
        }
    }
    Some((Piece::Set { negated, ranges }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_every_kind() {
        for (pattern, yes, no) in [
            ("web%", &["web01", "WEB", "Web%"][..], &["xweb", "we"][..]),
            ("%:Replica:%", &["a:replica:b", ":Replica:"], &["a:Replica"]),
            ("_b_", &["abc", "äbé"], &["ab", "abcd"]),
            ("[a-c]x", &["ax", "CX"], &["dx", "x"]),
            ("[a=c]x", &["bx"], &["dx", "=x"]),
            ("[^a-c]x", &["dx", "-x"], &["bx", "Bx"]),
            ("100[%]", &["100%"], &["1000"]),
            ("a[_]b", &["a_b"], &["axb"]),
            ("[[]x", &["[x"], &["x"]),
            ("[]]x", &["]x"], &["x"]),
            ("[x", &["[x"], &["x"]),
            ("", &[""], &["a"]),
            ("%", &["", "abc"], &[]),
            ("%a%b%c", &["abc", "xaxbxc", "abcc"], &["acb"]),
        ] {
            let compiled = Pattern::like(pattern);
            for text in yes {
                assert!(compiled.matches(text), "{text} LIKE {pattern}");
            }
            for text in no {
                assert!(!compiled.matches(text), "{text} NOT LIKE {pattern}");
            }
        }
    }

    #[test]
    fn wildcards_are_two_and_everything_else_stands_for_itself() {
        for (pattern, yes, no) in [
            ("web*", &["web01", "WEB", "Web*"][..], &["xweb", "we"][..]),
            ("ci-*-?", &["CI-a-b", "ci---"], &["ci-a-", "ci-ab"]),
            ("*", &["", "x"], &[]),
            ("", &[""], &["x"]),
            ("100%", &["100%"], &["1000", "100"]),
            ("a_[b]", &["a_[b]", "A_[B]"], &["axb", "a_b"]),
            ("J\u{d6}RG", &["j\u{f6}rg"], &["jorg"]),
        ] {
            let compiled = Pattern::wildcards(pattern);
            for text in yes {
                assert!(compiled.matches(text), "{text} is {pattern}");
            }
            for text in no {
                assert!(!compiled.matches(text), "{text} is not {pattern}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = Pattern::like(&"%a".repeat(2_000));
        assert!(!pattern.matches(&"a".repeat(1_999)));
        assert!(Pattern::like(&"%_".repeat(500)).matches(&"b".repeat(5_000)));
    }
}
