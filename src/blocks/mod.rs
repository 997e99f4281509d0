//! Comparing and copying block ranges.
//!
//! Everything here works over the [`Blocks`] trait, so that a driver may bring a file, an NBD export or a remote peer.
//! No clock, no threads, no runtime: pacing and cancelling are asked of a [`Control`].
//!
//! A copy is made by comparing and moving what differs ([`converge`]). That is idempotent, so that resuming after a
//! crash is the same as starting; what already arrived is found equal. Holes on both sides cost nothing, zeros in the
//! source become holes in the target. The hash is cryptographic (blake3), since guests choose the data: whoever could
//! make two blocks with one hash could keep a stale block alive through a failback.

use std::io;
use std::ops::Range;

pub mod compare;
pub mod copy;
pub mod equal;
#[cfg(test)]
mod memory;

pub use compare::{Comparer, Difference, Digest, LocalSide, Scanned, Side};
pub use copy::{Tally, converge, count_differing};
pub use equal::{FirstDifference, first_difference};

/// Octets whose hashes are compared first. Larger finds less per hash, smaller sends more hashes: 32 octets for each
/// 65,536 is a wire overhead of 0.05 %.
pub const BLOCK_OCTETS: usize = 64 * 1024;

/// Octets of the finer compare inside a block that differs, and so the unit of what is moved. Guests write in pages of
/// this size, and file systems punch holes of it.
pub const GRAIN_OCTETS: usize = 4 * 1024;

/// Random access to the octets of one disk. Shared by reference: implementations do positional I/O.
pub trait Blocks: Send + Sync {
    /// Present length in octets.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; `UnexpectedEof` when the disk ends before it is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`; durable only after [`Blocks::sync`].
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes the range read as zeros, giving its space back where that is possible.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;
    /// The first range at or after `from` that may hold something else than zeros. It starts at `from` when `from` is
    /// inside of it; none when only zeros follow. What can't tell holes from data answers `from..length`.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>>;
    /// Makes all that was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// How a caller paces, watches and ends the functions of this module.
pub trait Control {
    /// Asked every few hundred KiB; true ends the work with [`BlockError::Cancelled`].
    fn cancelled(&self) -> bool;
    /// Called before `octets` of data are moved; blocks as long as a rate limit wants.
    fn throttle(&self, octets: u64);
    /// All octets before `position` of the disk are done.
    fn progress(&self, position: u64);
}

/// A [`Control`] that neither limits nor watches nor cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Control for Unlimited {
    fn cancelled(&self) -> bool {
        false
    }
    fn throttle(&self, _octets: u64) {}
    fn progress(&self, _position: u64) {}
}

/// One of the two disks of a compare or copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the data comes from; only ever read.
    Source,
    /// Where it goes to.
    Target,
}

/// Why a compare or copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The control said so.
    #[error("cancelled")]
    Cancelled,
    /// One disk failed.
    #[error("{end:?} at octet {offset}: {error}")]
    Io {
        /// Which one.
        end: End,
        /// Where in it, in octets.
        offset: u64,
        /// How.
        error: io::Error,
    },
}

impl BlockError {
    /// For `map_err`: the failure of `end` at `offset`.
    pub(crate) fn at(end: End, offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { end, offset, error }
    }
}

/// `usize` to `u64`; no supported machine has a wider `usize`.
pub(crate) fn widen(octets: usize) -> u64 {
    u64::try_from(octets).expect("usize has at most 64 bits")
}

/// The smaller of `octets` and `limit`, as a `usize`.
pub(crate) fn narrow(octets: u64, limit: usize) -> usize {
    usize::try_from(octets).map_or(limit, |octets| octets.min(limit))
}

/// Remembers the last data extent of a disk, so that asking block after block costs one call an extent.
pub(crate) struct Extents<'b> {
    blocks: &'b dyn Blocks,
    known: Option<(u64, Option<Range<u64>>)>, // asked from, answer
}

impl<'b> Extents<'b> {
    pub(crate) fn new(blocks: &'b dyn Blocks) -> Self {
        Self { blocks, known: None }
    }

    /// The first data at or after `from`, as [`Blocks::next_data`].
    pub(crate) fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        if let Some((asked, answer)) = &self.known
            && *asked <= from
        {
            match answer {
                None => return Ok(None),
                Some(extent) if from < extent.end => return Ok(Some(extent.start.max(from)..extent.end)),
                Some(_) => {}
            }
        }
        let answer = self.blocks.next_data(from)?;
        self.known = Some((from, answer.clone()));
        Ok(answer)
    }

    /// Whether any octet of the range may be something else than zero.
    pub(crate) fn has_data(&mut self, range: &Range<u64>) -> io::Result<bool> {
        Ok(self.next_data(range.start)?.is_some_and(|extent| extent.start < range.end))
    }
}
