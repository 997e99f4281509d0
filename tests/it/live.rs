//! A listening server in this process, over the fault-injecting backend, with an operator and a viewer.

use std::path::Path;

use failbackd::auth::password::{Cost, SALT_OCTETS};
use failbackd::auth::{Role, UserFile};
use failbackd::config::Config;
use failbackd::replication::VmId;
use failbackd::server::{Server, World};
use failbackd::service::NewVm;

use super::process::Wire;

/// The operator, and who may only read. Both have the same password.
pub(crate) const OPERATOR: &str = "otto";
pub(crate) const VIEWER: &str = "vera";
const PASSWORD: &str = "secret";
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// The server, and what it runs on.
pub(crate) struct Live {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) server: Server,
}

impl Live {
    pub(crate) fn start(data_dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        if !UserFile::in_directory(data_dir).path().exists() {
            add(data_dir, OPERATOR, Role::Operator);
            add(data_dir, VIEWER, Role::Viewer);
        }
        Self::start_as_it_is(data_dir, change)
    }

    /// Starts with the users that there are, if any.
    pub(crate) fn start_as_it_is(data_dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            data_dir: data_dir.to_owned(),
            http: "127.0.0.1:0".to_owned(),
            https: "off".to_owned(),
            allow_unencrypted: true,
            fault_backend: true,
            ..Config::default()
        };
        change(&mut config);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(async {
            let world = World::open(&config).await.unwrap();
            Server::start(&config, world).unwrap()
        });
        Self { runtime, server }
    }

    pub(crate) fn vm(&self, new: NewVm) -> VmId {
        self.runtime.block_on(self.server.world().import(new, None)).unwrap()
    }

    pub(crate) fn wire(&self, user: &str) -> Wire {
        Wire::new(self.server.http().unwrap(), user, PASSWORD)
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.server.shutdown());
    }
}

/// Adds a user with the password of all.
pub(crate) fn add(data_dir: &Path, user: &str, role: Role) {
    UserFile::in_directory(data_dir).add(user, role, PASSWORD.as_bytes(), [5; SALT_OCTETS], CHEAP).unwrap();
}
