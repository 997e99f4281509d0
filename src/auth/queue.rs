//! The order in which passwords are verified.
//!
//! A verification costs milliseconds of a core on purpose, so only so many run at a time and only so many wait. Whoever
//! sends wrong passwords without end would fill that queue for everybody. So a network gets half of its places; and of
//! those who wait, each network has a few at the head, so that the networks take turns however long their own lines
//! are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::throttle::network;

/// How much a verification's thread gives way: against one other that always wants the core it gets a tenth of it.
const NICENESS: i32 = 10;

/// The queue: one for the process.
pub(super) struct Queue {
    /// Running and waiting.
    places: Arc<Semaphore>,
    network_max: usize,
    /// Running.
    running: Arc<Semaphore>,
    /// How many of a network may run, or be about to.
    heads: usize,
    lines: Mutex<HashMap<Option<IpAddr>, Line>>,
}

/// The verifications of one network.
struct Line {
    head: Arc<Semaphore>,
    places: usize,
}

/// A place in the queue; free again when dropped.
pub(super) struct Place {
    queue: Arc<Queue>,
    network: Option<IpAddr>,
    head: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
}

/// The right to run, until it is dropped.
pub(super) struct Turn {
    _head: Option<OwnedSemaphorePermit>,
    _running: Option<OwnedSemaphorePermit>,
}

impl Queue {
    /// `running_max` at a time, and `waiting_max` more that wait.
    pub(super) fn new(running_max: usize, waiting_max: usize) -> Self {
        let running = running_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = running.saturating_add(waiting_max).min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            network_max: places.div_ceil(2),
            running: Arc::new(Semaphore::new(running)),
            heads: running.div_ceil(2),
            lines: Mutex::default(),
        }
    }

    /// A place for a verification that was asked for from `address`, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let network = address.map(network);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Line { head: Arc::new(Semaphore::new(self.heads)), places: 0 };
        let line = lines.entry(network).or_insert_with(new);
        if line.places >= self.network_max {
            return None;
        }
        line.places += 1;
        Some(Place { queue: Arc::clone(self), network, head: Arc::clone(&line.head), _permit: place })
    }
}

impl Place {
    /// Wait until it is this one's turn.
    pub(super) async fn turn(&self) -> Turn {
        // Neither is ever closed.
        let head = Arc::clone(&self.head).acquire_owned().await.ok();
        let running = Arc::clone(&self.queue.running).acquire_owned().await.ok();
        Turn { _head: head, _running: running }
    }
}

impl Turn {
    /// Do `work` on a thread of its own: a priority that was lowered cannot be raised again, so the thread is no use to
    /// others. None when there is no thread to be had, or it panicked.
    pub(super) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name("password".to_owned());
        let started = thread.spawn(move || {
            // Linux has a priority for each thread. Where it cannot be lowered, the work is done all the same.
            let _ = rustix::process::nice(NICENESS);
            let result = work();
            drop(self);
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        });
        started.ok()?;
        receiver.await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.network) {
            line.places = line.places.saturating_sub(1);
            if line.places == 0 {
                lines.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// The result of a future that is at hand.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_network_gets_half_of_the_places() {
        let queue = Arc::new(Queue::new(1, 3));
        let places: Vec<_> = (0..3).map(|_| queue.enter(Some(address(1)))).collect();
        assert_eq!(places.iter().filter(|place| place.is_some()).count(), 2);
        let others: Vec<_> = (2..5).map(|other| queue.enter(Some(address(other)))).collect();
        assert_eq!(others.iter().filter(|place| place.is_some()).count(), 2, "four in all");
        drop((places, others));
        assert!(queue.lines.lock().unwrap().is_empty());
        assert!(queue.enter(Some(address(1))).is_some());
    }

    #[test]
    fn the_networks_take_turns() {
        let queue = Arc::new(Queue::new(1, 7));
        let many: Vec<_> = (0..4).map(|_| queue.enter(Some(address(1))).unwrap()).collect();
        let running = now(many[0].turn()).unwrap();
        let waiting: Vec<_> = many[1..].iter().map(|place| Box::pin(place.turn())).collect();
        let mut waiting: Vec<_> = waiting.into_iter().filter_map(|turn| polled(turn).err()).collect();
        let other = queue.enter(Some(address(2))).unwrap();
        let mut others_turn = polled(Box::pin(other.turn())).err().expect("somebody runs");
        drop(running);
        let others = now(&mut others_turn);
        assert!(others.is_some(), "before all others of the long line");
        assert!(now(&mut waiting[0]).is_none());
        drop(others);
        assert!(now(&mut waiting[0]).is_some());
    }

    #[tokio::test]
    async fn work_gives_way_and_may_panic() {
        let queue = Arc::new(Queue::new(1, 1));
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        for _ in 0..2 {
            let turn = queue.enter(None).unwrap().turn().await;
            assert_eq!(turn.run(niceness).await, Some((before + NICENESS).min(19)));
            let turn = queue.enter(None).unwrap().turn().await;
            assert_eq!(turn.run(|| panic!("on purpose")).await, None::<()>);
        }
        assert_eq!(niceness(), before, "of that thread alone");
        let place = queue.enter(None).unwrap();
        assert!(now(place.turn()).is_some(), "nobody runs any more");
    }

    /// A future that was polled once and has to wait.
    fn polled<F: Future + Unpin>(mut future: F) -> Result<F::Output, F> {
        now(&mut future).ok_or(future)
    }
}
