//! A data directory as the commands on this machine see it: through its server when one runs, else through its store.

use super::{Failure, environment};
use crate::client::{Client, ClientError, Settings, Target, Trust};
use crate::config::{Config, PlaceFlags, load};
use crate::replication::View;
use crate::server::{ADMIN_SOCKET, World, random_id, read_view};
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the virtualization classes live.
const NAMESPACE: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";

/// The flags of a command on a data directory.
#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    flags: PlaceFlags,
}

impl Place {
    /// The resource URI of a class.
    pub(crate) fn class(name: &str) -> String {
        format!("{NAMESPACE}{name}")
    }

    /// The configuration that names the data directory.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let loaded =
            load(&self.flags.clone().into(), &environment()).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(loaded.config)
    }

    /// A client of the server that holds the data directory; none when no server does.
    pub(crate) async fn server(&self) -> Result<Option<Client>, Failure> {
        running(&self.config()?.data_dir).await
    }

    /// The data directory for a change that only its holder can make; refused while a server is the holder.
    pub(crate) async fn take(&self) -> Result<Arc<World>, Failure> {
        let mut config = self.config()?;
        if running(&config.data_dir).await?.is_some() {
            return Err(Failure::Failed(format!(
                "a server runs on {} and holds its inventory; stop it, run this again, and start it",
                config.data_dir.display()
            )));
        }
        // A command that changes one record is not the time to take up jobs.
        config.transfers_held = true;
        World::open(&config).await.map_err(|error| Failure::from_error(&error))
    }

    /// What the store of the data directory holds, without a server.
    pub(crate) async fn view(&self) -> Result<View, Failure> {
        let config = self.config()?;
        must_exist(&config.data_dir)?;
        read_view(&config).await.map_err(|error| Failure::from_error(&error))
    }
}

/// A client of the server on this data directory, if one answers.
pub(crate) async fn running(data_dir: &Path) -> Result<Option<Client>, Failure> {
    let socket: PathBuf = data_dir.join(ADMIN_SOCKET);
    match tokio::net::UnixStream::connect(&socket).await {
        Ok(_) => {}
        // A socket file without a listener is what a killed server leaves behind.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let text = format!("{}: only the server's own user and root may use it", socket.display());
            return Err(Failure::Failed(text));
        }
        Err(error) => return Err(Failure::Failed(format!("{}: {error}", socket.display()))),
    }
    let settings =
        Settings { credentials: None, trust: Trust::default(), timeout: Duration::from_mins(1), ids: random_id };
    let client = Client::new(Target::socket(socket), &settings).map_err(|error: ClientError| Failure::from(error))?;
    Ok(Some(client))
}

/// A data directory that was mistyped is not made by looking at it.
fn must_exist(data_dir: &Path) -> Result<(), Failure> {
    match std::fs::metadata(data_dir) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Failed(format!("data directory {}: {error}", data_dir.display()))),
    }
}
