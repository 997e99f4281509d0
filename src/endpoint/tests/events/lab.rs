//! One endpoint over a world that changes, its subscribers, and what they ask.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use uuid::Uuid;

use crate::auth::{Account, Principal, Role};
use crate::endpoint::tests::world::{NOW, endpoint_with, view};
use crate::endpoint::{
    Call, Durable, Endpoint, EventLimits, Finished, Next, Outgoing, Owner, Pace, Progress, Record, Standing, Step,
    Wakes,
};
use crate::job::{JobId, Timestamp};
use crate::provider::Permissions;
use crate::replication::{Change, JobEntry, Transition, View, VmId};

pub(super) const ALL: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*";
pub(super) const WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
pub(super) const PULL_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull";
pub(super) const PUSH_MODE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push";
pub(super) const EVENTS_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Events";
pub(super) const ACK_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/PushWithAck";
pub(super) const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/";
pub(super) const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/";
pub(super) const JOBS: &str = "SELECT * FROM CIM_InstModification WHERE SourceInstance ISA 'Msvm_ConcreteJob'";

/// One endpoint over a world that changes.
pub(super) struct Lab {
    pub(super) endpoint: Endpoint,
    pub(super) view: RefCell<View>,
    pub(super) now: Cell<i64>,
    pub(super) ids: Cell<u128>,
    pub(super) revision: Cell<u64>,
    pub(super) permissions: RefCell<Permissions>,
    pub(super) role: Cell<Role>,
    pub(super) account: Cell<Option<Account>>,
    counted: Cell<(u64, u64)>,
    /// Up to which revision nothing is still to come.
    pub(super) complete: Cell<u64>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with(EventLimits::default())
    }

    pub(super) fn with(limits: EventLimits) -> Self {
        let lab = Self {
            endpoint: endpoint_with(limits),
            view: RefCell::new(view()),
            now: Cell::new(NOW.0),
            ids: Cell::new(0xC000),
            revision: Cell::new(1),
            permissions: RefCell::new(Permissions::unlimited()),
            role: Cell::new(Role::Operator),
            account: Cell::new(None),
            counted: Cell::default(),
            complete: Cell::new(u64::MAX),
        };
        lab.begin();
        lab
    }

    fn begin(&self) {
        self.endpoint.begin_events(&self.view.borrow(), self.now());
        self.endpoint.record_changes((Vec::new(), u64::MAX), self.now());
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }

    pub(super) fn later(&self, ms: i64) {
        self.now.set(self.now.get() + ms * 1_000);
    }

    pub(super) fn id(&self) -> Uuid {
        self.ids.set(self.ids.get() + 1);
        Uuid::from_u128(self.ids.get())
    }

    pub(super) fn step(&self, name: &str, request: &str, pace: Pace<'_>) -> Step {
        let mut principal = Principal::for_tests(name, self.role.get());
        principal.set_account_for_tests(self.account.get());
        let principal = &principal;
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

    pub(super) fn answer(&self, name: &str, request: &str) -> String {
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

    pub(super) fn ask(&self, action: &str, header: &str, body: &str) -> String {
        self.answer("tester", &envelope(ALL, action, header, body))
    }

    /// Subscribes; the answer.
    pub(super) fn subscribe(&self, mode: &str, delivery: &str, filter: &str, rest: &str) -> String {
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
    pub(super) fn pulled(&self, filter: &str, rest: &str) -> String {
        let answer = self.subscribe(PULL_MODE, "", filter, rest);
        between(&answer, "<n:EnumerationContext>", "<").unwrap_or_else(|| panic!("{answer}"))
    }

    pub(super) fn pull(&self, context: &str, max: u32) -> String {
        self.ask(&format!("{ENUMERATION}Pull"), "", &pull_body(context, max))
    }

    /// A pushed subscription's id.
    pub(super) fn pushed(&self, mode: &str, delivery: &str, rest: &str) -> Uuid {
        let answer = self.subscribe(mode, delivery, JOBS, rest);
        let id = between(&answer, "Identifier xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\">", "<");
        id.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
    }

    pub(super) fn change(&self, change: Change) -> Wakes {
        let transition = Transition::apply(&mut self.view.borrow_mut(), change);
        self.endpoint.record_changes((transition.into_iter().collect(), self.complete.get()), self.now())
    }

    pub(super) fn next_revision(&self) -> u64 {
        self.revision.set(self.revision.get() + 1);
        self.revision.get()
    }

    /// Changes a job's text, so that it counts as modified.
    pub(super) fn touch_job(&self, number: u128, status: &str) -> Wakes {
        let entry = Arc::clone(self.view.borrow().job(JobId(Uuid::from_u128(number))).unwrap());
        let mut entry = JobEntry::clone(&entry);
        entry.job.job_status = status.to_owned();
        entry.revision = self.next_revision();
        self.change(Change::Job(Arc::new(entry)))
    }

    pub(super) fn touch_vm(&self, number: u128, health: u16) -> Wakes {
        let vm = Arc::clone(self.view.borrow().vm(VmId(Uuid::from_u128(number))).unwrap());
        let mut vm = crate::replication::Vm::clone(&vm);
        vm.health = crate::replication::ReplicationHealth(health);
        vm.revision = self.next_revision();
        self.change(Change::Vm(Arc::new(vm)))
    }

    pub(super) fn next(&self, id: Uuid) -> Next {
        let standing = |_: &Owner| Standing::May(self.role.get(), self.permissions.borrow().clone());
        self.endpoint.next_message(id, &standing, self.id(), self.now())
    }

    pub(super) fn message(&self, id: Uuid) -> (Outgoing, String) {
        match self.next(id) {
            Next::Send(outgoing) => {
                let text = String::from_utf8(outgoing.octets.clone()).unwrap();
                (outgoing, text)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delivered(&self, outgoing: &Outgoing) {
        assert!(self.endpoint.finish_message(outgoing, Finished::Delivered, self.now()).is_none());
    }

    /// A further job like another.
    pub(super) fn more_jobs(&self, like: u128, numbers: std::ops::Range<u128>) {
        let like = Arc::clone(self.view.borrow().job(JobId(Uuid::from_u128(like))).unwrap());
        for number in numbers {
            let mut entry = JobEntry::clone(&like);
            entry.job.id = JobId(Uuid::from_u128(number));
            entry.revision = self.next_revision();
            self.change(Change::Job(Arc::new(entry)));
        }
    }

    /// The same world with another endpoint, which knows nothing but the view.
    pub(super) fn restarted(&self, limits: EventLimits) -> Self {
        let view = RefCell::new(self.view.borrow().clone());
        let lab = Self { endpoint: endpoint_with(limits), view, ..Self::new() };
        lab.revision.set(self.revision.get());
        lab.ids.set(self.ids.get());
        lab.now.set(self.now.get());
        lab.begin();
        lab
    }

    /// Takes up what another endpoint stored of its subscriptions.
    pub(super) fn restore(&self, records: &[Arc<Record>], progress: &[(Uuid, Progress)]) {
        for record in records {
            let stored = progress.iter().rfind(|(id, _)| *id == record.id).map(|(_, progress)| *progress);
            self.endpoint
                .restore_subscription(Arc::clone(record), stored.unwrap(), Some(Permissions::unlimited()), self.now())
                .unwrap();
        }
    }

    /// How many changes were looked at, and how many renderings were made, since the last call.
    pub(super) fn looks(&self) -> (u64, u64) {
        let counts = self.endpoint.events.renderings.counts();
        let before = self.counted.replace(counts);
        (counts.0 - before.0, counts.1 - before.1)
    }

    /// All messages that go now, each delivered.
    pub(super) fn drain(&self, id: Uuid) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.next(id) {
                Next::Send(outgoing) => {
                    texts.push(String::from_utf8(outgoing.octets.clone()).unwrap());
                    self.delivered(&outgoing);
                }
                Next::More => {}
                Next::Nothing | Next::Ended(_) => return texts,
            }
        }
    }
}

pub(super) const SINK: &str = "<e:NotifyTo><a:Address>http://127.0.0.1:9/sink</a:Address><a:ReferenceParameters><k:Token \
                    xmlns:k=\"urn:x\">T-1</k:Token></a:ReferenceParameters></e:NotifyTo>";

pub(super) fn envelope(uri: &str, action: &str, header: &str, body: &str) -> String {
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

pub(super) fn pull_body(context: &str, max: u32) -> String {
    format!(
        "<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext><n:MaxElements>{max}</n:MaxElements></n:Pull>"
    )
}

pub(super) fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0.to_owned())
}

/// The texts of a property in an answer, in order.
pub(super) fn all(text: &str, element: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once(&format!("<r:{element}>")) {
        found.push(tail.split_once('<').unwrap().0.to_owned());
        rest = tail;
    }
    found
}

pub(super) fn statuses(text: &str) -> Vec<String> {
    all(text, "JobStatus")
}

pub(super) fn number(fault: &str) -> u32 {
    between(fault, "Code=\"", "\"").unwrap_or_else(|| panic!("no fault: {fault}")).parse().unwrap()
}
