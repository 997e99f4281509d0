//! Whole exchanges as files. Each `vectors/NAME.txt` holds a role (or `anonymous`) and perhaps a profile, the requests
//! of one client in order, and after each the answer (a line break between its tags) and the log event.
//! `UPDATE_EXPECT=1 cargo test` writes the answers anew; the difference is then reviewed like code.

#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, reason = "tests")]

mod associations;
mod events;
mod limits;
mod pace;
mod world;

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{Answer, Call, Endpoint, Journal, Pace, Step};
use crate::auth::{Principal, Role};
use crate::job::JobId;
use crate::provider::Permissions;
use crate::replication::{Amended, Change, View, admit, amend};
use crate::wsman::Profile;
use world::{NOW, endpoint_of, view};

/// Separates a request from its answer, and an answer from the next request.
const ANSWER: &str = "\n=== answer\n";
const REQUEST: &str = "=== request\n";

fn vectors() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/endpoint/tests/vectors");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn every_vector_is_answered_as_written() {
    let files = vectors();
    assert!(30 <= files.len(), "only {} vectors found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let rerun = rerun(&text, &file);
        expect_test::expect_file![file].assert_eq(&rerun);
    }
}

/// The file with its answers as they are now.
fn rerun(text: &str, file: &Path) -> String {
    let (head, requests) = text.split_once(REQUEST).unwrap_or_else(|| panic!("{}: no request", file.display()));
    let said = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let role = said("role: ").unwrap();
    let endpoint = endpoint_of(if said("profile: ") == Some("dmtf") { &Profile::DMTF } else { &Profile::MS });
    let principal = (role != "anonymous").then(|| Principal::for_tests("tester", role.parse::<Role>().unwrap()));
    let count = Cell::new(0xA000_u128);
    let ids = || {
        count.set(count.get() + 1);
        Uuid::from_u128(count.get())
    };
    let mut view = Arc::new(view());
    let mut out = head.to_owned();
    let mut begun = false;
    for request in requests.split(REQUEST) {
        let request = request.split(ANSWER).next().unwrap().trim_end();
        let Some(principal) = &principal else {
            let answer = match endpoint.identify_anonymous(&ids, request.as_bytes(), None) {
                Ok(answer) => shown(&answer),
                Err(journal) => format!("needs a user\n{}", logged(&journal)),
            };
            write!(out, "{REQUEST}{request}{ANSWER}{answer}").unwrap();
            continue;
        };
        if !begun {
            endpoint.begin_events(&view, NOW);
            begun = true;
        }
        let call = Call {
            now: NOW,
            ids: &ids,
            principal,
            permissions: &Permissions::unlimited(),
            view: &view,
            request: request.as_bytes(),
            charset: None,
            soap_action: None,
            targets: false,
            pace: Pace::Brief,
        };
        let (answer, note, next) = carried_out(&endpoint, &call);
        if let Some(next) = next {
            view = Arc::new(next);
        }
        write!(out, "{REQUEST}{request}{ANSWER}{note}{}", shown(&answer)).unwrap();
    }
    out
}

/// A request carried out: its answer, what was done for it in words, and the view after it when it changed something.
fn carried_out(endpoint: &Endpoint, call: &Call<'_>) -> (Answer, String, Option<View>) {
    let (view, mut note, mut next) = (call.view, String::new(), None);
    let answer = match endpoint.handle(call) {
        Step::Respond(answer) => answer,
        Step::Submit(command, continuation) => {
            writeln!(note, "command: {} {:?}", command.vm, command.operation).unwrap();
            assert!(command.idempotency_key.is_some());
            match admit(view, &command) {
                Ok(_) => endpoint.submitted(continuation, 4_096, Some(JobId(Uuid::from_u128(0x10B)))),
                Err(denied) => endpoint.denied(continuation, &denied),
            }
        }
        Step::Amend(amendment, continuation) => {
            writeln!(note, "change: {amendment:?}").unwrap();
            match amend(view, &amendment) {
                Ok(amended) => {
                    let after = Arc::new(changed(view, amended));
                    let answer = endpoint.amended(continuation, &after, NOW);
                    next = Some(Arc::unwrap_or_clone(after));
                    answer
                }
                Err(denied) => endpoint.denied(continuation, &denied),
            }
        }
        Step::Cancel(job, continuation) => {
            writeln!(note, "cancel: {job}").unwrap();
            endpoint.cancelled(continuation, job, 0)
        }
        Step::Durable(durable) => {
            endpoint.apply_subscription(&durable.change, NOW).unwrap();
            durable.done
        }
        Step::Wait { timeout, .. } => {
            writeln!(note, "waits: {timeout:?}").unwrap();
            match endpoint.handle(&Call { pace: Pace::Until(&|_| true), ..*call }) {
                Step::Respond(answer) => answer,
                step => panic!("time is up, and still {step:?}"),
            }
        }
        Step::Elsewhere => panic!("this world is small"),
    };
    (answer, note, next)
}

/// The view after a change of settings.
fn changed(view: &View, amended: Amended) -> View {
    let mut view = view.clone();
    match amended {
        Amended::Nothing => {}
        Amended::Vm(vm) => view.apply(Change::Vm(vm.into())),
        Amended::Service(settings) => view.apply(Change::Service(settings.into())),
        Amended::Authorization(entry) => view.apply(Change::Authorization(entry.into())),
        Amended::Removed(entry) => view.apply(Change::AuthorizationRemoved(entry.id(), entry.revision)),
    }
    view
}

fn shown(answer: &Answer) -> String {
    let text = String::from_utf8(answer.octets.clone()).unwrap();
    // The status is told where it is not the one that WinRM has.
    let usual = if answer.is_fault { 500 } else { 200 };
    let status = if answer.status == usual { String::new() } else { format!("status: {}\n", answer.status) };
    format!("{status}{}\n{}", text.replace("><", ">\n<"), logged(&answer.journal))
}

fn logged(journal: &Journal) -> String {
    format!(
        "log: {} class={} method={} message={} job={} {:?}\n",
        journal.operation,
        journal.class.as_deref().unwrap_or("-"),
        journal.method.as_deref().unwrap_or("-"),
        journal.message_id.as_deref().unwrap_or("-"),
        journal.job.map_or("-".to_owned(), |job| job.to_string()),
        journal.outcome
    )
}
