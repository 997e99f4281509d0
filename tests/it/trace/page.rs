//! The page that lists each rule with its code, its tests, its cases and our own server's verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::catalogue::{Case, Catalogue, Rule};
use super::marks::Mark;

const HEAD: &str = "# Rules, and what holds them\n\n\
    Written by `UPDATE_EXPECT=1 cargo test --test it trace::`; do not edit. The rules are those of\n\
    `conformance/rules/`, in our own words. *Code* and *tests* are the places with a mark `//= RULE-ID`; *cases* are\n\
    those of `conformance/cases/`, and `all` is a standing check of every answer. *failbackd* is what our server got,\n\
    by profile, when the baselines of `conformance/baselines/` were written. Why a required rule has no code or no\n\
    test stands in `conformance/exceptions.toml`.\n";

/// The whole page.
pub(super) fn page(catalogue: &Catalogue, marks: &[Mark]) -> String {
    let mut out = HEAD.to_owned();
    summary(&mut out, catalogue, marks);
    let mut group = "";
    for rule in &catalogue.rules {
        let of = rule.id.split('-').next().unwrap_or_default();
        if of != group {
            group = of;
            _ = write!(out, "\n## {group}\n");
        }
        section(&mut out, catalogue, marks, rule);
    }
    out
}

fn summary(out: &mut String, catalogue: &Catalogue, marks: &[Mark]) {
    out.push_str("\n| group | rules | MUST | with code | with tests or cases | cases |\n|---|---|---|---|---|---|\n");
    let mut groups: Vec<&str> = Vec::new();
    for rule in &catalogue.rules {
        let group = rule.id.split('-').next().unwrap_or_default();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut total = [0; 5];
    let mut row = |name: &str, numbers: [usize; 5]| {
        _ = writeln!(out, "| {name} | {} |", numbers.map(|number| number.to_string()).join(" | "));
    };
    for group in groups {
        let is_of = |id: &str| id.split('-').next() == Some(group);
        let rules: Vec<&Rule> = catalogue.rules.iter().filter(|rule| is_of(&rule.id)).collect();
        let numbers = [
            rules.len(),
            rules.iter().filter(|rule| rule.is_required()).count(),
            rules.iter().filter(|rule| !places(marks, &rule.id, false).is_empty()).count(),
            rules.iter().filter(|rule| is_tested(catalogue, marks, rule)).count(),
            catalogue.cases.iter().filter(|case| is_of(&case.id)).count(),
        ];
        total.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        row(group, numbers);
    }
    row("**all**", total);
}

fn is_tested(catalogue: &Catalogue, marks: &[Mark], rule: &Rule) -> bool {
    !places(marks, &rule.id, true).is_empty()
        || catalogue.standing.contains(&rule.id)
        || cases(catalogue, rule).next().is_some()
}

fn cases<'c>(catalogue: &'c Catalogue, rule: &Rule) -> impl Iterator<Item = &'c Case> {
    let id = rule.id.clone();
    catalogue.cases.iter().filter(move |case| case.rules.contains(&id))
}

/// The places of a rule's marks in code or in tests: file to items.
fn places<'m>(marks: &'m [Mark], rule: &str, is_test: bool) -> BTreeMap<&'m str, BTreeSet<&'m str>> {
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for mark in marks.iter().filter(|mark| mark.rule == rule && mark.is_test == is_test) {
        places.entry(&mark.path).or_default().insert(&mark.item);
    }
    places
}

fn section(out: &mut String, catalogue: &Catalogue, marks: &[Mark], rule: &Rule) {
    let by_profile: Vec<String> =
        rule.level_in.iter().map(|(profile, level)| format!("; {level} in the profile {profile}")).collect();
    let bound = if rule.profile.is_empty() { String::new() } else { format!(", profile {} only", rule.profile) };
    _ = write!(
        out,
        "\n### {}\n**{}**{bound}{}. {} *({})*\n\n",
        rule.id,
        rule.level,
        by_profile.concat(),
        rule.text,
        rule.source
    );
    let exception = catalogue.exception(&rule.id);
    for (name, is_test) in [("code", false), ("tests", true)] {
        let told: Vec<String> = places(marks, &rule.id, is_test).into_iter().map(place).collect();
        let reason = exception.and_then(|it| if is_test { it.test.as_ref() } else { it.code.as_ref() });
        match (told.is_empty(), reason) {
            (false, _) => _ = writeln!(out, "- {name}: {}", told.join("; ")),
            (true, Some(reason)) => _ = writeln!(out, "- no {name}: {reason}"),
            (true, None) => {}
        }
    }
    let mut names: Vec<&str> = cases(catalogue, rule).map(|case| case.id.as_str()).collect();
    names.sort_unstable();
    let standing = format!("{}.all", rule.id);
    names.extend(catalogue.standing.contains(&rule.id).then_some(standing.as_str()));
    let short =
        |name: &&str| name.strip_prefix(&rule.id).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name).to_owned();
    if !names.is_empty() {
        _ = writeln!(out, "- cases: {}", names.iter().map(short).collect::<Vec<_>>().join(" "));
    } else if !rule.untestable.is_empty() {
        _ = writeln!(out, "- no case: {}", rule.untestable);
    }
    verdicts(out, catalogue, rule, &standing);
}

fn place((path, items): (&str, BTreeSet<&str>)) -> String {
    let items: Vec<String> = items.iter().filter(|item| !item.is_empty()).map(|item| format!("`{item}`")).collect();
    if items.is_empty() { format!("`{path}`") } else { format!("`{path}` {}", items.join(" ")) }
}

/// What our server got for the rule's cases, by profile.
fn verdicts(out: &mut String, catalogue: &Catalogue, rule: &Rule, standing: &str) {
    let mut told = Vec::new();
    for (profile, not_passed) in &catalogue.verdicts {
        let Some(not_passed) = not_passed else { continue };
        let of_profile = cases(catalogue, rule).filter(|case| case.profile.is_empty() || case.profile == *profile);
        let mut ids: Vec<&str> = of_profile.map(|case| case.id.as_str()).collect();
        ids.extend(catalogue.standing.contains(&rule.id).then_some(standing));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for id in ids {
            *counts.entry(not_passed.get(id).map_or("pass", String::as_str)).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(word, many)| format!("{many} {word}")).collect();
        if rule.is_in(profile) && !counts.is_empty() {
            told.push(format!("{profile} {}", counts.join(", ")));
        }
    }
    if !told.is_empty() {
        _ = writeln!(out, "- failbackd: {}", told.join("; "));
    }
}
