//! Cases in words: what a step sends, and which answers it takes.

use crate::model::{Case, Outcome, Profile, Step};
use crate::record::{OutcomeRecord, StepRecord};

/// What each step of a case sends and which answers it takes under a profile; none: under each.
pub(crate) fn steps(case: &Case, profile: Option<Profile>) -> Vec<StepRecord> {
    let outcomes = |step: &Step| -> Vec<OutcomeRecord> {
        let outcomes: Vec<&Outcome> = match profile {
            Some(profile) => step.outcomes(profile).collect(),
            None => step.all_outcomes().collect(),
        };
        let default = Outcome { usual: true, ..Outcome::default() };
        if outcomes.is_empty() { vec![outcome(&default)] } else { outcomes.into_iter().map(outcome).collect() }
    };
    case.step.iter().map(|step| StepRecord { sends: sends(step), outcomes: outcomes(step) }).collect()
}

fn outcome(outcome: &Outcome) -> OutcomeRecord {
    let bound = outcome.profile.map(|profile| format!("profile {}", profile.word()));
    let note = Some(outcome.note.clone()).filter(|note| !note.is_empty());
    OutcomeRecord {
        verdict: if outcome.verdict.is_empty() { "pass".to_owned() } else { outcome.verdict.clone() },
        when: describe(outcome),
        note: bound.into_iter().chain(note).collect::<Vec<_>>().join("; "),
    }
}

/// What a step sends, in a line.
fn sends(step: &Step) -> String {
    let mut parts = vec![what(step)];
    parts.extend(step.invoke.iter().map(|method| format!("of {method}")));
    if !step.of.is_empty() {
        parts.push(format!("to {}", step.of));
    }
    if !step.sink.is_empty() {
        parts.push(format!("the sink set to {}", step.sink));
    }
    parts.extend(step.omit.iter().map(|name| format!("without {name}")));
    parts.extend(step.set.iter().map(|(name, value)| format!("{name} = {value:?}")));
    parts.extend(step.replace.keys().map(|name| format!("another {name}")));
    parts.extend(step.properties.iter().map(|(name, value)| format!("property {name} = {value:?}")));
    parts.extend(step.drop_properties.iter().map(|name| format!("without property {name}")));
    let switches = [
        (!step.add_header.is_empty(), "more header blocks"),
        (step.reverse_header, "the header in the opposite order"),
        (step.selectors.is_some(), "selectors of its own"),
        (!step.more_selectors.is_empty(), "more selectors"),
        (!step.drop_selectors.is_empty(), "selectors left out"),
        (step.http.expect_continue, "Expect: 100-continue"),
        (step.http.fresh, "a connection of its own"),
        (step.http.plain, "without TLS"),
        (step.undo, "to undo what the case did"),
    ];
    parts.extend(switches.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).to_owned()));
    parts.extend(on_the_wire(step));
    parts.extend(step.times.map(|times| format!("{times} times")));
    if !step.repeat_until.is_empty() {
        parts.push(format!("again until {}", step.repeat_until));
    }
    parts.extend(step.within_ms.map(|bound| format!("within {bound} ms")));
    parts.join(", ")
}

/// The kind of a step.
fn what(step: &Step) -> String {
    if let Some(awaited) = &step.received {
        return format!("waits for {} at the sink, {} ms at most", awaited.count, awaited.within_ms);
    }
    if !step.raw_http.is_empty() {
        return format!("exact octets in {} pieces", step.raw_http.len());
    }
    match (&step.raw_body, step.template.as_str()) {
        (Some(_), _) => "a body of its own".to_owned(),
        (None, "") => "nothing".to_owned(),
        (None, template) => template.to_owned(),
    }
}

fn on_the_wire(step: &Step) -> Vec<String> {
    let mut parts = Vec::new();
    if step.wait_ms > 0 {
        parts.push(format!("after {} ms", step.wait_ms));
    }
    if !step.encode.is_empty() {
        parts.push(format!("in {}", step.encode));
    }
    parts.extend(step.http.method.iter().map(|method| format!("by {method}")));
    parts.extend(step.http.path.iter().map(|path| format!("at {path}")));
    parts.extend(step.http.content_type.iter().map(|kind| format!("Content-Type {kind}")));
    parts.extend(step.http.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    parts.extend(step.http.auth.iter().map(|kind| format!("{kind} credentials")));
    parts.extend(step.http.chunk.map(|size| format!("chunks of {size}")));
    parts
}

fn describe(outcome: &Outcome) -> String {
    let mut parts = Vec::new();
    if !outcome.status.is_empty() {
        let statuses: Vec<String> = outcome.status.iter().map(u16::to_string).collect();
        parts.push(format!("HTTP {}", statuses.join(" or ")));
    }
    let switches = [
        (outcome.usual, "HTTP 200, with what such a request gets when all is well"),
        (outcome.no_fault, "no fault"),
        (outcome.closed, "the connection is closed without an answer"),
        (outcome.silent, "nothing comes"),
    ];
    parts.extend(switches.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| (*word).to_owned()));
    parts.extend(outcome.foreign.iter().map(|pattern| format!("what comes is no HTTP and matches {pattern}")));
    if let Some(fault) = &outcome.fault {
        let numbers: Vec<String> = fault.number.iter().map(u32::to_string).collect();
        let lists = [fault.subcode.join(" or "), fault.detail.join(" or "), numbers.join(" or ")];
        let named: Vec<String> = fault.code.iter().cloned().chain(lists).filter(|part| !part.is_empty()).collect();
        parts.push(format!("the fault {}", if named.is_empty() { "(any)".to_owned() } else { named.join(" ") }));
    }
    parts.extend(outcome.http.iter().map(|(name, pattern)| format!("{name} matches {pattern}")));
    parts.extend(outcome.http_absent.iter().map(|name| format!("no {name}")));
    parts.extend(outcome.assert.iter().cloned());
    let answers = outcome.answers.iter().zip(1..);
    parts.extend(answers.map(|(answer, number)| format!("answer {number}: {}", describe(answer))));
    if outcome.then_closed {
        parts.push("then the connection is closed".to_owned());
    }
    if parts.is_empty() { "anything comes".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_words() {
        let case = "id='A-1.a'\nrules=[]\ntitle=''\nlevel='MUST'\n[[step]]\ntemplate='get'\nomit=['a:To']\n\
            http={chunk=1}\n[[step]]\nraw_body='x'\n[[step.outcome]]\nverdict='fail'\nstatus=[400,500]\n\
            fault={subcode=['w:A','w:B']}\nnote='n'";
        let steps = steps(&toml::from_str(case).unwrap(), Some(Profile::Ms));
        assert_eq!(steps[0].sends, "get, without a:To, chunks of 1");
        assert_eq!(steps[0].outcomes[0].when, "HTTP 200, with what such a request gets when all is well");
        assert_eq!(steps[1].sends, "a body of its own");
        let outcome = &steps[1].outcomes[0];
        assert_eq!((outcome.verdict.as_str(), outcome.note.as_str()), ("fail", "n"));
        assert_eq!(outcome.when, "HTTP 400 or 500; the fault w:A or w:B");
    }
}
