//! The rules of the project that a compiler does not check, each as a test.
//!
//! A rule here is as strict as rustc: it names file and line. The last tests feed it snippets that must not pass.
#![allow(clippy::panic, reason = "a broken rule is a failed test, also inside the helpers")]

mod checker;
mod documents;
mod layers;
mod rules;
pub(crate) mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{SourceFile, rust_files, text_files};

/// Where the project's Rust sources are.
const FOLDERS: &[&str] = &["src", "tests", "benches", "conformance"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn all_sources() -> Vec<SourceFile> {
    FOLDERS.iter().flat_map(|folder| rust_files(&root(), folder)).collect()
}

#[track_caller]
fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "{} broken rules:\n{}", errors.len(), errors.join("\n"));
}

#[track_caller]
fn assert_none_in(files: &[SourceFile], rule: impl Fn(&SourceFile) -> Vec<String>) {
    assert!(!files.is_empty(), "no sources found");
    assert_none(&files.iter().flat_map(rule).collect::<Vec<_>>());
}

#[test]
fn the_layer_table_has_no_cycle() {
    assert_none(&layers::table_errors(layers::LAYERS));
}

#[test]
fn modules_use_only_the_layers_below_them() {
    assert_none(&layers::layer_errors(&rust_files(&root(), "src")));
}

#[test]
fn every_row_of_the_layer_table_is_a_module() {
    let present: BTreeSet<String> = rust_files(&root(), "src").iter().map(|file| file.layer().to_owned()).collect();
    let gone = layers::LAYERS.iter().filter(|(name, _)| !present.contains(*name));
    assert_none(&gone.map(|(name, _)| format!("row {name} has no module in src")).collect::<Vec<_>>());
}

#[test]
fn core_modules_do_not_touch_the_world() {
    assert_none(&layers::core_errors(&rust_files(&root(), "src")));
}

#[test]
fn only_one_file_reads_xml_octets() {
    assert_none_in(&rust_files(&root(), "src"), rules::reader_errors);
}

#[test]
fn unsafe_code_stands_in_one_file_and_gives_its_reasons() {
    assert_none_in(&all_sources(), rules::unsafe_errors);
    let path = root().join(rules::UNSAFE);
    assert!(path.is_file(), "{} is gone: then there is no unsafe code", path.display());
}

/// The compiler holds the rest: nothing outside `auth` can name what is visible in there alone.
#[test]
fn a_principal_is_made_by_authenticators_only() {
    let text = read("src/auth/principal.rs");
    let (_, principal) = text.split_once("/// An authenticated caller.").expect("the type");
    for line in [
        "#[derive(Clone, Debug, PartialEq, Eq)]\npub struct Principal {\n    name: String,",
        "    pub(in crate::auth) fn new(",
        "    #[cfg(test)]\n    pub(crate) fn for_tests(",
    ] {
        assert!(principal.contains(line), "src/auth/principal.rs lacks: {line}");
    }
    assert_eq!(principal.matches("-> Self").count(), 2, "a further way to make a principal");
}

#[test]
fn the_root_has_one_name() {
    assert_none_in(&rust_files(&root(), "src"), rules::alias_errors);
}

#[test]
fn every_file_says_what_it_is() {
    assert_none_in(&all_sources(), rules::comment_errors);
}

#[test]
fn files_and_lines_are_short() {
    assert_none_in(&all_sources(), rules::size_errors);
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished: Vec<SourceFile> =
        all_sources().into_iter().filter(|file| !file.path.starts_with("tests/it/tidy")).collect();
    assert_none_in(&unfinished, rules::unfinished_errors);
}

#[test]
fn exceptions_from_lints_are_few_and_explained() {
    let found: Vec<rules::LintException> = all_sources().iter().flat_map(rules::lint_exceptions).collect();
    let silent = found.iter().filter(|exception| !exception.has_reason);
    assert_none(&silent.map(|exception| format!("{}: no reason given", exception.place)).collect::<Vec<_>>());
    let is_test = |place: &str| place.starts_with("tests/");
    let allows: Vec<&str> = found
        .iter()
        .filter(|exception| exception.is_allow && !exception.in_test && !is_test(&exception.place))
        .filter_map(|exception| exception.place.split(':').next())
        .collect();
    assert_eq!(allows, rules::ALLOWS, "use #[expect(.., reason = \"..\")]");
}

#[test]
fn lints_that_carry_rules_are_denied() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("Cargo.toml is TOML");
    let lint = |tool: &str, name: &str| {
        let level = manifest.get("workspace")?.get("lints")?.get(tool)?.get(name)?;
        level.as_str().or_else(|| level.get("level")?.as_str())
    };
    for name in ["missing_docs", "unsafe_code", "unreachable_pub", "unused_qualifications"] {
        assert_eq!(lint("rust", name), Some("deny"), "rustc's {name}");
    }
    for name in ["pedantic", "unwrap_used", "panic", "todo", "unimplemented", "dbg_macro", "print_stdout"] {
        assert_eq!(lint("clippy", name), Some("deny"), "clippy's {name}");
    }
    for path in ["Cargo.toml", "conformance/Cargo.toml"] {
        let manifest: toml::Table = read(path).parse().expect("TOML");
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        assert_eq!(inherits, Some(true), "{path} takes the workspace's lints");
    }
}

#[test]
fn the_project_names_no_build_machine() {
    let variables = ["HOME", "CARGO_HOME", "RUSTUP_HOME"];
    let mut machine: Vec<String> = variables.iter().filter_map(|name| std::env::var(name).ok()).collect();
    machine.push(env!("CARGO_MANIFEST_DIR").to_owned());
    assert_none(&rules::machine_path_errors(&text_files(&root(), ""), &machine));
}

#[test]
fn conformance_knows_nothing_of_failbackd() {
    let files = rust_files(&root(), "conformance");
    assert_none(&rules::independence_errors(&read("conformance/Cargo.toml"), &files));
}

#[test]
fn architecture_tells_the_truth() {
    let document = read("ARCHITECTURE.md");
    let present = fs::read_dir(root().join("src")).expect("src").map(|entry| {
        let entry = entry.expect("an entry of src");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() { format!("{name}/") } else { name }
    });
    let mut errors = documents::module_errors(&document, &present.collect());
    errors.extend(documents::layer_table_errors(&document));
    errors.extend(documents::invariant_errors(&document, Path::new(&root())));
    assert_none(&errors);
}

/// What a user is told to run is what CI runs, word for word.
#[test]
fn every_message_id_is_a_row_of_the_table() {
    let mut unknown = Vec::new();
    for file in rust_files(&root(), "src") {
        for (at, _) in file.text.match_indices("\"FBD") {
            let id: String = file.text[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
            if id.len() == 7 && id != "FBD0000" && failbackd::job::Message::find(&id).is_none() {
                unknown.push(format!("{} names {id}", file.path));
            }
        }
    }
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn readme_and_ci_run_the_same_commands() {
    let readme = read("README.md");
    let ci = read(".ci/run");
    let told: Vec<&str> = readme.lines().map(str::trim).filter(|line| line.starts_with("cargo test")).collect();
    assert!(told.contains(&"cargo test"), "README.md gives `cargo test` on a line of its own, it has {told:?}");
    for command in told {
        assert!(ci.lines().any(|line| line.trim().ends_with(command)), ".ci/run does not run `{command}`");
    }
}
