//! The instances of a data directory: asked from its server when one runs, else made from its store by the same
//! providers and read back from the same encoding, so that a command prints the same either way.

use super::Failure;
use super::place::Place;
use crate::cim::{CimInstance, Schema};
use crate::client::{Client, Enumeration, Instance, Item};
use crate::provider::{Key, Permissions, ReadContext, Registry, Sink};
use crate::replication::View;
use crate::service::{Clock as _, SystemClock};
use crate::wscim::{Codec, Family, write_instance};
use crate::xml::{Document, Limits, Writer};
use std::ops::ControlFlow;

/// Where instances come from.
pub(crate) enum Source {
    /// The server that holds the data directory.
    Server(Box<Client>),
    /// What its store holds, while no server does.
    Store(Box<View>),
}

impl Source {
    pub(crate) async fn of(place: &Place) -> Result<Self, Failure> {
        match place.server().await? {
            Some(client) => Ok(Self::Server(Box::new(client))),
            None => Ok(Self::Store(Box::new(place.view().await?))),
        }
    }

    /// All instances of a class.
    pub(crate) async fn all(&mut self, class: &str) -> Result<Vec<Instance>, Failure> {
        match self {
            Self::Server(client) => {
                let resource_uri = Place::class(class);
                asked(client, &Enumeration { resource_uri, ..Enumeration::default() }).await
            }
            Self::Store(view) => stored(view, class, |_| true),
        }
    }

    /// The instance of a class whose `property` is this GUID.
    pub(crate) async fn named(&mut self, class: &str, property: &str, guid: &str) -> Result<Option<Instance>, Failure> {
        let found = match self {
            Self::Server(client) => {
                let wql = Some(format!("SELECT * FROM {class} WHERE {property} = '{guid}'"));
                asked(client, &Enumeration { resource_uri: Place::class("*"), wql, ..Enumeration::default() }).await
            }
            Self::Store(view) => {
                let slot = Schema::builtin().class_by_name(class).and_then(|class| class.slot(property));
                let is = |instance: &CimInstance, slot| instance.get(slot).as_str() == Some(guid);
                stored(view, class, |instance| slot.is_some_and(|slot| is(instance, slot)))
            }
        };
        Ok(found?.pop())
    }
}

async fn asked(client: &mut Client, enumeration: &Enumeration) -> Result<Vec<Instance>, Failure> {
    let mut instances = Vec::new();
    client
        .enumerate(enumeration, |page| {
            for item in page {
                if let Item::Object(instance, _) = item {
                    instances.push(instance);
                }
            }
        })
        .await?;
    Ok(instances)
}

/// Takes the instances that `wanted` takes.
struct Wanted<F>(Vec<CimInstance>, F);

impl<F: Fn(&CimInstance) -> bool> Sink for Wanted<F> {
    fn push(&mut self, _key: Key, instance: CimInstance) -> ControlFlow<()> {
        if (self.1)(&instance) {
            self.0.push(instance);
        }
        ControlFlow::Continue(())
    }
}

fn stored(view: &View, class: &str, wanted: impl Fn(&CimInstance) -> bool) -> Result<Vec<Instance>, Failure> {
    let schema = Schema::builtin();
    let registry = Registry::new(schema).map_err(|error| Failure::from_error(&error))?;
    let provider = schema.find(class).and_then(|class| registry.provider(class));
    let provider = provider.ok_or_else(|| Failure::Failed(format!("nothing provides {class}")))?;
    let mut sink = Wanted(Vec::new(), wanted);
    let everything = Permissions::unlimited();
    provider.enumerate(&ReadContext::new(view, &everything, schema, SystemClock.now()), None, None, &mut sink);
    let codec = Codec::new(schema);
    sink.0.iter().map(|instance| read_back(&codec, schema, instance)).collect()
}

/// The instance as a client reads it.
fn read_back(codec: &Codec, schema: &Schema, instance: &CimInstance) -> Result<Instance, Failure> {
    let mut octets = Vec::new();
    write_instance(&mut Writer::new(&mut octets), codec, schema, Family::Wmi, instance);
    let text = String::from_utf8(octets).map_err(|error| Failure::from_error(&error))?;
    let limits = Limits { octets_max: text.len(), ..Limits::default() };
    let document = Document::parse(&text, &limits).map_err(|error| Failure::from_error(&error))?;
    Ok(Instance::parse(document.root()))
}
