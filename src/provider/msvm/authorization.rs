//! `Msvm_ReplicationAuthorizationSettingData`: the primary hosts that may replicate here. The one class whose instances
//! clients create and delete.

use crate::cim::{CimInstance, ClassId, EmbeddedInstance, ObjectPath, Query, Resolved, Schema, Value};
use crate::provider::slots::slots;
use crate::provider::write::{Created, Takes, Unwritten, Values};
use crate::provider::{Flow, Found, Key, Provider, ReadContext, SchemaMismatch, Sink, text_of};
use crate::replication::{Amendment, Authorization, AuthorizationId, SettingError};

use super::{only, owned, single_key};

slots! {
    /// The slots of the class, shared with the methods that take an embedded instance.
    AuthorizationSlots of "Msvm_ReplicationAuthorizationSettingData" {
        instance_id: "InstanceID",
        caption: "Caption",
        description: "Description",
        element_name: "ElementName",
        allowed_host: "AllowedPrimaryHostSystem",
        trust_group: "TrustGroup",
        storage_location: "ReplicaStorageLocation",
    }
}

#[derive(Debug)]
pub(super) struct Authorizations {
    slots: AuthorizationSlots,
    writable: [u16; 3],
}

impl Authorizations {
    pub(super) fn resolve(schema: &Schema) -> Result<Self, SchemaMismatch> {
        let slots = AuthorizationSlots::resolve(schema)?;
        Ok(Self { slots, writable: [slots.allowed_host, slots.trust_group, slots.storage_location] })
    }

    fn instance(&self, cx: &ReadContext<'_>, entry: &Authorization) -> CimInstance {
        let s = &self.slots;
        let mut data = CimInstance::new(cx.schema.class(s.class));
        data.set(s.instance_id, instance_id(cx, &entry.host));
        data.set(s.caption, "Replication Authorization Settings");
        data.set(s.description, "A primary host that may replicate to this host.");
        data.set(s.element_name, owned(&entry.host));
        data.set(s.allowed_host, owned(&entry.host));
        data.set(s.trust_group, owned(&entry.trust_group));
        data.set(s.storage_location, owned(&entry.storage_location));
        data
    }

    fn entry<'v>(&self, cx: &ReadContext<'v>, present: &CimInstance) -> Option<&'v Authorization> {
        let host = present.get(self.slots.allowed_host).as_str()?;
        cx.view.authorization(AuthorizationId::of(host))
    }
}

fn instance_id(cx: &ReadContext<'_>, host: &str) -> String {
    format!("Microsoft:{}\\Authorization\\{host}", cx.view.host_name())
}

/// The host in an `InstanceID`.
fn host_of(instance_id: &str) -> Option<&str> {
    let (head, host) = instance_id.rsplit_once('\\')?;
    let kind = head.rsplit('\\').next()?;
    kind.eq_ignore_ascii_case("Authorization").then_some(host)
}

/// The entry that values make of another one, or of nothing. `None` of a value leaves what was there.
pub(crate) fn entry_with(
    slots: &AuthorizationSlots,
    values: &Values,
    before: Option<&Authorization>,
) -> Result<Authorization, Unwritten> {
    let text = |slot: u16, before: Option<&String>| match values.iter().find(|(known, _)| *known == slot) {
        Some((_, value)) => value.as_str().unwrap_or_default().trim().to_owned(),
        None => before.cloned().unwrap_or_default(),
    };
    let entry = Authorization {
        host: text(slots.allowed_host, before.map(|entry| &entry.host)),
        trust_group: text(slots.trust_group, before.map(|entry| &entry.trust_group)),
        storage_location: text(slots.storage_location, before.map(|entry| &entry.storage_location)),
        revision: 0,
    };
    if entry.host.is_empty() {
        return Err(Unwritten::Missing("AllowedPrimaryHostSystem".to_owned()));
    }
    if before.is_some_and(|before| before.id() != entry.id()) {
        return Err(changed_key("AllowedPrimaryHostSystem"));
    }
    entry.validate()?;
    Ok(entry)
}

/// The values of an embedded instance, without those that it leaves open.
pub(crate) fn given(embedded: &EmbeddedInstance) -> Vec<(u16, Value)> {
    embedded.set.iter().filter(|(_, value)| !value.is_null()).cloned().collect()
}

fn changed_key(property: &'static str) -> Unwritten {
    let message = "names the entry and cannot change; delete it and create another".to_owned();
    SettingError { property, message }.into()
}

impl Provider for Authorizations {
    fn class(&self) -> ClassId {
        self.slots.class
    }

    fn is_about_vms(&self) -> bool {
        false
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        u64::try_from(cx.view.authorizations_after(None).count()).ok()
    }

    fn find(&self, cx: &ReadContext<'_>, path: &ObjectPath) -> Found {
        let Some(instance_id) = text_of(path, self.slots.instance_id) else { return Found::Unnamed };
        let entry = host_of(instance_id).and_then(|host| cx.view.authorization(AuthorizationId::of(host)));
        entry.map(|entry| self.instance(cx, entry)).into()
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        query: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let key = |entry: &Authorization| Key(entry.id().0, 0);
        let demanded = super::demanded(query, self.slots.instance_id).map(|id| host_of(id).unwrap_or_default());
        if let Some(host) = demanded.or_else(|| super::demanded(query, self.slots.allowed_host)) {
            let entry = cx.view.authorization(AuthorizationId::of(host));
            return entry.map_or(Flow::End, |entry| only(key(entry), after, sink, || self.instance(cx, entry)));
        }
        for entry in cx.view.authorizations_after(after.map(|key| AuthorizationId(key.0))) {
            if sink.push(key(entry), self.instance(cx, entry)).is_break() {
                return Flow::Stopped;
            }
        }
        Flow::End
    }

    fn takes(&self) -> Takes {
        Takes {
            put: Some("ModifyAuthorizationEntry"),
            create: Some("AddAuthorizationEntry"),
            delete: Some("RemoveAuthorizationEntry"),
        }
    }

    fn writable(&self) -> &[u16] {
        &self.writable
    }

    fn modify(&self, cx: &ReadContext<'_>, present: &CimInstance, values: &Values) -> Result<Amendment, Unwritten> {
        let before = self.entry(cx, present).ok_or(Unwritten::NotTaken)?;
        let to = entry_with(&self.slots, values, Some(before))?;
        Ok(Amendment::ChangeAuthorization { from: Box::new(before.clone()), to: Box::new(to) })
    }

    fn create(&self, cx: &ReadContext<'_>, values: &Values) -> Result<Created, Unwritten> {
        let s = &self.slots;
        let entry = entry_with(s, values, None)?;
        let name = instance_id(cx, &entry.host);
        let named = values.iter().find(|(slot, _)| *slot == s.instance_id).and_then(|(_, value)| value.as_str());
        if named.is_some_and(|named| !named.trim().is_empty() && !named.trim().eq_ignore_ascii_case(&name)) {
            let message = format!("follows from AllowedPrimaryHostSystem: leave it out, or give {name}");
            return Err(SettingError { property: "InstanceID", message }.into());
        }
        let path = single_key(s.class, s.instance_id, name);
        Ok(Created { amendment: Amendment::AddAuthorization(Box::new(entry)), path })
    }

    fn delete(&self, cx: &ReadContext<'_>, present: &CimInstance) -> Result<Amendment, Unwritten> {
        let entry = self.entry(cx, present).ok_or(Unwritten::NotTaken)?;
        Ok(Amendment::RemoveAuthorization(entry.host.clone()))
    }
}
