//! WS-Enumeration: Enumerate, Pull and Release. Each is parse, then check, then act.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::soap::Fault;
use crate::wscim::{self, Family, Target};
use crate::wsman::{self, Enumerate, EnumerationMode, GetStatus, PolymorphismMode, Pull, Release, Renew, fault};
use crate::xml::Writer;

use super::exchange::{ENVELOPE_OCTETS, Exchange};
use super::filter::Scope;
use super::scan::{Bounds, Page, Scan};
use super::{Journal, OPERATION_TIMEOUT, Reply, Step, access, cursor};

impl Exchange<'_> {
    pub(super) fn enumerate(&self, enumerate: &Enumerate<'_>, journal: &mut Journal) -> Result<Reply, Fault> {
        let endpoint = self.endpoint;
        let resource = self.resource()?;
        let scope = self.scope(resource, enumerate.filter.as_ref())?;
        let class = scope.class();
        journal.class = Some(Arc::clone(&endpoint.schema.class(class).name));
        endpoint.check_class(self.call, class)?;
        if resource.target == Target::All && enumerate.polymorphism != PolymorphismMode::default() {
            let text = "a query on all classes brings subclasses with all their properties and in no other mode";
            return Err(fault::polymorphism_mode_not_supported(text)); //= CIM-07
        }
        let scan = self.begin(scope, enumerate, resource.family)?.opened_at(resource);
        if scan.projects() && enumerate.mode != EnumerationMode::Object {
            return Err(fault::cannot_process_filter(
                "a query that selects properties yields no endpoint references; use SELECT * or the object mode",
            ));
        }
        self.begin_with(scan, enumerate)
    }

    /// Opens an enumeration, with its first page when that is asked for.
    pub(super) fn begin_with(&self, mut scan: Scan, enumerate: &Enumerate<'_>) -> Result<Reply, Fault> {
        let endpoint = self.endpoint;
        scan.arrays = self.arrays();
        // What is granted is told, not what was asked for.
        let idle = enumerate.expires.map(|asked| asked.min(Duration::from_millis(endpoint.settings.cursors.idle_ms)));
        let total = self.total(&scan);
        if !enumerate.optimize {
            let context = self.open(scan, idle)?;
            return self.bounded(self.encode_with(1_024, header(total), |w| {
                wsman::write_enumerate_response(w, Some(&context), None, false, idle);
            }));
        }
        let wanted = Wanted { elements_max: enumerate.max_elements, characters_max: None, patience: None };
        let Some(page) = self.page(&mut scan, wanted)? else { return Ok(elsewhere()) };
        // Who has everything in hand can count it.
        let total = if page.end { total.map(|_| Total::Known(page.taken.into())) } else { total };
        let context = if page.end { None } else { Some(self.open(scan, idle)?) };
        self.bounded(self.encode_with(page.items.len(), header(total), |w| {
            wsman::write_enumerate_response(w, context.as_deref(), Some(&page.items), page.end, idle);
        }))
    }

    /// The scan that an Enumerate opens.
    fn begin(&self, scope: Scope, enumerate: &Enumerate<'_>, family: Family) -> Result<Scan, Fault> {
        let endpoint = self.endpoint;
        let (mode, polymorphism) = (enumerate.mode, enumerate.polymorphism);
        match scope {
            Scope::Class(class, condition) => {
                let classes = (class, polymorphism);
                Ok(Scan::of_class(&endpoint.registry, endpoint.schema, classes, condition, mode, family))
            }
            Scope::Associations(query) => {
                let (cx, question) = (endpoint.read_context(self.call), (query, polymorphism));
                Scan::of_walk(&endpoint.registry, &cx, question, mode, family).map_err(wscim::fault_of)
            }
        }
    }

    fn open(&self, scan: Scan, idle: Option<Duration>) -> Result<String, Fault> {
        let id = (self.call.ids)();
        let idle_ms = idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        self.endpoint.cursors.open(id, self.call.principal.name(), scan, idle_ms, self.call.now)?;
        Ok(cursor::context_name(id))
    }

    /// What to tell of the number of all items, when the client asks.
    //= ENU-12
    fn total(&self, scan: &Scan) -> Option<Total> {
        let cx = self.endpoint.read_context(self.call);
        let total = || scan.total(&cx, &self.endpoint.registry).map_or(Total::Unknown, Total::Known);
        self.request.wants_total_estimate.then(total)
    }

    /// The next page, or nothing when it takes longer than this thread has time.
    //= CTL-02, ENU-28, MSX-03
    fn page(&self, scan: &mut Scan, wanted: Wanted) -> Result<Option<Page>, Fault> {
        let endpoint = self.endpoint;
        let timeout = self.request.operation_timeout.unwrap_or(OPERATION_TIMEOUT);
        let timeout = wanted.patience.map_or(timeout, |patience| patience.min(timeout));
        let cx = endpoint.read_context(self.call);
        let room = self.octets_max.saturating_sub(ENVELOPE_OCTETS + self.echoed_octets_max());
        let bounds = Bounds {
            elements_max: wanted.elements_max.clamp(1, endpoint.settings.items_max),
            octets_max: room,
            characters_max: wanted.characters_max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)),
            pace: self.call.pace,
            timeout,
        };
        let codec = endpoint.codec(scan.arrays);
        scan.page(&cx, &endpoint.registry, codec, &endpoint.settings.winrm, bounds)
    }

    /// The resource URI of a Pull may differ from its Enumerate's (libvirt sends the class where it enumerated `*`), so
    /// that the context alone decides.
    pub(super) fn pull(&self, pull: &Pull<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let (cursors, now) = (&self.endpoint.cursors, self.call.now);
        let (id, mut scan) = cursors.scan(&pull.context, self.call.principal.name(), now)?;
        // The context may be older than the caller's present limits; its classes are looked at page by page.
        self.check_scan(&scan)?;
        let total = self.total(&scan);
        let wanted =
            Wanted { elements_max: pull.max_elements, characters_max: pull.max_characters, patience: pull.max_time };
        let Some(page) = self.page(&mut scan, wanted)? else { return Ok(elsewhere()) };
        let come_so_far = |end: bool| if end { cursors.close(id) } else { cursors.advance(id, scan, now) };
        if page.late && page.items.is_empty() {
            come_so_far(page.end);
            //= ENU-21
            return Err(fault::timed_out("no item was found in the time allowed; the next Pull goes on from here"));
        }
        let context = if page.end { None } else { Some(cursor::context_name(id)) };
        let answer = self.bounded(self.encode_with(page.items.len(), header(total), |w| {
            wsman::write_pull_response(w, context.as_deref(), &page.items, page.end);
        }))?;
        // What does not reach the client is not lost: a refused answer leaves the context where it was.
        come_so_far(page.end);
        Ok(answer)
    }

    /// Renews a context: it lives for the time asked for, or the longest there is, counted from now and again from each
    /// Pull. The profile of WS-Management lets a service refuse this; ours offers it.
    pub(super) fn renew_enumeration(&self, renew: &Renew<'_>) -> Result<Reply, Fault> {
        let (cursors, now) = (&self.endpoint.cursors, self.call.now);
        let id = self.own_context(&renew.context)?;
        let asked = renew.expires.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
        let granted = Duration::from_millis(cursors.renew(id, asked, now));
        self.bounded(self.encode(|w| wsman::write_renew_response(w, granted, &cursor::context_name(id))))
    }

    /// How long a context will live.
    pub(super) fn enumeration_status(&self, status: &GetStatus<'_>) -> Result<Reply, Fault> {
        let id = self.own_context(&status.context)?;
        let remaining = Duration::from_millis(self.endpoint.cursors.remaining_ms(id, self.call.now));
        self.bounded(self.encode(|w| wsman::write_status_response(w, remaining)))
    }

    /// The context of this name, if it is open and the caller's own.
    fn own_context(&self, context: &str) -> Result<Uuid, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let (id, scan) = self.endpoint.cursors.scan(context, self.call.principal.name(), self.call.now)?;
        self.check_scan(&scan)?;
        Ok(id)
    }

    /// Refuses a caller from whom the namespace of a scan is kept by now, and a resource that is not the one at which
    /// the context was opened, where the profile wants that.
    //= ENU-20
    fn check_scan(&self, scan: &Scan) -> Result<(), Fault> {
        let check = |namespace| access::check_namespace(self.call.permissions, namespace, self.endpoint.schema);
        scan.namespace().map_or(Ok(()), check)?;
        let same = || self.resource().is_ok_and(|resource| scan.is_at(resource));
        if !scan.knows_its_resource() || !self.endpoint.settings.profile.context_needs_its_resource || same() {
            return Ok(());
        }
        let text = "the ResourceURI and its namespace are not those of the Enumerate that opened this context";
        Err(fault::message_information_header_required(text))
    }

    //= ENU-23
    pub(super) fn release(&self, release: &Release<'_>) -> Result<Reply, Fault> {
        let id = self.own_context(&release.context)?;
        self.endpoint.cursors.close(id);
        self.bounded(self.encode(wsman::write_release_response))
    }
}

impl Exchange<'_> {
    /// The most octets that the header of the answer echoes of the request.
    pub(super) fn echoed_octets_max(&self) -> usize {
        let correlation = self.correlation;
        let texts =
            [&correlation.relates_to, &correlation.operation_id, &correlation.sequence_id, &correlation.activity_id];
        // Text may grow by escaping; how far a block of markup grows with its namespaces shows when it is written.
        let texts: usize = texts.into_iter().flatten().map(|text| 6 * text.len()).sum();
        let mut blocks = Vec::new();
        let mut w = Writer::new(&mut blocks);
        for parameter in &correlation.reply_parameters {
            parameter.write_self_contained(&mut w);
        }
        if let Some(fragment) = &self.request.fragment {
            fragment.write_header(&mut w);
        }
        texts + blocks.len()
    }
}

/// What a request says of the page that it wants.
#[derive(Clone, Copy)]
struct Wanted {
    elements_max: u32,
    characters_max: Option<u32>,
    /// How long the client waits, when it says so beside its timeout.
    patience: Option<Duration>,
}

/// The number of all items of an enumeration.
enum Total {
    Known(u64),
    Unknown,
}

/// The header that tells the number of all items, to who asked.
fn header(total: Option<Total>) -> impl FnOnce(&mut Writer<'_>) {
    move |w| match total {
        Some(Total::Known(total)) => wsman::write_total_estimate(w, Some(total)),
        Some(Total::Unknown) => wsman::write_total_estimate(w, None),
        None => {}
    }
}

fn elsewhere() -> Reply {
    Reply::Step(Box::new(Step::Elsewhere))
}
