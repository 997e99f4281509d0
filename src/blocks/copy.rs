//! Moving what differs.

use super::{BLOCK_OCTETS, BlockError, Blocks, Comparer, Control, Difference, End, LocalSide, narrow, widen};

/// Sums of a compare and copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks whose digests were compared.
    pub blocks_compared: u64,
    /// Octets of those blocks.
    pub octets_compared: u64,
    /// Octets of data that were read from the source and written to the target.
    pub octets_moved: u64,
    /// Octets of the target that were turned into zeros, for which no data had to be moved.
    pub octets_zeroed: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.blocks_compared += other.blocks_compared;
        self.octets_compared += other.octets_compared;
        self.octets_moved += other.octets_moved;
        self.octets_zeroed += other.octets_zeroed;
    }
}

/// Makes `target` equal to `source` by moving what differs. Not yet durable: call `target.sync()` afterwards.
///
/// Both must have the same length. When the source changes meanwhile, the target holds some mix of old and new, and a
/// further call brings the rest.
pub fn converge(source: &dyn Blocks, target: &dyn Blocks, control: &dyn Control) -> Result<Tally, BlockError> {
    let length = source.length().map_err(BlockError::at(End::Source, 0))?;
    let mut mover = Mover { source, target, control, buffer: vec![0; BLOCK_OCTETS], tally: Tally::default() };
    walk(source, target, length, control, |difference| mover.apply(difference)).map(|scanned| {
        let Tally { blocks_compared, octets_compared, .. } = scanned;
        Tally { blocks_compared, octets_compared, ..mover.tally }
    })
}

/// How many octets of `newer` differ from `older`, in whole grains; nothing is moved.
pub fn count_differing(newer: &dyn Blocks, older: &dyn Blocks, control: &dyn Control) -> Result<u64, BlockError> {
    let newer_length = newer.length().map_err(BlockError::at(End::Source, 0))?;
    let older_length = older.length().map_err(BlockError::at(End::Target, 0))?;
    let mut octets = newer_length.saturating_sub(older_length);
    walk(newer, older, newer_length.min(older_length), control, |difference| {
        octets += difference.range.end - difference.range.start;
        Ok(())
    })?;
    Ok(octets)
}

/// Compares and hands each difference to `each`, batch by batch.
fn walk(
    source: &dyn Blocks,
    target: &dyn Blocks,
    length: u64,
    control: &dyn Control,
    mut each: impl FnMut(&Difference) -> Result<(), BlockError>,
) -> Result<Tally, BlockError> {
    let mut comparer = Comparer::new(LocalSide::new(source), LocalSide::new(target), length);
    let (mut tally, mut differences) = (Tally::default(), Vec::new());
    loop {
        if control.cancelled() {
            return Err(BlockError::Cancelled);
        }
        let Some(scanned) = comparer.step(&mut differences)? else { break };
        tally.blocks_compared += scanned.blocks;
        tally.octets_compared += scanned.octets;
        for difference in differences.drain(..) {
            each(&difference)?;
        }
        control.progress(scanned.position);
    }
    control.progress(length);
    Ok(tally)
}

/// Applies differences, with one buffer for all of them.
struct Mover<'a> {
    source: &'a dyn Blocks,
    target: &'a dyn Blocks,
    control: &'a dyn Control,
    buffer: Vec<u8>,
    tally: Tally,
}

impl Mover<'_> {
    fn apply(&mut self, difference: &Difference) -> Result<(), BlockError> {
        let range = &difference.range;
        if difference.zero {
            let octets = range.end - range.start;
            self.target.punch(range.start, octets).map_err(BlockError::at(End::Target, range.start))?;
            self.tally.octets_zeroed += octets;
            return Ok(());
        }
        let mut offset = range.start;
        while offset < range.end {
            if self.control.cancelled() {
                return Err(BlockError::Cancelled);
            }
            let data = &mut self.buffer[..narrow(range.end - offset, BLOCK_OCTETS)];
            let octets = widen(data.len());
            self.control.throttle(octets);
            self.source.read_at(offset, data).map_err(BlockError::at(End::Source, offset))?;
            self.target.write_at(offset, data).map_err(BlockError::at(End::Target, offset))?;
            self.tally.octets_moved += octets;
            offset += octets;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::blocks::Unlimited;
    use crate::blocks::memory::MemoryDisk;

    #[test]
    fn random_disks_converge_and_move_little_more_than_differs() {
        for seed in 1..20 {
            let source = MemoryDisk::patterned(3_000_000 + seed * 977, seed);
            let target = source.duplicate();
            let differing = source.scribble(seed, 40);
            let tally = converge(&source, &target, &Unlimited).unwrap();
            assert_eq!(source.octets(), target.octets(), "seed {seed}");
            let moved = tally.octets_moved + tally.octets_zeroed;
            assert!(moved * 100 <= differing * 101, "seed {seed}: moved {moved} for {differing}");
            let again = converge(&source, &target, &Unlimited).unwrap();
            assert_eq!((again.octets_moved, again.octets_zeroed), (0, 0), "seed {seed}");
        }
    }

    #[test]
    fn zeros_become_holes_and_cost_no_transfer() {
        let source = MemoryDisk::empty(1 << 20);
        let target = MemoryDisk::patterned(1 << 20, 5);
        let tally = converge(&source, &target, &Unlimited).unwrap();
        assert_eq!((tally.octets_moved, tally.octets_zeroed), (0, 1 << 20));
        assert_eq!(target.next_data(0).unwrap(), None);
    }

    #[test]
    fn differing_octets_are_counted_in_grains() {
        let source = MemoryDisk::patterned(1 << 20, 9);
        let target = source.duplicate();
        source.write_at(10_000, &[0; 10]).unwrap();
        source.write_at(900_000, &[0; 10]).unwrap();
        assert_eq!(count_differing(&source, &target, &Unlimited).unwrap(), 8192);
        assert_ne!(source.octets(), target.octets());
    }

    struct CancelAfter(Cell<u64>);

    impl Control for CancelAfter {
        fn cancelled(&self) -> bool {
            self.0.get() == 0
        }
        fn throttle(&self, octets: u64) {
            self.0.set(self.0.get().saturating_sub(octets));
        }
        fn progress(&self, _position: u64) {}
    }

    #[test]
    fn a_cancel_ends_the_copy_within_a_block_and_resuming_moves_the_rest() {
        let source = MemoryDisk::patterned(1 << 20, 11);
        let target = MemoryDisk::empty(1 << 20);
        let cancelled = converge(&source, &target, &CancelAfter(Cell::new(200_000)));
        assert!(matches!(cancelled, Err(BlockError::Cancelled)));
        let rest = converge(&source, &target, &Unlimited).unwrap();
        assert_eq!(rest.octets_moved, (1 << 20) - 4 * 65_536);
        assert_eq!(source.octets(), target.octets());
    }
}
