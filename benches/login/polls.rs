//! Requests after a login: a Get of a job, sealed and in clear, and with a password that was checked before.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::{self, Target};
use crate::cost::{Client, cost};
use crate::handshake::logged_in;
use crate::lab::{self, Lab, Server};
use crate::ntlm_client::Session;
use crate::requests::{self, Exchange, MESSAGE_DIGITS, MESSAGE_SLOT};
use crate::sealing::{SEALED_TYPE, frame, token};
use crate::table::{Bound, Figure, median};
use crate::wire::Wire;
use crate::{Failure, process};

const CONNECTIONS: usize = 64;
const SEALED_RATIO_TARGET: f64 = 2.0;
/// An argon2 costs twenty times as much.
const CACHED_TARGET_US: f64 = 1000.0;

const CLEAR: &str = "Content-Type: application/soap+xml;charset=UTF-8\r\n";

/// Message ids are unique over the whole bench.
static MESSAGE: AtomicU64 = AtomicU64::new(1);

/// Runs a job to its end, so that there is something to ask for; answers the Get.
pub(crate) async fn finished_job(server: &Server, lab: &Lab) -> Result<Exchange, Failure> {
    let ask = async |exchange: &Exchange| -> Result<String, Failure> {
        let target = Target::new(server.address, "/wsman", &lab::authorization(), &exchange.body);
        Ok(String::from_utf8(client::Connection::open(&target).await?.exchange().await?)?)
    };
    let vm = lab.ready().first().ok_or("the lab has no VM")?;
    let answer = ask(&Exchange::invoke(vm)).await?;
    let job = requests::job_of(&answer).ok_or_else(|| format!("InitiateFailback of {vm}: {answer}"))?;
    let get = Exchange::get_job(&job);
    for _ in 0..300 {
        let answer = ask(&get).await?;
        get.check(&answer)?;
        if requests::element_text(&answer, "JobState") == Some("7") {
            return Ok(get);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the job {job} did not complete").into())
}

/// Asks on one connection.
pub(crate) struct Asks {
    wire: Wire,
    headers: String,
    body: String,
    /// The keys, when messages are to be sealed.
    session: Option<Session>,
    /// Bodies that were made before, so that sealing them takes no time from the server while it is measured.
    ready: VecDeque<Vec<u8>>,
    /// The answers to those, not yet looked at.
    answers: Vec<Vec<u8>>,
}

impl Asks {
    /// With the header lines of a proof, if there is one.
    pub(crate) fn new(wire: Wire, proof: &str, exchange: &Exchange, session: Option<Session>) -> Asks {
        let headers = match session {
            Some(_) => format!("{proof}Content-Type: {SEALED_TYPE}\r\n"),
            None => format!("{proof}{CLEAR}"),
        };
        let body = exchange.body.clone();
        Asks { wire, headers, body, session, ready: VecDeque::new(), answers: Vec::new() }
    }

    /// With so many bodies made ready.
    fn prepared(mut self, count: usize) -> Asks {
        for _ in 0..count {
            let body = self.make();
            self.ready.push_back(body);
        }
        self
    }

    fn make(&mut self) -> Vec<u8> {
        let body = fresh(&self.body).into_bytes();
        match &mut self.session {
            Some(session) => frame(body.len(), 16, &session.seal(&body)),
            None => body,
        }
    }

    async fn ask(&mut self, body: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.wire.post("/wsman", &self.headers, body).await?.expect(200)?.body)
    }

    fn check(&mut self, answer: &[u8]) -> Result<(), Failure> {
        match &mut self.session {
            Some(session) => check(&session.unseal(token(answer)?)),
            None => check(answer),
        }
    }

    /// Looks at the answers that were put off, in their order.
    fn settle(&mut self) -> Result<(), Failure> {
        for answer in std::mem::take(&mut self.answers) {
            self.check(&answer)?;
        }
        Ok(())
    }
}

/// A body with a message id of its own.
fn fresh(body: &str) -> String {
    let digits = format!("{:0width$x}", MESSAGE.fetch_add(1, Ordering::Relaxed), width = MESSAGE_DIGITS);
    body.replacen(MESSAGE_SLOT, &digits, 1)
}

fn check(answer: &[u8]) -> Result<(), Failure> {
    let wanted = b"JobState>";
    if answer.windows(wanted.len()).any(|window| window == wanted) {
        return Ok(());
    }
    Err(format!("an answer without a job: {}", String::from_utf8_lossy(answer)).into())
}

impl Client for Asks {
    async fn repeat(&mut self) -> Result<(), Failure> {
        if let Some(body) = self.ready.pop_front() {
            let answer = self.ask(&body).await?;
            self.answers.push(answer);
            return Ok(());
        }
        self.settle()?;
        let body = self.make();
        let answer = self.ask(&body).await?;
        self.check(&answer)
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.settle()
    }
}

/// Asks with a password on a new connection each time.
struct Visits {
    address: SocketAddr,
    path: String,
    headers: String,
    body: String,
}

impl Client for Visits {
    async fn repeat(&mut self) -> Result<(), Failure> {
        let mut wire = Wire::open(self.address).await?;
        wire.post(&self.path, &self.headers, fresh(&self.body).as_bytes()).await?.expect(200)?;
        Ok(())
    }
}

/// A sealed Get against one in clear, on connections that have logged in by NTLM alike.
pub(crate) async fn sealed_figures(
    server: &Server,
    get: &Exchange,
    runs: usize,
    length: Duration,
) -> Result<Vec<Figure>, Failure> {
    let [mut clear, mut sealed, mut ratio] = [Vec::new(), Vec::new(), Vec::new()];
    let ready = usize::try_from(length.as_millis() / 2)?;
    for _ in 0..runs {
        let mut both = [Vec::new(), Vec::new()];
        for _ in 0..CONNECTIONS {
            let [clear, sealed] = &mut both;
            let (wire, _) = logged_in(server.address).await?;
            clear.push(Asks::new(wire, "", get, None).prepared(ready));
            let (wire, session) = logged_in(server.address).await?;
            sealed.push(Asks::new(wire, "", get, Some(session)).prepared(ready));
        }
        let [in_clear, under_seal] = both;
        let in_clear = cost(server.pid(), in_clear, length).await?;
        let under_seal = cost(server.pid(), under_seal, length).await?;
        clear.push(in_clear);
        sealed.push(under_seal);
        ratio.push(under_seal / in_clear);
    }
    Ok(vec![
        Figure::new("Get of a job in clear, 64 connections logged in by NTLM, server CPU µs", median(clear), None),
        Figure::new("the same sealed, server CPU µs", median(sealed), None),
        Figure::new("sealed over clear", median(ratio), Some(Bound::AtMost(SEALED_RATIO_TARGET))),
    ])
}

/// A Get with a password that was checked before, on a new connection each.
pub(crate) async fn cached_figures(
    ours: &Server,
    bare: &Server,
    get: &Exchange,
    runs: usize,
    length: Duration,
) -> Result<Vec<Figure>, Failure> {
    let headers = format!("Authorization: {}\r\n{CLEAR}", lab::authorization());
    let mut first = Wire::open(ours.address).await?;
    let size = first.post("/wsman", &headers, get.body.as_bytes()).await?.expect(200)?.body.len();
    let [mut whole, mut yardstick] = [Vec::new(), Vec::new()];
    let resident = process::resident_octets(ours.pid())?;
    for _ in 0..runs {
        let visits = |address, path: String| {
            let (headers, body) = (headers.clone(), get.body.clone());
            vec![Visits { address, path, headers, body }]
        };
        whole.push(cost(ours.pid(), visits(ours.address, "/wsman".to_owned()), length).await?);
        yardstick.push(cost(bare.pid(), visits(bare.address, format!("/{size}")), length).await?);
    }
    let grown = process::resident_octets(ours.pid())?.saturating_sub(resident) / 1024;
    let grown = f64::from(u32::try_from(grown).unwrap_or(u32::MAX));
    let target = Some(Bound::AtMost(CACHED_TARGET_US));
    Ok(vec![
        Figure::new("Get by Basic, password known, new connection each, server CPU µs", median(whole), target),
        Figure::new("the same at the bare server, µs", median(yardstick), None),
        Figure::new("resident memory grown by that, KiB", grown, Some(Bound::AtMost(1024.0))),
    ])
}
