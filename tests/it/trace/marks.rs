//! Marks of rules in sources: `//= ENU-14, RES-01` anywhere in a line. Other words in a mark (sections of other
//! documents) are passed over.

use crate::tidy::source::{SourceFile, Token, attribute_end};

/// What begins a mark.
const MARK: &str = "//= ";
/// Words that begin an item with a name.
const ITEMS: &[&str] = &["fn", "struct", "enum", "trait", "union", "mod", "const", "static", "type", "macro_rules"];

/// A rule's mark.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) rule: String,
    /// Relative to the package.
    pub(super) path: String,
    /// 1-based.
    pub(super) line: usize,
    /// The item that the mark stands at; empty: the file.
    pub(super) item: String,
    pub(super) is_test: bool,
}

/// All marks of a file, in its order.
pub(super) fn marks(file: &SourceFile) -> Vec<Mark> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        // What stands between quotes is not a mark of this file.
        let Some((before, mark)) = text.split_once(MARK).filter(|(before, _)| !before.contains('"')) else { continue };
        let is_module = text.starts_with("//!");
        let token = file.tokens.iter().position(|token| token.line >= line);
        let is_test_file = file.path.starts_with("tests/") || file.path.starts_with("conformance/");
        let in_test = token.and_then(|at| file.tokens.get(at)).is_some_and(|token| token.in_test);
        let item = if is_module {
            String::new()
        } else {
            item(file, line, before.trim().is_empty() || before.trim().starts_with("//"))
        };
        for rule in rules(mark) {
            let (path, item) = (file.path.clone(), item.clone());
            found.push(Mark { rule, path, line, item, is_test: is_test_file || in_test });
        }
    }
    found
}

/// The rules of a mark; a case's id names its rule.
fn rules(mark: &str) -> impl Iterator<Item = String> {
    let words = mark.split(|c: char| c.is_whitespace() || c == ',').map(|word| word.split('.').next().unwrap_or(word));
    words.filter(|word| is_rule(word)).map(str::to_owned)
}

/// Capitals, a hyphen, and two digits.
fn is_rule(word: &str) -> bool {
    word.split_once('-').is_some_and(|(group, number)| {
        (2..=4).contains(&group.len())
            && group.bytes().all(|c| c.is_ascii_uppercase())
            && number.len() == 2
            && number.bytes().all(|c| c.is_ascii_digit())
    })
}

/// The item that begins in or right below a line, or else the one around it.
fn item(file: &SourceFile, line: usize, is_comment_line: bool) -> String {
    let tokens = &file.tokens;
    let first = tokens.iter().position(|token| if is_comment_line { token.line > line } else { token.line == line });
    let below = first.and_then(|first| begins_item(tokens, first));
    below.unwrap_or_else(|| {
        let end = tokens.iter().position(|token| token.line > line).unwrap_or(tokens.len());
        // The nearest item above that is a function, a type or a constant; a field or a statement belongs to it.
        (0..end).rev().find_map(|at| named(tokens, at).filter(|_| is_outermost_word(tokens, at))).unwrap_or_default()
    })
}

/// The name of the item whose first token (attributes and visibility included) this is.
fn begins_item(tokens: &[Token], mut at: usize) -> Option<String> {
    while let Some(end) = attribute_end(tokens, at) {
        at = end;
    }
    for _ in 0..10 {
        if let Some(name) = named(tokens, at) {
            return Some(name);
        }
        let text = tokens.get(at)?.text.as_str();
        if !matches!(text, "pub" | "(" | ")" | "crate" | "super" | "self" | "in" | "async" | "unsafe" | "extern") {
            return None;
        }
        at += 1;
    }
    None
}

/// The name after an item's word.
fn named(tokens: &[Token], at: usize) -> Option<String> {
    let word = tokens.get(at).filter(|token| ITEMS.contains(&token.text.as_str()))?;
    let mut next = at + 1;
    if word.text == "const" && tokens.get(next).is_some_and(|token| matches!(token.text.as_str(), "fn" | "unsafe")) {
        return None;
    }
    while tokens.get(next).is_some_and(|token| matches!(token.text.as_str(), "mut" | "!")) {
        next += 1;
    }
    tokens.get(next).filter(|name| name.is_ident && name.text != "_").map(|name| name.text.clone())
}

/// Whether an item's word is one: not `*const T`, not a type's `fn(…)`, not a module around a function.
fn is_outermost_word(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before)).map_or("", |token| token.text.as_str());
    let word = tokens.get(at).map_or("", |token| token.text.as_str());
    !matches!(before, "*" | "<" | "::" | "&" | ".") && word != "mod"
}
