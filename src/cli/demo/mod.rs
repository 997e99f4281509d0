//! `demo`: a whole failback with real disk images, shown through the public protocol.

mod image;
mod lab;
mod lines;
mod prepare;
mod show;
mod story;

use super::{Failure, Outcome};
use clap::Args;
use image::Size;
use std::path::PathBuf;

/// What `demo` takes.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Arguments {
    /// Address of the clear-text listener, or off
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:5985", conflicts_with = "prepare")]
    http: String,
    /// Address of the TLS listener, or off
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:5986", conflicts_with = "prepare")]
    https: String,
    /// Take free ports, and end with 0 when everything held instead of serving on
    #[arg(long, conflicts_with = "prepare")]
    once: bool,
    /// Make the lab in this new or empty directory and keep it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only make the data directory, for `serve`
    #[arg(long, requires = "data_dir")]
    prepare: bool,
    /// How many VMs to make; all but the last are ready for a failback
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "prepare", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vms: u32,
    /// Make VMs without disks, which a backend that only pretends moves: for benchmarks
    #[arg(long, requires = "prepare")]
    diskless: bool,
    /// Print what was made as JSON
    #[arg(long, requires = "prepare")]
    json: bool,
    /// Size of each disk, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    size: Option<u64>,
    /// How much of each disk holds data when it is made, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    data: Option<u64>,
}

/// Octets of a MiB.
const MIB: u64 = 1 << 20;

impl Arguments {
    /// What a disk holds; `default` in MiB of size, data, and writes of a guest in each chapter of the lab's history.
    fn size(&self, default: [u64; 3]) -> Size {
        let [size, data, written] = default;
        let size = self.size.unwrap_or(size);
        let data = self.data.unwrap_or(data).min(size);
        let written = if self.size.is_some() { written.min(size.div_ceil(8)) } else { written };
        Size {
            disk_octets: size.saturating_mul(MIB),
            data_octets: data.saturating_mul(MIB),
            written_octets: written.saturating_mul(MIB),
        }
    }
}

/// Runs the demonstration, or prepares a lab for `serve`.
pub fn run(arguments: &Arguments) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    if arguments.prepare { runtime.block_on(prepare::run(arguments)) } else { runtime.block_on(show::run(arguments)) }
}
