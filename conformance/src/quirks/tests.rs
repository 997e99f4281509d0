//! Each quirk is caught by the cases that are about it.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::auth::Credentials;
use crate::catalog::Catalog;
use crate::client::Client;
use crate::fixture::{self, Fixtures};
use crate::http::Target;
use crate::model::Case;
use crate::run::{self, Permissions};
use crate::session::Session;
use crate::verdict::Verdict;

/// The results of cases against a server with these quirks, by id.
fn results(catalog: &Catalog, quirks: &[&str], rules: &[&str]) -> Vec<(String, Verdict, String)> {
    let names: Vec<String> = quirks.iter().map(|name| (*name).to_owned()).collect();
    let server = Server::new(Quirks::of(&names).unwrap(), Some(("u".to_owned(), "p".to_owned())));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let address = serve::listen(address, move |request| server.handle(request)).unwrap();
    let target = Target::parse(&format!("http://{address}/wsman")).unwrap();
    let client = Client::new(target.clone(), None, Duration::from_secs(5), Credentials::basic("u", "p"));
    let mut session = Session::new(target, client, 7, None);
    let Ok(fixtures) = fixture::probe(&mut session, Fixtures::default(), "") else {
        return vec![("probe".to_owned(), Verdict::Error, String::new())];
    };
    let permissions: Permissions = ["http", "basic", "credentials"].map(str::to_owned).into();
    let is_meant = |case: &&Case| {
        !case.waits && (rules.is_empty() || case.rules.iter().any(|rule| rules.contains(&rule.as_str())))
    };
    let cases: Vec<&Case> = catalog.cases.iter().filter(is_meant).collect();
    let mut all = run::run_all(&cases, &mut session, &fixtures, &permissions, &mut |_| ());
    let standing = session.watch.results().into_iter();
    all.extend(standing.filter(|result| rules.is_empty() || rules.contains(&result.rules[0].as_str())));
    all.into_iter().map(|result| (result.id, result.verdict, result.reason)).collect()
}

/// The cases that are worse with the quirk than without, and not only told in other words.
fn caught(with: &[(String, Verdict, String)], without: &[(String, Verdict, String)]) -> Vec<String> {
    let is_worse = |(id, verdict, _): &&(String, Verdict, String)| {
        let before = without.iter().find(|(other, ..)| other == id);
        let before = before.map_or(Verdict::Pass, |(_, verdict, _)| *verdict);
        *verdict > before && (verdict.is_bad() || *verdict == Verdict::NonStrict)
    };
    with.iter().filter(is_worse).map(|(id, verdict, _)| format!("{id} {}", verdict.word())).collect()
}

#[test]
fn every_quirk_is_caught_by_cases_of_its_rules() {
    let catalog = Catalog::load().unwrap();
    let rules: Vec<&str> = QUIRKS.iter().flat_map(|quirk| quirk.rules).copied().collect();
    let without = results(&catalog, &[], &rules);
    let missed: Vec<&str> = std::thread::scope(|scope| {
        let halves: Vec<_> = QUIRKS.chunks(QUIRKS.len().div_ceil(4)).collect();
        let (catalog, without) = (&catalog, &without);
        let is_missed = move |quirk: &&table::Quirk| {
            !quirk.rules.is_empty() && caught(&results(catalog, &[quirk.name], quirk.rules), without).is_empty()
        };
        let threads: Vec<_> = halves
            .into_iter()
            .map(|half| scope.spawn(move || half.iter().filter(is_missed).map(|quirk| quirk.name).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(missed, Vec::<&str>::new());
}

#[test]
#[ignore = "tells which cases catch which quirk, for whoever adds one"]
fn tell_what_catches_what() {
    let catalog = Catalog::load().unwrap();
    let without = results(&catalog, &[], &[]);
    for (id, verdict, reason) in without.iter().filter(|(_, verdict, _)| verdict.is_bad()) {
        println!("without any quirk: {id} {} {reason}", verdict.word());
    }
    for quirk in QUIRKS {
        let with = results(&catalog, &[quirk.name], &[]);
        println!("{}: {}", quirk.name, caught(&with, &without).join(", "));
    }
}

#[test]
fn unknown_quirks_are_refused() {
    assert!(Quirks::of(&["moon".to_owned()]).is_err());
    let names: std::collections::BTreeSet<&str> = QUIRKS.iter().map(|quirk| quirk.name).collect();
    assert_eq!(names.len(), QUIRKS.len());
}
