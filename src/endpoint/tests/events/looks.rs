//! How much is looked at for whom: counted, not timed.

use std::sync::Arc;

use uuid::Uuid;

use super::lab::{JOBS, Lab, PULL_MODE, PUSH_MODE, between, number, statuses};
use crate::endpoint::{EventLimits, Pace, Progress, Step};

const EARLIEST: &str = "<w:Bookmark>http://schemas.dmtf.org/wbem/wsman/1/wsman/bookmark/earliest</w:Bookmark>";
/// The bounds of one call, of a Pull with what it then looks ahead.
const LOOKED_MAX: u64 = 1_024 + 256;
const RENDERED_MAX: u64 = 32;

fn of_job(number: u128) -> String {
    format!("{JOBS} AND SourceInstance.InstanceID = '{:X}'", Uuid::from_u128(number).hyphenated())
}

#[test]
fn whoever_begins_at_the_earliest_over_and_over_makes_nobody_render() {
    let lab = Lab::new();
    lab.pulled(&of_job(2), "");
    for round in 0..3_000 {
        lab.touch_job(1, &round.to_string());
    }
    lab.looks();
    for round in 0..50 {
        let context = lab.pulled(&of_job(2), EARLIEST);
        let (looked, rendered) = lab.looks();
        assert!(looked <= 256 && rendered == 0, "a Subscribe looks at {looked} and renders {rendered}");
        let page = lab.pull(&context, 9);
        assert_eq!(page.matches("<p:CIM_InstModification ").count(), 1, "the job as the start found it: {page}");
        let (looked, rendered) = lab.looks();
        // What the start found is rendered once, to know what it is.
        assert!(looked <= LOOKED_MAX && rendered <= if round == 0 { 8 } else { 1 }, "{looked} {rendered}");
        assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793);
        let (looked, rendered) = lab.looks();
        assert!(looked <= LOOKED_MAX && rendered == 0, "a Pull looks at {looked} and renders {rendered}");
    }
}

#[test]
fn a_filter_that_nothing_fits_is_asked_in_portions() {
    let lab = Lab::new();
    // Nobody has subscribed yet, so that nothing is known of them.
    for round in 0..500 {
        lab.touch_job(1, &round.to_string());
    }
    let never = format!("{JOBS} AND SourceInstance.JobStatus = 'never'");
    let context = lab.pulled(&never, EARLIEST);
    assert!(lab.looks().1 == 0);
    let request =
        super::envelope(super::ALL, &format!("{}Pull", super::ENUMERATION), "", &super::pull_body(&context, 9));
    let mut waits = 0;
    loop {
        let Step::Wait { subscription, .. } = lab.step("tester", &request, Pace::Brief) else { panic!("an answer") };
        waits += 1;
        let (looked, rendered) = lab.looks();
        assert!(looked <= LOOKED_MAX && rendered <= RENDERED_MAX, "one look at {looked}, {rendered} rendered");
        if lab.endpoint.has_news(subscription) == Some(false) {
            break;
        }
    }
    assert!((500 / RENDERED_MAX..20).contains(&waits), "{waits}");
    lab.touch_job(1, "never");
    assert_eq!(statuses(&lab.pull(&context, 9)).last().map(String::as_str), Some("never"));
}

#[test]
fn a_pushed_subscription_looks_on_until_it_is_through() {
    let lab = Lab::new();
    for round in 0..200 {
        lab.touch_job(1, &round.to_string());
    }
    lab.touch_job(2, "wanted");
    let answer = lab.subscribe(PUSH_MODE, "", &format!("{JOBS} AND SourceInstance.JobStatus = 'wanted'"), EARLIEST);
    let id = between(&answer, "Identifier xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\">", "<").unwrap();
    let id = id.parse().unwrap();
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    assert!(matches!(lab.next(id), crate::endpoint::Next::More));
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty(), "whoever looks is alone");
    assert_eq!(lab.drain(id).len(), 1);
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty());
}

#[test]
fn a_start_with_many_quiet_subscriptions_renders_nothing_twice() {
    let before = Lab::with(EventLimits { per_principal_max: 1_000, ..EventLimits::default() });
    before.more_jobs(2, 1_000..1_400);
    for number in 0..300 {
        let mode = if number % 2 == 0 { PULL_MODE } else { PUSH_MODE };
        before.subscribe(mode, "", &of_job(number), "");
    }
    let records = before.endpoint.subscription_records();
    assert_eq!(records.len(), 300);
    // Nothing of how far they had come was ever stored but where they began.
    let progress: Vec<_> = records.iter().map(|record| (record.id, Progress::default())).collect();
    let lab = before.restarted(EventLimits::default());
    lab.looks();
    lab.restore(&records, &progress);
    let (looked, rendered) = lab.looks();
    assert!(rendered == 0 && looked <= 300 * 256, "{looked} {rendered}");
    let sends = lab.endpoint.due_events(lab.now()).sends;
    assert_eq!(sends.len(), 150);
    for id in sends {
        assert!(lab.drain(id).len() <= 1, "only jobs 1 and 2 are there");
    }
    let (_, rendered) = lab.looks();
    assert!(rendered < 500, "each change about once for all of them, not once for each: {rendered}");
    for record in records.iter().filter(|record| record.context.is_some()) {
        let context = crate::endpoint::cursor::context_name(record.context.unwrap());
        lab.pull(&context, 9);
    }
    assert!(lab.looks().1 <= 4);
}

#[test]
fn those_who_fall_behind_are_counted_once_for_all_who_see_as_much() {
    use crate::provider::{Patterns, Rule, Rules};
    let lab = Lab::with(EventLimits { changes_max: 16, ..EventLimits::default() });
    let rule = Rule { number: 1, vms: Some(Patterns::new(["*"])), ..Rule::default() };
    let principal = crate::auth::Principal::for_tests("tester", crate::auth::Role::Operator);
    lab.permissions.replace(Rules::new([Arc::new(rule)].map(|rule| Rule::clone(&rule))).permissions(&principal));
    let contexts: Vec<String> = (0..100).map(|_| lab.pulled(JOBS, "")).collect();
    for round in 0..16 {
        lab.touch_job(1, &round.to_string());
    }
    for round in 0..10 {
        lab.looks();
        lab.touch_job(1, &round.to_string());
        let (_, rendered) = lab.looks();
        assert!(rendered <= 5, "{rendered} renderings for one change");
    }
    for context in &contexts {
        assert!(lab.pull(context, 1).contains("</w:DroppedEvents>"));
    }
}
