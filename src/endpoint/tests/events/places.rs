//! Places in the row of events: bookmarks, what is dropped, and what a restart goes on from.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::lab::{ALL, EVENTING, JOBS, Lab, PULL_MODE, PUSH_MODE, WQL, all, between, envelope, number, statuses};
use crate::endpoint::{EventLimits, Finished, Pace, Progress, Record, Step, SubscriptionChange};
use crate::job::JobId;
use crate::replication::Change;

//= EVT-13
#[test]
fn a_bookmark_resumes_without_a_gap_or_a_repetition() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "<w:SendBookmarks/>");
    let mut seen = Vec::new();
    let mut bookmark = String::new();
    for round in 0..5 {
        for step in 0..3 {
            lab.touch_job(1, &format!("{round}-{step}"));
        }
        if round == 2 {
            // The connection is lost; what happens meanwhile waits behind the bookmark.
            continue;
        }
        let resumed =
            if round == 3 { lab.pulled(JOBS, &format!("<w:SendBookmarks/>{bookmark}")) } else { context.clone() };
        loop {
            let page = lab.pull(&resumed, 2);
            if page.contains("TimedOut") {
                break;
            }
            seen.extend(statuses(&page));
            bookmark = format!("<w:Bookmark>{}</w:Bookmark>", between(&page, "<w:Bookmark>", "</w:Bookmark>").unwrap());
        }
        if round == 3 {
            break;
        }
    }
    let expected: Vec<String> = (0..4).flat_map(|round| (0..3).map(move |step| format!("{round}-{step}"))).collect();
    let mut distinct: Vec<String> = Vec::new();
    for status in seen {
        // A modification tells the status before and after.
        if distinct.last() != Some(&status) {
            distinct.push(status);
        }
    }
    assert_eq!(distinct.iter().filter(|status| status.contains('-')).cloned().collect::<Vec<_>>(), expected);
}

//= EVT-14, EVT-15
#[test]
fn earliest_replays_and_unusable_bookmarks_are_told_apart() {
    let lab = Lab::with(EventLimits { changes_max: 16, ..EventLimits::default() });
    let first = lab.pulled(JOBS, "<w:SendBookmarks/>");
    lab.touch_job(1, "first");
    let page = lab.pull(&first, 1);
    let old = format!("<w:Bookmark>{}</w:Bookmark>", between(&page, "<w:Bookmark>", "</w:Bookmark>").unwrap());
    let earliest = "<w:Bookmark>http://schemas.dmtf.org/wbem/wsman/1/wsman/bookmark/earliest</w:Bookmark>";
    let replay = lab.pulled(JOBS, earliest);
    assert_eq!(statuses(&lab.pull(&replay, 9)).last().map(String::as_str), Some("first"));
    for step in 0..17 {
        lab.touch_job(1, &step.to_string());
    }
    let refused = |bookmark: &str| number(&lab.subscribe(PULL_MODE, "", JOBS, bookmark));
    assert_eq!(refused(&old), 2_150_858_832, "expired");
    for bad in ["text", "", "<x/>", "<b:Position xmlns:b=\"urn:failbackd:eventing\">1.2</b:Position>"] {
        assert_eq!(refused(&format!("<w:Bookmark>{bad}</w:Bookmark>")), 2_150_858_808, "{bad}");
    }
    let ahead = "<w:Bookmark><b:Position xmlns:b=\"urn:failbackd:eventing\">99999999999.0.0</b:Position></w:Bookmark>";
    assert_eq!(refused(ahead), 2_150_858_808);
}

//= EVT-25
#[test]
fn whoever_is_too_slow_is_told_how_much_was_dropped() {
    let lab = Lab::with(EventLimits { changes_max: 16, ..EventLimits::default() });
    let context = lab.pulled(JOBS, "");
    for step in 0..20 {
        lab.touch_job(1, &step.to_string());
    }
    let page = lab.pull(&context, 1);
    assert!(page.contains("Action=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/Event\">4</w:DroppedEvents>"), "{page}");
    let page = lab.pull(&context, 99);
    assert_eq!(page.matches("<p:CIM_InstModification ").count(), 16);
    for step in 0..18 {
        lab.touch_job(1, &format!("again {step}"));
    }
    let page = lab.pull(&context, 99);
    assert!(page.contains(">6</w:DroppedEvents>"), "a running total: {page}");
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let lab = Lab::new();
    let request = envelope(
        ALL,
        &format!("{EVENTING}Subscribe"),
        "",
        &format!(
            "<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\"/><w:Filter Dialect=\"{WQL}\">{JOBS}</w:Filter></e:Subscribe>"
        ),
    );
    let Step::Durable(durable) = lab.step("tester", &request, Pace::Brief) else { panic!("not durable") };
    let SubscriptionChange::Open(record, ..) = &durable.change else { panic!("not opened") };
    let stored = serde_json::to_vec(&**record).unwrap();
    lab.endpoint.apply_subscription(&durable.change, lab.now()).unwrap();
    let context = crate::endpoint::cursor::context_name(record.context.unwrap());
    lab.touch_job(1, "before");
    assert_eq!(statuses(&lab.pull(&context, 1)).last().map(String::as_str), Some("before"));
    let moved = lab.endpoint.moved_subscriptions(false, lab.now());
    lab.touch_job(2, "missed");
    let restarted = lab.restarted(EventLimits::default());
    let record: Arc<Record> = serde_json::from_slice(&stored).unwrap();
    restarted.endpoint.restore_subscription(record, moved[0].1, None, restarted.now()).unwrap();
    assert_eq!(statuses(&restarted.pull(&context, 9)), ["missed"], "once, and nothing that was told before");
    restarted.touch_job(1, "after");
    assert_eq!(statuses(&restarted.pull(&context, 9)).last().map(String::as_str), Some("after"));
}

#[test]
fn a_bookmark_outlives_a_restart_after_changes_that_left_nothing() {
    let lab = Lab::new();
    let context = lab
        .pulled("SELECT * FROM CIM_InstIndication WHERE SourceInstance ISA 'Msvm_ConcreteJob'", "<w:SendBookmarks/>");
    lab.touch_job(2, "last words");
    lab.change(Change::JobRemoved(JobId(Uuid::from_u128(2))));
    let page = lab.pull(&context, 9);
    assert!(page.contains("<p:CIM_InstDeletion "), "{page}");
    let bookmark = between(&page, "<w:Bookmark>", "</w:Bookmark>").unwrap();
    let restarted = lab.restarted(EventLimits::default());
    let rest = format!("<w:Bookmark>{bookmark}</w:Bookmark>");
    let resumed =
        restarted.pulled("SELECT * FROM CIM_InstIndication WHERE SourceInstance ISA 'Msvm_ConcreteJob'", &rest);
    assert_eq!(number(&restarted.pull(&resumed, 9)), 2_150_858_793, "nothing twice");
    restarted.view.borrow().job(JobId(Uuid::from_u128(1))).unwrap().progress.raise_percent(88);
    restarted.endpoint.record_progress(&restarted.view.borrow(), restarted.now());
    assert_eq!(all(&restarted.pull(&resumed, 9), "PercentComplete").last().map(String::as_str), Some("88"));
}

/// What is stored at a tick, and all of it at the end.
fn stored(lab: &Lab, all: bool) -> Vec<(Uuid, Progress)> {
    lab.endpoint.moved_subscriptions(all, lab.now())
}

fn context_of(record: &Record) -> String {
    crate::endpoint::cursor::context_name(record.context.unwrap())
}

#[test]
fn a_quiet_subscription_has_its_place_stored_now_and_then() {
    let limits = EventLimits::default();
    let lab = Lab::with(limits.clone());
    lab.pulled(&JOBS.replace("Msvm_ConcreteJob", "Msvm_ReplicationRelationship"), "");
    let mut written = Vec::new();
    for round in 0..200 {
        lab.touch_job(1, &round.to_string());
        lab.later(1_000);
        written.extend(stored(&lab, false));
    }
    assert!((5..=7).contains(&written.len()), "few writes, not one a tick: {}", written.len());
    lab.later(30_000);
    written.extend(stored(&lab, false));
    lab.later(30_000);
    assert!(stored(&lab, false).is_empty(), "nothing is new");
    let records = lab.endpoint.subscription_records();
    let restarted = lab.restarted(limits);
    restarted.restore(&records, &written);
    restarted.looks();
    assert_eq!(number(&restarted.pull(&context_of(&records[0]), 9)), 2_150_858_793);
    assert!(restarted.looks().0 <= 3, "what was passed over long ago is not looked at again");
}

#[test]
fn what_could_not_be_stored_is_told_again() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "");
    lab.touch_job(1, "x");
    lab.pull(&context, 9);
    let moved = stored(&lab, false);
    assert_eq!((moved.len(), stored(&lab, false).len()), (1, 0));
    lab.endpoint.progress_not_stored(&moved);
    assert_eq!(stored(&lab, false).len(), 1);
}

//= EVT-25
#[test]
fn a_restart_with_more_objects_than_the_log_holds_tells_of_no_loss_that_was_none() {
    let limits = EventLimits { changes_max: 16, ..EventLimits::default() };
    let before = Lab::with(limits.clone());
    let quiet = format!("{JOBS} AND SourceInstance.JobStatus = 'never'");
    let (quiet, all) = (before.pulled(&quiet, ""), before.pulled(JOBS, ""));
    let records = before.endpoint.subscription_records();
    let progress: Vec<_> = records.iter().map(|record| (record.id, Progress::default())).collect();
    before.more_jobs(2, 1_000..1_040);
    // A crash: what was stored is where they began.
    let lab = before.restarted(limits);
    lab.restore(&records, &progress);
    for round in 0..5 {
        lab.touch_vm(0xA1, 2 + round % 2);
    }
    assert_eq!(number(&lab.pull(&quiet, 9)), 2_150_858_793, "the log lost nothing that it wanted");
    let mut page = lab.pull(&all, 99);
    let dropped: usize = between(&page, "wsman/Event\">", "</w:DroppedEvents>").unwrap().parse().unwrap();
    let mut told = 0;
    while !page.contains("TimedOut") {
        told += page.matches("<p:CIM_InstModification ").count();
        page = lab.pull(&all, 99);
    }
    assert_eq!(dropped + told, 42, "the last change of each job is told or counted, and {dropped} went");
    assert!(0 < dropped && dropped <= 10);
}

//= EVT-25
#[test]
fn what_was_dropped_and_not_told_is_told_after_a_restart() {
    let limits = EventLimits { changes_max: 16, ..EventLimits::default() };
    let lab = Lab::with(limits.clone());
    let context = lab.pulled(JOBS, "");
    for round in 0..20 {
        lab.touch_job(1, &round.to_string());
    }
    let (records, progress) = (lab.endpoint.subscription_records(), stored(&lab, true));
    let restarted = lab.restarted(limits);
    restarted.restore(&records, &progress);
    assert!(restarted.pull(&context, 1).contains(">4</w:DroppedEvents>"));
    let progress = stored(&restarted, true);
    let again = restarted.restarted(EventLimits::default());
    again.restore(&records, &progress);
    assert!(!again.pull(&context, 9).contains("DroppedEvents"), "told once");
}

//= EVT-25
#[test]
fn what_the_log_loses_of_a_message_under_way_is_dropped_when_that_fails_and_not_when_it_arrives() {
    for (finished, expected) in [(Finished::Failed, 3), (Finished::Delivered, 2)] {
        let lab = Lab::with(EventLimits { changes_max: 4, ..EventLimits::default() });
        let id = lab.pushed(PUSH_MODE, "", "");
        lab.touch_job(1, "under way");
        let (message, _) = lab.message(id);
        for round in 0..6 {
            lab.touch_job(1, &round.to_string());
        }
        lab.endpoint.finish_message(&message, finished, lab.now());
        lab.later(60_000);
        let (message, text) = lab.message(id);
        assert!(text.contains(&format!(">{expected}</w:DroppedEvents>")), "{finished:?}: {text}");
        lab.delivered(&message);
        assert_eq!(lab.drain(id).len(), 4, "{finished:?}");
    }
}

#[test]
fn a_pull_does_not_wait_for_another_that_is_being_answered() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "");
    lab.touch_job(1, "x");
    let id = lab.endpoint.subscription_records()[0].id;
    let turn = Arc::clone(&lab.endpoint.events.table().get(id).unwrap().turn);
    let other = turn.lock().unwrap();
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793, "TimedOut");
    drop(other);
    assert_eq!(statuses(&lab.pull(&context, 9)).last().map(String::as_str), Some("x"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is pulled, when, and in which portions: events come in order, none twice, and the dropped ones are
    /// counted to the last.
    #[test]
    fn delivered_and_dropped_together_are_all(steps in proptest::collection::vec((0_u32..12, 0_u32..5), 1..24)) {
        let lab = Lab::with(EventLimits { changes_max: 16, ..EventLimits::default() });
        let context = lab.pulled(JOBS, "");
        let (mut made, mut seen, mut dropped) = (0_u64, Vec::new(), 0_u64);
        let mut pull = |max: u32| -> bool {
            let page = lab.pull(&context, max);
            if page.contains("TimedOut") {
                return false;
            }
            if let Some(total) = between(&page, "wsman/Event\">", "</w:DroppedEvents>") {
                dropped = total.parse().unwrap();
            }
            for event in page.split("<p:SourceInstance ").skip(1) {
                seen.push(statuses(event)[0].parse::<u64>().unwrap());
            }
            true
        };
        for (changes, max) in steps {
            for _ in 0..changes {
                lab.touch_job(1, &made.to_string());
                made += 1;
            }
            if max > 0 {
                pull(max);
            }
        }
        while pull(7) {}
        prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", seen);
        prop_assert_eq!(u64::try_from(seen.len()).unwrap() + dropped, made);
    }
}
