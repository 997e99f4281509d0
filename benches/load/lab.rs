//! The data directory and the processes that are measured. All that the bench knows of the command line stands here.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::Failure;
use crate::client::{Connection, Target};
use crate::process::Owned;
use crate::requests::{Exchange, INSTANCES};

const USER: &str = "load";
const PASSWORD: &str = "measured-on-loopback-only";

/// How long a server may take to answer first.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A data directory with VMs that are ready for a failback.
pub(crate) struct Lab {
    directory: TempDir,
}

/// The name that a lab gives to its VM of that number: `web01`, `db01`, … in turn.
pub(crate) fn vm_name(index: usize) -> String {
    const ROLES: [&str; 3] = ["web", "db", "app"];
    format!("{}{:02}", ROLES.get(index % ROLES.len()).unwrap_or(&"web"), index / ROLES.len() + 1)
}

/// The value of the Authorization header.
pub(crate) fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

/// A server that has answered, and ends with this.
pub(crate) struct Server {
    process: Owned,
    pub(crate) address: SocketAddr,
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
        let lab = Lab { directory: tempfile::Builder::new().prefix("failbackd-load-").tempdir()? };
        let ready = runs + 1; // the last one is not ready
        failbackd(&["demo", "--prepare", "--vms", &ready.to_string(), "--data-dir"], &lab.data(), None)?;
        failbackd(
            &["user", "add", USER, "--role", "administrator", "--password-stdin", "--data-dir"],
            &lab.data(),
            Some(PASSWORD),
        )?;
        for index in ready..INSTANCES - 1 {
            let (home, peer) = (lab.image("home", index)?, lab.image("peer", index)?);
            let name = format!("load{index:03}");
            failbackd(
                &["vm", "import", &name, "--disk", &home, "--peer-disk", &peer, "--data-dir"],
                &lab.data(),
                None,
            )?;
        }
        Ok(lab)
    }

    /// Our server on this lab, its log switched on and thrown away.
    pub(crate) async fn serve(&self) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_failbackd"));
        command.args(["serve", "--https", "off", "--allow-unencrypted", "--http", &address.to_string(), "--data-dir"]);
        command.arg(self.data());
        start(command, address, "/wsman-anon/identify").await
    }

    /// The bare server: this program again, in its other part.
    pub(crate) async fn serve_bare(&self) -> Result<Server, Failure> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--bare", &address.port().to_string()]);
        start(command, address, "/300").await
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

/// Runs one command of failbackd to its end; `input` goes to its standard input.
fn failbackd(arguments: &[&str], data: &Path, input: Option<&str>) -> Result<(), Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_failbackd"));
    command.args(arguments).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("failbackd {}: {}: {}", arguments.join(" "), output.status, said.trim()).into())
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn start(mut command: Command, address: SocketAddr, path: &str) -> Result<Server, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut process = Owned(command.spawn()?);
    let target = Target::new(address, path, "", &Exchange::identify().body);
    loop {
        let refusal = match Connection::open(&target).await {
            Ok(mut connection) => {
                connection.exchange().await?;
                return Ok(Server { process, address, started_in: began.elapsed() });
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
