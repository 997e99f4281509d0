//! The real program as processes: labs made by `demo --prepare`, servers that are started, killed and terminated, and
//! WS-Management over a plain socket.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_failbackd");
const CLASSES: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";
/// Far more than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A command of the program that no variable of the surroundings reaches.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAILBACKD_")) {
        command.env_remove(name);
    }
    command
}

/// A virtual machine of a lab.
#[derive(Clone, Debug)]
pub(crate) struct LabVm {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) ready: bool,
}

/// A data directory as `demo --prepare` makes it.
pub(crate) struct Lab {
    _directory: TempDir,
    pub(crate) data: PathBuf,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) vms: Vec<LabVm>,
}

impl Lab {
    pub(crate) fn prepare(vms: usize, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().canonicalize().unwrap().join("data");
        let mut command = program();
        command.args(["demo", "--prepare", "--json", "--data-dir"]).arg(&data).args(["--vms", &vms.to_string()]);
        let made = command.args(arguments).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let vms = made["vms"].as_array().unwrap().iter();
        let vm = |vm: &serde_json::Value| LabVm {
            name: text(&vm["name"]),
            id: text(&vm["id"]),
            ready: vm["ready"].as_bool().unwrap(),
        };
        let vms = vms.map(vm).collect();
        Self { _directory: directory, data, user: text(&made["user"]), password: text(&made["password"]), vms }
    }

    pub(crate) fn home(&self, vm: &str) -> PathBuf {
        self.data.join("home").join(format!("{vm}.raw"))
    }

    pub(crate) fn peer(&self, vm: &str) -> PathBuf {
        self.data.join("peer").join(format!("{vm}.raw"))
    }

    /// `serve` on free ports of loopback, with this lab's user for whoever calls.
    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Served {
        Served::spawn(&self.data, variables).ready()
    }

    pub(crate) fn wire(&self, address: SocketAddr) -> Wire {
        Wire::new(address, &self.user, &self.password)
    }
}

/// The control file beside an image that a lab's guest obeys.
pub(crate) fn stop_file(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".stop");
    PathBuf::from(name)
}

/// A server that has been started, and may not be ready yet.
pub(crate) struct Served {
    child: Child,
    log: PathBuf,
    address: Option<SocketAddr>,
}

impl Served {
    pub(crate) fn spawn(data: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.args(["serve", "--http", "127.0.0.1:0", "--https", "off", "--allow-unencrypted", "--data-dir"]);
        Self::spawn_command(command.arg(data).envs(variables.iter().copied()), data)
    }

    /// The log goes to a file beside the data directory, one for all servers that were there.
    pub(crate) fn spawn_command(command: &mut Command, data: &Path) -> Self {
        let log = data.with_extension("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        Self { child, log, address: None }
    }

    /// Waits until it accepts connections; its address is that of the first listener.
    pub(crate) fn ready(mut self) -> Self {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let rest = line.strip_prefix("listening on http")?.trim_start_matches('s').strip_prefix("://")?;
            rest.split('/').next()?.parse().ok()
        });
        self.address = found;
        assert!(found.is_some(), "the server did not start:\n{}", self.log_end());
        // The last line says that everything is open.
        let _rest = lines.map_while(Result::ok).find(|line| line.ends_with("admin.sock"));
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("the server is ready")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        // It may have ended by itself, which the next start will tell.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and how it ended, and after how long.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        (self.wait_end(), started.elapsed())
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not end:\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log holds `text`: events below a warning are written in batches.
    pub(crate) fn has_logged(&self, text: &str) {
        let started = Instant::now();
        while !self.log().contains(text) {
            assert!(started.elapsed() < PATIENCE, "the log never says {text}:\n{}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Where to send envelopes, and as whom.
#[derive(Clone)]
pub(crate) struct Wire {
    address: SocketAddr,
    authorization: String,
}

impl Wire {
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        Self { address, authorization: BASE64_STANDARD.encode(format!("{user}:{password}")) }
    }

    /// One exchange on a connection of its own: the status and the body.
    pub(crate) fn post(&self, envelope: &str) -> io::Result<(u16, String)> {
        let mut stream = self.send(envelope)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends early");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
        // A connection that dies may have brought half an answer.
        if status == 200 && !body.trim_end().ends_with("Envelope>") {
            return Err(cut());
        }
        Ok((status, body.to_owned()))
    }

    /// Sends a request and leaves the answer to whoever wants it.
    pub(crate) fn send(&self, envelope: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (address, authorization, length) = (self.address, &self.authorization, envelope.len());
        let request = format!(
            "POST /wsman HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {authorization}\r\n\
             Content-Type: application/soap+xml;charset=UTF-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{envelope}"
        );
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// The same; the answer must be there and no fault.
    pub(crate) fn ask(&self, envelope: &str) -> String {
        let (status, body) = self.post(envelope).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(status, 200, "{body}");
        body
    }

    /// A job as it is now.
    pub(crate) fn job(&self, id: &str) -> String {
        self.ask(&get("Msvm_ConcreteJob", &[("InstanceID", id)]))
    }

    /// Waits until a job has ended; its instance.
    pub(crate) fn end_of(&self, id: &str) -> String {
        let started = Instant::now();
        loop {
            let job = self.job(id);
            if number(&job, "JobState") >= 7 && number(&job, "JobState") <= 11 {
                return job;
            }
            assert!(started.elapsed() < PATIENCE, "the job does not end: {job}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn vm(&self, id: &str) -> String {
        self.ask(&get("Msvm_ComputerSystem", &[("CreationClassName", "Msvm_ComputerSystem"), ("Name", id)]))
    }
}

/// A request; `body` is elements already.
pub(crate) fn envelope(message: &str, action: &str, class: &str, selectors: &[(&str, &str)], body: &str) -> String {
    let mut set = String::new();
    for (name, value) in selectors {
        set.extend([r#"<w:Selector Name=""#, name, r#"">"#, value, "</w:Selector>"]);
    }
    format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>
<a:To>http://127.0.0.1/wsman</a:To><a:ReplyTo><a:Address>{ANONYMOUS}</a:Address></a:ReplyTo>
<a:MessageID>{message}</a:MessageID><a:Action>{action}</a:Action>
<w:ResourceURI>{CLASSES}{class}</w:ResourceURI><w:SelectorSet>{set}</w:SelectorSet>
</s:Header><s:Body>{body}</s:Body></s:Envelope>"#
    )
}

pub(crate) fn get(class: &str, selectors: &[(&str, &str)]) -> String {
    envelope("uuid:get", "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", class, selectors, "")
}

/// A call of a method. `parameters` are elements already, with the prefix `p`.
pub(crate) fn invoke(message: &str, class: &str, selectors: &[(&str, &str)], method: &str, parameters: &str) -> String {
    let body = format!(r#"<p:{method}_INPUT xmlns:p="{CLASSES}{class}">{parameters}</p:{method}_INPUT>"#);
    envelope(message, &format!("{CLASSES}{class}/{method}"), class, selectors, &body)
}

/// A method of the replication service on a virtual machine, with further parameters.
pub(crate) fn replication(message: &str, method: &str, vm: &str, parameters: &str) -> String {
    let service = [("CreationClassName", "Msvm_ReplicationService")];
    let parameters = format!("<p:ComputerSystem>{vm}</p:ComputerSystem>{parameters}");
    invoke(message, "Msvm_ReplicationService", &service, method, &parameters)
}

/// InitiateFailback of a virtual machine, with further parameters.
pub(crate) fn failback(message: &str, vm: &str, parameters: &str) -> String {
    replication(message, "InitiateFailback", vm, parameters)
}

/// RequestStateChange of a job or a virtual machine.
pub(crate) fn state_change(message: &str, class: &str, selectors: &[(&str, &str)], state: u16) -> String {
    let parameters = format!("<p:RequestedState>{state}</p:RequestedState>");
    invoke(message, class, selectors, "RequestStateChange", &parameters)
}

/// The cancel of a job.
pub(crate) fn cancel(job: &str) -> String {
    state_change("uuid:cancel", "Msvm_ConcreteJob", &[("InstanceID", job)], 4)
}

/// The text of the first element of this name.
pub(crate) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("<p:{name}>"))?;
    rest.split_once(&format!("</p:{name}>")).map(|(text, _)| text)
}

pub(crate) fn number(answer: &str, name: &str) -> u64 {
    let text = field(answer, name).unwrap_or_else(|| panic!("no {name} in {answer}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

/// What a method answered.
pub(crate) fn returned(answer: &str) -> u64 {
    number(answer, "ReturnValue")
}

/// The job that an answer names.
pub(crate) fn job_of(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once(r#"<w:Selector Name="InstanceID">"#)?;
    rest.split_once('<').map(|(id, _)| id.to_owned())
}

/// A recovery point of a virtual machine: its id and its image.
pub(crate) fn newest_point(lab: &Lab, vm: &LabVm) -> (String, PathBuf) {
    let directory = lab.data.join("peer-points").join(vm.id.to_lowercase());
    let made = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap();
    let points = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let point = points.max_by_key(made).unwrap();
    (point.file_name().unwrap().to_string_lossy().into_owned(), point.join("disk0.img"))
}

/// Whether two files hold the same octets.
pub(crate) fn same(left: &Path, right: &Path) -> bool {
    fs::read(left).unwrap() == fs::read(right).unwrap()
}
