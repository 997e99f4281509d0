//! A disk in memory, for this module's tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use super::{Blocks, GRAIN_OCTETS, narrow, widen};

/// Grains that were written; all others are holes.
pub(super) struct MemoryDisk {
    length: u64,
    grains: Mutex<BTreeMap<u64, Vec<u8>>>,
}

/// A small random sequence (xorshift), enough for test patterns.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

impl MemoryDisk {
    pub(super) fn empty(length: u64) -> Self {
        Self { length, grains: Mutex::default() }
    }

    /// Pseudo-random data all over.
    pub(super) fn patterned(length: u64, seed: u64) -> Self {
        let disk = Self::empty(length);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let data: Vec<u8> = (0..length).map(|_| next_random(&mut state).to_le_bytes()[3]).collect();
        disk.write_at(0, &data).unwrap();
        disk
    }

    pub(super) fn duplicate(&self) -> Self {
        Self { length: self.length, grains: Mutex::new(self.grains.lock().unwrap().clone()) }
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        let mut data = vec![0; narrow(self.length, usize::MAX)];
        self.read_at(0, &mut data).unwrap();
        data
    }

    /// Overwrites `count` random whole grains, every fourth with zeros; returns the octets that differ now.
    pub(super) fn scribble(&self, seed: u64, count: u64) -> u64 {
        let before = self.octets();
        let mut state = seed | 1;
        for index in 0..count {
            let grain = next_random(&mut state) % (self.length / widen(GRAIN_OCTETS));
            let data: Vec<u8> = (0..GRAIN_OCTETS)
                .map(|_| if index % 4 == 0 { 0 } else { next_random(&mut state).to_le_bytes()[2] })
                .collect();
            self.write_at(grain * widen(GRAIN_OCTETS), &data).unwrap();
        }
        widen(self.octets().iter().zip(&before).filter(|(now, then)| now != then).count())
    }

    fn each_grain(
        &self,
        offset: u64,
        length: usize,
        mut each: impl FnMut(&mut BTreeMap<u64, Vec<u8>>, u64, Range<usize>, usize),
    ) {
        let mut grains = self.grains.lock().unwrap();
        let mut done = 0;
        while done < length {
            let at = offset + widen(done);
            let within = narrow(at % widen(GRAIN_OCTETS), GRAIN_OCTETS);
            let octets = (GRAIN_OCTETS - within).min(length - done);
            each(&mut grains, at / widen(GRAIN_OCTETS), within..within + octets, done);
            done += octets;
        }
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        if offset + widen(length) > self.length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Blocks for MemoryDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        self.each_grain(offset, buffer.len(), |grains, grain, within, done| {
            let part = &mut buffer[done..done + within.len()];
            match grains.get(&grain) {
                Some(data) => part.copy_from_slice(&data[within]),
                None => part.fill(0),
            }
        });
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(offset, data.len())?;
        self.each_grain(offset, data.len(), |grains, grain, within, done| {
            let part = &data[done..done + within.len()];
            grains.entry(grain).or_insert_with(|| vec![0; GRAIN_OCTETS])[within].copy_from_slice(part);
        });
        Ok(())
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.each_grain(offset, narrow(length, usize::MAX), |grains, grain, within, _| {
            if within.len() == GRAIN_OCTETS {
                grains.remove(&grain);
            } else if let Some(data) = grains.get_mut(&grain) {
                data[within].fill(0);
            }
        });
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let octets = widen(GRAIN_OCTETS);
        let grains = self.grains.lock().unwrap();
        let mut stored = grains.range(from / octets..).map(|(grain, _)| *grain);
        let Some(first) = stored.next() else { return Ok(None) };
        let mut end = first + 1;
        for grain in stored {
            if grain != end {
                break;
            }
            end += 1;
        }
        Ok(Some((first * octets).max(from)..(end * octets).min(self.length)))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
