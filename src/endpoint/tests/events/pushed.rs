//! What is pushed: parameters, acknowledgements, batches, heartbeats, retries and sizes.

use std::time::Duration;

use super::lab::{
    ACK_MODE, ALL, ENUMERATION, EVENTING, EVENTS_MODE, JOBS, Lab, PULL_MODE, PUSH_MODE, WQL, between, envelope,
    pull_body, statuses,
};
use crate::auth::Role;
use crate::endpoint::{EventLimits, Finished, Next, Pace, Standing, Step};
use crate::provider::Permissions;

//= EVT-06, EVT-23
#[test]
fn a_pushed_event_carries_the_parameters_and_the_next_waits_for_the_acknowledgement() {
    let lab = Lab::new();
    let id = lab.pushed(ACK_MODE, "", "<w:SendBookmarks/>");
    assert_eq!(lab.touch_job(1, "one").sends, [id]);
    assert!(lab.touch_job(1, "two").sends.is_empty(), "one message at a time");
    let (first, text) = lab.message(id);
    assert!(text.contains("<a:To>http://127.0.0.1:9/sink</a:To>") && text.contains("T-1</k:Token>"), "{text}");
    assert!(text.contains("<w:AckRequested/>") && text.contains("role/anonymous</a:Address></a:ReplyTo>"));
    assert!(text.contains("wsman/Event</a:Action>") && text.contains("<w:Bookmark>"), "{text}");
    assert_eq!(statuses(&text).last().map(String::as_str), Some("one"));
    lab.delivered(&first);
    let (second, text) = lab.message(id);
    assert_eq!(statuses(&text).last().map(String::as_str), Some("two"));
    assert_ne!(first.message_id, second.message_id);
    lab.delivered(&second);
    assert!(matches!(lab.next(id), Next::Nothing));
}

//= EVT-22
#[test]
fn batches_fill_up_or_go_when_their_time_is_up() {
    let lab = Lab::new();
    let id = lab.pushed(EVENTS_MODE, "<w:MaxElements>3</w:MaxElements><w:MaxTime>PT5S</w:MaxTime>", "");
    assert!(lab.touch_job(1, "1").sends.is_empty());
    assert!(lab.touch_job(1, "2").sends.is_empty());
    assert_eq!(lab.touch_job(1, "3").sends, [id], "full");
    lab.touch_job(1, "4");
    let (message, text) = lab.message(id);
    assert_eq!(text.matches("<w:Event Action=").count(), 3, "{text}");
    assert!(text.contains("wsman/Events</a:Action>") && text.contains("<s:Body><w:Events>"));
    lab.delivered(&message);
    assert!(matches!(lab.next(id), Next::Nothing), "one event waits for others");
    lab.later(4_999);
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty());
    lab.later(1);
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    let (message, text) = lab.message(id);
    assert_eq!(text.matches("<w:Event Action=").count(), 1);
    lab.delivered(&message);
}

//= EVT-09, EVT-10
#[test]
fn heartbeats_come_when_it_is_quiet_and_only_then() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "<w:Heartbeats>PT2S</w:Heartbeats>", "");
    lab.later(1_500);
    lab.touch_job(1, "busy");
    assert_eq!(lab.drain(id).len(), 1);
    lab.later(1_000);
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty(), "an event was sent a second ago");
    lab.later(1_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    let beats = lab.drain(id);
    assert!(beats[0].contains("wsman/Heartbeat</a:Action>") && beats[0].contains("<s:Body></s:Body>"), "{beats:?}");
    assert_eq!(beats.len(), 1);
}

//= EVT-11
#[test]
fn a_quiet_pull_with_heartbeats_gets_an_empty_page() {
    let lab = Lab::new();
    let answer = lab.subscribe(PULL_MODE, "<w:Heartbeats>PT5S</w:Heartbeats>", JOBS, "");
    let context = between(&answer, "<n:EnumerationContext>", "<").unwrap();
    let request = envelope(ALL, &format!("{ENUMERATION}Pull"), "", &pull_body(&context, 1));
    let waits = lab.step("tester", &request, Pace::Brief);
    assert!(matches!(waits, Step::Wait { timeout, .. } if timeout == Duration::from_secs(5)), "{waits:?}");
    let page = lab.pull(&context, 1);
    assert!(page.contains("<n:Items></n:Items>"), "{page}");
}

//= EVT-08
#[test]
fn retries_are_counted_and_a_refusal_ends_it_at_once() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "<w:ConnectionRetry Total=\"2\">PT3S</w:ConnectionRetry>", "");
    lab.touch_job(1, "x");
    for round in 0..3 {
        let (message, text) = lab.message(id);
        assert_eq!(statuses(&text).last().map(String::as_str), Some("x"), "the same event again");
        let ended = lab.endpoint.finish_message(&message, Finished::Failed, lab.now());
        assert_eq!(ended.is_some(), round == 2, "after the second retry");
        assert!(!matches!(lab.next(id), Next::Send(_)), "not before its time");
        lab.later(3_000);
        assert_eq!(lab.endpoint.due_events(lab.now()).sends.is_empty(), round == 2);
    }
    assert_eq!(lab.endpoint.subscriptions(), 0);
    let id = lab.pushed(PUSH_MODE, "", "");
    lab.touch_job(1, "y");
    let (message, _) = lab.message(id);
    assert!(lab.endpoint.finish_message(&message, Finished::Refused, lab.now()).is_some());
    assert!(matches!(lab.next(id), Next::Nothing));
}

//= EVT-08, EVT-33
#[test]
fn what_waits_for_a_certificate_waits_without_end_and_loses_no_retries() {
    let lab = Lab::new();
    let retry = "<w:ConnectionRetry Total=\"2\">PT3S</w:ConnectionRetry><w:Heartbeats>PT2S</w:Heartbeats>";
    let id = lab.pushed(PUSH_MODE, retry, "");
    let finish = |finished: Finished| {
        let (message, text) = lab.message(id);
        (lab.endpoint.finish_message(&message, finished, lab.now()).is_some(), text)
    };
    let due = || lab.endpoint.due_events(lab.now()).sends;
    lab.later(2_000);
    assert_eq!(due(), [id]);
    for wait in [1_000, 2_000] {
        let (ended, text) = finish(Finished::Unready);
        assert!(!ended && text.contains("wsman/Heartbeat</a:Action>"), "{text}");
        assert!(!matches!(lab.next(id), Next::Send(_)), "not before its time");
        lab.later(wait - 1);
        assert!(due().is_empty(), "{wait}");
        lab.later(1);
        assert_eq!(due(), [id], "{wait}");
    }
    lab.touch_job(1, "x");
    for _ in 0..2 {
        assert!(!finish(Finished::Failed).0, "those before were no failures");
        lab.later(3_000);
        assert_eq!(due(), [id]);
    }
    for _ in 0..20 {
        let (ended, text) = finish(Finished::Unready);
        assert_eq!((ended, statuses(&text).last().map(String::as_str)), (false, Some("x")), "the same event again");
        lab.later(60_000);
        assert_eq!(due(), [id]);
    }
    assert!(!finish(Finished::Unready).0 && due().is_empty());
    lab.endpoint.set_source_certificate(None);
    assert_eq!(due(), [id], "there may be another certificate now: it is tried at once");
    assert!(finish(Finished::Failed).0, "nor were the failures before forgotten");
}

//= EVT-08
#[test]
fn zero_retries_are_none() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "<w:ConnectionRetry Total=\"0\">PT0S</w:ConnectionRetry>", "");
    lab.touch_job(1, "x");
    let (message, _) = lab.message(id);
    assert!(lab.endpoint.finish_message(&message, Finished::Failed, lab.now()).is_some());
    assert_eq!(lab.endpoint.subscriptions(), 0);
}

#[test]
fn a_batch_stays_within_the_size_that_was_asked_for_and_within_the_servers() {
    let lab = Lab::with(EventLimits { envelope_octets_max: 40_000, ..EventLimits::default() });
    let elements = "<w:MaxElements>4000000000</w:MaxElements>";
    for (octets, max) in [(9_000, 9_000), (20_000, 20_000), (4_000_000_000_u32, 40_000)] {
        let size = format!("{elements}<w:MaxEnvelopeSize>{octets}</w:MaxEnvelopeSize>");
        let id = lab.pushed(EVENTS_MODE, &size, "");
        for round in 0..60 {
            lab.touch_job(1, &round.to_string());
        }
        let texts = lab.drain(id);
        assert!(1 < texts.len());
        assert!(texts.iter().all(|text| text.len() <= max), "{:?}", texts.iter().map(String::len).max());
    }
}

#[test]
fn credentials_go_no_other_way_than_the_one_that_was_asked_for() {
    let lab = Lab::new();
    let header = "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\"><o:UsernameToken \
                  xmlns:o=\"urn:o\"><o:Username>u</o:Username><o:Password>p</o:Password></o:UsernameToken>\
                  </t:IssuedTokens>";
    let ask = |profile: &str, notify: &str, end: &str| {
        let body = format!(
            "<e:Subscribe><e:EndTo><a:Address>{end}://127.0.0.1:9/s</a:Address></e:EndTo><e:Delivery \
             Mode=\"{PUSH_MODE}\"><w:Auth Profile=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/{profile}\"/>\
             <e:NotifyTo><a:Address>{notify}://127.0.0.1:9/s</a:Address></e:NotifyTo></e:Delivery><w:Filter \
             Dialect=\"{WQL}\">{JOBS}</w:Filter></e:Subscribe>"
        );
        lab.ask(&format!("{EVENTING}Subscribe"), header, &body)
    };
    for (profile, notify, end) in
        [("https/basic", "http", "http"), ("https/basic", "https", "http"), ("http/basic", "https", "http")]
    {
        assert!(ask(profile, notify, end).contains(":Fault>"), "{profile} {notify} {end}");
    }
    for (profile, scheme) in [("https/basic", "https"), ("http/basic", "http")] {
        assert!(ask(profile, scheme, scheme).contains("SubscribeResponse"), "{profile} {scheme}");
    }
}

#[test]
fn events_that_are_too_large_obey_the_policy() {
    let lab = Lab::new();
    let big = "b".repeat(9_000);
    let policy = |policy: &str| {
        lab.pushed(PUSH_MODE, &format!("<w:MaxEnvelopeSize Policy=\"{policy}\">8192</w:MaxEnvelopeSize>"), "")
    };
    let (skip, notify, cancel) = (policy("Skip"), policy("Notify"), policy("CancelSubscription"));
    lab.touch_job(1, &big);
    assert!(lab.drain(skip).is_empty());
    let told = lab.drain(notify);
    assert!(told.len() == 1 && told[0].contains(">1</w:DroppedEvents>"), "{told:?}");
    assert!(matches!(lab.next(cancel), Next::Ended(_)));
}

//= EVT-09
#[test]
fn a_sign_of_life_that_is_due_lets_nobody_else_send() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "<w:Heartbeats>PT10S</w:Heartbeats>", "");
    lab.later(10_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    let standing = Standing::May(Role::Operator, Permissions::unlimited());
    // The sender has learned what is due, and does not have the message yet.
    let _beat = lab.endpoint.due(id, standing, lab.now());
    assert!(lab.touch_job(1, "meanwhile").sends.is_empty(), "there is a sender");
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty());
}
