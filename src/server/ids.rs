//! Random ids from the operating system, drawn in batches: an id costs a copy, not a system call.

use std::cell::RefCell;

use uuid::Uuid;

/// Octets drawn at once.
const BATCH: usize = 4_096;

struct Batch {
    octets: [u8; BATCH],
    used: usize,
}

thread_local! {
    static IDS: RefCell<Batch> = const { RefCell::new(Batch { octets: [0; BATCH], used: BATCH }) };
}

/// Fills a buffer with random octets.
pub(super) fn fill(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system has random octets once it is up");
}

/// A version 4 UUID that nobody can guess.
pub fn random_id() -> Uuid {
    IDS.with_borrow_mut(|batch| {
        if BATCH <= batch.used {
            fill(&mut batch.octets);
            batch.used = 0;
        }
        let mut octets = [0; 16];
        if let Some(fresh) = batch.octets.get_mut(batch.used..batch.used + 16) {
            octets.copy_from_slice(fresh);
            // What was given out is wiped, so that a context's name is nowhere but in its row.
            fresh.fill(0);
        }
        batch.used += 16;
        uuid::Builder::from_random_bytes(octets).into_uuid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_of_version_4() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let id = random_id();
            assert_eq!(id.get_version_num(), 4);
            assert!(seen.insert(id));
        }
    }
}
