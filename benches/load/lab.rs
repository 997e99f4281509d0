//! The data directory and the processes that are measured. All that the bench knows of the command line stands here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::Failure;
use crate::client::{Connection, Target};
use crate::process::Owned;
use crate::requests::{Exchange, INSTANCES};

pub(crate) const USER: &str = "load";
pub(crate) const PASSWORD: &str = "measured-on-loopback-only";

/// How long a server may take to answer first.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A data directory with VMs that are ready for a failback.
pub(crate) struct Lab {
    directory: TempDir,
    /// The ids of the VMs that are ready for a failback.
    ready: Vec<String>,
}

/// The name that a lab gives to its VM of that number: `web01`, `db01`, … in turn.
pub(crate) fn vm_name(index: usize) -> String {
    const ROLES: [&str; 3] = ["web", "db", "app"];
    format!("{}{:02}", ROLES.get(index % ROLES.len()).unwrap_or(&"web"), index / ROLES.len() + 1)
}

/// The server to measure: the one just built, or the one that `FAILBACKD` names, to compare the two.
fn binary() -> OsString {
    std::env::var_os("FAILBACKD").unwrap_or_else(|| env!("CARGO_BIN_EXE_failbackd").into())
}

/// The value of the Authorization header.
pub(crate) fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// A server that has answered, and ends with this.
pub(crate) struct Server {
    process: Owned,
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS there.
    pub(crate) sealed: bool,
    /// From starting the process to its first answer.
    pub(crate) started_in: Duration,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

impl Lab {
    /// A lab with a VM ready for each of `runs`, filled up with small ones to a host and 99 VMs.
    pub(crate) fn prepare(runs: usize) -> Result<Lab, Failure> {
        let ready = runs + 1; // the last one is not ready
        let lab = Lab::make(&["--size", "4", "--data", "1", "--vms", &ready.to_string()])?;
        let data = lab.data();
        for index in ready..INSTANCES - 1 {
            let (home, peer) = (lab.image("home", index)?, lab.image("peer", index)?);
            let name = format!("load{index:03}");
            failbackd(&["vm", "import", &name, "--disk", &home, "--peer-disk", &peer], &data, None)?;
        }
        Ok(lab)
    }

    /// A lab of VMs without disks, of which so many are ready for a failback.
    pub(crate) fn diskless(vms: usize) -> Result<Lab, Failure> {
        Lab::make(&["--diskless", "--vms", &(vms + 1).to_string()])
    }

    /// A data directory made by `demo` with a user of our own, below cargo's directory, which is on a real disk.
    fn make(size: &[&str]) -> Result<Lab, Failure> {
        let directory = tempfile::Builder::new().prefix("load-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut lab = Lab { directory, ready: Vec::new() };
        let data = lab.data();
        let made = ["demo", "--prepare", "--json", "--data-dir", &data.to_string_lossy()];
        let told: Value = serde_json::from_slice(&failbackd(&[&made[..], size].concat(), &data, None)?)?;
        let vms = told.get("vms").and_then(Value::as_array).ok_or("demo --prepare --json names no VMs")?;
        let ready = vms.iter().filter(|vm| vm.get("ready").and_then(Value::as_bool) == Some(true));
        lab.ready = ready.filter_map(|vm| vm.get("id")?.as_str().map(str::to_owned)).collect();
        lab.add_user(USER, Some(PASSWORD))?;
        Ok(lab)
    }

    /// Adds an administrator, with NTLM; without a password, one who has another way to log in.
    pub(crate) fn add_user(&self, name: &str, password: Option<&str>) -> Result<(), Failure> {
        let secret: &[&str] = if password.is_some() { &["--ntlm", "--password-stdin"] } else { &["--no-password"] };
        let arguments = [&["user", "add", name, "--role", "administrator"], secret].concat();
        failbackd(&arguments, &self.data(), password).map(|_| ())
    }

    /// The ids of the VMs that are ready for a failback.
    pub(crate) fn ready(&self) -> &[String] {
        &self.ready
    }

    /// Where the lab is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the first VM so many more recovery points, copies of one that it has; answers how many there are then.
    pub(crate) fn add_points(&self, count: usize) -> Result<usize, Failure> {
        const MANIFEST: &str = "manifest.json";
        let points = self.data().join("peer-points");
        let mut there = Vec::new();
        for vm in fs::read_dir(&points)? {
            for point in fs::read_dir(vm?.path())? {
                there.push(point?.path());
            }
        }
        let model = there.first().ok_or("the lab has no recovery point")?;
        let (vm, id) = (model.parent(), model.file_name().map(|name| name.to_string_lossy().into_owned()));
        let (vm, id) = vm.zip(id).ok_or("a recovery point has no place")?;
        let manifest = fs::read_to_string(model.join(MANIFEST))?;
        for number in 0..count {
            let other = format!("10ad0000-0000-4000-8000-{number:012x}");
            let directory = vm.join(&other);
            fs::create_dir(&directory)?;
            fs::write(directory.join(MANIFEST), manifest.replace(&id, &other))?;
        }
        Ok(there.len() + count)
    }

    /// Our server on this lab, its log switched on and thrown away.
    pub(crate) async fn serve(&self) -> Result<Server, Failure> {
        self.serve_with(&[], false).await
    }

    /// The same over TLS.
    pub(crate) async fn serve_tls(&self) -> Result<Server, Failure> {
        self.serve_with(&[], true).await
    }

    /// Our server on a lab without disks.
    pub(crate) async fn serve_diskless(&self) -> Result<Server, Failure> {
        self.serve_diskless_with(&[]).await
    }

    /// The same with settings of the environment.
    pub(crate) async fn serve_diskless_with(&self, settings: &[(&str, &str)]) -> Result<Server, Failure> {
        self.serve_with(&[settings, &[("FAILBACKD_FAULT_BACKEND", "true")]].concat(), false).await
    }

    /// The same, with transfers that wait until the next start.
    pub(crate) async fn serve_held(&self) -> Result<Server, Failure> {
        self.serve_with(&[("FAILBACKD_FAULT_BACKEND", "true"), ("FAILBACKD_TRANSFERS_HELD", "true")], false).await
    }

    async fn serve_with(&self, settings: &[(&str, &str)], sealed: bool) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(binary());
        let (open, off) = if sealed { ("--https", "--http") } else { ("--http", "--https") };
        command.args(["serve", "--allow-unencrypted", off, "off", open, &address.to_string(), "--data-dir"]);
        command.arg(self.data()).envs(settings.iter().copied());
        start(command, address, "/wsman-anon/identify", sealed).await
    }

    /// The bare server: this program again, in its other part.
    pub(crate) async fn serve_bare(&self) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--bare", &address.port().to_string()]);
        start(command, address, "/300", false).await
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn image(&self, site: &str, index: usize) -> Result<String, Failure> {
        let path = self.directory.path().join(format!("load{index:03}-{site}.raw"));
        File::create_new(&path)?.set_len(64 << 10)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// Runs one command of failbackd on a data directory to its end, with `input` as its standard input; answers its
/// output.
fn failbackd(arguments: &[&str], data: &Path, input: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("FAILBACKD_DATA_DIR", data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("failbackd {}: {}: {}", arguments.join(" "), output.status, said.trim()).into())
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn start(mut command: Command, address: SocketAddr, path: &str, sealed: bool) -> Result<Server, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut process = Owned(command.spawn()?);
    let target = Target::new(address, path, "", &Exchange::identify().body).sealed(sealed);
    loop {
        let refusal = match Connection::open(&target).await {
            Ok(mut connection) => {
                connection.exchange().await?;
                return Ok(Server { process, address, sealed, started_in: began.elapsed() });
            }
            Err(refusal) => refusal,
        };
        if let Some(status) = process.0.try_wait()? {
            return Err(format!("{command:?} ended with {status}").into());
        }
        if began.elapsed() > START_TIMEOUT {
            return Err(format!("{command:?} does not listen on {address}: {refusal}").into());
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}
