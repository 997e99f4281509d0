//! WS-Enumeration: Enumerate, Pull and Release. Each is parse, then check, then act.

use std::sync::Arc;
use std::time::Duration;

use crate::cim::{ClassId, NamespaceId, Query, Resolved};
use crate::soap::Fault;
use crate::wscim::{Resource, Target};
use crate::wsman::{
    self, Correlation, Enumerate, EnumerationMode, Filter, PolymorphismMode, Pull, Release, fault, uri,
};

use super::exchange::{ENVELOPE_OCTETS, Exchange};
use super::scan::{Bounds, Page, Scan};
use super::{Journal, OPERATION_TIMEOUT, Reply, Step, access, cursor};

/// A query as the scan and its context keep it.
type SharedQuery = Arc<Query<Resolved>>;

impl Exchange<'_> {
    pub(super) fn enumerate(&self, enumerate: &Enumerate<'_>, journal: &mut Journal) -> Result<Reply, Fault> {
        let endpoint = self.endpoint;
        let resource = self.resource()?;
        let (class, query) = self.scope(resource, enumerate.filter.as_ref())?;
        journal.class = Some(Arc::clone(&endpoint.schema.class(class).name));
        endpoint.check_class(self.call, class)?;
        if query.as_ref().is_some_and(|query| query.projection().is_some()) && enumerate.mode != EnumerationMode::Object
        {
            return Err(fault::cannot_process_filter(
                "a query that selects properties yields no endpoint references; use SELECT * or the object mode",
            ));
        }
        let polymorphism = enumerate.polymorphism;
        if resource.target == Target::All && polymorphism != PolymorphismMode::default() {
            let text = "a query on all classes brings subclasses with all their properties and in no other mode";
            return Err(fault::polymorphism_mode_not_supported(text)); //= CIM-07
        }
        let classes = (class, polymorphism);
        let (mode, family) = (enumerate.mode, resource.family);
        let mut scan = Scan::new(&endpoint.registry, endpoint.schema, classes, query, mode, family);
        // What is granted is told, not what was asked for.
        let idle = enumerate.expires.map(|asked| asked.min(Duration::from_millis(endpoint.settings.cursors.idle_ms)));
        if !enumerate.optimize {
            let context = self.open(scan, idle)?;
            return self.bounded(self.encode(|w| {
                wsman::write_enumerate_response(w, Some(&context), None, false, idle);
            }));
        }
        let Some(page) = self.page(&mut scan, enumerate.max_elements, None)? else { return Ok(elsewhere()) };
        let context = if page.end { None } else { Some(self.open(scan, idle)?) };
        self.bounded(self.encode_around(page.items.len(), |w| {
            wsman::write_enumerate_response(w, context.as_deref(), Some(&page.items), page.end, idle);
        }))
    }

    fn open(&self, scan: Scan, idle: Option<Duration>) -> Result<String, Fault> {
        let id = (self.call.ids)();
        let idle_ms = idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        self.endpoint.cursors.open(id, self.call.principal.name(), scan, idle_ms, self.call.now)?;
        Ok(cursor::context_name(id))
    }

    /// The next page, or nothing when it takes longer than this thread has time. `patience` is the request's own.
    //= CTL-02, ENU-28
    fn page(&self, scan: &mut Scan, max_elements: u32, patience: Option<Duration>) -> Result<Option<Page>, Fault> {
        let endpoint = self.endpoint;
        let timeout = self.request.operation_timeout.unwrap_or(OPERATION_TIMEOUT);
        let timeout = patience.map_or(timeout, |patience| patience.min(timeout));
        let cx = endpoint.read_context(self.call);
        let room = self.octets_max.saturating_sub(ENVELOPE_OCTETS + self.echoed_octets_max());
        let bounds = Bounds {
            elements_max: max_elements.clamp(1, endpoint.settings.items_max),
            octets_max: room,
            pace: self.call.pace,
            timeout,
        };
        scan.page(&cx, &endpoint.registry, &endpoint.codec, bounds)
    }

    /// The class and query that an Enumerate is about.
    fn scope(&self, resource: Resource, filter: Option<&Filter<'_>>) -> Result<(ClassId, Option<SharedQuery>), Fault> {
        let Some(filter) = filter else {
            return match resource.target {
                Target::Class(class) => Ok((class, None)),
                Target::All => Err(fault::unsupported_feature_filtering_required(
                    "the resource URI names all classes, so that a query has to say which; \
                     add a WQL filter or use the URI of a class",
                )),
            };
        };
        let query = self.query(filter, resource.namespace)?;
        let class = query.class();
        if let Target::Class(named) = resource.target
            && !self.endpoint.schema.is_a(class, named)
        {
            return Err(fault::cannot_process_filter(format!(
                "the query is about {}, the resource URI about {}",
                self.endpoint.schema.class(class).name,
                self.endpoint.schema.class(named).name
            )));
        }
        Ok((class, Some(Arc::new(query))))
    }

    //= ENU-07, ENU-08, ENU-09, ENU-11
    fn query(&self, filter: &Filter<'_>, namespace: NamespaceId) -> Result<Query<Resolved>, Fault> {
        if !is_wql(&filter.dialect) {
            return Err(fault::unknown_filter_dialect(&filter.dialect, &[uri::DIALECT_WQL]));
        }
        let parsed = Query::parse(&filter.text).map_err(|error| fault::cannot_process_filter(error.to_string()))?;
        parsed
            .resolve_in(namespace, self.endpoint.schema)
            .map_err(|error| fault::cannot_process_filter(error.to_string()))
    }

    /// The resource URI of a Pull may differ from its Enumerate's (libvirt sends the class where it enumerated `*`), so
    /// that the context alone decides.
    pub(super) fn pull(&self, pull: &Pull<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let (cursors, now) = (&self.endpoint.cursors, self.call.now);
        let (id, mut scan) = cursors.scan(&pull.context, self.call.principal.name(), now)?;
        // The context may be older than the caller's present limits; its classes are looked at page by page.
        access::check_namespace(self.call.permissions, scan.namespace(), self.endpoint.schema)?;
        let Some(page) = self.page(&mut scan, pull.max_elements, pull.max_time)? else { return Ok(elsewhere()) };
        if page.end {
            cursors.close(id);
        } else {
            cursors.advance(id, scan, now);
        }
        if page.late && page.items.is_empty() {
            //= ENU-21
            return Err(fault::timed_out("no item was found in the time allowed; the next Pull goes on from here"));
        }
        let context = if page.end { None } else { Some(cursor::context_name(id)) };
        self.bounded(self.encode_around(page.items.len(), |w| {
            wsman::write_pull_response(w, context.as_deref(), &page.items, page.end);
        }))
    }

    //= ENU-23
    pub(super) fn release(&self, release: &Release<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let cursors = &self.endpoint.cursors;
        let (id, scan) = cursors.scan(&release.context, self.call.principal.name(), self.call.now)?;
        access::check_namespace(self.call.permissions, scan.namespace(), self.endpoint.schema)?;
        cursors.close(id);
        self.bounded(self.encode(wsman::write_release_response))
    }
}

impl Exchange<'_> {
    /// The most octets that the header of the answer echoes of the request.
    pub(super) fn echoed_octets_max(&self) -> usize {
        echoed_octets_max(self.correlation)
    }
}

fn elsewhere() -> Reply {
    Reply::Step(Box::new(Step::Elsewhere))
}

/// Whether a filter dialect is WQL, in either spelling of its URI.
fn is_wql(dialect: &str) -> bool {
    let dialect = dialect.trim();
    [uri::DIALECT_WQL, uri::DIALECT_WQL_DMTF].iter().any(|wql| wql.eq_ignore_ascii_case(dialect))
}

/// The most octets that an answer's header echoes of its request: text may grow by escaping.
fn echoed_octets_max(correlation: &Correlation<'_>) -> usize {
    let texts =
        [&correlation.relates_to, &correlation.operation_id, &correlation.sequence_id, &correlation.activity_id];
    let texts: usize = texts.into_iter().flatten().map(|text| 6 * text.len()).sum();
    let markup: usize = correlation.reply_parameters.iter().map(|block| 512 + 2 * block.markup().len()).sum();
    texts + markup
}
