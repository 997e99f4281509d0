//! Many runs side by side: a row for each rule, a column for each target; for the terminal and as a page whose cells
//! lead to what went over the wire.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::html::{
    DISCLAIMER, NO_CASE, frame, group_place, group_title, level_class, level_label, row_class, sign, switch, switches,
    text, verdict_words, weight,
};
use super::page::page;
use crate::model::Level;
use crate::output::write_folder;
use crate::record::{CaseRecord, Record, RuleRecord, group_of};
use crate::verdict::Verdict;

/// What `matrix` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What --json wrote, one file a run; NAME=FILE gives the column a name
    #[arg(required = true, value_name = "RUN.json")]
    runs: Vec<String>,
    /// Also write pages: DIR/index.html, and one for each run
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// A line for each case too
    #[arg(long)]
    cases: bool,
    /// Only the rules on which the runs differ
    #[arg(long)]
    differ: bool,
}

/// A run and its place among the others.
struct Column {
    name: String,
    record: Record,
}

impl Column {
    fn read(argument: &str) -> Result<Self, String> {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) if !Path::new(argument).exists() => (Some(name), path),
            _ => (None, argument),
        };
        let record = Record::read(Path::new(path))?;
        let name = name.map_or_else(|| own_name(&record), str::to_owned);
        Ok(Self { name, record })
    }
}

/// What a run calls its target: the product, or else the address.
fn own_name(record: &Record) -> String {
    let product = format!("{} {}", record.product.vendor, record.product.version);
    if product.trim().is_empty() { record.target.clone() } else { product.trim().to_owned() }
}

/// The page of a column, by its place.
fn file_name(at: usize) -> String {
    format!("run-{}.html", at + 1)
}

/// Reads the runs, writes the pages, and answers with the text for the terminal.
pub(crate) fn work(arguments: &Arguments) -> Result<String, String> {
    let columns = arguments.runs.iter().map(|run| Column::read(run)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &arguments.html {
        let mut files = vec![("index.html".to_owned(), matrix_page(&columns))];
        let pages = columns.iter().enumerate();
        files.extend(pages.map(|(at, column)| (file_name(at), page(&column.record, Some("index.html")))));
        write_folder(folder, &files)?;
    }
    Ok(terminal(&columns, arguments.cases, arguments.differ))
}

/// The rules of all runs, group by group.
fn rules(columns: &[Column]) -> Vec<&RuleRecord> {
    let mut seen = BTreeSet::new();
    let all = columns.iter().flat_map(|column| &column.record.rules);
    let mut rules: Vec<&RuleRecord> = all.filter(|rule| seen.insert(rule.id.as_str())).collect();
    rules.sort_by_key(|rule| (group_place(group_of(&rule.id)), rule.id.clone()));
    rules
}

/// The ids of the cases that any run has for a rule.
fn case_ids<'c>(columns: &'c [Column], rule: &str) -> Vec<&'c str> {
    let ids: BTreeSet<&str> =
        columns.iter().flat_map(|column| column.record.cases_of(rule)).map(|case| case.id.as_str()).collect();
    ids.into_iter().collect()
}

/// What a run says of a rule: the verdict that says most, the first case that has it, and how many of how many have it.
struct Cell<'c> {
    case: &'c CaseRecord,
    with_verdict: usize,
    all: usize,
}

fn cell<'c>(column: &'c Column, rule: &str) -> Option<Cell<'c>> {
    let cases: Vec<&CaseRecord> = column.record.cases_of(rule).collect();
    let heaviest = cases.iter().map(|case| case.verdict).max_by_key(|verdict| weight(*verdict))?;
    let case = cases.iter().find(|case| case.verdict == heaviest)?;
    let with_verdict = cases.iter().filter(|case| case.verdict == heaviest).count();
    Some(Cell { case, with_verdict, all: cases.len() })
}

/// Whether the runs differ on a rule or on one of its cases.
fn differs(columns: &[Column], rule: &str) -> bool {
    let verdicts = |column: &Column| -> Vec<(String, Verdict)> {
        column.record.cases_of(rule).map(|case| (case.id.clone(), case.verdict)).collect()
    };
    let mut all = columns.iter().map(verdicts);
    let first = all.next();
    all.any(|other| Some(&other) != first.as_ref())
}

/// The matrix for a terminal.
fn terminal(columns: &[Column], with_cases: bool, only_differing: bool) -> String {
    let mut out = String::new();
    for (at, column) in columns.iter().enumerate() {
        let record = &column.record;
        let counts = Verdict::ALL.iter().filter(|verdict| record.count(**verdict) > 0);
        let counts: Vec<String> = counts.map(|it| format!("{} {}", record.count(*it), it.word())).collect();
        let place = format!("{}, {}, profile {}", record.target, record.began, record.profile);
        _ = writeln!(out, "[{}] {} ({place})\n    {}", at + 1, plain(&column.name), counts.join(", "));
    }
    let head: Vec<String> = (1..=columns.len()).map(|number| format!("[{number}]")).collect();
    _ = write!(out, "\n{}", line("rule", "level", &head));
    for rule in rules(columns) {
        if only_differing && !differs(columns, &rule.id) {
            continue;
        }
        let words = columns.iter().map(|column| match cell(column, &rule.id) {
            None => sign(NO_CASE).to_owned(),
            Some(cell) if cell.all == cell.with_verdict => verdict_text(cell.case.verdict),
            Some(cell) => format!("{} {}/{}", verdict_text(cell.case.verdict), cell.with_verdict, cell.all),
        });
        out.push_str(&line(&rule.id, rule.level.word(), &words.collect::<Vec<_>>()));
        if with_cases {
            for id in case_ids(columns, &rule.id) {
                let cases: Vec<Option<&CaseRecord>> = cases_by_id(columns, id).collect();
                let level = cases.iter().flatten().next().map_or(rule.level, |case| case.level);
                let words = cases
                    .into_iter()
                    .map(|case| case.map_or_else(|| sign(NO_CASE).to_owned(), |case| verdict_text(case.verdict)));
                out.push_str(&line(&format!(" {id}"), level.word(), &words.collect::<Vec<_>>()));
            }
        }
    }
    out
}

/// A line of the terminal's matrix.
fn line(id: &str, level: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!(" {word:<17}")).collect();
    format!("{:<10} {level:<6}{}", plain(id), words.concat()).trim_end().to_owned() + "\n"
}

fn verdict_text(verdict: Verdict) -> String {
    format!("{} {}", sign(verdict.word()), verdict.word())
}

/// Text without characters that would speak to the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn cases_by_id<'c>(columns: &'c [Column], id: &str) -> impl Iterator<Item = Option<&'c CaseRecord>> {
    columns.iter().map(move |column| column.record.cases.iter().find(|case| case.id == id))
}

fn matrix_page(columns: &[Column]) -> String {
    let rules = rules(columns);
    let mut body = String::from(
        "<header><p class=\"kicker\">WS-Management conformance</p>\n<h1>Runs side by side</h1>\n<div class=\"wide\">\
         <table class=\"runs\"><thead><tr><th scope=\"col\">#</th><th scope=\"col\">Target</th>\
         <th scope=\"col\">Profile</th><th scope=\"col\">Date</th>\
         <th scope=\"col\">Verdicts</th></tr></thead>\n<tbody>\n",
    );
    columns.iter().enumerate().for_each(|(at, column)| run_row(&mut body, at, column));
    _ = write!(body, "</tbody></table></div>\n<p class=\"note\">{DISCLAIMER}</p></header>\n<main>");
    let count = |level: Option<Level>, word: &str| match level {
        Some(level) => rules.iter().filter(|rule| rule.level == level).count(),
        None => rules.iter().filter(|rule| words(columns, rule).contains(word)).count(),
    };
    let differing = rules.iter().filter(|rule| differs(columns, &rule.id)).count();
    let differ = switch("f-differ", "narrow", false, &format!("only where the runs differ <b>{differing}</b>"));
    _ = write!(
        body,
        "<section id=\"rules\"><h2>Rules and targets</h2>\n<p>Each verdict leads to the case in the report of its run. \
         A fraction says how many of a rule's cases have the verdict.</p>\n\
         <div class=\"filters\">{}<fieldset>{differ}</fieldset></div>\n",
        switches(&count)
    );
    let mut seen = BTreeSet::new();
    for group in rules.iter().map(|rule| group_of(&rule.id)).filter(|group| seen.insert(*group)) {
        _ = write!(
            body,
            "<h3 id=\"g-{0}\">{0} <small>{1}</small></h3>\n<div class=\"wide\"><table class=\"cells\"><thead><tr>\
             <th scope=\"row\">Rule</th>",
            text(group),
            text(group_title(group))
        );
        for (at, column) in columns.iter().enumerate() {
            _ = write!(
                body,
                "<th scope=\"col\" title=\"{0}\">{1} {2}</th>",
                text(&column.name),
                at + 1,
                text(&short(&column.name))
            );
        }
        body.push_str("</tr></thead>\n");
        let of_group = rules.iter().filter(|rule| group_of(&rule.id) == group);
        of_group.for_each(|rule| rule_rows(&mut body, columns, rule));
        body.push_str("</table></div>\n");
    }
    _ = write!(body, "</section></main>\n<footer><p>{DISCLAIMER}</p></footer>");
    frame("WS-Management conformance: runs side by side", &body)
}

/// The first characters of a name, for a column's head.
fn short(name: &str) -> String {
    const CHARS_MAX: usize = 18;
    if name.chars().count() <= CHARS_MAX {
        name.to_owned()
    } else {
        name.chars().take(CHARS_MAX - 1).chain(['…']).collect()
    }
}

fn run_row(out: &mut String, at: usize, column: &Column) {
    let record = &column.record;
    let counts: Vec<String> = Verdict::ALL
        .iter()
        .filter(|verdict| record.count(**verdict) > 0)
        .map(|verdict| {
            let word = verdict.word();
            format!(
                "<span class=\"v-{word}\"><span class=\"sign\">{}</span> {} {word}</span> ",
                sign(word),
                record.count(*verdict)
            )
        })
        .collect();
    _ = writeln!(
        out,
        "<tr><td>{}</td><td><a href=\"{}\">{}</a><br><small>{}</small></td><td>{}</td><td>{}</td><td>{}</td></tr>",
        at + 1,
        file_name(at),
        text(&column.name),
        text(&record.target),
        text(&record.profile),
        text(record.began.split('T').next().unwrap_or_default()),
        counts.concat()
    );
}

/// The words of the verdicts that any run gives a rule.
fn words(columns: &[Column], rule: &RuleRecord) -> BTreeSet<&'static str> {
    let mut words: BTreeSet<&str> =
        columns.iter().filter_map(|column| cell(column, &rule.id)).map(|cell| cell.case.verdict.word()).collect();
    if words.is_empty() {
        words.insert(NO_CASE);
    }
    words
}

fn rule_rows(out: &mut String, columns: &[Column], rule: &RuleRecord) {
    let words = words(columns, rule);
    let classes: Vec<String> =
        verdict_words().filter(|word| words.contains(word)).map(|word| row_class(rule.level, word)).collect();
    let ids = case_ids(columns, &rule.id);
    let same = if differs(columns, &rule.id) { "" } else { "same " };
    let expand = match ids.len() {
        0 => String::new(),
        many => format!(
            "<label class=\"expand\"><input type=\"checkbox\" autocomplete=\"off\" aria-label=\"the cases of {}\"> \
             {many} {}</label>",
            text(&rule.id),
            if many == 1 { "case" } else { "cases" }
        ),
    };
    _ = write!(
        out,
        "<tbody class=\"row {same}{}\">\n<tr id=\"r-{id}\"><th scope=\"row\"><b>{id}</b> {} {expand}\
         <span class=\"rule\">{}</span></th>",
        classes.join(" "),
        level_label(rule.level),
        text(&rule.text),
        id = text(&rule.id)
    );
    for (at, column) in columns.iter().enumerate() {
        match cell(column, &rule.id) {
            None => {
                _ = write!(
                    out,
                    "<td class=\"v-{NO_CASE}\">{} <span class=\"hidden\">no case</span></td>",
                    sign(NO_CASE)
                );
            }
            Some(cell) => {
                let share = format!(" {}/{}", cell.with_verdict, cell.all);
                out.push_str(&link(at, cell.case, if cell.with_verdict == cell.all { "" } else { &share }));
            }
        }
    }
    out.push_str("</tr>\n");
    for id in ids {
        let cases: Vec<Option<&CaseRecord>> = cases_by_id(columns, id).collect();
        let Some(any) = cases.iter().flatten().next() else { continue };
        _ = write!(
            out,
            "<tr class=\"case {}\"><th scope=\"row\"><b>{}</b> {} {}</th>",
            level_class(any.level),
            text(id),
            level_label(any.level),
            text(&any.title)
        );
        for (at, case) in cases.iter().enumerate() {
            match case {
                None => _ = write!(out, "<td class=\"v-{NO_CASE}\">{}</td>", sign(NO_CASE)),
                Some(case) => out.push_str(&link(at, case, "")),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n");
}

fn link(at: usize, case: &CaseRecord, share: &str) -> String {
    let word = case.verdict.word();
    format!(
        "<td class=\"v-{word}\"><a href=\"{}#c-{id}\" title=\"{id}: {}\"><span class=\"sign\">{}</span> \
         {word}{share}</a></td>",
        file_name(at),
        text(&case.reason),
        sign(word),
        id = text(&case.id)
    )
}
