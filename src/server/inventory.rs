//! The inventory of image files: which disks a virtual machine has, as records of the store. Only the administrator of
//! the machine writes them; no value from the wire becomes a path.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::file::{FileDriver, Hook, Hooks, VmDisks};
use crate::config::{Config, HooksConfig};
use crate::replication::VmId;
use crate::store::{Op, Store, StoreError, Txn, TxnError};

use super::world::OpenWorldError;

/// Keys of the records: this and the GUID of the virtual machine.
pub const INVENTORY_PREFIX: &str = "/inventory/";

/// The version of the records that this program writes.
const VERSION: u32 = 1;

/// One record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InventoryRecord {
    /// The version of the record's form.
    pub version: u32,
    /// The disks.
    pub disks: VmDisks,
}

/// Writes the entry of a virtual machine.
pub(super) async fn write(store: &dyn Store, disks: &VmDisks) -> Result<(), StoreError> {
    let record = InventoryRecord { version: VERSION, disks: disks.clone() };
    let octets = serde_json::to_vec(&record).map_err(|error| StoreError::Failed { reason: error.to_string() })?;
    commit(store, Op::Put(key(disks.vm), octets)).await
}

fn key(vm: Uuid) -> String {
    format!("{INVENTORY_PREFIX}{vm}")
}

async fn commit(store: &dyn Store, op: Op) -> Result<(), StoreError> {
    match store.commit(Txn { when: Vec::new(), then: vec![op] }).await {
        Ok(_) => Ok(()),
        Err(TxnError::Store(error)) => Err(error),
        Err(TxnError::Conflict { key }) => Err(StoreError::Failed { reason: format!("a conflict on '{key}'") }),
    }
}

/// Registers every entry with the driver. Hooks of the configuration take the place of those in a record.
pub(super) fn load(store: &dyn Store, files: &FileDriver, config: &Config) -> Result<(), OpenWorldError> {
    const PAGE: usize = 1_000;
    let mut after: Option<String> = None;
    loop {
        let page = store.list(INVENTORY_PREFIX, after.as_deref(), PAGE)?;
        let full = page.len() == PAGE;
        for (key, value) in page {
            let record: InventoryRecord = serde_json::from_slice(&value.octets)
                .map_err(|error| OpenWorldError::Inventory { key: key.clone(), reason: error.to_string() })?;
            if record.version != VERSION {
                let reason = format!("its version is {}, this program reads {VERSION}", record.version);
                return Err(OpenWorldError::Inventory { key, reason });
            }
            let mut disks = record.disks;
            if let Some(vm) = config.vm.get(&disks.name) {
                disks.hooks = hooks(&vm.hooks);
            }
            files
                .register(disks)
                .map_err(|error| OpenWorldError::Inventory { key: key.clone(), reason: error.to_string() })?;
            after = Some(key);
        }
        if !full {
            return Ok(());
        }
    }
}

fn hooks(config: &HooksConfig) -> Hooks {
    let hook = |argv: &Vec<String>| if argv.is_empty() { Hook::None } else { Hook::Command(argv.clone()) };
    Hooks {
        peer_stop: hook(&config.peer_stop),
        peer_start: hook(&config.peer_start),
        home_start: hook(&config.home_start),
        home_stop: hook(&config.home_stop),
        freeze: hook(&config.freeze),
        thaw: hook(&config.thaw),
        timeout_ms: config.timeout_ms,
    }
}

/// Takes an entry out again.
pub(super) async fn remove(store: &dyn Store, files: &FileDriver, vm: VmId) -> Result<(), StoreError> {
    files.unregister(vm);
    commit(store, Op::Delete(key(vm.0))).await
}

/// Registers one more entry and makes it durable.
pub(super) async fn add(store: &Arc<dyn Store>, files: &FileDriver, disks: VmDisks) -> Result<(), OpenWorldError> {
    files
        .register(disks.clone())
        .map_err(|error| OpenWorldError::Inventory { key: disks.name.clone(), reason: error.to_string() })?;
    write(&**store, &disks).await?;
    Ok(())
}
