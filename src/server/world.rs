//! Everything below the wire, opened on one data directory: store, backends, engine.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Driver;
use crate::backend::fault::{FaultDriver, Script};
use crate::backend::file::io::RealDisks;
use crate::backend::file::{FileDriver, FileSettings, VmDisks};
use crate::config::Config;
use crate::job::Message;
use crate::replication::{View, VmId};
use crate::service::{Engine, EngineSettings, Identity, ImportError, NewVm, OpenError, SystemClock, stored_view};
use crate::store::{RedbStore, Store, StoreError};

use super::inventory;

/// The store's file in the data directory.
const STORE_FILE: &str = "failbackd.redb";
/// The recovery points' directory in the data directory; it belongs to the peer site.
const POINTS_DIRECTORY: &str = "peer-points";

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenWorldError {
    /// The directory cannot be made or read.
    #[error("the data directory {path} cannot be used: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// An entry of the inventory.
    #[error("the inventory entry '{key}' cannot be used: {reason}")]
    Inventory {
        /// Its key or name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A virtual machine cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// Store, backends and engine of a data directory.
pub struct World {
    store: Arc<dyn Store>,
    files: Arc<FileDriver>,
    faults: Option<Arc<FaultDriver>>,
    engine: Arc<Engine>,
    host_name: String,
}

impl World {
    /// Opens the data directory of a configuration, and makes it when it is not there. One process at a time.
    pub async fn open(config: &Config) -> Result<Arc<Self>, OpenWorldError> {
        make_directory(&config.data_dir)?;
        let path = config.data_dir.join(STORE_FILE);
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&path)?);
        let host_name = host_name(config);
        let settings = FileSettings {
            home_host: host_name.clone(),
            peer_host: "peer".to_owned(),
            points: config.data_dir.join(POINTS_DIRECTORY),
            link_octets_per_second: None,
        };
        let files = Arc::new(FileDriver::new(settings, Box::new(RealDisks)));
        inventory::load(&*store, &files, config)?;
        let faults = config.fault_backend.then(|| Arc::new(FaultDriver::new(Script::default())));
        let mut drivers: Vec<Arc<dyn Driver>> = vec![files.clone()];
        if let Some(faults) = &faults {
            drivers.push(faults.clone());
        }
        let engine = Engine::open(
            Arc::clone(&store),
            drivers,
            engine_settings(config),
            host_name.clone(),
            Arc::new(SystemClock),
        )
        .await?;
        Ok(Arc::new(Self { store, files, faults, engine, host_name }))
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The store of the data directory.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The backend for image files.
    pub fn files(&self) -> &Arc<FileDriver> {
        &self.files
    }

    /// The fault-injecting backend, when the configuration loads it.
    pub fn faults(&self) -> Option<&Arc<FaultDriver>> {
        self.faults.as_ref()
    }

    /// The name under which this host appears.
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// Imports a virtual machine: the inventory's entry of its disks first, if it has any, then its record.
    pub async fn import(&self, new: NewVm, disks: Option<VmDisks>) -> Result<VmId, OpenWorldError> {
        let Some(disks) = disks else { return Ok(self.engine.import_vm(new).await?) };
        let id = VmId(disks.vm);
        if self.engine.view().vm(id).is_some() {
            return Err(ImportError::Taken(Identity::Id(id)).into());
        }
        inventory::add(&self.store, &self.files, disks).await?;
        match self.engine.import_vm(new).await {
            Ok(id) => Ok(id),
            Err(error) => {
                inventory::remove(&*self.store, &self.files, id).await?;
                Err(error.into())
            }
        }
    }
}

/// What the store of a data directory holds, for commands that look while no server runs. Nothing is started.
pub async fn read_view(config: &Config) -> Result<View, OpenWorldError> {
    let path = config.data_dir.join(STORE_FILE);
    let (host_name, jobs_max) = (host_name(config), engine_settings(config).jobs_max);
    let read = move || -> Result<View, OpenWorldError> {
        let store = RedbStore::open(&path)?;
        Ok(stored_view(&store, &host_name, jobs_max)?)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(view) => view,
        Err(error) => Err(OpenError::Panicked(error.to_string()).into()),
    }
}

fn engine_settings(config: &Config) -> EngineSettings {
    EngineSettings {
        max_active_transfers: usize::try_from(config.max_active_transfers).unwrap_or(usize::MAX),
        jobs_max: usize::try_from(config.limits.jobs_max).unwrap_or(usize::MAX),
        time_before_removal_ms: config.time_before_removal_ms,
        link_octets_per_second: Some(config.link_octets_per_second_max).filter(|rate| 0 < *rate),
        transfers_held: config.transfers_held,
        admission_limit_ms: config.limits.admission_timeout_ms,
        shutdown_limit_ms: config.limits.shutdown_timeout_ms,
        ..EngineSettings::default()
    }
}

fn make_directory(path: &Path) -> Result<(), OpenWorldError> {
    let failed = |source| OpenWorldError::Directory { path: path.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    // What cannot be listed cannot be used either; better said now than by the first file in it.
    std::fs::read_dir(path).map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        let (message_id, path, mode) = (Message::DIRECTORY_SHARED.id, path.display(), format!("{mode:04o}"));
        tracing::warn!(message_id, %path, mode, "others may write to the data directory: chmod go-w, better go-rwx");
    }
    Ok(())
}

/// The configured name of this host, or the machine's: its NetBIOS form, as Hyper-V shows hosts.
pub fn host_name(config: &Config) -> String {
    let given = config.host_name.trim();
    if !given.is_empty() {
        return given.to_owned();
    }
    let uname = rustix::system::uname();
    let machine = uname.nodename().to_string_lossy().into_owned();
    let short: String = machine.split('.').next().unwrap_or_default().chars().take(15).collect();
    if short.is_empty() { "FAILBACKD".to_owned() } else { short.to_ascii_uppercase() }
}
