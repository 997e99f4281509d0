//! The demonstration: a lab, its server, and a client that carries out two failbacks over TCP.

use super::lab::{self, LabVm, Sites};
use super::story::{self, Row, Story};
use super::{Arguments, MIB, lines, prepare};
use crate::backend::file::guest::LabGuest;
use crate::cli::{Failure, Outcome, logging, print, random, serve};
use crate::client::{Client, Credentials, Settings, Target, Trust};
use crate::config::{Config, LogConfig, LogFormat, OFF};
use crate::job::JobId;
use crate::server::{Server, World, random_id};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Sizes in MiB of a disk: image, data, and what a guest writes in each chapter.
const SIZES: [u64; 3] = [256, 48, 12];
/// Octets a second over the link, so that progress can be seen.
const LINK_OCTETS_PER_SECOND: u64 = 24 * MIB;
/// 4 KiB blocks that a guest writes each second while its VM is brought home.
const GUEST_BLOCKS_PER_SECOND: u32 = 200;

/// A directory that goes away with the demonstration, unless the user named it.
struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept && std::fs::remove_dir_all(&self.path).is_err() {
            print::note(&format!("{} could not be removed", self.path.display()));
        }
    }
}

impl Scratch {
    fn make(data_dir: Option<&Path>) -> Result<Self, Failure> {
        let kept = data_dir.is_some();
        let path = match data_dir {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("failbackd-demo-{:016x}", random()?)),
        };
        lab::make_directory(&path)?;
        // The driver follows no links, so the directory is named without any.
        let path = path.canonicalize().map_err(|error| Failure::from_error(&error))?;
        Ok(Self { path, kept })
    }
}

/// Runs the demonstration.
pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let log = LogConfig { format: LogFormat::Auto, level: "warn".to_owned() };
    let _log = logging::init(&log).map_err(|error| Failure::from_error(&error))?;
    let scratch = Scratch::make(arguments.data_dir.as_deref())?;
    let config = config(arguments, &scratch.path);
    let seed = random()?;
    print::line(&format!("data directory {}, seed {seed:#018x}", scratch.path.display()));
    let world = prepare::open(&config).await?;
    let vms = make_lab(arguments, &world, &scratch.path, seed).await?;
    let password = prepare::add_user(&scratch.path)?;
    let server = Server::start(&config, Arc::clone(&world)).map_err(|error| Failure::from_error(&error))?;
    for line in server.lines() {
        print::line(line);
    }
    let outcome = tell(arguments, &server, &vms, &password).await;
    server.shutdown().await;
    outcome
}

fn config(arguments: &Arguments, data_dir: &Path) -> Config {
    // A demonstration that ends by itself must not fail because a port is taken, unless that port was asked for.
    let address = |asked: &str, default: &str, free: &str| {
        if arguments.once && asked == default { free.to_owned() } else { asked.to_owned() }
    };
    let default = Config::default();
    Config {
        data_dir: data_dir.to_owned(),
        http: address(&arguments.http, &default.http, "127.0.0.1:0"),
        https: address(&arguments.https, &default.https, OFF),
        allow_unencrypted: true,
        link_octets_per_second_max: LINK_OCTETS_PER_SECOND,
        ..default
    }
}

async fn make_lab(
    arguments: &Arguments,
    world: &Arc<World>,
    data_dir: &Path,
    seed: u64,
) -> Result<Vec<LabVm>, Failure> {
    let sites = Sites::below(data_dir);
    sites.create()?;
    let size = arguments.size(SIZES);
    let count = 3;
    let mut vms = Vec::new();
    for number in 0..count {
        let name = lab::name_of(number);
        let fails_over = number.saturating_add(1) < count;
        let what = if fails_over { "replicates, fails over, runs at the peer" } else { "replicates" };
        print::line(&format!("{name}: {} disk; {what}", print::octets(size.disk_octets)));
        let vm = LabVm::create(&sites, &name, size, seed)?;
        vms.push(prepare::add(world, vm, fails_over).await?);
    }
    Ok(vms)
}

/// The client's part, then what is left for the user.
async fn tell(arguments: &Arguments, server: &Server, vms: &[LabVm], password: &str) -> Outcome {
    let Some(address) = server.http() else {
        return Err(Failure::Usage(
            "the demonstration needs its clear-text listener: --http off is not for it".to_owned(),
        ));
    };
    let url = format!("http://{address}/wsman");
    let mut stop = serve::Stop::listen();
    let rows = tokio::select! {
        rows = bring_home(server, vms, &url, password) => rows?,
        () = stop.told() => return Err(Failure::Failed("stopped before the end".to_owned())),
    };
    print::line(&story::table(&rows));
    let holds = rows.iter().all(Row::holds);
    if arguments.once {
        let failed = || Failure::Failed("what came home is not what was promised".to_owned());
        return if holds { Ok(()) } else { Err(failed()) };
    }
    let authority = address.to_string();
    let vm = vms.first().map_or("web01", |vm| vm.name.as_str());
    let access = lines::Access { authority: &authority, user: prepare::USER, password, vm };
    print::line(&format!("\nuser {}, password {password} (shown only now)\n", prepare::USER));
    print::line(lines::all(&access).trim_end());
    print::line(
        "\nThe VMs are home again, so InitiateFailback is refused now (32775).\n\
         `failbackd demo --data-dir DIR --prepare` makes a lab for `failbackd serve` in which it starts a job.",
    );
    print::line("\nserving; Ctrl-C ends it");
    stop.told().await;
    Ok(())
}

async fn bring_home(server: &Server, vms: &[LabVm], url: &str, password: &str) -> Result<Vec<Row>, Failure> {
    let target: Target = url.parse()?;
    let settings = Settings {
        credentials: Some(Credentials {
            user: prepare::USER.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        }),
        trust: Trust::default(),
        timeout: Duration::from_mins(1),
        ids: random_id,
    };
    let engine = Arc::clone(server.world().engine());
    let report_of = |id| engine.view().job(JobId(id)).and_then(|entry| entry.job.report.clone());
    let mut story = Story { client: Client::new(target, &settings)?, report_of: &report_of };
    let _guests: Vec<LabGuest> = vms
        .iter()
        .filter(|vm| vm.ready)
        .map(|vm| vm.guest_at_peer(GUEST_BLOCKS_PER_SECOND))
        .collect::<Result<_, _>>()?;
    story.introduce().await?;
    let mut rows = Vec::new();
    for (number, vm) in vms.iter().filter(|vm| vm.ready).enumerate() {
        // The first becomes what the peer is now, the others what the peer was at their recovery point.
        let point = vm.point.as_ref().filter(|_| number > 0);
        rows.push(story.bring_home(vm, point).await?);
    }
    Ok(rows)
}
