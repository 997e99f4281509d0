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
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "prepare")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn demo(line: &[&str]) -> Outcome {
        run(&Line::try_parse_from([&["demo"], line].concat()).unwrap().arguments)
    }

    #[test]
    fn the_demonstration_holds() {
        demo(&["--once", "--size", "8", "--data", "2"]).unwrap();
    }

    #[test]
    fn a_lab_is_prepared_in_an_empty_directory_and_never_over_another() {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().to_str().unwrap();
        let line = ["--data-dir", data_dir, "--prepare", "--vms", "2", "--size", "1", "--json"];
        demo(&line).unwrap();
        let Err(Failure::Failed(problem)) = demo(&line) else { panic!("made twice") };
        assert!(problem.contains("not empty"), "{problem}");
        let config = crate::config::Config { data_dir: scratch.path().to_owned(), ..Default::default() };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let view = runtime.block_on(crate::server::read_view(&config)).unwrap();
        let ready: Vec<(String, u16)> = view
            .vms_after(None)
            .map(|vm| (vm.name.clone(), vm.mode.0))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(ready, [("db01".to_owned(), 1), ("web01".to_owned(), 2)]);
        assert_eq!(view.points_len(), 0, "the store has no points; the backend tells them");
    }

    #[test]
    fn vms_without_disks_cost_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().to_str().unwrap();
        demo(&["--data-dir", data_dir, "--prepare", "--vms", "300", "--diskless"]).unwrap();
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for line in [&["--vms", "3"][..], &["--prepare"], &["--once", "--prepare", "--data-dir", "x"], &["--json"]] {
            assert!(Line::try_parse_from([&["demo"], line].concat()).is_err(), "{line:?}");
        }
    }
}
