//! Measures the parts behind the protocol in this process.
//!
//! `cargo bench --bench engine` prints, for one core and in memory, so that no disk limits it: the rate of the hash, of
//! a compare of two disks and of the verification octet for octet, and what a compare and copy sends over a link
//! against what really differs. Then how many durable transactions the store takes on the disk of the build.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]

#[path = "engine/store.rs"]
mod store;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use failbackd::blocks::{
    BLOCK_OCTETS, Blocks, Comparer, Difference, Digest, FirstDifference, GRAIN_OCTETS, LocalSide, Side, Unlimited,
    first_difference,
};
use serde_json::json;
use store::Commits;

/// What goes wrong in a bench ends it, with its text.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A digest on a link: the hash; the kind travels in the frame around many of them.
const DIGEST_OCTETS: u64 = 32;

/// To reach on one core.
const HASH_TARGET_GB: f64 = 1.0;

/// To reach when at least a quarter of a disk differs, block by block.
const WIRE_TARGET: f64 = 1.01;

/// Measure the block engine.
#[derive(Parser)]
struct Options {
    /// Small disks and short measurements, to see that nothing fails.
    #[arg(long)]
    short: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// What the disks are filled from.
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("engine: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// One line of the second table.
struct Wire {
    pattern: &'static str,
    differing_octets: u64,
    sent_octets: u64,
    ratio: f64,
}

fn measure(options: &Options) -> Result<(), Failure> {
    let (octets, length) =
        if options.short { (32 << 20, Duration::from_millis(100)) } else { (256 << 20, Duration::from_secs(2)) };
    let mut random = Random(options.seed | 1);
    let disk = Disk::random(octets, &mut random);
    let same = Disk(disk.0.clone());
    let rates = [
        ("hash, blocks of 64 KiB", rate(octets, length, || hash(&disk, BLOCK_OCTETS))?),
        ("hash, grains of 4 KiB", rate(octets, length, || hash(&disk, GRAIN_OCTETS))?),
        ("compare of two equal disks", rate(octets, length, || nothing_differs(&disk, &same))?),
        ("verification octet for octet", rate(octets, length, || nothing_found(&disk, &same))?),
    ];
    let wires = [
        wire("every block differs", &disk, &mut random, BLOCK_OCTETS, 1)?,
        wire("every 4th block differs", &disk, &mut random, BLOCK_OCTETS, 4)?,
        wire("every 4th grain differs", &disk, &mut random, GRAIN_OCTETS, 4)?,
        wire("every 1000th grain differs", &disk, &mut random, GRAIN_OCTETS, 1000)?,
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut commits = Vec::new();
    for in_flight in [1, 64, 256] {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        commits.push(runtime.block_on(store::run_in(place, in_flight, length))?);
    }
    if options.json {
        println!("{}", as_json(options.seed, &rates, &wires, &commits));
    } else {
        print_tables(options.seed, &rates, &wires, &commits);
    }
    Ok(())
}

fn print_tables(seed: u64, rates: &[(&str, f64)], wires: &[Wire], commits: &[Commits]) {
    println!("Seed {seed}.\n\n| one core | GB/s |\n|---|--:|");
    for (name, rate) in rates {
        println!("| {name} | {rate:.2} |");
    }
    println!("\n| pattern | octets that differ | octets sent | ratio |\n|---|--:|--:|--:|");
    for wire in wires {
        println!("| {} | {} | {} | {:.4} |", wire.pattern, wire.differing_octets, wire.sent_octets, wire.ratio);
    }
    println!("\n| store, commits in flight | durable commits/s | p50 ms | p99 ms |\n|--:|--:|--:|--:|");
    for Commits { in_flight, per_second, p50_ms, p99_ms } in commits {
        println!("| {in_flight} | {per_second:.0} | {p50_ms:.2} | {p99_ms:.2} |");
    }
    println!();
    if let Some((name, rate)) = rates.first() {
        let verdict = if *rate >= HASH_TARGET_GB { "met" } else { "missed" };
        println!("Target: {name}, at least {HASH_TARGET_GB} GB/s: {verdict}.");
    }
    for wire in wires.iter().take(2) {
        let verdict = if wire.ratio <= WIRE_TARGET { "met" } else { "missed" };
        println!("Target: sent over differing octets, {}, at most {WIRE_TARGET}: {verdict}.", wire.pattern);
    }
}

fn as_json(seed: u64, rates: &[(&str, f64)], wires: &[Wire], commits: &[Commits]) -> serde_json::Value {
    let rates: Vec<_> = rates.iter().map(|(name, rate)| json!({ "name": name, "gb_per_second": rate })).collect();
    let wires: Vec<_> = wires
        .iter()
        .map(|wire| {
            json!({
                "pattern": wire.pattern, "differing_octets": wire.differing_octets, "sent_octets": wire.sent_octets,
                "ratio": wire.ratio,
            })
        })
        .collect();
    let commits: Vec<_> = commits
        .iter()
        .map(|commits| {
            json!({
                "in_flight": commits.in_flight, "per_second": commits.per_second, "p50_ms": commits.p50_ms,
                "p99_ms": commits.p99_ms,
            })
        })
        .collect();
    json!({ "seed": seed, "rates": rates, "wire": wires, "commits": commits })
}

/// Repeats `work` on `octets` until `length` has passed; answers GB/s (10⁹ octets).
fn rate(octets: usize, length: Duration, work: impl Fn() -> Result<(), Failure>) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut rounds = 0_u32;
    while rounds == 0 || began.elapsed() < length {
        work()?;
        rounds += 1;
    }
    Ok(f64::from(rounds) * real(wide(octets)) / began.elapsed().as_secs_f64() / 1e9)
}

fn hash(disk: &Disk, unit: usize) -> Result<(), Failure> {
    let zero = disk.0.chunks(unit).filter(|unit| Digest::of(unit) == Digest::Zero).count();
    if zero == 0 { Ok(()) } else { Err(format!("{zero} units of random data are zero").into()) }
}

fn nothing_differs(disk: &Disk, same: &Disk) -> Result<(), Failure> {
    let mut comparer = Comparer::new(LocalSide::new(disk), LocalSide::new(same), disk.length()?);
    let mut differences = Vec::new();
    while comparer.step(&mut differences)?.is_some() {}
    if differences.is_empty() { Ok(()) } else { Err("a copy differs from its original".into()) }
}

fn nothing_found(disk: &Disk, same: &Disk) -> Result<(), Failure> {
    match first_difference(disk, same, &Unlimited)? {
        FirstDifference::None => Ok(()),
        found => Err(format!("a copy differs from its original: {found:?}").into()),
    }
}

/// Changes every `step`th unit of a copy of `disk`, and counts what a copy over a link would send: the digests of the
/// far side, and the data that differs.
fn wire(pattern: &'static str, disk: &Disk, random: &mut Random, unit: usize, step: usize) -> Result<Wire, Failure> {
    let mut changed = Disk(disk.0.clone());
    let mut differing_octets = 0;
    for piece in changed.0.chunks_mut(unit).step_by(step) {
        random.fill(piece);
        differing_octets += wide(piece.len());
    }
    let mut sent_octets = 0;
    let mut differences = Vec::new();
    let far = Counted { side: LocalSide::new(disk), sent_octets: &mut sent_octets };
    let mut comparer = Comparer::new(LocalSide::new(&changed), far, changed.length()?);
    while comparer.step(&mut differences)?.is_some() {}
    drop(comparer);
    let moved = |difference: &Difference| difference.range.end - difference.range.start;
    sent_octets += differences.iter().filter(|difference| !difference.zero).map(moved).sum::<u64>();
    Ok(Wire { pattern, differing_octets, sent_octets, ratio: real(sent_octets) / real(differing_octets) })
}

/// A side behind a link: counts the digests that it would send.
struct Counted<'a, 'd> {
    side: LocalSide<'d>,
    sent_octets: &'a mut u64,
}

impl Side for Counted<'_, '_> {
    fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.side.next_data(from)
    }

    fn blocks(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()> {
        let before = digests.len();
        self.side.blocks(range, digests)?;
        *self.sent_octets += DIGEST_OCTETS * wide(digests.len() - before);
        Ok(())
    }

    fn grains(&mut self, range: Range<u64>, digests: &mut Vec<Digest>) -> io::Result<()> {
        let before = digests.len();
        self.side.grains(range, digests)?;
        *self.sent_octets += DIGEST_OCTETS * wide(digests.len() - before);
        Ok(())
    }
}

/// A disk in memory that is only read.
struct Disk(Vec<u8>);

impl Disk {
    fn random(octets: usize, random: &mut Random) -> Disk {
        let mut data = vec![0; octets];
        random.fill(&mut data);
        Disk(data)
    }
}

impl Blocks for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(wide(self.0.len()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let data = self.0.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(data);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn punch(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let length = self.length()?;
        Ok((from < length).then_some(from..length))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// xorshift64*: the same disks for the same seed.
struct Random(u64);

impl Random {
    fn fill(&mut self, data: &mut [u8]) {
        for chunk in data.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let octets = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
        }
    }
}

fn wide(octets: usize) -> u64 {
    u64::try_from(octets).unwrap_or(u64::MAX)
}

/// Exact below 2⁵³, which no disk in memory reaches: the sum of two halves that convert without loss.
fn real(octets: u64) -> f64 {
    const HALF: u64 = 1 << 32;
    let part = |octets: u64| u32::try_from(octets).map_or(f64::NAN, f64::from);
    part(octets / HALF) * 4_294_967_296.0 + part(octets % HALF)
}
