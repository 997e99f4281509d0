//! Measures eventing: ten thousand subscriptions, pushed to a sink on this machine at a thousand deliveries a second.
//!
//! `cargo bench --bench eventing` makes the subscriptions by HTTP, takes in ten virtual machines a second, each of
//! which a hundred subscriptions ask for, and prints how long after the change its deliveries arrived, and the memory
//! of the whole process. The exit code is 1 when a delivery is missing, or the 99th percentile or the memory is above
//! its bound. With `--short` there are a tenth of the subscriptions and deliveries, and time decides nothing.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use failbackd::auth::password::{Cost, SALT_OCTETS};
use failbackd::auth::{Role, UserFile};
use failbackd::backend::fault::NAME;
use failbackd::config::Config;
use failbackd::server::{Server, World};
use failbackd::service::NewVm;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong in a bench ends it, with its text.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const SUBSCRIPTIONS: usize = 10_000;
const SUBSCRIPTIONS_SHORT: usize = 1_000;
/// Machines that are taken in; each is asked for by as many of the subscriptions.
const CHANGES: usize = 100;
const CHANGES_A_SECOND: u64 = 10;
/// How long deliveries may take after the last change before they count as missing.
const PATIENCE: Duration = Duration::from_secs(30);
const BOUND: Duration = Duration::from_millis(100);
const MEMORY_KIB_MAX: u64 = 200 * 1024;
const MEMORY_KIB_SHORT_MAX: u64 = 48 * 1024;
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

/// When each machine was taken in, and how long after that each delivery arrived.
#[derive(Default)]
struct Board {
    begun: HashMap<String, Instant>,
    late: Vec<Duration>,
}

type Shared = Arc<Mutex<Board>>;

/// Measure eventing.
#[derive(Parser)]
struct Options {
    /// A tenth of the subscriptions, to see that nothing is lost; how long it takes decides nothing.
    #[arg(long)]
    short: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(measure(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<bool, Failure> {
    let (subscriptions, memory_max) =
        if options.short { (SUBSCRIPTIONS_SHORT, MEMORY_KIB_SHORT_MAX) } else { (SUBSCRIPTIONS, MEMORY_KIB_MAX) };
    let directory = tempfile::tempdir()?;
    UserFile::in_directory(directory.path()).add("otto", Role::Operator, b"secret", [5; SALT_OCTETS], CHEAP)?;
    let mut config = Config {
        data_dir: directory.path().to_owned(),
        http: "127.0.0.1:0".to_owned(),
        https: "off".to_owned(),
        allow_unencrypted: true,
        fault_backend: true,
        ..Config::default()
    };
    config.eventing.subscriptions_per_user_max = 16_384;
    let world = World::open(&config).await?;
    let server = Server::start(&config, Arc::clone(&world))?;
    let board = Shared::default();
    let sink = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/", sink.local_addr()?);
    tokio::spawn(listen(sink, Arc::clone(&board)));
    let empty = memory_kib();
    let begun = Instant::now();
    let mut connection = BufReader::new(TcpStream::connect(server.http().ok_or("no listener")?).await?);
    for number in 0..subscriptions {
        subscribe(&mut connection, &address, &machine(number % CHANGES)).await?;
    }
    println!("{subscriptions} subscriptions made in {:.1?}", begun.elapsed());
    println!("memory: {} MiB before them, {} MiB with them", empty / 1024, memory_kib() / 1024);
    let mut turn = tokio::time::interval(Duration::from_millis(1_000 / CHANGES_A_SECOND));
    for change in 0..CHANGES {
        turn.tick().await;
        let name = machine(change);
        lock(&board).begun.insert(name.clone(), Instant::now());
        world.import(NewVm::protected(&name, NAME), None).await?;
    }
    let changed = Instant::now();
    while lock(&board).late.len() < subscriptions && changed.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut late = std::mem::take(&mut lock(&board).late);
    late.sort_unstable();
    let at = |percent: usize| late.get((late.len() * percent / 100).min(late.len().saturating_sub(1))).copied();
    let (median, p99) = (at(50).unwrap_or_default(), at(99).unwrap_or(Duration::MAX));
    println!("{} of {subscriptions} deliveries: median {median:.1?}, p99 {p99:.1?}, last {:.1?}", late.len(), at(100));
    let memory = memory_kib();
    println!("memory: {} MiB at the end", memory / 1024);
    server.shutdown().await;
    let in_time = options.short || p99 <= BOUND;
    let mut held = true;
    for (holds, what) in [
        (late.len() == subscriptions, "not every event was delivered once"),
        (in_time, "the 99th percentile is above its bound"),
        (memory <= memory_max, "the memory is above its bound"),
    ] {
        if !holds {
            eprintln!("eventing: {what}");
            held = false;
        }
    }
    Ok(held)
}

fn machine(number: usize) -> String {
    format!("vm-{number}-")
}

fn lock(board: &Shared) -> std::sync::MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The resident memory of this process; 0 where the system does not tell.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

async fn subscribe(connection: &mut BufReader<TcpStream>, sink: &str, name: &str) -> Result<(), Failure> {
    let body = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
         xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\"><s:Header><a:To>http://host/wsman</a:To>\
         <w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*</w:ResourceURI>\
         <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
         </a:ReplyTo>\
         <a:Action>http://schemas.xmlsoap.org/ws/2004/08/eventing/Subscribe</a:Action><a:MessageID>uuid:1</a:MessageID>\
         </s:Header><s:Body><e:Subscribe><e:Delivery \
         Mode=\"http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push\"><e:NotifyTo><a:Address>{sink}\
         </a:Address></e:NotifyTo></e:Delivery><w:Filter \
         Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">SELECT * FROM __InstanceCreationEvent WITHIN 1 \
         WHERE TargetInstance ISA 'Msvm_ReplicationRelationship' AND TargetInstance.ElementName = '{name}'</w:Filter>\
         </e:Subscribe></s:Body></s:Envelope>"
    );
    let head = format!(
        "POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\nContent-Type: \
         application/soap+xml;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
        BASE64_STANDARD.encode("otto:secret"),
        body.len()
    );
    connection.get_mut().write_all(format!("{head}{body}").as_bytes()).await?;
    let (head, body) = message(connection).await?.ok_or("the server closed the connection")?;
    if head.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("{head}{body}").into()) }
}

/// The next message on a connection: its head and its body.
async fn message(connection: &mut BufReader<TcpStream>) -> Result<Option<(String, String)>, Failure> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        if connection.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
        let line = head.get(before..).unwrap_or_default().trim().to_ascii_lowercase();
        if let Some(octets) = line.strip_prefix("content-length:") {
            length = octets.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(Some((head, String::from_utf8(body)?)))
}

async fn listen(sink: TcpListener, board: Shared) {
    while let Ok((stream, _)) = sink.accept().await {
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            let mut connection = BufReader::new(stream);
            while let Ok(Some((_, body))) = message(&mut connection).await {
                let arrived = Instant::now();
                let name = body.split("<r:ElementName>").nth(1).and_then(|rest| rest.split('<').next());
                {
                    let mut board = lock(&board);
                    if let Some(begun) = name.and_then(|name| board.begun.get(name)).copied() {
                        board.late.push(arrived.saturating_duration_since(begun));
                    }
                }
                let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
                if connection.get_mut().write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}
