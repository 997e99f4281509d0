//! CIM providers over the view: synchronous, with no store, backend or lock behind them. One provider a class, and one
//! visible table of methods; both are proved against the MOF when the registry is built.

mod few;
mod interop;
mod lookup;
mod methods;
pub mod msvm;
mod permissions;
mod scoped;
mod slots;
mod write;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::cim::{
    AssociationQuery, CimError, CimInstance, CimStatus, ClassId, Method, MethodInput, MethodResult, ObjectPath, Query,
    Resolved, Schema,
};
use crate::job::{JobId, Timestamp};
use crate::replication::{Amendment, Command, Denied, View};

pub use lookup::{keys_match, text_of};
pub use methods::{Access, Row};
pub use msvm::Walk;
pub use permissions::{Dimension, Missing, Patterns, Permissions, Rule, Rules};
pub use scoped::Scoped;
pub use write::{Created, Takes, Unwritten, Values, with_values};

/// The place of an instance in its class's order of enumeration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u128, pub u128);

/// What a read sees.
#[derive(Clone, Copy)]
pub struct ReadContext<'c> {
    /// The world, as far as the caller may see it.
    pub view: Scoped<'c>,
    /// What the caller may reach.
    pub permissions: &'c Permissions,
    /// The classes.
    pub schema: &'c Schema,
    /// Now.
    pub now: Timestamp,
}

impl<'c> ReadContext<'c> {
    /// What a caller with these permissions sees.
    pub fn new(view: &'c View, permissions: &'c Permissions, schema: &'c Schema, now: Timestamp) -> Self {
        Self { view: Scoped::new(view, permissions), permissions, schema, now }
    }

    /// Whether the instances of a class may be reached.
    pub fn admits(&self, class: ClassId) -> bool {
        self.permissions.are_unlimited() || self.permissions.admit(Dimension::Classes, &self.schema.class(class).name)
    }
}

/// What a method call sees.
#[derive(Clone, Copy)]
pub struct CallContext<'c> {
    /// What a read sees.
    pub read: ReadContext<'c>,
    /// The name of the caller.
    pub principal: &'c str,
    /// The key under which the request is carried out once.
    pub idempotency_key: Option<[u8; 32]>,
    /// The method as declared.
    pub method: &'c Method,
}

/// Takes the instances of an enumeration.
pub trait Sink {
    /// Takes an instance, or breaks when there is no room: then it was not taken.
    fn push(&mut self, key: Key, instance: CimInstance) -> ControlFlow<()>;
}

/// How an enumeration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is nothing more.
    End,
    /// The sink took no more; something is left.
    Stopped,
}

/// What a provider finds by a path's principal key.
#[derive(Debug)]
pub enum Found {
    /// The instance.
    Instance(CimInstance),
    /// There is none with that key.
    Nothing,
    /// The path lacks the principal key: the instances have to be searched.
    Unnamed,
}

impl From<Option<CimInstance>> for Found {
    fn from(instance: Option<CimInstance>) -> Self {
        instance.map_or(Self::Nothing, Self::Instance)
    }
}

/// The instances of one class.
pub trait Provider: Send + Sync + fmt::Debug {
    /// The class.
    fn class(&self) -> ClassId;

    /// Whether each instance belongs to a virtual machine, and is kept from a caller together with it.
    fn is_about_vms(&self) -> bool;

    /// How many instances the caller can see, where that is known without looking at them.
    fn count(&self, _: &ReadContext<'_>) -> Option<u64> {
        None
    }

    /// The instance that a path's principal key names. Its other keys are compared by the caller.
    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found;

    /// The instances after `after` in key order, into the sink. A provider may use the query's equalities to skip what
    /// cannot match; the sink filters the rest.
    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow;

    /// What the class takes besides reads and methods.
    fn takes(&self) -> Takes {
        Takes::default()
    }

    /// What a client does instead of a Put, a Create or a Delete that the class does not take.
    fn instead(&self) -> &'static str {
        INSTEAD
    }

    /// The slots of the properties that a client may set.
    fn writable(&self) -> &[u16] {
        &[]
    }

    /// The change that a Put asks for: `values` of properties that may be set, over those of the present instance.
    fn modify(&self, cx: &ReadContext<'_>, present: &CimInstance, values: &Values) -> Result<Amendment, Unwritten> {
        let _ = (cx, present, values);
        Err(Unwritten::NotTaken)
    }

    /// The instance that a Create asks for: `values` of keys and of properties that may be set.
    fn create(&self, cx: &ReadContext<'_>, values: &Values) -> Result<Created, Unwritten> {
        let _ = (cx, values);
        Err(Unwritten::NotTaken)
    }

    /// The change that a Delete asks for.
    fn delete(&self, cx: &ReadContext<'_>, present: &CimInstance) -> Result<Amendment, Unwritten> {
        let _ = (cx, present);
        Err(Unwritten::NotTaken)
    }
}

/// What is told of classes that have nothing better to say in [`Provider::instead`].
pub const INSTEAD: &str = "settings change by a Put of Msvm_ReplicationSettingData, \
     Msvm_ReplicationServiceSettingData or Msvm_ReplicationAuthorizationSettingData, and all else by methods of \
     Msvm_ReplicationService and Msvm_ComputerSystem";

/// What a method handler decided.
#[derive(Debug)]
pub enum Outcome {
    /// Done: this is the answer.
    Done(MethodResult),
    /// The domain refuses.
    Denied(Denied),
    /// Make this command durable, then answer with its job.
    Submit(Box<Command>),
    /// Make this change durable, then answer 0.
    Amend(Box<Amendment>),
    /// Ask for the end of a job.
    Cancel(JobId),
}

/// Every provider and method row.
#[derive(Debug)]
pub struct Registry {
    providers: Vec<Option<Box<dyn Provider>>>,
    rows: Vec<Row>,
    job: msvm::JobPaths,
    links: Arc<msvm::Links>,
}

/// The MOF and the code disagree: a name that one has and the other lacks.
#[derive(Debug, thiserror::Error)]
#[error("the schema has no {0}")]
pub struct SchemaMismatch(pub String);

impl Registry {
    /// The providers of all namespaces. Fails when the MOF lacks a class, property or method they name.
    pub fn new(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let mut providers: Vec<Option<Box<dyn Provider>>> = schema.classes().iter().map(|_| None).collect();
        let links = Arc::new(msvm::Links::resolve(schema)?);
        let virtualization = msvm::providers(schema)?.into_iter().chain(links.providers());
        for provider in virtualization.chain(interop::providers(schema)?) {
            if let Some(slot) = providers.get_mut(provider.class().index()) {
                *slot = Some(provider);
            }
        }
        Ok(Self { providers, rows: methods::rows(schema)?, job: msvm::JobPaths::resolve(schema)?, links })
    }

    /// The provider of exactly this class.
    pub fn provider(&self, class: ClassId) -> Option<&dyn Provider> {
        self.providers.get(class.index())?.as_deref()
    }

    /// The classes with instances among `class` and its subclasses.
    pub fn served(&self, class: ClassId, schema: &Schema) -> Vec<ClassId> {
        schema.subclasses(class).iter().copied().filter(|class| self.provider(*class).is_some()).collect()
    }

    /// Whether there is a class among `class` and its subclasses whose instances belong to virtual machines.
    pub fn has_any_about_vms(&self, class: ClassId, schema: &Schema) -> bool {
        let mut providers = schema.subclasses(class).iter().filter_map(|class| self.provider(*class));
        providers.any(Provider::is_about_vms)
    }

    /// The instance that a path names, of the path's class or a subclass.
    ///
    /// Fails when nothing matches the keys, and when keys are missing and more than one instance matches the rest. To a
    /// caller from whom such an instance may be kept, one that is kept and one that is not there are the same.
    pub fn get(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Result<CimInstance, CimError> {
        lookup::get(self, cx, path)
    }

    /// The walk that a question about associations asks for. Fails when its path does not name one instance.
    //= CIM-09, CIM-10
    pub fn walk(&self, cx: &ReadContext<'_>, query: &AssociationQuery) -> Result<Walk, CimError> {
        let source = self.get(cx, &query.object)?;
        Ok(self.links.walk(cx, query, &source))
    }

    /// What one leg of a walk finds behind `after`, in key order and by index, into the sink.
    pub fn follow(
        &self,
        cx: &ReadContext<'_>,
        walk: &Walk,
        leg: usize,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        self.links.follow(cx, walk, leg, after, sink, |path| match self.provider(path.class)?.find(cx, path) {
            Found::Instance(instance) => Some(instance),
            Found::Nothing | Found::Unnamed => None,
        })
    }

    /// The row of a method of `class`: carried out here for it, or for a subclass whose instance the path may name.
    pub fn method(&self, class: ClassId, method: &str, schema: &Schema) -> Result<&Row, CimError> {
        let related = |row: &Row| schema.is_a(class, row.class) || schema.is_a(row.class, class);
        let row = self.rows.iter().find(|row| row.name == method && related(row));
        row.ok_or_else(|| not_offered(&schema.class(class).name, method))
    }

    /// The row of the method that does the same as a Put, a Create or a Delete.
    pub fn counterpart(&self, method: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == method)
    }

    /// The classes that have instances.
    pub fn classes(&self) -> impl Iterator<Item = ClassId> {
        self.providers.iter().flatten().map(|provider| provider.class())
    }

    /// The rows of all methods that are carried out.
    pub fn methods(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// Calls a method. The target instance must exist.
    pub fn invoke(
        &self,
        cx: &CallContext<'_>,
        row: &Row,
        path: &ObjectPath,
        input: &MethodInput,
    ) -> Result<Outcome, CimError> {
        let target = self.get(&cx.read, path)?;
        if !cx.read.schema.is_a(target.class, row.class) {
            return Err(not_offered(&cx.read.schema.class(target.class).name, row.name));
        }
        row.call(cx, &target, input)
    }

    /// The object path of a job.
    pub fn job_path(&self, job: JobId) -> Option<ObjectPath> {
        Some(self.job.path(job))
    }

    /// The job that an instance is about, when it is one of `Msvm_ConcreteJob`.
    pub fn job_of(&self, instance: &CimInstance) -> Option<JobId> {
        self.job.id(instance)
    }
}

fn not_offered(class: &str, method: &str) -> CimError {
    let message = format!("{class} declares the method {method}, but this server does not offer it");
    CimError::new(CimStatus::METHOD_NOT_AVAILABLE, message)
}
