//! What a repeated piece of work costs the server.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::table::count;
use crate::{Failure, process};

/// A client that does the same again and again.
pub(crate) trait Client: 'static {
    /// Do it once.
    async fn repeat(&mut self) -> Result<(), Failure>;

    /// Look at what was put off while the time was taken.
    fn finish(self) -> Result<(), Failure>
    where
        Self: Sized,
    {
        Ok(())
    }
}

/// Keeps all clients busy for `length`, after a quarter of it to warm up; answers the server's CPU time for each time
/// that one of them was done, in microseconds.
pub(crate) async fn cost<C: Client>(pid: u32, clients: Vec<C>, length: Duration) -> Result<f64, Failure> {
    let (done, ending) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let tasks = LocalSet::new();
    let mut running = Vec::new();
    for mut client in clients {
        let (done, ending) = (Rc::clone(&done), Rc::clone(&ending));
        running.push(tasks.spawn_local(async move {
            while !ending.get() {
                client.repeat().await?;
                done.set(done.get() + 1);
            }
            Ok::<C, Failure>(client)
        }));
    }
    tasks
        .run_until(async move {
            tokio::time::sleep(length / 4).await;
            let (cpu, before) = (process::cpu_time(pid)?, done.get());
            tokio::time::sleep(length).await;
            let (cpu, done) = (process::cpu_time(pid)?.saturating_sub(cpu), done.get() - before);
            ending.set(true);
            for task in running {
                task.await??.finish()?;
            }
            Ok(microseconds(cpu, done))
        })
        .await
}

/// CPU time that this thread has used.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Microseconds for each of `done`.
pub(crate) fn microseconds(cpu: Duration, done: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count(done)
}
