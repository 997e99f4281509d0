//! Reads Rust sources as tokens: enough of the language to find paths, attributes and test code, and no more.
//!
//! Comments and the contents of literals are dropped, so that a rule never trips over prose.

use std::fs;
use std::path::Path;

/// One token of code: an identifier, `::`, or a single character of punctuation.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// 1-based.
    pub(crate) line: usize,
    pub(crate) is_ident: bool,
    /// Inside an item under `#[cfg(test)]` or `#[test]`.
    pub(crate) in_test: bool,
}

/// A source file of the project with its place in the module tree.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the package, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// `["wsman", "fault"]` for `src/wsman/fault.rs`; empty for `src/lib.rs`.
    pub(crate) module: Vec<String>,
}

impl SourceFile {
    /// Reads `text` as the file at `path` (`src/…`).
    pub(crate) fn new(path: &str, text: &str) -> SourceFile {
        let mut tokens = lex(text);
        mark_tests(&mut tokens);
        SourceFile { path: path.to_owned(), text: text.to_owned(), tokens, module: module_of(path) }
    }

    /// The first folder or file below `src`: the unit of the layer table.
    pub(super) fn layer(&self) -> &str {
        match self.module.first() {
            Some(first) => first,
            None if self.path.ends_with("main.rs") => "main",
            None => "lib",
        }
    }
}

/// A path as written, with `use` groups taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathUse {
    pub(super) segments: Vec<String>,
    /// The module it stands in, inline modules included.
    pub(super) module: Vec<String>,
    pub(super) line: usize,
    pub(super) in_use: bool,
    pub(super) in_test: bool,
}

/// All Rust files below `folder` of the package, in order; files that belong to test modules are marked as such.
pub(crate) fn rust_files(root: &Path, folder: &str) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = text_files(root, folder)
        .into_iter()
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|extension| extension == "rs"))
        .map(|(path, text)| SourceFile::new(&path, &text))
        .collect();
    let test_modules: Vec<Vec<String>> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        if test_modules.iter().any(|module| file.module.starts_with(module)) {
            file.tokens.iter_mut().for_each(|token| token.in_test = true);
        }
    }
    files
}

/// All UTF-8 files below `folder` (which may be empty: the whole package) without build products.
pub(crate) fn text_files(root: &Path, folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut pending = vec![root.join(folder)];
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let path = entry.expect("a directory entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() || matches!(name.as_str(), "target" | ".git" | "__pycache__" | "node_modules") {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root).expect("below the package").to_string_lossy().replace('\\', "/");
                found.push((relative, text));
            }
        }
    }
    found.sort();
    found
}

fn module_of(path: &str) -> Vec<String> {
    let trimmed = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut module: Vec<String> = trimmed.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || matches!(trimmed, "lib" | "main") {
        module.pop();
    }
    module
}

/// Modules declared by `mod name;` in test code: their files are test code as well.
fn test_modules(file: &SourceFile) -> Vec<Vec<String>> {
    let mut modules = Vec::new();
    for window in file.tokens.windows(3) {
        if let [keyword, name, end] = window
            && keyword.in_test
            && keyword.text == "mod"
            && end.text == ";"
        {
            modules.push([file.module.as_slice(), std::slice::from_ref(&name.text)].concat());
        }
    }
    modules
}

/// Every path of the file that starts here (not the tail of a longer one).
pub(super) fn paths(file: &SourceFile) -> Vec<PathUse> {
    let tokens = &file.tokens;
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                if let Some([keyword, name]) = index.checked_sub(2).and_then(|start| tokens.get(start..index))
                    && keyword.text == "mod"
                {
                    inline.push((name.text.clone(), depth));
                }
            }
            "}" => {
                inline.pop_if(|(_, opened)| *opened == depth);
                depth -= 1;
            }
            _ => {}
        }
        if !token.is_ident || continues_a_path(tokens, index) {
            continue;
        }
        let module: Vec<String> =
            file.module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
        let before = tokens.get(index.wrapping_sub(1)).map_or("", |token| token.text.as_str());
        let start =
            PathUse { segments: Vec::new(), module, line: token.line, in_use: before == "use", in_test: token.in_test };
        expand(tokens, index, &start, &mut found);
    }
    found
}

fn continues_a_path(tokens: &[Token], index: usize) -> bool {
    let text = |back: usize| index.checked_sub(back).and_then(|at| tokens.get(at));
    text(1).is_some_and(|token| token.text == "::")
        && text(2).is_some_and(|token| (token.is_ident && token.text != "use") || token.text == ">")
}

/// Follows the path from `index` and pushes one entry per leaf; answers the index after it.
fn expand(tokens: &[Token], mut index: usize, prefix: &PathUse, found: &mut Vec<PathUse>) -> usize {
    let mut path = prefix.clone();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    loop {
        match tokens.get(index) {
            Some(token) if token.is_ident || token.text == "*" => {
                path.segments.push(token.text.clone());
                path.line = token.line;
                index += 1;
                if text(index) != "::" {
                    break;
                }
                index += 1;
            }
            Some(token) if token.text == "{" => {
                index += 1;
                while index < tokens.len() && text(index) != "}" {
                    index = expand(tokens, index, &path, found);
                    while index < tokens.len() && !matches!(text(index), "," | "}") {
                        index += 1;
                    }
                    index += usize::from(text(index) == ",");
                }
                return index + 1;
            }
            _ => break,
        }
    }
    found.push(path);
    index
}

/// Marks the item behind each `#[cfg(test)]`, `#[cfg(all(test, …))]` and `#[test]`.
fn mark_tests(tokens: &mut [Token]) {
    let mut index = 0;
    while index < tokens.len() {
        let Some(end) = attribute_end(tokens, index) else {
            index += 1;
            continue;
        };
        let words: Vec<&str> = tokens.get(index..end).unwrap_or_default().iter().map(|t| t.text.as_str()).collect();
        let is_cfg_test = words.contains(&"cfg") && words.contains(&"test") && !words.contains(&"not");
        if is_cfg_test || words == ["#", "[", "test", "]"] {
            let close = item_end(tokens, end);
            tokens.iter_mut().take(close).skip(index).for_each(|token| token.in_test = true);
            index = close;
        } else {
            index = end;
        }
    }
}

/// The index after the attribute that starts at `index`, if one does.
pub(crate) fn attribute_end(tokens: &[Token], index: usize) -> Option<usize> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let open = match (text(index), text(index + 1), text(index + 2)) {
        ("#", "[", _) => index + 1,
        ("#", "!", "[") => index + 2,
        _ => return None,
    };
    Some(closing(tokens, open) + 1)
}

/// The index after the item that starts at `index`: past its block, or past its `;`.
fn item_end(tokens: &[Token], mut index: usize) -> usize {
    while let Some(token) = tokens.get(index) {
        match token.text.as_str() {
            "{" => return closing(tokens, index) + 1,
            ";" => return index + 1,
            "(" | "[" => index = closing(tokens, index) + 1,
            _ => index += 1,
        }
    }
    tokens.len()
}

/// The index of the bracket that closes the one at `open`.
pub(super) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == '\n');
            self.at += 1;
        }
    }

    fn push(&mut self, text: String, line: usize, is_ident: bool) {
        self.tokens.push(Token { text, line, is_ident, in_test: false });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.advance(1);
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.char_or_lifetime(),
            (':', ':') => {
                self.advance(2);
                self.push("::".to_owned(), line, false);
            }
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(),
            (c, _) => {
                self.advance(1);
                if !c.is_whitespace() {
                    self.push(c.to_string(), line, false);
                }
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.advance(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.advance(1),
            }
        }
    }

    /// An identifier, a number, or the prefix of a literal (`b"…"`, `r#"…"#`, `br"…"`, `b'…'`).
    fn word(&mut self) {
        let line = self.line;
        let mut word = String::new();
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            word.push(self.peek(0));
            self.advance(1);
        }
        match (word.as_str(), self.peek(0)) {
            ("b" | "c", '"') => self.string(),
            ("b", '\'') => self.char_or_lifetime(),
            ("r" | "br" | "cr", '"' | '#') => {
                if !self.raw_string() {
                    self.advance(1); // the `#` of a raw identifier: the identifier itself follows
                }
            }
            _ => {
                let is_ident = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
                self.push(word, line, is_ident);
            }
        }
    }

    fn string(&mut self) {
        self.advance(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.advance(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.advance(1);
    }

    /// Answers false when this is no string but a raw identifier.
    fn raw_string(&mut self) -> bool {
        let mut hashes = 0;
        while self.peek(hashes) == '#' {
            hashes += 1;
        }
        if self.peek(hashes) != '"' {
            return false;
        }
        self.advance(hashes + 1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#') {
                self.advance(hashes + 1);
                return true;
            }
            self.advance(1);
        }
        true
    }

    fn char_or_lifetime(&mut self) {
        if self.peek(1) == '\\' {
            self.advance(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.advance(1);
            }
            self.advance(1);
        } else if self.peek(2) == '\'' {
            self.advance(3);
        } else {
            self.advance(1);
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.advance(1);
            }
        }
    }
}
