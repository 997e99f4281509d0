//! `vm`: the virtual machines of a data directory.

use super::place::Place;
use super::print;
use super::source::Source;
use super::{Failure, Outcome, block_on};
use crate::backend::file::{Hooks, NAME, VmDisks};
use crate::client::Instance;
use crate::replication::{EnabledState, ReplicationHealth, ReplicationMode, ReplicationState, View, Vm, VmId};
use crate::server::random_id;
use crate::service::NewVm;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use uuid::Uuid;

/// What `vm` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Take a VM whose disks are raw images at both sites into the inventory
    Import(Import),
    /// Note that the peer has taken a VM over in a failover; it is ready for a failback then
    FailedOver {
        #[command(flatten)]
        place: Place,
        /// The VM's name or GUID
        vm: String,
    },
    /// List the VMs
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one VM
    Show {
        #[command(flatten)]
        place: Place,
        /// The VM's name or GUID
        vm: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `vm import` takes.
#[derive(Debug, Args)]
struct Import {
    #[command(flatten)]
    place: Place,
    /// The VM's name
    name: String,
    /// Home's raw images, in the order of the VM's disks
    #[arg(long = "disk", value_name = "PATH", required = true, num_args = 1..)]
    disks: Vec<PathBuf>,
    /// The peer's raw images, mounted here, in the same order
    #[arg(long = "peer-disk", value_name = "PATH", required = true, num_args = 1..)]
    peer_disks: Vec<PathBuf>,
    /// The VM's GUID, when it has one already
    #[arg(long, value_name = "GUID")]
    id: Option<Uuid>,
    /// The VM runs at the peer since a failover, so that it can be brought home
    #[arg(long)]
    failed_over: bool,
}

/// Runs one operation.
pub fn run(arguments: Arguments) -> Outcome {
    block_on(async {
        match arguments.operation {
            Operation::Import(import) => import.run().await,
            Operation::FailedOver { place, vm } => failed_over(&place, &vm).await,
            Operation::List { place, json } => list(&place, json).await,
            Operation::Show { place, vm, json } => show(&place, &vm, json).await,
        }
    })
}

impl Import {
    async fn run(self) -> Outcome {
        let world = self.place.take().await?;
        let mut disk_octets: u64 = 0;
        for path in &self.disks {
            let told = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
            disk_octets = disk_octets.saturating_add(std::fs::metadata(path).map_err(told)?.len());
        }
        let id = VmId(self.id.unwrap_or_else(random_id));
        let disks = VmDisks {
            vm: id.0,
            name: self.name.clone(),
            home: self.disks,
            peer: self.peer_disks,
            hooks: Hooks::default(),
        }
        .resolved()
        .map_err(|error| Failure::Failed(format!("the directory of an image cannot be found: {error}")))?;
        let new =
            if self.failed_over { NewVm::failed_over(&self.name, NAME) } else { NewVm::protected(&self.name, NAME) };
        let imported = world.import(NewVm { id: Some(id), disk_octets, ..new }, Some(disks)).await;
        world.engine().shutdown().await;
        imported.map_err(|error| Failure::from_error(&error))?;
        print::line(&format!("{} imported as {id}", self.name));
        Ok(())
    }
}

/// Tells the engine what happened at the peer: from then on the peer's copy is the real one.
async fn failed_over(place: &Place, wanted: &str) -> Outcome {
    let world = place.take().await?;
    let view = world.engine().view();
    let noted = match find(&view, wanted) {
        Some(vm) => world.engine().record_failover(vm.id).await.map_err(|denied| Failure::from_error(&denied)),
        None => Err(missing(wanted)),
    };
    world.engine().shutdown().await;
    noted?;
    print::line(&format!(
        "{wanted} runs at the peer; RequestReplicationStateChange(2) makes home's copy the replica that a \
         failback needs"
    ));
    Ok(())
}

fn find<'v>(view: &'v View, wanted: &str) -> Option<&'v Vm> {
    let by_id = || VmId::parse(wanted).and_then(|id| view.vm(id));
    view.vm_by_name(wanted).or_else(by_id).map(|vm| &**vm)
}

fn missing(wanted: &str) -> Failure {
    Failure::Failed(format!("there is no VM '{wanted}'"))
}

/// One line of the list.
struct Line {
    name: String,
    id: String,
    enabled: EnabledState,
    mode: ReplicationMode,
    state: ReplicationState,
    health: ReplicationHealth,
}

impl Line {
    fn from_instance(instance: &Instance) -> Self {
        let text = |name: &str| instance.text(name).unwrap_or_default().to_owned();
        let number =
            |name: &str| instance.number(name).and_then(|number| u16::try_from(number).ok()).unwrap_or_default();
        Self {
            name: text("ElementName"),
            id: text("Name"),
            enabled: EnabledState(number("EnabledState")),
            mode: ReplicationMode(number("ReplicationMode")),
            state: ReplicationState(number("ReplicationState")),
            health: ReplicationHealth(number("ReplicationHealth")),
        }
    }
}

/// All VMs; the host itself is a Msvm_ComputerSystem too, but no VM.
async fn listed(source: &mut Source) -> Result<Vec<Instance>, Failure> {
    let mut systems = source.all("Msvm_ComputerSystem").await?;
    systems.retain(|system| system.text("Name").is_some_and(|name| Uuid::try_parse(name).is_ok()));
    Ok(systems)
}

async fn list(place: &Place, as_json: bool) -> Outcome {
    let vms = listed(&mut Source::of(place).await?).await?;
    let mut vms: Vec<Line> = vms.iter().map(Line::from_instance).collect();
    vms.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    if as_json {
        let list: serde_json::Value = vms
            .iter()
            .map(|vm| {
                let (enabled, mode, state, health) = (vm.enabled.0, vm.mode.0, vm.state.0, vm.health.0);
                json!({
                    "name": vm.name, "id": vm.id, "enabled_state": enabled, "replication_mode": mode,
                    "replication_state": state, "replication_health": health,
                })
            })
            .collect();
        print::line(&format!("{list:#}"));
        return Ok(());
    }
    if vms.is_empty() {
        print::line("no VMs; `failbackd vm import` takes one in");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = vms
        .iter()
        .map(|vm| {
            let (enabled, mode) = (vm.enabled.to_string(), vm.mode.to_string());
            vec![vm.name.clone(), vm.id.clone(), enabled, mode, vm.state.to_string(), vm.health.to_string()]
        })
        .collect();
    print::line(&print::table(&["VM", "GUID", "Power", "Role", "State", "Health"], &rows));
    Ok(())
}

async fn show(place: &Place, wanted: &str, as_json: bool) -> Outcome {
    let same = |system: &&Instance| {
        let is = |key| system.text(key).is_some_and(|text| text.eq_ignore_ascii_case(wanted));
        ["Name", "ElementName"].into_iter().any(is)
    };
    let mut source = Source::of(place).await?;
    let systems = listed(&mut source).await?;
    let system = systems.iter().find(same).ok_or_else(|| missing(wanted))?;
    if as_json {
        print::line(&format!("{:#}", print::instance_json(system)));
        return Ok(());
    }
    let id = system.text("Name").unwrap_or_default();
    let settings = source.named("Msvm_ReplicationSettingData", "VirtualSystemIdentifier", id).await?;
    print::line(&told(system, &settings.unwrap_or_default()));
    Ok(())
}

/// A VM at length, with the settings of its replication.
fn told(system: &Instance, settings: &Instance) -> String {
    let Line { name, id, enabled, mode, state, health } = Line::from_instance(system);
    let setting = |name: &str| settings.text(name).unwrap_or_default().to_owned();
    print::told(&[
        ("VM", name),
        ("GUID", id),
        ("Backend", setting("ReplicationProvider")),
        ("Power", enabled.to_string()),
        ("Role", mode.to_string()),
        ("State", state.to_string()),
        ("Health", health.to_string()),
        ("Runs on", setting("PrimaryHostSystem")),
        ("Copy on", setting("RecoveryHostSystem")),
        ("Last replication", print::moment(system, "LastReplicationTime")),
        ("Changed", print::moment(system, "TimeOfLastStateChange")),
    ])
}
