//! Disk images of the lab: sparse raw files with pseudo-random data in them, and a look at what is in them that shares
//! nothing with the driver's own compare.

use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// How much is written or read in one piece; also the grain of the data's places.
const PIECE_OCTETS: u32 = 256 << 10;

/// What is on an image.
#[expect(clippy::struct_field_names, reason = "units stand last in every name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Size of the image, in octets.
    pub(crate) disk_octets: u64,
    /// How much of it holds data; the rest are holes.
    pub(crate) data_octets: u64,
    /// How much a guest writes in each chapter of the lab's history.
    pub(crate) written_octets: u64,
}

/// Makes a sparse image whose content depends on nothing but the seed and the name.
pub(crate) fn create(path: &Path, size: Size, seed: u64, name: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_len(size.disk_octets)?;
    let grain = u64::from(PIECE_OCTETS);
    let places = size.disk_octets.div_ceil(grain).max(1);
    let pieces = size.data_octets.div_ceil(grain).min(places);
    let mut data = blake3::Hasher::new_derive_key("failbackd lab image")
        .update(&seed.to_le_bytes())
        .update(name.as_bytes())
        .finalize_xof();
    let mut piece = buffer();
    for number in 0..pieces {
        // Evenly spread, with holes between, as a file system leaves them.
        let place = number.saturating_mul(places).checked_div(pieces).unwrap_or_default();
        let offset = place.saturating_mul(grain);
        let length = usize::try_from(size.disk_octets.saturating_sub(offset).min(grain)).unwrap_or_default();
        if let Some(part) = piece.get_mut(..length) {
            data.fill(part);
            file.write_all_at(part, offset)?;
        }
    }
    file.sync_all()
}

/// SHA-256 of everything that a reader of the file sees, and its size.
pub(crate) fn fingerprint(path: &Path) -> io::Result<([u8; 32], u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = buffer();
    let mut octets: u64 = 0;
    loop {
        let length = file.read(&mut piece)?;
        let Some(part) = piece.get(..length).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        octets = octets.saturating_add(u64::try_from(length).map_err(io::Error::other)?);
    }
    Ok((hash.finalize().into(), octets))
}

/// Compares two files octet by octet. Gives their size, or where they differ first.
pub(crate) fn compare(left: &Path, right: &Path) -> io::Result<Result<u64, u64>> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut left_piece, mut right_piece) = (buffer(), buffer());
    let mut offset: u64 = 0;
    loop {
        let left_length = fill(&mut left, &mut left_piece)?;
        let right_length = fill(&mut right, &mut right_piece)?;
        let same = left_piece.iter().take(left_length).eq(right_piece.iter().take(right_length));
        if !same || left_length != right_length {
            let equal = left_piece.iter().zip(&right_piece).take_while(|(left, right)| left == right).count();
            let equal = equal.min(left_length).min(right_length);
            return Ok(Err(offset.saturating_add(u64::try_from(equal).map_err(io::Error::other)?)));
        }
        if left_length == 0 {
            return Ok(Ok(offset));
        }
        offset = offset.saturating_add(u64::try_from(left_length).map_err(io::Error::other)?);
    }
}

fn buffer() -> Vec<u8> {
    vec![0; usize::try_from(PIECE_OCTETS).unwrap_or(4096)]
}

/// Reads until the piece is full or the file ends.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            length => filled = filled.saturating_add(length),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const SIZE: Size = Size { disk_octets: 8 << 20, data_octets: 1 << 20, written_octets: 0 };

    #[test]
    fn an_image_is_sparse_and_depends_on_seed_and_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        create(&path("a"), SIZE, 7, "web01").unwrap();
        create(&path("b"), SIZE, 7, "web01").unwrap();
        create(&path("c"), SIZE, 8, "web01").unwrap();
        assert_eq!(compare(&path("a"), &path("b")).unwrap(), Ok(SIZE.disk_octets));
        assert_eq!(compare(&path("a"), &path("c")).unwrap(), Err(0));
        assert_eq!(fingerprint(&path("a")).unwrap(), fingerprint(&path("b")).unwrap());
        assert_ne!(fingerprint(&path("a")).unwrap(), fingerprint(&path("c")).unwrap());
        let metadata = std::fs::metadata(path("a")).unwrap();
        assert_eq!(metadata.len(), SIZE.disk_octets);
        assert!(metadata.blocks() * 512 <= 2 * SIZE.data_octets, "{} blocks", metadata.blocks());
        assert!(create(&path("a"), SIZE, 7, "web01").is_err(), "an image is never overwritten");
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), vec![1_u8; 700_000]).unwrap();
        let mut other = vec![1_u8; 700_000];
        other[600_123] = 2;
        std::fs::write(path("b"), &other).unwrap();
        std::fs::write(path("c"), vec![1_u8; 699_999]).unwrap();
        assert_eq!(compare(&path("a"), &path("b")).unwrap(), Err(600_123));
        assert_eq!(compare(&path("a"), &path("c")).unwrap(), Err(699_999));
        assert_eq!(compare(&path("a"), &path("a")).unwrap(), Ok(700_000));
    }
}
