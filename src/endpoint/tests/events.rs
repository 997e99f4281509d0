//! Subscriptions to the small world: what happens in it reaches those who asked, once and in order, and nobody else.

mod certificate;
mod pushed;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::world::{NOW, endpoint_with, view};
use crate::auth::{Principal, Role};
use crate::endpoint::{
    Call, Durable, Endpoint, EventLimits, Finished, Next, Outgoing, Owner, Pace, Record, Standing, Step,
    SubscriptionChange, Wakes,
};
use crate::job::{JobId, Timestamp};
use crate::provider::{Patterns, Permissions, Rule, Rules};
use crate::replication::{Change, JobEntry, Transition, View, VmId};

const ALL: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*";
const WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
const PULL_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull";
const PUSH_MODE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push";
const EVENTS_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Events";
const ACK_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/PushWithAck";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/";
const JOBS: &str = "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob'";

/// One endpoint over a world that changes.
struct Lab {
    endpoint: Endpoint,
    view: RefCell<View>,
    now: Cell<i64>,
    ids: Cell<u128>,
    revision: Cell<u64>,
    permissions: RefCell<Permissions>,
    role: Cell<Role>,
}

impl Lab {
    fn new() -> Self {
        Self::with(EventLimits::default())
    }

    fn with(limits: EventLimits) -> Self {
        let lab = Self {
            endpoint: endpoint_with(limits),
            view: RefCell::new(view()),
            now: Cell::new(NOW.0),
            ids: Cell::new(0xC000),
            revision: Cell::new(1),
            permissions: RefCell::new(Permissions::unlimited()),
            role: Cell::new(Role::Operator),
        };
        lab.endpoint.begin_events(&lab.view.borrow(), NOW);
        lab
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }

    fn later(&self, ms: i64) {
        self.now.set(self.now.get() + ms * 1_000);
    }

    fn id(&self) -> Uuid {
        self.ids.set(self.ids.get() + 1);
        Uuid::from_u128(self.ids.get())
    }

    fn step(&self, name: &str, request: &str, pace: Pace<'_>) -> Step {
        let principal = &Principal::for_tests(name, self.role.get());
        let view = Arc::new(self.view.borrow().clone());
        let ids = || self.id();
        let permissions = &*self.permissions.borrow();
        self.endpoint.handle(&Call {
            now: self.now(),
            ids: &ids,
            principal,
            permissions,
            view: &view,
            targets: false,
            request: request.as_bytes(),
            charset: None,
            soap_action: None,
            pace,
        })
    }

    fn answer(&self, name: &str, request: &str) -> String {
        let answer = match self.step(name, request, Pace::Until(&|_| true)) {
            Step::Respond(answer) => answer,
            Step::Durable(durable) => {
                let Durable { change, done, .. } = *durable;
                self.endpoint.apply_subscription(&change, self.now()).unwrap();
                done
            }
            step => panic!("{step:?}"),
        };
        String::from_utf8(answer.octets).unwrap()
    }

    fn ask(&self, action: &str, header: &str, body: &str) -> String {
        self.answer("tester", &envelope(ALL, action, header, body))
    }

    /// Subscribes; the answer.
    fn subscribe(&self, mode: &str, delivery: &str, filter: &str, rest: &str) -> String {
        let filter = filter.replace('<', "&lt;");
        let notify = if mode == PULL_MODE { "" } else { SINK };
        self.ask(
            &format!("{EVENTING}Subscribe"),
            "",
            &format!(
                "<e:Subscribe><e:Delivery Mode=\"{mode}\">{notify}{delivery}</e:Delivery><w:Filter \
                 Dialect=\"{WQL}\">{filter}</w:Filter>{rest}</e:Subscribe>"
            ),
        )
    }

    /// Subscribes for pulling; the context.
    fn pulled(&self, filter: &str, rest: &str) -> String {
        let answer = self.subscribe(PULL_MODE, "", filter, rest);
        between(&answer, "<n:EnumerationContext>", "<").unwrap_or_else(|| panic!("{answer}"))
    }

    fn pull(&self, context: &str, max: u32) -> String {
        self.ask(&format!("{ENUMERATION}Pull"), "", &pull_body(context, max))
    }

    /// A pushed subscription's id.
    fn pushed(&self, mode: &str, delivery: &str, rest: &str) -> Uuid {
        let answer = self.subscribe(mode, delivery, JOBS, rest);
        let id = between(&answer, "Identifier xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\">", "<");
        id.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
    }

    fn change(&self, change: Change) -> Wakes {
        let transition = Transition::apply(&mut self.view.borrow_mut(), change);
        self.endpoint.record_changes(transition.into_iter().collect(), self.now())
    }

    fn next_revision(&self) -> u64 {
        self.revision.set(self.revision.get() + 1);
        self.revision.get()
    }

    /// Changes a job's text, so that it counts as modified.
    fn touch_job(&self, number: u128, status: &str) -> Wakes {
        let entry = Arc::clone(self.view.borrow().job(JobId(Uuid::from_u128(number))).unwrap());
        let mut entry = JobEntry::clone(&entry);
        entry.job.job_status = status.to_owned();
        entry.revision = self.next_revision();
        self.change(Change::Job(Arc::new(entry)))
    }

    fn touch_vm(&self, number: u128, health: u16) -> Wakes {
        let vm = Arc::clone(self.view.borrow().vm(VmId(Uuid::from_u128(number))).unwrap());
        let mut vm = crate::replication::Vm::clone(&vm);
        vm.health = crate::replication::ReplicationHealth(health);
        vm.revision = self.next_revision();
        self.change(Change::Vm(Arc::new(vm)))
    }

    fn next(&self, id: Uuid) -> Next {
        let standing = |_: &Owner| Standing::May(self.role.get(), self.permissions.borrow().clone());
        self.endpoint.next_message(id, &standing, self.id(), self.now())
    }

    fn message(&self, id: Uuid) -> (Outgoing, String) {
        match self.next(id) {
            Next::Send(outgoing) => {
                let text = String::from_utf8(outgoing.octets.clone()).unwrap();
                (outgoing, text)
            }
            other => panic!("{other:?}"),
        }
    }

    fn delivered(&self, outgoing: &Outgoing) {
        assert!(self.endpoint.finish_message(outgoing, Finished::Delivered, self.now()).is_none());
    }

    /// All messages that go now, each delivered.
    fn drain(&self, id: Uuid) -> Vec<String> {
        let mut texts = Vec::new();
        while let Next::Send(outgoing) = self.next(id) {
            texts.push(String::from_utf8(outgoing.octets.clone()).unwrap());
            self.delivered(&outgoing);
        }
        texts
    }
}

const SINK: &str = "<e:NotifyTo><a:Address>http://127.0.0.1:9/sink</a:Address><a:ReferenceParameters><k:Token \
                    xmlns:k=\"urn:x\">T-1</k:Token></a:ReferenceParameters></e:NotifyTo>";

fn envelope(uri: &str, action: &str, header: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\" \
         xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\"><s:Header><a:To>http://host:5985/wsman</a:To>\
         <w:ResourceURI>{uri}</w:ResourceURI><a:ReplyTo><a:Address>\
         http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <a:Action>{action}</a:Action><a:MessageID>uuid:1</a:MessageID>{header}</s:Header><s:Body>{body}</s:Body>\
         </s:Envelope>"
    )
}

fn pull_body(context: &str, max: u32) -> String {
    format!(
        "<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext><n:MaxElements>{max}</n:MaxElements></n:Pull>"
    )
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0.to_owned())
}

/// The texts of a property in an answer, in order.
fn all(text: &str, element: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once(&format!("<r:{element}>")) {
        found.push(tail.split_once('<').unwrap().0.to_owned());
        rest = tail;
    }
    found
}

fn statuses(text: &str) -> Vec<String> {
    all(text, "JobStatus")
}

fn number(fault: &str) -> u32 {
    between(fault, "Code=\"", "\"").unwrap_or_else(|| panic!("no fault: {fault}")).parse().unwrap()
}

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
fn nobody_is_told_of_what_is_kept_also_when_limits_come_later() {
    let lab = Lab::new();
    let context = lab.pulled("SELECT * FROM CIM_InstModification", "");
    let id = lab.pushed(PUSH_MODE, "", "");
    let only_web = Rule { number: 1, vms: Some(Patterns::new(["web*"])), ..Rule::default() };
    let limits = Rules::new([only_web]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.touch_job(1, "of db01");
    lab.touch_vm(0xA2, 3);
    lab.permissions.replace(limits);
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793, "db01 is kept");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.touch_vm(0xA1, 3);
    lab.touch_job(2, "of web01");
    let page = lab.pull(&context, 9);
    assert!(page.contains("web01") && !page.contains("db01"), "{page}");
    let (message, text) = lab.message(id);
    assert!(text.contains("of web01") && !text.contains("db01"), "{text}");
    lab.delivered(&message);
    let no_jobs = Rule { number: 1, classes: Some(Patterns::new(["Msvm_ComputerSystem"])), ..Rule::default() };
    let limits = Rules::new([no_jobs]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.permissions.replace(limits);
    lab.touch_job(2, "kept");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.role.set(Role::Viewer);
    lab.permissions.replace(Permissions::unlimited());
    lab.touch_job(2, "not an operator any more");
    assert!(matches!(lab.next(id), Next::Ended(_)));
}

//= EVT-25
#[test]
fn what_is_dropped_counts_only_as_far_as_its_owner_may_see_it() {
    let lab = Lab::with(EventLimits { changes_max: 4, ..EventLimits::default() });
    let only_web = Rule { number: 1, vms: Some(Patterns::new(["web*"])), ..Rule::default() };
    let limits = Rules::new([only_web]).permissions(&Principal::for_tests("tester", Role::Operator));
    lab.permissions.replace(limits);
    let context = lab.pulled("SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob'", "");
    let id = lab.pushed(PUSH_MODE, "", "");
    for round in 0..9 {
        lab.touch_job(1, &round.to_string());
    }
    assert_eq!(number(&lab.pull(&context, 9)), 2_150_858_793, "all of it was of db01");
    assert!(matches!(lab.next(id), Next::Nothing));
    lab.touch_job(2, "of web01");
    for round in 0..4 {
        lab.touch_job(1, &round.to_string());
    }
    assert!(lab.pull(&context, 9).contains(">1</w:DroppedEvents>"));
    assert!(lab.message(id).1.contains(">1</w:DroppedEvents>"));
}

#[test]
fn a_subscription_rests_while_nobody_knows_what_its_owner_may_do() {
    let lab = Lab::new();
    let id = lab.pushed(PUSH_MODE, "", "");
    lab.touch_job(1, "x");
    let unknown = |_: &Owner| Standing::Unknown;
    assert!(matches!(lab.endpoint.next_message(id, &unknown, lab.id(), lab.now()), Next::Nothing));
    assert!(lab.endpoint.due_events(lab.now()).sends.is_empty());
    lab.later(1_000);
    assert_eq!(lab.endpoint.due_events(lab.now()).sends, [id]);
    assert_eq!(lab.drain(id).len(), 1);
    lab.touch_job(1, "y");
    let gone = |_: &Owner| Standing::Gone;
    assert!(matches!(lab.endpoint.next_message(id, &gone, lab.id(), lab.now()), Next::Ended(_)));
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
fn a_subscription_is_its_owners_and_pushing_needs_an_operator() {
    let lab = Lab::new();
    let answer = lab.subscribe(PULL_MODE, "", JOBS, "");
    let context = between(&answer, "<n:EnumerationContext>", "<").unwrap();
    let identifier = between(&answer, "eventing\">", "<").unwrap();
    let header = format!("<e:Identifier>{identifier}</e:Identifier>");
    let unsubscribe = envelope(ALL, &format!("{EVENTING}Unsubscribe"), &header, "<e:Unsubscribe/>");
    assert_eq!(number(&lab.answer("other", &unsubscribe)), 2_150_858_789);
    let pull = envelope(ALL, &format!("{ENUMERATION}Pull"), "", &pull_body(&context, 1));
    assert_eq!(number(&lab.answer("other", &pull)), 2_150_858_779);
    lab.role.set(Role::Viewer);
    assert_eq!(number(&lab.subscribe(PUSH_MODE, "", JOBS, "")), 5);
    assert!(lab.subscribe(PULL_MODE, "", JOBS, "").contains("SubscribeResponse"));
    lab.role.set(Role::Administrator);
    assert!(lab.answer("other", &unsubscribe).contains("UnsubscribeResponse"));
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
    let moved = lab.endpoint.moved_subscriptions(false);
    lab.touch_job(2, "missed");
    let restarted = Lab {
        endpoint: endpoint_with(EventLimits::default()),
        view: RefCell::new(lab.view.borrow().clone()),
        ..Lab::new()
    };
    restarted.revision.set(lab.revision.get());
    restarted.endpoint.begin_events(&restarted.view.borrow(), restarted.now());
    let record: Record = serde_json::from_slice(&stored).unwrap();
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
    let restarted = Lab { view: RefCell::new(lab.view.borrow().clone()), ..Lab::with(EventLimits::default()) };
    let restarted = Lab { endpoint: endpoint_with(EventLimits::default()), ..restarted };
    restarted.endpoint.begin_events(&restarted.view.borrow(), restarted.now());
    let rest = format!("<w:Bookmark>{bookmark}</w:Bookmark>");
    let resumed =
        restarted.pulled("SELECT * FROM CIM_InstIndication WHERE SourceInstance ISA 'Msvm_ConcreteJob'", &rest);
    assert_eq!(number(&restarted.pull(&resumed, 9)), 2_150_858_793, "nothing twice");
    restarted.view.borrow().job(JobId(Uuid::from_u128(1))).unwrap().progress.raise_percent(88);
    restarted.endpoint.record_progress(&restarted.view.borrow(), restarted.now());
    assert_eq!(all(&restarted.pull(&resumed, 9), "PercentComplete").last().map(String::as_str), Some("88"));
}

#[test]
fn credentials_are_in_no_debug_text() {
    let lab = Lab::new();
    let header = "<t:IssuedTokens xmlns:t=\"http://schemas.xmlsoap.org/ws/2005/02/trust\" s:mustUnderstand=\"true\">\
                  <t:RequestSecurityTokenResponse><t:RequestedSecurityToken><o:UsernameToken xmlns:o=\"urn:o\">\
                  <o:Username>sinkuser</o:Username><o:Password>hunter2</o:Password></o:UsernameToken>\
                  </t:RequestedSecurityToken></t:RequestSecurityTokenResponse></t:IssuedTokens>";
    let body = format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH_MODE}\">{SINK}<w:Auth \
         Profile=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic\"/></e:Delivery><w:Filter \
         Dialect=\"{WQL}\">{JOBS}</w:Filter></e:Subscribe>"
    );
    let step = lab.step("tester", &envelope(ALL, &format!("{EVENTING}Subscribe"), header, &body), Pace::Brief);
    let debug = format!("{step:?}");
    let Step::Durable(durable) = step else { panic!("{debug}") };
    let SubscriptionChange::Open(record, ..) = &durable.change else { panic!("{debug}") };
    assert_eq!(record.credentials.as_ref().map(|it| it.password.reveal()), Some("hunter2"));
    assert!(debug.contains("sinkuser") && !debug.contains("hunter2"), "{debug}");
    assert!(!String::from_utf8_lossy(&durable.done.octets).contains("hunter2"));
    lab.endpoint.apply_subscription(&durable.change, lab.now()).unwrap();
    assert!(!format!("{:?}", lab.endpoint).contains("hunter2"));
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
