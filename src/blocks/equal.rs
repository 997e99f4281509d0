//! Verification: comparing two disks octet for octet, without any of the hashes of `compare`.

use super::{BLOCK_OCTETS, BlockError, Blocks, Control, End, Extents, narrow, widen};

/// What a comparison octet for octet found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstDifference {
    /// All octets are equal, and so are the lengths.
    None,
    /// The lengths, in octets.
    Length(u64, u64),
    /// The first octet that differs.
    At(u64),
}

/// Compares two disks octet for octet. What is a hole on both sides is skipped, anything else is read from both.
pub fn first_difference(
    source: &dyn Blocks,
    target: &dyn Blocks,
    control: &dyn Control,
) -> Result<FirstDifference, BlockError> {
    let length = source.length().map_err(BlockError::at(End::Source, 0))?;
    let target_length = target.length().map_err(BlockError::at(End::Target, 0))?;
    if length != target_length {
        return Ok(FirstDifference::Length(length, target_length));
    }
    let (mut source_extents, mut target_extents) = (Extents::new(source), Extents::new(target));
    let (mut left, mut right) = (vec![0; BLOCK_OCTETS], vec![0; BLOCK_OCTETS]);
    let mut offset = 0;
    while offset < length {
        if control.cancelled() {
            return Err(BlockError::Cancelled);
        }
        let in_source = source_extents.next_data(offset).map_err(BlockError::at(End::Source, offset))?;
        let in_target = target_extents.next_data(offset).map_err(BlockError::at(End::Target, offset))?;
        let Some(next) = in_source.into_iter().chain(in_target).map(|extent| extent.start).min() else { break };
        offset = offset.max(next);
        let octets = narrow(length.saturating_sub(offset), BLOCK_OCTETS);
        let (left, right) = (&mut left[..octets], &mut right[..octets]);
        source.read_at(offset, left).map_err(BlockError::at(End::Source, offset))?;
        target.read_at(offset, right).map_err(BlockError::at(End::Target, offset))?;
        if left != right {
            let index = left.iter().zip(right.iter()).position(|(left, right)| left != right).unwrap_or(0);
            return Ok(FirstDifference::At(offset + widen(index)));
        }
        offset += widen(octets);
        control.progress(offset);
    }
    control.progress(length);
    Ok(FirstDifference::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Unlimited;
    use crate::blocks::memory::MemoryDisk;

    #[test]
    fn finds_the_first_octet_that_differs() {
        let source = MemoryDisk::patterned(300_000, 2);
        let target = source.duplicate();
        assert_eq!(first_difference(&source, &target, &Unlimited).unwrap(), FirstDifference::None);
        let mut octet = [0];
        target.read_at(234_567, &mut octet).unwrap();
        target.write_at(234_567, &[octet[0] ^ 1]).unwrap();
        assert_eq!(first_difference(&source, &target, &Unlimited).unwrap(), FirstDifference::At(234_567));
    }

    #[test]
    fn finds_data_in_what_is_a_hole_on_the_other_side() {
        let source = MemoryDisk::empty(1 << 24);
        let target = MemoryDisk::empty(1 << 24);
        target.write_at(10_000_000, &[1]).unwrap();
        assert_eq!(first_difference(&source, &target, &Unlimited).unwrap(), FirstDifference::At(10_000_000));
        assert_eq!(first_difference(&target, &source, &Unlimited).unwrap(), FirstDifference::At(10_000_000));
    }

    #[test]
    fn lengths_are_compared_first() {
        let (source, target) = (MemoryDisk::empty(10), MemoryDisk::empty(11));
        assert_eq!(first_difference(&source, &target, &Unlimited).unwrap(), FirstDifference::Length(10, 11));
    }
}
