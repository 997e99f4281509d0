//! Rules about single files: size, comments, banned words, exceptions from lints, where a dependency may be used.

use std::path::Path;

use super::source::{SourceFile, Token, attribute_end, closing, paths};

/// The hard end; 500 is the aim.
pub(super) const FILE_LINES_MAX: usize = 800;
pub(super) const LINE_CHARS_MAX: usize = 120;

/// Files with one `#[allow(…)]` outside test code. `#[expect(…)]` says when it is no longer needed; this never does.
pub(super) const ALLOWS: &[&str] = &[];

/// Words that mark unfinished work.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "unimplemented"];

/// The one file that may use quick-xml: everything else reads the tape.
pub(super) const XML_READER: &str = "src/xml/build.rs";

/// The one file of each crate that may hold unsafe code: it binds a library of C.
pub(super) const UNSAFE: [&str; 2] = ["src/auth/kerberos/gss.rs", "conformance/src/auth/kerberos.rs"];

pub(super) fn size_errors(file: &SourceFile) -> Vec<String> {
    let mut errors = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        errors.push(format!("{} has {lines} lines, more than {FILE_LINES_MAX}", file.path));
    }
    // A request in a test is one literal; where the first test begins, lines are as long as what they quote.
    let first_test = file.tokens.iter().find(|token| token.in_test).map_or(usize::MAX, |token| token.line);
    for (index, line) in file.text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX && index + 1 < first_test {
            errors.push(format!("{}:{} has {chars} characters, more than {LINE_CHARS_MAX}", file.path, index + 1));
        }
    }
    errors
}

pub(super) fn comment_errors(file: &SourceFile) -> Vec<String> {
    if file.text.starts_with("//!") { Vec::new() } else { vec![format!("{} does not start with `//!`", file.path)] }
}

pub(super) fn unfinished_errors(file: &SourceFile) -> Vec<String> {
    let mut errors = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_alphanumeric());
        for word in words.filter(|word| UNFINISHED.contains(word)) {
            errors.push(format!("{}:{} says {word}: finish it or file an issue", file.path, index + 1));
        }
    }
    errors
}

/// Unsafe code stands in one file of a crate, and each use of it directly under a comment that says why it is sound. A
/// type of a foreign function (`unsafe extern "C" fn`) does nothing by itself.
pub(super) fn unsafe_errors(file: &SourceFile) -> Vec<String> {
    let mut errors = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    for (index, token) in file.tokens.iter().enumerate().filter(|(_, it)| it.is_ident && it.text == "unsafe") {
        let place = format!("{}:{}", file.path, token.line);
        let next = file.tokens.get(index + 1).map_or("", |next| next.text.as_str());
        if !UNSAFE.contains(&file.path.as_str()) {
            errors.push(format!("unsafe belongs to {UNSAFE:?} alone, used at {place}"));
        } else if next != "extern" && !is_justified(&lines, token.line) {
            errors.push(format!("unsafe at {place} has no `// SAFETY:` directly above"));
        }
    }
    errors
}

/// Whether the comment that ends in the line above (1-based) `line` begins with `SAFETY:`.
fn is_justified(lines: &[&str], line: usize) -> bool {
    let above = lines.get(..line - 1).unwrap_or_default().iter().rev();
    let comment = above.map(|line| line.trim()).take_while(|line| line.starts_with("// "));
    comment.last().is_some_and(|first| first.starts_with("// SAFETY: "))
}

pub(super) fn reader_errors(file: &SourceFile) -> Vec<String> {
    if file.path == XML_READER {
        return Vec::new();
    }
    let uses = file.tokens.iter().filter(|token| token.text == "quick_xml");
    uses.map(|token| format!("quick_xml belongs to {XML_READER} alone, used at {}:{}", file.path, token.line)).collect()
}

/// `extern crate self as x` would give the root a second name that the layer check does not know.
pub(super) fn alias_errors(file: &SourceFile) -> Vec<String> {
    let pairs = file.tokens.windows(2).filter(|pair| pair.iter().map(|t| t.text.as_str()).eq(["extern", "crate"]));
    pairs.flatten().map(|token| format!("extern crate at {}:{}", file.path, token.line)).collect()
}

/// One exception from a lint: its attribute's keyword, place, and whether it gives a reason.
#[derive(Debug)]
pub(super) struct LintException {
    pub(super) is_allow: bool,
    pub(super) has_reason: bool,
    pub(super) in_test: bool,
    pub(super) place: String,
}

pub(super) fn lint_exceptions(file: &SourceFile) -> Vec<LintException> {
    let tokens = &file.tokens;
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let Some(end) = attribute_end(tokens, index) else {
            index += 1;
            continue;
        };
        for at in index..end {
            if matches!(text(at), "allow" | "expect") && text(at + 1) == "(" {
                let body: &[Token] = tokens.get(at..closing(tokens, at + 1)).unwrap_or_default();
                found.push(LintException {
                    is_allow: text(at) == "allow",
                    has_reason: body.windows(2).any(|pair| pair.iter().map(|t| t.text.as_str()).eq(["reason", "="])),
                    in_test: tokens.get(index).is_some_and(|token| token.in_test),
                    place: format!("{}:{}", file.path, tokens.get(at).map_or(0, |token| token.line)),
                });
            }
        }
        index = end;
    }
    found
}

/// Paths of the machine that this was built on. Short ones (`/src`) mean too many other things.
pub(super) fn machine_path_errors(files: &[(String, String)], machine: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    let telling =
        machine.iter().filter(|path| Path::new(path).is_absolute() && Path::new(path).components().count() > 2);
    for path in telling {
        for (name, text) in files {
            for (index, line) in text.lines().enumerate().filter(|(_, line)| line.contains(path.as_str())) {
                errors.push(format!("{name}:{} names a path of this machine: {}", index + 1, line.trim()));
            }
        }
    }
    errors
}

/// The conformance suite must not share a misreading of the specification with the server.
pub(super) fn independence_errors(manifest: &str, files: &[SourceFile]) -> Vec<String> {
    let mut errors = Vec::new();
    let manifest: toml::Table = manifest.parse().expect("conformance/Cargo.toml is TOML");
    for (section, table) in &manifest {
        let dependencies = if section.ends_with("dependencies") { table.as_table() } else { None };
        for (name, dependency) in dependencies.into_iter().flatten() {
            let renamed = dependency.get("package").and_then(toml::Value::as_str);
            if name == "failbackd" || renamed == Some("failbackd") || dependency.get("path").is_some() {
                errors.push(format!("conformance/Cargo.toml [{section}] names {name}"));
            }
        }
        if section == "target" {
            errors.push("conformance/Cargo.toml has [target]: extend this check first".to_owned());
        }
    }
    for file in files {
        for path in paths(file).iter().filter(|path| path.segments.first().is_some_and(|first| first == "failbackd")) {
            if path.segments.len() > 1 || path.in_use {
                errors.push(format!("conformance uses failbackd at {}:{}", file.path, path.line));
            }
        }
    }
    errors
}
