//! One run as a page: who was asked, what was found, a matrix of rules and verdicts, and each case with what went over
//! the wire.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::html::{
    DISCLAIMER, NO_CASE, bar, content, frame, group_place, group_title, level_class, level_label, row_class, sign,
    switches, text,
};
use super::pretty::{Layout, pretty};
use crate::model::Level;
use crate::record::{CaseRecord, EXCHANGES_KEPT, Record, RuleRecord, StepRecord, group_of};
use crate::verdict::Verdict;

/// What a run may be allowed to do beyond reading.
const CHANGING: [&str; 3] = ["writes", "methods", "load"];

/// The whole page; `all_runs` is the page of the matrix that this run stands in.
pub(crate) fn page(record: &Record, all_runs: Option<&str>) -> String {
    let mut body = String::new();
    header(&mut body, record, all_runs);
    body.push_str("<main>\n");
    attention(&mut body, record);
    overview(&mut body, record);
    let count = |level: Option<Level>, word: &str| match level {
        Some(level) => record.cases.iter().filter(|case| case.level == level).count(),
        None if word == NO_CASE => without_case(record).count(),
        None => record.cases.iter().filter(|case| case.verdict.word() == word).count(),
    };
    _ = write!(
        body,
        "<section id=\"matrix\"><h2>Rules and verdicts</h2>\n\
         <p>Each sign is a case: it leads to what was sent, what came, and why the verdict.</p>\n\
         <div class=\"filters\">{}</div>\n",
        switches(&count)
    );
    let verdicts: Vec<Verdict> = Verdict::ALL.into_iter().filter(|verdict| record.count(*verdict) > 0).collect();
    for group in groups(record) {
        matrix_group(&mut body, record, group, &verdicts);
    }
    body.push_str("</section>\n<section id=\"cases\"><h2>Cases</h2>\n");
    for group in groups(record) {
        let mut cases: Vec<&CaseRecord> = record.cases.iter().filter(|case| group_of(&case.id) == group).collect();
        cases.sort_by(|one, other| one.id.cmp(&other.id));
        for case in cases {
            case_details(&mut body, record, case);
        }
    }
    body.push_str("</section>\n");
    probes(&mut body, record);
    _ = write!(body, "</main>\n<footer><p>{DISCLAIMER}</p></footer>");
    frame(&format!("{}: conformance", record.target), &body)
}

/// The groups that the run speaks of.
fn groups(record: &Record) -> Vec<&str> {
    let ids = record.rules.iter().map(|rule| &rule.id).chain(record.cases.iter().map(|case| &case.id));
    let all: BTreeSet<(usize, &str)> = ids.map(|id| group_of(id)).map(|group| (group_place(group), group)).collect();
    all.into_iter().map(|(_, group)| group).collect()
}

fn without_case(record: &Record) -> impl Iterator<Item = &RuleRecord> {
    record.rules.iter().filter(|rule| record.cases_of(&rule.id).next().is_none())
}

fn header(out: &mut String, record: &Record, all_runs: Option<&str>) {
    let back = all_runs.map(|page| format!("<p><a href=\"{}\">← All runs</a></p>", text(page))).unwrap_or_default();
    _ = write!(
        out,
        "<header>{back}<p class=\"kicker\">WS-Management conformance report</p>\n<h1>{}</h1>\n{}\n<dl>",
        text(&record.target),
        banner(record)
    );
    let product = format!("{} {}", record.product.vendor, record.product.version);
    let seconds = format!("{:.1} s", record.seconds);
    let suite = format!("wsman-conform {}", record.suite);
    // The rest of what cases may need is what the target and the command line brought along.
    let allowed: Vec<&str> = record.allowed.iter().map(String::as_str).filter(|one| CHANGING.contains(one)).collect();
    let allowed = allowed.join(", ");
    let facts = [
        ("Product", product.trim()),
        ("Profile", &record.profile),
        ("Date", &record.began),
        ("Took", &seconds),
        ("Seed", &record.seed),
        ("Suite", &suite),
        ("Allowed", if allowed.is_empty() { "reading only" } else { &allowed }),
    ];
    for (name, value) in facts {
        let value = if value.is_empty() { "not told" } else { value };
        _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", text(value));
    }
    _ = write!(out, "</dl>\n<p class=\"note\">{DISCLAIMER}</p></header>\n");
}

/// The result in a sentence.
fn banner(record: &Record) -> String {
    let required: Vec<&CaseRecord> = record.cases.iter().filter(|case| case.level == Level::Must).collect();
    let bad = required.iter().filter(|case| case.verdict.is_bad()).count();
    let ran = required.iter().filter(|case| !matches!(case.verdict.word(), "not-run" | "unsupported")).count();
    let (class, sentence) = match (bad, ran) {
        (_, 0) => ("v-not-run", "No required case was run.".to_owned()),
        (0, _) => ("v-pass", format!("No required case failed: {ran} of {} were run.", required.len())),
        _ => ("v-fail", format!("{bad} of the {ran} required cases that were run did not hold.")),
    };
    format!(
        "<p class=\"banner {class}\"><span class=\"sign\">{}</span> {sentence}</p>",
        sign(class.trim_start_matches("v-"))
    )
}

/// What did not hold, the required first.
fn attention(out: &mut String, record: &Record) {
    let mut bad: Vec<&CaseRecord> = record.cases.iter().filter(|case| case.verdict.is_bad()).collect();
    if bad.is_empty() {
        return;
    }
    bad.sort_by_key(|case| case.level);
    out.push_str("<section id=\"attention\"><h2>What did not hold</h2>\n<ul class=\"lines\">\n");
    for case in bad {
        _ = writeln!(
            out,
            "<li class=\"v-{0}\"><a href=\"#c-{1}\"><span class=\"sign\">{2}</span> {1}</a> {3} <b>{4}</b> \
             <span class=\"why\">{0}: {5}</span></li>",
            case.verdict.word(),
            text(&case.id),
            sign(case.verdict.word()),
            level_label(case.level),
            text(&case.title),
            text(&case.reason)
        );
    }
    out.push_str("</ul></section>\n");
}

/// A line for each group.
fn overview(out: &mut String, record: &Record) {
    out.push_str("<nav aria-label=\"Groups of rules\"><h2>Groups</h2>\n<ul class=\"groups\">\n");
    for group in groups(record) {
        let of_group: Vec<&CaseRecord> = record.cases.iter().filter(|case| group_of(&case.id) == group).collect();
        let count = |verdict: &Verdict| of_group.iter().filter(|case| case.verdict == *verdict).count();
        let counts: Vec<(&str, usize)> = Verdict::ALL.iter().map(|verdict| (verdict.word(), count(verdict))).collect();
        let told: Vec<String> =
            counts.iter().filter(|(_, many)| *many > 0).map(|(word, many)| format!("{} {many}", sign(word))).collect();
        let told = if told.is_empty() { "no case".to_owned() } else { told.join("  ") };
        _ = writeln!(
            out,
            "<li><a href=\"#g-{0}\"><b>{0}</b> {1}</a>{2}<span class=\"told\">{told}</span></li>",
            text(group),
            text(group_title(group)),
            bar(&counts)
        );
    }
    out.push_str("</ul></nav>\n");
}

fn matrix_group(out: &mut String, record: &Record, group: &str, verdicts: &[Verdict]) {
    _ = write!(
        out,
        "<h3 id=\"g-{0}\">{0} <small>{1}</small></h3>\n<table role=\"table\"><thead role=\"rowgroup\"><tr role=\"row\">\
         <th role=\"columnheader\" scope=\"col\">Rule</th>",
        text(group),
        text(group_title(group))
    );
    for verdict in verdicts {
        let word = verdict.word();
        _ = write!(out, "<th role=\"columnheader\" scope=\"col\" class=\"v-{word}\">{} {word}</th>", sign(word));
    }
    out.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for rule in record.rules.iter().filter(|rule| group_of(&rule.id) == group) {
        matrix_row(out, record, rule, verdicts);
    }
    out.push_str("</tbody></table>\n");
}

fn matrix_row(out: &mut String, record: &Record, rule: &RuleRecord, verdicts: &[Verdict]) {
    let cases: Vec<&CaseRecord> = record.cases_of(&rule.id).collect();
    let mut classes: BTreeSet<String> = cases.iter().map(|case| row_class(case.level, case.verdict.word())).collect();
    if cases.is_empty() {
        classes.insert(row_class(rule.level, NO_CASE));
    }
    _ = write!(
        out,
        "<tr role=\"row\" class=\"row {}\" id=\"r-{id}\"><th role=\"rowheader\" scope=\"row\"><b>{id}</b> {} \
         <span class=\"rule\">{}</span></th>",
        classes.into_iter().collect::<Vec<_>>().join(" "),
        level_label(rule.level),
        text(&rule.text),
        id = text(&rule.id)
    );
    if cases.is_empty() {
        let why = if rule.untestable.is_empty() { "no case" } else { &rule.untestable };
        _ = write!(
            out,
            "<td role=\"cell\" colspan=\"{}\" class=\"v-{NO_CASE}\">{} {}</td>",
            verdicts.len(),
            sign(NO_CASE),
            text(why)
        );
    } else {
        for verdict in verdicts {
            let chips: String =
                cases.iter().filter(|case| case.verdict == *verdict).map(|case| chip(rule, case)).collect();
            _ = write!(out, "<td role=\"cell\">{chips}</td>");
        }
    }
    out.push_str("</tr>\n");
}

/// A case in its cell: a sign and what tells it from the rule's other cases.
fn chip(rule: &RuleRecord, case: &CaseRecord) -> String {
    let word = case.verdict.word();
    let short = case.id.strip_prefix(&rule.id).map_or(case.id.as_str(), |rest| rest.trim_start_matches('.'));
    format!(
        "<a class=\"chip item v-{word} {}\" href=\"#c-{}\" title=\"{word}: {}\"><span class=\"sign\">{}</span>\
         <span class=\"hidden\">{word} </span> {}</a>",
        level_class(case.level),
        text(&case.id),
        text(&case.title),
        sign(word),
        text(short)
    )
}

fn case_details(out: &mut String, record: &Record, case: &CaseRecord) {
    let word = case.verdict.word();
    _ = write!(
        out,
        "<details class=\"case item v-{word} {class}\"><summary><span class=\"sign\">{sign}</span> \
         <b>{id}</b> <span class=\"title\">{title}</span> <span class=\"tail\"><span class=\"word\">{word}</span> \
         {level}</span></summary>\n<div class=\"body\" id=\"c-{id}\">",
        class = level_class(case.level),
        sign = sign(word),
        id = text(&case.id),
        title = text(&case.title),
        level = level_label(case.level),
    );
    let reason = if case.reason.is_empty() { "the answer is as the rule says" } else { &case.reason };
    _ = writeln!(
        out,
        "<p class=\"verdict v-{word}\"><span class=\"sign\">{}</span> <b>{word}</b>: {} <small>({} ms)</small></p>",
        sign(word),
        text(reason),
        case.milliseconds
    );
    if !case.why.is_empty() {
        _ = writeln!(out, "<p><b>Why this case:</b> {}</p>", text(&case.why));
    }
    for id in &case.rules {
        match record.rules.iter().find(|rule| rule.id == *id) {
            Some(rule) => _ = writeln!(out, "{}", rule_line(rule)),
            None => _ = writeln!(out, "<p><b>{}</b></p>", text(id)),
        }
    }
    steps(out, &case.steps);
    wire(out, case);
    out.push_str("</div></details>\n");
}

fn rule_line(rule: &RuleRecord) -> String {
    format!(
        "<p><a href=\"#r-{id}\"><b>{id}</b></a> {} {} <small>{}</small></p>",
        level_label(rule.level),
        text(&rule.text),
        text(&rule.source),
        id = text(&rule.id)
    )
}

fn steps(out: &mut String, steps: &[StepRecord]) {
    if steps.is_empty() {
        out.push_str("<p>A standing check: it looks at every answer of the run.</p>\n");
        return;
    }
    out.push_str("<h4>What is sent, and which answers give which verdict</h4>\n<ol class=\"steps\">\n");
    for step in steps {
        _ = write!(out, "<li>{}<ul>", text(&step.sends));
        for outcome in &step.outcomes {
            _ = write!(
                out,
                "<li><span class=\"outcome v-{word}\"><span class=\"sign\">{sign}</span> {word}</span> when {}",
                text(&outcome.when),
                word = text(&outcome.verdict),
                sign = sign(&outcome.verdict)
            );
            if !outcome.note.is_empty() {
                _ = write!(out, " <small>({})</small>", text(&outcome.note));
            }
            out.push_str("</li>");
        }
        out.push_str("</ul></li>\n");
    }
    out.push_str("</ol>\n<p><small>The first outcome that fits counts; when none fits, the case fails.</small></p>\n");
}

fn wire(out: &mut String, case: &CaseRecord) {
    if case.wire.is_empty() {
        let why = if case.verdict.word() == "not-run" {
            "Nothing was sent."
        } else {
            "What went over the wire was not kept."
        };
        _ = writeln!(out, "<p class=\"wire none\">{why}</p>");
        return;
    }
    let kept = case.wire.len();
    let before = kept.min(EXCHANGES_KEPT.0);
    for (at, exchange) in case.wire.iter().enumerate() {
        let left_out = if at >= before { case.wire_left_out } else { 0 };
        if at == before && left_out > 0 {
            _ = writeln!(out, "<p class=\"note\">… {left_out} exchanges are left out here …</p>");
        }
        let number = at + 1 + left_out;
        let shown = if exchange.step > 0 {
            format!("Exchange {number}, step {}", exchange.step)
        } else {
            format!("Exchange {number}")
        };
        _ = write!(out, "<h4>{shown} <small>{} ms</small></h4>\n<div class=\"wire\">", exchange.milliseconds);
        one_way(out, "Sent", &exchange.request);
        one_way(out, "Received", &exchange.answer);
        out.push_str("</div>\n");
    }
}

/// Stands for a message that was the lines above on a single one; the page's script puts that in its place.
const ON_ONE_LINE: &str =
    "<p>The same on one line: without the breaks and tabs, and with a space between attributes.</p>";

/// One direction of an exchange: laid out, and as it was.
fn one_way(out: &mut String, title: &str, message: &str) {
    _ = write!(out, "<section><h5>{title}</h5>");
    let (head, body) = head_and_body(message);
    _ = write!(out, "<pre class=\"head\">{}</pre>", content(head));
    match pretty(body) {
        Some(Layout { markup, is_whole: true, .. }) => {
            _ = write!(out, "<pre>{markup}</pre><details class=\"raw\"><summary>Raw</summary>{ON_ONE_LINE}</details>");
        }
        Some(Layout { markup, .. }) => {
            _ = write!(
                out,
                "<pre>{markup}</pre><details class=\"raw\"><summary>Raw</summary><pre>{}</pre></details>",
                content(body)
            );
        }
        None if !body.is_empty() => _ = write!(out, "<pre>{}</pre>", content(body)),
        None => {}
    }
    out.push_str("</section>");
}

/// The two parts of a message; exact octets have their own ends of lines.
fn head_and_body(message: &str) -> (&str, &str) {
    message.split_once("\n\n").or_else(|| message.split_once("\r\n\r\n")).unwrap_or((message, ""))
}

fn probes(out: &mut String, record: &Record) {
    if record.probes.is_empty() {
        return;
    }
    out.push_str("<section id=\"probes\"><h2>What the probes found</h2>\n<ul class=\"lines\">\n");
    for probe in &record.probes {
        _ = writeln!(out, "<li>{}</li>", text(probe));
    }
    _ = write!(out, "</ul>\n<p>Features: {}</p></section>\n", text(&record.features.join(", ")));
}
