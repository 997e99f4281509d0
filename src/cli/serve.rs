//! `serve`: serves a data directory until it is told to stop.

use super::{Failure, Outcome, environment, logging, print};
use crate::config::{ServeFlags, load};
use crate::server::{Server, World};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// What `serve` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    flags: ServeFlags,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(arguments: &Arguments) -> Outcome {
    let loaded = load(&arguments.flags, &environment()).map_err(|error| Failure::Usage(error.to_string()))?;
    let _log = logging::init(&loaded.config.log).map_err(|error| Failure::Usage(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    let served = runtime.block_on(async {
        let config = &loaded.config;
        let world = World::open(config).await.map_err(|error| Failure::from_error(&error))?;
        let server = Server::start(config, world).map_err(|error| Failure::from_error(&error))?;
        for line in server.lines() {
            print::line(line);
        }
        stopped().await;
        tracing::info!("stopping");
        server.shutdown().await;
        Ok(())
    });
    // A step that cannot be stopped (a hook that hangs in an undo) must not keep the process; its job goes on at the
    // next start, as after a crash.
    runtime.shutdown_background();
    served
}

/// Waits for SIGTERM or Ctrl-C. Without signals there is nothing to wait for but the end of the process.
pub(crate) async fn stopped() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
