//! `serve`: serves a data directory until it is told to stop.

use super::{Failure, Outcome, environment, logging, print};
use crate::config::{ServeFlags, load};
use crate::job::Message;
use crate::server::{Server, World};
use clap::Args;
use std::future::poll_fn;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What `serve` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    flags: ServeFlags,
}

/// Serves until SIGTERM or Ctrl-C. SIGHUP reads users and certificate again.
pub fn run(arguments: &Arguments) -> Outcome {
    let loaded = load(&arguments.flags, &environment()).map_err(|error| Failure::Usage(error.to_string()))?;
    let _log = logging::init(&loaded.config.log).map_err(|error| Failure::Usage(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    keep_memory_private();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    let served = runtime.block_on(async {
        let config = &loaded.config;
        // From here on a signal waits for the start to end, and then stops the server in order.
        let (mut stop, mut hangup) = (Stop::listen(), Told::listen(&[SignalKind::hangup()]));
        let world = World::open(config).await.map_err(|error| Failure::from_error(&error))?;
        let server = Server::start(config, world).map_err(|error| Failure::from_error(&error))?;
        for line in server.lines() {
            print::line(line);
        }
        loop {
            tokio::select! {
                () = stop.told() => break,
                () = hangup.told() => {
                    server.reload_users();
                    server.reload_certificate();
                    server.reopen_audit();
                }
            }
        }
        tracing::info!("stopping");
        tokio::select! {
            () = server.shutdown() => {}
            () = stop.told() => tracing::warn!("told to stop twice: what is at work goes on at the next start"),
        }
        Ok(())
    });
    // A step that cannot be stopped (a hook that hangs in an undo) must not keep the process; its job goes on at the
    // next start, as after a crash.
    runtime.shutdown_background();
    served
}

/// Keeps passwords, hashes and keys out of core dumps, and other processes of the same user out of this one's memory,
/// as far as the system lets us: no core file, and no debugger without privileges.
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let core = setrlimit(Resource::Core, none).err();
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable).err();
    if let Some(error) = core.or(dumpable) {
        tracing::warn!(message_id = Message::MEMORY_EXPOSED.id, %error, "a core dump of this process may hold secrets");
    }
}

/// SIGTERM and Ctrl-C, each counted from the moment of [`Stop::listen`].
pub(crate) struct Stop(Told);

impl Stop {
    /// Takes the signals over from the system, which would end the process. Inside a runtime.
    pub(crate) fn listen() -> Self {
        Self(Told::listen(&[SignalKind::terminate(), SignalKind::interrupt()]))
    }

    /// Waits for the next signal.
    pub(crate) async fn told(&mut self) {
        self.0.told().await;
    }
}

/// Any of some signals, none of which ends the process any more.
struct Told(Vec<Signal>);

impl Told {
    fn listen(kinds: &[SignalKind]) -> Self {
        // Without signals there is nothing to wait for but the end of the process.
        Self(kinds.iter().filter_map(|kind| signal(*kind).ok()).collect())
    }

    async fn told(&mut self) {
        poll_fn(|cx| {
            let told = self.0.iter_mut().any(|signal| matches!(signal.poll_recv(cx), Poll::Ready(Some(()))));
            if told { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
