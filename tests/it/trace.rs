//! Which code and which test hold which rule: the marks `//= RULE-ID` in `src` and `tests`, joined with the catalogue
//! of the conformance suite, its cases and our own server's verdicts. The page that lists them is compared with what is
//! there.

mod catalogue;
mod marks;
mod page;

use std::collections::BTreeSet;
use std::path::PathBuf;

use catalogue::{Catalogue, Exception};
use marks::{Mark, marks};

use crate::tidy::source::{SourceFile, rust_files};

/// The page, from the package's root.
const PAGE: &str = "conformance/RULES.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn all_marks() -> Vec<Mark> {
    ["src", "tests", "benches", "conformance/src"]
        .iter()
        .flat_map(|folder| rust_files(&root(), folder))
        .flat_map(|file| marks(&file))
        .collect()
}

/// Everything about one side (`code` or `test`) of the required rules that is not as it should be.
fn side_errors(
    catalogue: &Catalogue,
    side: &str,
    held: &BTreeSet<&str>,
    reason: fn(&Exception) -> &Option<String>,
) -> Vec<String> {
    let mut errors = Vec::new();
    for rule in catalogue.rules.iter().filter(|rule| rule.is_required()) {
        let excused = catalogue.exception(&rule.id).and_then(|exception| reason(exception).as_ref());
        match (held.contains(rule.id.as_str()), excused) {
            (false, None) => {
                errors.push(format!("{} has no {side}, and no reason in {}", rule.id, catalogue::EXCEPTIONS));
            }
            (true, Some(_)) => {
                errors.push(format!("{} has {side}: take its reason out of {}", rule.id, catalogue::EXCEPTIONS));
            }
            _ => {}
        }
    }
    errors
}

#[track_caller]
fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "{} errors:\n{}", errors.len(), errors.join("\n"));
}

#[test]
fn every_mark_names_a_rule_that_exists() {
    let catalogue = Catalogue::read(&root());
    let unknown = |mark: &Mark| catalogue.rule(&mark.rule).is_none();
    let errors = all_marks().into_iter().filter(unknown);
    assert_none(
        &errors.map(|mark| format!("{}:{}: there is no rule {}", mark.path, mark.line, mark.rule)).collect::<Vec<_>>(),
    );
}

#[test]
fn every_case_and_every_exception_names_a_rule_that_exists() {
    let catalogue = Catalogue::read(&root());
    let of_cases = catalogue.cases.iter().flat_map(|case| case.rules.iter().map(move |rule| (&case.id, rule)));
    let of_exceptions = catalogue.exceptions.iter().map(|exception| (&exception.rule, &exception.rule));
    let unknown = of_cases.chain(of_exceptions).filter(|(_, rule)| catalogue.rule(rule).is_none());
    assert_none(&unknown.map(|(place, rule)| format!("{place}: there is no rule {rule}")).collect::<Vec<_>>());
}

#[test]
fn every_required_rule_has_code() {
    let marks = all_marks();
    let held = marks.iter().filter(|mark| mark.path.starts_with("src/") && !mark.is_test);
    let held: BTreeSet<&str> = held.map(|mark| mark.rule.as_str()).collect();
    assert_none(&side_errors(&Catalogue::read(&root()), "code", &held, |exception| &exception.code));
}

#[test]
fn every_required_rule_has_a_test() {
    let (catalogue, marks) = (Catalogue::read(&root()), all_marks());
    let mut held: BTreeSet<&str> = marks.iter().filter(|mark| mark.is_test).map(|mark| mark.rule.as_str()).collect();
    held.extend(catalogue.cases.iter().flat_map(|case| &case.rules).map(String::as_str));
    held.extend(catalogue.standing.iter().map(String::as_str));
    assert_none(&side_errors(&catalogue, "test", &held, |exception| &exception.test));
}

/// When this fails, `UPDATE_EXPECT=1 cargo test --test it trace::` writes the page anew.
#[test]
fn the_page_of_rules_is_current() {
    expect_test::expect_file![root().join(PAGE)].assert_eq(&page::page(&Catalogue::read(&root()), &all_marks()));
}

#[test]
fn marks_are_read_with_the_items_that_they_stand_at() {
    let text = "//! Module. //= ENU-01\n\n/// A limit. //= ENU-02, ENU-03\nconst LIMIT: usize = 1;\n\n\
        fn one() {\n    // Why. //= MS-NLMP 3.1 ENU-04\n    two();\n    two() //= ENU-05 RFC-1\n}\n\n\
        impl Three {\n    //= ENU-06\n    #[must_use]\n    pub(crate) fn four(&self) {}\n}\n\n\
        struct Five {\n    /// A field. //= ENU-07\n    six: u8,\n}\n\n\
        #[cfg(test)]\nmod tests {\n    //= ENU-08\n    #[test]\n    fn seven() {\n        //= ENU-09.b\n    }\n}\n";
    let found: Vec<String> = marks(&SourceFile::new("src/x.rs", text))
        .iter()
        .map(|mark| format!("{} {}{}", mark.rule, mark.item, if mark.is_test { " test" } else { "" }))
        .collect();
    let wanted = [
        "ENU-01 ",
        "ENU-02 LIMIT",
        "ENU-03 LIMIT",
        "ENU-04 one",
        "ENU-05 one",
        "ENU-06 four",
        "ENU-07 Five",
        "ENU-08 seven test",
        "ENU-09 seven test",
    ];
    assert_eq!(found, wanted);
}
