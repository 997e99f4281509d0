//! Which transfers run: first come, first served, at most so many at a time.
//!
//! The queue holds ids only, so that twenty thousand waiting jobs cost no tasks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::job::JobId;

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<JobId>,
    active: usize,
    held: bool,
}

/// The queue of transfers.
#[derive(Debug)]
pub(super) struct Scheduler {
    active_max: usize,
    queue: Mutex<Queue>,
}

impl Scheduler {
    pub(super) fn new(active_max: usize, held: bool) -> Self {
        let queue = Queue { waiting: VecDeque::new(), active: 0, held };
        Self { active_max: active_max.max(1), queue: Mutex::new(queue) }
    }

    /// Puts a transfer at the end of the queue, and takes out what may run now.
    pub(super) fn enqueue(&self, job: JobId) -> Vec<JobId> {
        let mut queue = self.queue();
        queue.waiting.push_back(job);
        self.take(&mut queue)
    }

    /// A transfer ended: takes out what may run now.
    pub(super) fn done(&self) -> Vec<JobId> {
        let mut queue = self.queue();
        queue.active = queue.active.saturating_sub(1);
        self.take(&mut queue)
    }

    /// Holds transfers back or lets them go: takes out what may run now. Running ones go on.
    pub(super) fn hold(&self, held: bool) -> Vec<JobId> {
        let mut queue = self.queue();
        queue.held = held;
        self.take(&mut queue)
    }

    fn take(&self, queue: &mut Queue) -> Vec<JobId> {
        let mut ready = Vec::new();
        while !queue.held
            && queue.active < self.active_max
            && let Some(job) = queue.waiting.pop_front()
        {
            queue.active += 1;
            ready.push(job);
        }
        ready
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn job(number: u128) -> JobId {
        JobId(Uuid::from_u128(number))
    }

    #[test]
    fn first_come_first_served_up_to_the_limit() {
        let scheduler = Scheduler::new(2, false);
        assert_eq!(scheduler.enqueue(job(1)), [job(1)]);
        assert_eq!(scheduler.enqueue(job(2)), [job(2)]);
        assert_eq!(scheduler.enqueue(job(3)), []);
        assert_eq!(scheduler.enqueue(job(4)), []);
        assert_eq!(scheduler.done(), [job(3)]);
        assert_eq!(scheduler.done(), [job(4)]);
        assert_eq!(scheduler.done(), []);
    }

    #[test]
    fn held_transfers_wait_until_they_are_let_go() {
        let scheduler = Scheduler::new(2, true);
        for number in 1..=3 {
            assert_eq!(scheduler.enqueue(job(number)), []);
        }
        assert_eq!(scheduler.hold(false), [job(1), job(2)]);
        assert_eq!(scheduler.hold(true), []);
        assert_eq!(scheduler.done(), []);
        assert_eq!(scheduler.hold(false), [job(3)]);
    }
}
