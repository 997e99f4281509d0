//! Finding what differs by exchanging hashes: blocks first, then the grains of the blocks that differ.

use std::io;
use std::ops::Range;

use super::{BLOCK_OCTETS, BlockError, Blocks, End, Extents, GRAIN_OCTETS, narrow, widen};

/// Blocks that are compared before the differences are handed out: 4 MiB, so that progress, cancelling and the pause
/// between comparing and copying a block stay short.
const BATCH_BLOCKS: usize = 64;

/// Grains of a whole block.
const GRAINS: usize = BLOCK_OCTETS / GRAIN_OCTETS;

/// What stands for the content of a range when two sides compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// All octets are zero, whether they are stored or a hole.
    Zero,
    /// Anything else: the blake3 hash.
    Hash([u8; 32]),
}

impl Digest {
    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        if is_zero(data) { Self::Zero } else { Self::Hash(*blake3::hash(data).as_bytes()) }
    }
}

/// Whether all octets are zero. Data that isn't mostly says so in its first octets.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    const LANE: usize = 256;
    let lanes = data.chunks_exact(LANE);
    let rest = lanes.remainder();
    // OR-ing whole lanes without a branch inside is what the compiler turns into vector code.
    for lane in lanes {
        if lane.iter().fold(0, |all, octet| all | octet) != 0 {
            return false;
        }
    }
    rest.iter().all(|octet| *octet == 0)
}

/// One side of a compare. A local disk is a [`LocalSide`]; a remote one answers the same questions over its wire, and
/// then only digests travel.
pub trait Side {
    /// As [`Blocks::next_data`].
    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>>;
    /// The digest of each block that `range` is made of, in order. `range` starts on a block boundary; its last block
    /// may be short.
    fn blocks(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()>;
    /// The digest of each grain of `range`, which is one block.
    fn grains(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()>;
}

/// A [`Side`] that reads and hashes a local disk.
pub struct LocalSide<'b> {
    disk: &'b dyn Blocks,
    extents: Extents<'b>,
    buffer: Vec<u8>,
}

impl<'b> LocalSide<'b> {
    /// A side over `disk`.
    pub fn new(disk: &'b dyn Blocks) -> Self {
        Self { disk, extents: Extents::new(disk), buffer: vec![0; BLOCK_OCTETS] }
    }
}

impl Side for LocalSide<'_> {
    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.extents.next_data(from)
    }

    fn blocks(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()> {
        for block in pieces(range, BLOCK_OCTETS) {
            if !self.extents.has_data(&block)? {
                digests.push(Digest::Zero);
                continue;
            }
            let data = &mut self.buffer[..narrow(block.end - block.start, BLOCK_OCTETS)];
            self.disk.read_at(block.start, data)?;
            digests.push(Digest::of(data));
        }
        Ok(())
    }

    fn grains(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()> {
        let data = &mut self.buffer[..narrow(range.end - range.start, BLOCK_OCTETS)];
        self.disk.read_at(range.start, data)?;
        digests.extend(data.chunks(GRAIN_OCTETS).map(Digest::of));
        Ok(())
    }
}

/// A range in which the target differs from the source: whole grains, but for the disk's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Octets of the disk.
    pub range: Range<u64>,
    /// The source is all zeros there: nothing needs to be read or sent.
    pub zero: bool,
}

/// What one step of a [`Comparer`] looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Blocks whose digests were compared.
    pub blocks: u64,
    /// Octets of those blocks.
    pub octets: u64,
    /// All octets before this are compared.
    pub position: u64,
}

/// Walks two sides of the same length and yields what differs, a few MiB at a time.
pub struct Comparer<S, T> {
    source: S,
    target: T,
    length: u64,
    position: u64,
    source_digests: Vec<Digest>,
    target_digests: Vec<Digest>,
}

impl<S: Side, T: Side> Comparer<S, T> {
    /// Compares the first `length` octets of both.
    pub fn new(source: S, target: T, length: u64) -> Self {
        let digests = || Vec::with_capacity(BATCH_BLOCKS);
        Self { source, target, length, position: 0, source_digests: digests(), target_digests: digests() }
    }

    /// Compares the next few MiB in which a side has data and appends what differs, in order. None at the end.
    pub fn step(&mut self, differences: &mut Vec<Difference>) -> Result<Option<Scanned>, BlockError> {
        let Some(range) = self.next_range()? else { return Ok(None) };
        self.source_digests.clear();
        self.target_digests.clear();
        let start = range.start;
        self.source.blocks(range.clone(), &mut self.source_digests).map_err(BlockError::at(End::Source, start))?;
        self.target.blocks(range.clone(), &mut self.target_digests).map_err(BlockError::at(End::Target, start))?;
        let mut scanned = Scanned { octets: range.end - range.start, position: range.end, ..Scanned::default() };
        let differing: Vec<_> = pieces(range, BLOCK_OCTETS)
            .zip(self.source_digests.iter().zip(&self.target_digests))
            .inspect(|_| scanned.blocks += 1)
            .filter(|(_, (source, target))| source != target)
            .map(|(block, (source, target))| (block, *source, *target))
            .collect();
        for (block, source, target) in differing {
            if source == Digest::Zero || target == Digest::Zero {
                self.one_sided(block, source, differences)?;
            } else {
                self.fine(block, differences)?;
            }
        }
        self.position = scanned.position;
        Ok(Some(scanned))
    }

    /// From the next block in which either side has data, as far as one batch reaches.
    fn next_range(&mut self) -> Result<Option<Range<u64>>, BlockError> {
        let from = self.position;
        if from >= self.length {
            return Ok(None);
        }
        let source = self.source.next_data(from).map_err(BlockError::at(End::Source, from))?;
        let target = self.target.next_data(from).map_err(BlockError::at(End::Target, from))?;
        let Some(first) = source.iter().chain(&target).map(|extent| extent.start).min() else { return Ok(None) };
        if first >= self.length {
            return Ok(None);
        }
        // The furthest end of the two extents bounds the batch, so that a hole that follows is not walked.
        let reach = source.iter().chain(&target).map(|extent| extent.end).max().unwrap_or(self.length);
        let start = first - first % widen(BLOCK_OCTETS);
        let end = reach.next_multiple_of(widen(BLOCK_OCTETS)).min(start + widen(BATCH_BLOCKS * BLOCK_OCTETS));
        Ok(Some(start..end.min(self.length)))
    }

    /// A block that is zero on one side: the other side alone says which grains matter.
    fn one_sided(
        &mut self,
        block: Range<u64>,
        source: Digest,
        differences: &mut Vec<Difference>,
    ) -> Result<(), BlockError> {
        let zero = source == Digest::Zero;
        let digests = &mut self.source_digests;
        digests.clear();
        if zero {
            self.target.grains(block.clone(), digests).map_err(BlockError::at(End::Target, block.start))?;
        } else {
            self.source.grains(block.clone(), digests).map_err(BlockError::at(End::Source, block.start))?;
        }
        for (grain, digest) in pieces(block, GRAIN_OCTETS).zip(digests.iter()) {
            if *digest != Digest::Zero {
                push(differences, Difference { range: grain, zero });
            }
        }
        Ok(())
    }

    /// A block with data on both sides, grain by grain.
    fn fine(&mut self, block: Range<u64>, differences: &mut Vec<Difference>) -> Result<(), BlockError> {
        self.source_digests.clear();
        self.target_digests.clear();
        let start = block.start;
        self.source.grains(block.clone(), &mut self.source_digests).map_err(BlockError::at(End::Source, start))?;
        self.target.grains(block.clone(), &mut self.target_digests).map_err(BlockError::at(End::Target, start))?;
        debug_assert!(self.source_digests.len() <= GRAINS);
        for (grain, (source, target)) in
            pieces(block, GRAIN_OCTETS).zip(self.source_digests.iter().zip(&self.target_digests))
        {
            if source != target {
                push(differences, Difference { range: grain, zero: *source == Digest::Zero });
            }
        }
        Ok(())
    }
}

/// `range` in pieces of `octets`; the last may be shorter.
pub(crate) fn pieces(range: Range<u64>, octets: usize) -> impl Iterator<Item = Range<u64>> {
    let step = widen(octets);
    let count = (range.end - range.start).div_ceil(step);
    (0..count).map(move |index| {
        let start = range.start + index * step;
        start..(start + step).min(range.end)
    })
}

/// Appends, joining with the last one where that is the same kind and touches.
fn push(differences: &mut Vec<Difference>, next: Difference) {
    if let Some(last) = differences.last_mut()
        && last.zero == next.zero
        && last.range.end == next.range.start
    {
        last.range.end = next.range.end;
        return;
    }
    differences.push(next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::memory::MemoryDisk;

    fn differences(source: &MemoryDisk, target: &MemoryDisk) -> (Vec<Difference>, u64) {
        let length = source.length().unwrap();
        let mut comparer = Comparer::new(LocalSide::new(source), LocalSide::new(target), length);
        let (mut found, mut blocks) = (Vec::new(), 0);
        while let Some(scanned) = comparer.step(&mut found).unwrap() {
            blocks += scanned.blocks;
        }
        (found, blocks)
    }

    #[test]
    fn equal_disks_have_no_differences() {
        let disk = MemoryDisk::patterned(1_000_003, 7);
        let (found, blocks) = differences(&disk, &disk.duplicate());
        assert_eq!(found, []);
        assert_eq!(blocks, 16);
    }

    #[test]
    fn one_octet_costs_one_grain() {
        let source = MemoryDisk::patterned(1 << 20, 1);
        let target = source.duplicate();
        source.write_at(700_001, &[0xFF, 0x00]).unwrap();
        let (found, _) = differences(&source, &target);
        assert_eq!(found, [Difference { range: 696_320..704_512 - 4096, zero: false }]);
    }

    #[test]
    fn holes_on_both_sides_are_not_compared() {
        let source = MemoryDisk::empty(1 << 30);
        let target = MemoryDisk::empty(1 << 30);
        source.write_at(512 << 20, b"data").unwrap();
        let (found, blocks) = differences(&source, &target);
        assert_eq!(found, [Difference { range: 512 << 20..(512 << 20) + 4096, zero: false }]);
        assert_eq!(blocks, 1);
    }

    #[test]
    fn a_hole_equals_stored_zeros() {
        let source = MemoryDisk::empty(1 << 20);
        let target = MemoryDisk::empty(1 << 20);
        target.write_at(0, &vec![0; 100_000]).unwrap();
        assert_eq!(differences(&source, &target).0, []);
        assert_eq!(differences(&target, &source).0, []);
    }

    #[test]
    fn what_is_gone_at_the_source_is_a_zero_difference() {
        let source = MemoryDisk::empty(1 << 20);
        let target = MemoryDisk::empty(1 << 20);
        target.write_at(5000, b"old").unwrap();
        assert_eq!(differences(&source, &target).0, [Difference { range: 4096..8192, zero: true }]);
    }

    #[test]
    fn the_short_last_block_is_compared() {
        let source = MemoryDisk::patterned(65_536 + 100, 3);
        let target = source.duplicate();
        source.write_at(65_536 + 99, &[1]).unwrap();
        target.write_at(65_536 + 99, &[2]).unwrap();
        assert_eq!(differences(&source, &target).0, [Difference { range: 65_536..65_636, zero: false }]);
    }

    #[test]
    fn zero_detection_sees_every_position() {
        let mut data = vec![0; 1000];
        assert!(is_zero(&data));
        for position in [0, 1, 255, 256, 767, 768, 999] {
            data[position] = 1;
            assert!(!is_zero(&data), "{position}");
            data[position] = 0;
        }
    }
}
