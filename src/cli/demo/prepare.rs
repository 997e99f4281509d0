//! Makes a data directory with a lab in it: inventory, VMs that failed over, and a user.

use super::lab::{self, LabVm, Sites};
use super::{Arguments, MIB};
use crate::auth::password::{Cost, NtHash, SALT_OCTETS, StoredPassword};
use crate::auth::{Role, Secrets, UserFile};
use crate::backend::fault;
use crate::backend::file;
use crate::cli::{Failure, Outcome, print, random};
use crate::config::Config;
use crate::replication::{Command, EnabledState, Operation, ReplicationState, VmId};
use crate::server::World;
use crate::service::{Clock, NewVm, SystemClock};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// The user that a lab comes with.
pub(crate) const USER: &str = "lab";
/// Sizes in MiB of the disks of a lab for `serve`: small, so that many VMs take seconds.
const SIZES: [u64; 3] = [16, 2, 1];

/// `--prepare`: makes the directory and tells what is in it.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let Some(data_dir) = &arguments.data_dir else { return Err(Failure::Usage("--data-dir is missing".to_owned())) };
    lab::make_directory(data_dir)?;
    let data_dir = data_dir.canonicalize().map_err(|error| Failure::from_error(&error))?;
    let config = Config { data_dir: data_dir.clone(), fault_backend: arguments.diskless, ..Config::default() };
    let world = open(&config).await?;
    let made = if arguments.diskless {
        diskless(&world, arguments.vms).await?
    } else {
        let mut made = Vec::new();
        let sites = Sites::below(&data_dir);
        sites.create()?;
        for number in 0..arguments.vms {
            let fails_over = number.saturating_add(1) < arguments.vms;
            let name = lab::name_of(number);
            let vm = LabVm::create(&sites, &name, arguments.size(SIZES), random()?)?;
            made.push(Made::from(&add(&world, vm, fails_over).await?));
        }
        made
    };
    world.engine().shutdown().await;
    let password = add_user(&data_dir)?;
    tell(&data_dir, &password, &made, arguments);
    Ok(())
}

/// Opens the data directory with its store, drivers and engine.
pub(crate) async fn open(config: &Config) -> Result<Arc<World>, Failure> {
    World::open(config).await.map_err(|error| Failure::from_error(&error))
}

/// What is told of a VM.
struct Made {
    name: String,
    id: String,
    ready: bool,
}

impl From<&LabVm> for Made {
    fn from(vm: &LabVm) -> Self {
        Self { name: vm.name.clone(), id: print::guid(vm.id), ready: vm.ready }
    }
}

/// Takes a VM into the inventory and through its history: protected, and for most failed over to the peer.
pub(crate) async fn add(world: &Arc<World>, vm: LabVm, fails_over: bool) -> Result<LabVm, Failure> {
    let id = VmId(vm.id);
    let engine = world.engine();
    let new = NewVm {
        id: Some(id),
        disk_octets: vm.size.disk_octets,
        enabled_state: if fails_over { EnabledState::DISABLED } else { EnabledState::ENABLED },
        ..NewVm::protected(&vm.name, file::NAME)
    };
    world.import(new, Some(vm.disks())).await.map_err(|error| Failure::from_error(&error))?;
    let files = Arc::clone(world.files());
    let vm = tokio::task::spawn_blocking(move || {
        let now = || SystemClock.now();
        vm.protect(&files, &now)?;
        Ok::<_, Failure>(vm)
    });
    let mut vm = vm.await.map_err(|error| Failure::from_error(&error))??;
    if fails_over {
        engine.record_failover(id).await.map_err(|error| Failure::from_error(&error))?;
        let files = Arc::clone(world.files());
        let lived = tokio::task::spawn_blocking(move || {
            vm.run_at_peer(&files, &|| SystemClock.now())?;
            Ok::<_, Failure>(vm)
        });
        vm = lived.await.map_err(|error| Failure::from_error(&error))??;
        into_replica_role(world, id).await?;
    }
    engine.refresh_points(&[id]).await;
    Ok(vm)
}

/// RequestReplicationStateChange(2), as an administrator would call it, and its job.
async fn into_replica_role(world: &Arc<World>, id: VmId) -> Outcome {
    let engine = world.engine();
    let command = Command {
        vm: id,
        operation: Operation::RequestReplicationStateChange(ReplicationState::WAITING_TO_COMPLETE_INITIAL_REPLICATION),
        principal: USER.to_owned(),
        idempotency_key: None,
    };
    let submitted = engine.submit(command).await.map_err(|denied| Failure::from_error(&denied))?;
    let Some(job) = submitted.job else { return Ok(()) };
    let ended = engine
        .changed(|view| view.job(job).filter(|entry| entry.job.state.is_terminal()).map(|entry| entry.job.clone()))
        .await;
    match ended.error {
        Some(error) => Err(Failure::Failed(error.description)),
        None => Ok(()),
    }
}

/// VMs that have no disks: what moves them only pretends.
async fn diskless(world: &Arc<World>, count: u32) -> Result<Vec<Made>, Failure> {
    let news: Vec<NewVm> = (0..count)
        .map(|number| {
            let name = lab::name_of(number);
            if number.saturating_add(1) < count {
                NewVm::failed_over(&name, fault::NAME)
            } else {
                NewVm::protected(&name, fault::NAME)
            }
        })
        .map(|new| NewVm { disk_octets: 1024 * MIB, ..new })
        .collect();
    let names: Vec<String> = news.iter().map(|new| new.name.clone()).collect();
    let ids = world.engine().import_vms(news).await.map_err(|error| Failure::from_error(&error))?;
    let last = names.len().saturating_sub(1);
    let made = names.into_iter().zip(ids).enumerate();
    Ok(made.map(|(number, (name, id))| Made { name, id: id.to_string(), ready: number < last }).collect())
}

/// The lab's user with a new password.
pub(crate) fn add_user(data_dir: &Path) -> Result<String, Failure> {
    let password = password()?;
    let mut salt = [0; SALT_OCTETS];
    getrandom::fill(&mut salt).map_err(|error| Failure::from_error(&error))?;
    let stored = StoredPassword::create(password.as_bytes(), salt, Cost::default());
    let stored = stored.map_err(|error| Failure::from_error(&error))?;
    // With an NT hash, so that clients can log in and seal their messages over plain HTTP.
    let secrets = Secrets { password: Some(stored), nt_hash: Some(NtHash::of(&password)) };
    UserFile::in_directory(data_dir)
        .add_with(USER, Role::Administrator, &secrets)
        .map_err(|error| Failure::from_error(&error))?;
    Ok(password)
}

/// 20 letters and digits, some 116 bits, that need no quoting in any shell.
fn password() -> Result<String, Failure> {
    const ALPHABET: &[u8; 56] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz3456789";
    let mut password = String::new();
    while password.len() < 20 {
        let mut octet = [0_u8];
        getrandom::fill(&mut octet).map_err(|error| Failure::from_error(&error))?;
        // Octets past the last whole multiple of 56 would make some letters likelier.
        if let Some(letter) =
            octet.first().filter(|octet| **octet < 224).and_then(|octet| ALPHABET.get(usize::from(octet % 56)))
        {
            password.push(char::from(*letter));
        }
    }
    Ok(password)
}

fn tell(data_dir: &Path, password: &str, made: &[Made], arguments: &Arguments) {
    if arguments.json {
        let vms: Vec<_> = made.iter().map(|vm| json!({ "name": vm.name, "id": vm.id, "ready": vm.ready })).collect();
        let all = json!({ "data_dir": data_dir, "user": USER, "password": password, "vms": vms });
        return print::line(&all.to_string());
    }
    let ready = made.iter().filter(|vm| vm.ready).count();
    print::line(&format!("made {} VMs in {}, {ready} of them ready for a failback", made.len(), data_dir.display()));
    // A long list helps nobody; `vm list` has it.
    let rows: Vec<Vec<String>> = made
        .iter()
        .take(20)
        .map(|vm| {
            let state =
                if vm.ready { "runs at the peer: ready for a failback" } else { "runs at home, protected to the peer" };
            vec![vm.name.clone(), vm.id.clone(), state.to_owned()]
        })
        .collect();
    print::line(&print::table(&["VM", "GUID", "State"], &rows));
    print::line(&format!("user {USER}, password {password} (shown only now)"));
    let loads = if arguments.diskless { "FAILBACKD_FAULT_BACKEND=true " } else { "" };
    print::line(&format!("serve it: {loads}failbackd serve --data-dir {}", data_dir.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_different() {
        let (first, second) = (password().unwrap(), password().unwrap());
        assert_ne!(first, second);
        for password in [first, second] {
            assert_eq!(password.len(), 20);
            assert!(password.chars().all(|letter| letter.is_ascii_alphanumeric()), "{password}");
        }
    }
}
