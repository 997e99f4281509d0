//! Subscriptions to the small world: what happens in it reaches those who asked, once and in order, and nobody else.

mod certificate;
mod lab;
mod looks;
mod order;
mod owners;
mod places;
mod pushed;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::endpoint::{EventLimits, Pace, Step};
use crate::job::JobId;
use crate::replication::{Change, JobEntry};

use lab::{
    ALL, ENUMERATION, EVENTING, JOBS, Lab, PULL_MODE, PUSH_MODE, SINK, WQL, all, between, envelope, number, pull_body,
    statuses,
};

//= EVT-18, EVT-20, EVT-21, EVT-26, EVT-27
#[test]
fn a_pulled_subscription_goes_from_subscribe_to_unsubscribe() {
    let lab = Lab::new();
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "<e:Expires>PT10M</e:Expires><w:SendBookmarks/>");
    assert!(answer.contains("<e:Expires>PT600S</e:Expires>"), "{answer}");
    let manager = between(&answer, "<e:SubscriptionManager>", "</e:SubscriptionManager>").unwrap();
    assert!(manager.starts_with("<a:Address xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\">"));
    let context = between(&answer, "<n:EnumerationContext>", "<").unwrap();
    let identifier = between(&manager, "eventing\">", "<").unwrap();
    let request = envelope(ALL, &format!("{ENUMERATION}Pull"), "", &pull_body(&context, 20));
    let waits = lab.step("tester", &request, Pace::Brief);
    assert!(matches!(waits, Step::Wait { timeout, .. } if timeout == Duration::from_mins(1)), "{waits:?}");
    assert_eq!(number(&lab.pull(&context, 20)), 2_150_858_793, "quiet: TimedOut");
    lab.touch_job(1, "one");
    lab.touch_job(1, "two & <three>");
    let page = lab.pull(&context, 20);
    assert_eq!(statuses(&page), ["Starting", "one", "one", "two &amp; &lt;three&gt;"], "before and after, twice");
    assert!(page.contains("<w:Bookmark>") && !page.contains("EndOfSequence"), "{page}");
    assert!(page.contains(&format!("<n:EnumerationContext>{context}</n:EnumerationContext>")));
    assert!(page.contains("<p:CIM_InstModification ") && page.contains("xsi:type=\"r:Msvm_ConcreteJob_Type\""));
    assert_eq!(number(&lab.pull(&context, 20)), 2_150_858_793, "told once");
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    let status = lab.ask(&format!("{EVENTING}GetStatus"), &header, "<e:GetStatus/>");
    assert!(status.contains("<e:GetStatusResponse><e:Expires>PT600S<"), "{status}");
    let gone = lab.ask(&format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>");
    assert!(gone.contains("eventing/UnsubscribeResponse"), "{gone}");
    assert_eq!(lab.endpoint.subscriptions(), 0);
    assert_eq!(number(&lab.pull(&context, 20)), 2_150_858_779);
    assert_eq!(number(&lab.ask(&format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>")), 2_150_858_789);
    assert_eq!(number(&lab.ask(&format!("{EVENTING}Renew"), &header, "<e:Renew/>")), 2_150_858_788);
}

//= EVT-34
#[test]
fn every_kind_of_event_is_told_in_the_words_that_were_asked_for() {
    let lab = Lab::new();
    let query = |class: &str, rest: &str| {
        lab.pulled(&format!("SELECT * FROM {class} WITHIN 2 WHERE TargetInstance ISA 'Msvm_ConcreteJob'{rest}"), "")
    };
    let created = query("__InstanceCreationEvent", "");
    let modified = query("__InstanceModificationEvent", " AND TargetInstance.JobStatus = 'NOW'");
    let deleted = query("__InstanceDeletionEvent", "");
    let any = query("__InstanceOperationEvent", "");
    let indications = lab.pulled("SELECT * FROM CIM_InstIndication WHERE SourceInstance ISA 'CIM_Job'", "");
    let instance = lab.pulled("SELECT * FROM Msvm_ConcreteJob WHERE JobStatus = 'now'", "");
    let none = query("__InstanceModificationEvent", " AND TargetInstance.JobState = 10");
    let entry = Arc::clone(lab.view.borrow().job(JobId(Uuid::from_u128(2))).unwrap());
    let mut copy = JobEntry::clone(&entry);
    copy.job.id = JobId(Uuid::from_u128(9));
    copy.revision = lab.next_revision();
    lab.change(Change::Job(Arc::new(copy)));
    lab.touch_job(1, "now");
    lab.change(Change::JobRemoved(JobId(Uuid::from_u128(9))));
    let names = |context: &str| {
        let page = lab.pull(context, 9);
        let items = between(&page, "<n:Items>", "</n:Items>").unwrap_or_default();
        let mut names = Vec::new();
        for part in items.split("<p:").skip(1) {
            let name = part.split([' ', '>']).next().unwrap().to_owned();
            if name.starts_with("__") || name.starts_with("CIM_") {
                names.push(name);
            }
        }
        names
    };
    assert_eq!(names(&created), ["__InstanceCreationEvent"]);
    assert_eq!(names(&modified), ["__InstanceModificationEvent"]);
    assert_eq!(names(&deleted), ["__InstanceDeletionEvent"]);
    let operations = ["__InstanceCreationEvent", "__InstanceModificationEvent", "__InstanceDeletionEvent"];
    assert_eq!(names(&any), operations);
    assert_eq!(names(&indications), ["CIM_InstCreation", "CIM_InstModification", "CIM_InstDeletion"]);
    assert_eq!(names(&instance), ["CIM_InstModification"]);
    assert_eq!(names(&none), [""; 0]);
}

#[test]
fn a_modification_tells_what_was_before_and_only_of_what_changed() {
    let lab = Lab::new();
    let vms = lab.pulled(
        "SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance ISA 'Msvm_ComputerSystem'",
        "",
    );
    let relationships = lab.pulled(
        "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ReplicationRelationship' AND \
         SourceInstance.ReplicationHealth = 3 AND PreviousInstance.ReplicationHealth = 1",
        "",
    );
    let settings =
        lab.pulled("SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ReplicationSettingData'", "");
    lab.touch_vm(0xA1, 3);
    let page = lab.pull(&relationships, 9);
    assert_eq!(all(&page, "ReplicationHealth"), ["1", "3"], "before and after: {page}");
    assert!(page.contains("<p:SourceInstanceModelPath>\\\\HOST\\root\\virtualization\\v2:"), "{page}");
    assert_eq!(all(&lab.pull(&vms, 9), "ReplicationHealth"), ["1", "3"]);
    assert_eq!(number(&lab.pull(&settings, 9)), 2_150_858_793, "the settings are as they were");
}

//= EVT-07, EVT-14, EVT-17, EVT-19, EVT-28, EVT-32
#[test]
fn refusals_have_the_faults_of_their_rules() {
    let lab = Lab::new();
    let ask = |delivery: &str, rest: &str| {
        let body = format!("<e:Subscribe>{delivery}{rest}</e:Subscribe>");
        lab.ask(&format!("{EVENTING}Subscribe"), "", &body)
    };
    let pull = format!("<e:Delivery Mode=\"{PULL_MODE}\"/>");
    let push = |inner: &str| format!("<e:Delivery Mode=\"{PUSH_MODE}\">{SINK}{inner}</e:Delivery>");
    let filter = |text: &str| format!("<w:Filter Dialect=\"{WQL}\">{text}</w:Filter>");
    let good = filter(JOBS);
    let mode = ask("<e:Delivery Mode=\"urn:x\"/>", &good);
    assert_eq!(number(&mode), 2_150_858_782);
    assert_eq!(mode.matches("<e:SupportedDeliveryMode>").count(), 4, "{mode}");
    let dialect = ask(&pull, "<w:Filter Dialect=\"urn:x\">x</w:Filter>");
    assert_eq!(number(&dialect), 2_150_858_786);
    assert!(dialect.contains(&format!("<e:SupportedDialect>{WQL}<")), "{dialect}");
    let unable = 2_150_858_787;
    for (expected, delivery, rest) in [
        (2_150_858_786, pull.clone(), "<w:Filter>a/b</w:Filter>".to_owned()),
        (unable, pull.clone(), "<w:Filter Dialect=\"urn:x\">x<y/></w:Filter>".to_owned()),
        (unable, pull.clone(), filter("SELECT")),
        (unable, pull.clone(), filter("SELECT * FROM NoSuch")),
        (unable, pull.clone(), filter("SELECT * FROM CIM_InstModification WHERE SourceInstance.JobState = 4")),
        (unable, pull.clone(), filter("SELECT SourceInstance FROM CIM_InstModification")),
        (unable, pull.clone(), filter("SELECT * FROM Msvm_Error")),
        (unable, pull.clone(), filter("SELECT * FROM Msvm_ReplicationServiceSettingData")),
        (unable, pull.clone(), format!("{good}{good}")),
        (2_150_858_864, pull.clone(), String::new()),
        (
            2_150_858_866,
            format!("<e:Delivery Mode=\"{PULL_MODE}\"><w:MaxElements>3</w:MaxElements></e:Delivery>"),
            good.clone(),
        ),
        (2_150_858_783, pull.clone(), format!("<e:Expires>PT0S</e:Expires>{good}")),
        (2_150_858_783, pull.clone(), format!("<e:Expires>2001-01-01T00:00:00Z</e:Expires>{good}")),
        (2_150_858_783, pull.clone(), format!("<e:Expires>soon</e:Expires>{good}")),
        (2_150_858_789, format!("<e:Delivery Mode=\"{PUSH_MODE}\"/>"), good.clone()),
        (2_150_858_789, String::new(), good.clone()),
        (2_150_858_858, push("<w:Heartbeats>PT0.1S</w:Heartbeats>"), good.clone()),
        (2_150_858_857, push("<w:ConnectionRetry Total=\"0\">PT5S</w:ConnectionRetry>"), good.clone()),
        (2_150_858_857, push("<w:ConnectionRetry Total=\"5\">PT0S</w:ConnectionRetry>"), good.clone()),
        (2_150_858_828, push("<w:ContentEncoding>EBCDIC</w:ContentEncoding>"), good.clone()),
        (2_150_858_866, push("<w:MaxTime>PT5S</w:MaxTime>"), good.clone()),
        (2_150_858_862, push("<w:MaxEnvelopeSize>100</w:MaxEnvelopeSize>"), good.clone()),
        (2_150_858_863, push("<w:MaxEnvelopeSize Policy=\"x\">9000</w:MaxEnvelopeSize>"), good.clone()),
        (2_150_858_852, push("<w:Auth Profile=\"urn:x\"/>"), good.clone()),
        (
            2_150_858_867,
            push("<w:Auth Profile=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic\"/>"),
            good.clone(),
        ),
        (2_150_858_870, push(""), format!("<e:EndTo><a:Address>http://127.0.0.2:9/end</a:Address></e:EndTo>{good}")),
    ] {
        let answer = ask(&delivery, &rest);
        assert_eq!(number(&answer), expected, "{delivery}{rest}\n{answer}");
    }
    let other = envelope(
        &ALL.replace('*', "__InstanceCreationEvent"),
        &format!("{EVENTING}Subscribe"),
        "",
        &format!("<e:Subscribe>{pull}{good}</e:Subscribe>"),
    );
    assert_eq!(number(&lab.answer("tester", &other)), unable, "the class of the URI differs");
    assert_eq!(lab.endpoint.subscriptions(), 0);
}

#[test]
fn the_resource_may_be_the_class_and_needs_no_filter_then() {
    let lab = Lab::new();
    for (class, expected) in [("Msvm_ConcreteJob", 1), ("CIM_InstModification", 2), ("CIM_InstDeletion", 0)] {
        let body = format!("<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\"/></e:Subscribe>");
        let uri = ALL.replace('*', class);
        let answer = lab.answer("tester", &envelope(&uri, &format!("{EVENTING}Subscribe"), "", &body));
        let context = between(&answer, "<n:EnumerationContext>", "<").unwrap_or_else(|| panic!("{answer}"));
        lab.touch_job(1, class);
        lab.touch_vm(0xA1, if expected == 1 { 2 } else { 3 });
        let page = lab.pull(&context, 99);
        let found = page.matches("<p:CIM_InstModification ").count();
        assert!(found >= expected && (expected == 2 || found == expected), "{class}: {found} in {page}");
    }
}

#[test]
fn what_has_ended_is_not_renewed() {
    let lab = Lab::new();
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "<e:Expires>PT5S</e:Expires>");
    let identifier = between(&answer, "eventing\">", "<").unwrap();
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    let renew = envelope(ALL, &format!("{EVENTING}Renew"), &header, "<e:Renew/>");
    let Step::Durable(durable) = lab.step("tester", &renew, Pace::Brief) else { panic!("not renewed") };
    lab.later(5_000);
    lab.endpoint.due_events(lab.now());
    assert!(lab.endpoint.apply_subscription(&durable.change, lab.now()).is_err());
    assert_eq!(lab.endpoint.subscriptions(), 0);
    assert_eq!(number(&String::from_utf8(durable.unusable.octets).unwrap()), 2_150_858_788);
}

#[test]
fn subscriptions_are_limited_and_expire() {
    let limits = EventLimits { per_principal_max: 2, total_max: 3, life_ms_max: 60_000, ..EventLimits::default() };
    let lab = Lab::with(limits);
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "<e:Expires>PT3960732748.184S</e:Expires>");
    assert!(answer.contains("<e:Expires>PT60S</e:Expires>"), "granted within the limit: {answer}");
    let at = "<e:Expires>2026-01-02T03:04:25Z</e:Expires>";
    let answer = lab.subscribe(PULL_MODE, "", JOBS, at);
    assert!(answer.contains(at), "in the kind asked: {answer}");
    assert_eq!(number(&lab.subscribe(PULL_MODE, "", JOBS, "")), 2_150_858_815);
    assert!(lab.endpoint.due_events(lab.now()).ended.is_empty());
    lab.later(20_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).ended.len(), 1);
    lab.later(40_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).ended.len(), 1);
    assert_eq!(lab.endpoint.subscriptions(), 0);
    assert!(lab.subscribe(PULL_MODE, "", JOBS, "").contains("SubscribeResponse"));
}

#[test]
fn the_progress_of_a_job_is_told_and_what_was_before_is_kept() {
    let lab = Lab::new();
    let context = lab.pulled(JOBS, "");
    let job = Arc::clone(lab.view.borrow().job(JobId(Uuid::from_u128(1))).unwrap());
    let looked = lab.endpoint.record_progress(&lab.view.borrow(), lab.now());
    assert!(looked.pulls.is_empty(), "nothing moved");
    job.progress.raise_percent(60);
    assert_eq!(lab.endpoint.record_progress(&lab.view.borrow(), lab.now()).pulls.len(), 1);
    job.progress.raise_percent(77);
    lab.endpoint.record_progress(&lab.view.borrow(), lab.now());
    let page = lab.pull(&context, 9);
    assert_eq!(all(&page, "PercentComplete"), ["42", "60", "60", "77"], "{page}");
}
