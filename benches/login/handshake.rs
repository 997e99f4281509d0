//! Whole logins by NTLM, and what the bare server spends on the same requests.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cost::{Client, cost};
use crate::lab::{PASSWORD, Server, USER};
use crate::ntlm_client::{Ntlm, Session};
use crate::table::{Bound, Figure, median};
use crate::wire::{Answer, Wire, authorization};
use crate::{Failure, spnego};

/// What a login may cost, in microseconds.
const TARGET_US: f64 = 60.0;

/// Clients that log in at the same time.
const CLIENTS: usize = 4;

/// How NTLM's messages are wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Raw,
    Spnego,
}

/// The user of the lab.
pub(crate) fn user() -> Ntlm {
    Ntlm::with(|it| {
        USER.clone_into(&mut it.user);
        PASSWORD.clone_into(&mut it.password);
    })
}

/// The two requests of a login, as header lines.
struct Login {
    requests: [String; 2],
    session: Session,
}

async fn login(wire: &mut Wire, client: &Ntlm, wrapping: Wrapping) -> Result<Login, Failure> {
    let list = spnego::list(&[spnego::OID_NTLM]);
    let negotiate = match wrapping {
        Wrapping::Raw => client.negotiate(),
        Wrapping::Spnego => spnego::init(&list, Some(&client.negotiate())),
    };
    let first = authorization("Negotiate", &negotiate);
    let challenge = wire.post("/wsman", &first, b"").await?.expect(401)?.token()?;
    let challenge = match wrapping {
        Wrapping::Raw => challenge,
        Wrapping::Spnego => spnego::Answer::parse(&challenge).token.ok_or("no challenge")?,
    };
    let (mut authenticate, mut session) = client.authenticate(&challenge);
    if wrapping == Wrapping::Spnego {
        authenticate = spnego::response(None, Some(&authenticate), Some(&session.mic(&list)));
        session.expected_mic(&list);
    }
    let second = authorization("Negotiate", &authenticate);
    wire.post("/wsman", &second, b"").await?.expect(200)?;
    Ok(Login { requests: [first, second], session })
}

/// A connection that has logged in, with its keys.
pub(crate) async fn logged_in(address: SocketAddr) -> Result<(Wire, Session), Failure> {
    let mut wire = Wire::open(address).await?;
    let session = login(&mut wire, &user(), Wrapping::Raw).await?.session;
    Ok((wire, session))
}

/// Sends a login whose proof is wrong, or whose user is unknown; answers the last answer.
pub(crate) async fn fail(wire: &mut Wire, client: &Ntlm) -> Result<Answer, Failure> {
    let first = wire.post("/wsman", &authorization("Negotiate", &client.negotiate()), b"").await?;
    if first.status != 401 || first.closes() {
        return Ok(first);
    }
    let (authenticate, _) = client.authenticate(&first.token()?);
    wire.post("/wsman", &authorization("Negotiate", &authenticate), b"").await
}

/// Logs in again and again.
struct LogsIn {
    address: SocketAddr,
    client: Ntlm,
    wrapping: Wrapping,
    /// The connection, where one is kept.
    wire: Option<Wire>,
}

impl Client for LogsIn {
    async fn repeat(&mut self) -> Result<(), Failure> {
        match &mut self.wire {
            Some(wire) => login(wire, &self.client, self.wrapping).await?,
            None => login(&mut Wire::open(self.address).await?, &self.client, self.wrapping).await?,
        };
        Ok(())
    }
}

/// Sends the same requests to the bare server.
pub(crate) struct Sends {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Vec<String>,
    pub(crate) wire: Option<Wire>,
}

impl Client for Sends {
    async fn repeat(&mut self) -> Result<(), Failure> {
        let mut fresh = None;
        let wire = match &mut self.wire {
            Some(wire) => wire,
            None => fresh.insert(Wire::open(self.address).await?),
        };
        for request in &self.requests {
            wire.post("/0", request, b"").await?.expect(200)?;
        }
        Ok(())
    }
}

/// Logins of one kind.
struct Kind {
    wrapping: Wrapping,
    keeps: bool,
    /// The names of the three figures: the whole, the bare server, and what is above it.
    names: [&'static str; 3],
}

const KINDS: [Kind; 3] = [
    Kind {
        wrapping: Wrapping::Raw,
        keeps: true,
        names: [
            "NTLM handshake, raw, same connection, server CPU µs",
            "its two requests at the bare server, µs",
            "NTLM handshake, raw, above the bare server, µs",
        ],
    },
    Kind {
        wrapping: Wrapping::Spnego,
        keeps: true,
        names: [
            "NTLM handshake in SPNEGO, same connection, server CPU µs",
            "its two requests at the bare server, µs",
            "NTLM handshake in SPNEGO, above the bare server, µs",
        ],
    },
    Kind {
        wrapping: Wrapping::Raw,
        keeps: false,
        names: [
            "NTLM handshake, raw, new connection each, server CPU µs",
            "connection and two requests at the bare server, µs",
            "NTLM handshake, raw, new connection each, above the bare server, µs",
        ],
    },
];

/// What logins cost.
pub(crate) async fn figures(
    ours: &Server,
    bare: &Server,
    runs: usize,
    length: Duration,
) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for kind in &KINDS {
        let [mut whole, mut yardstick, mut above] = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..runs {
            let (ours, bare) = run(ours, bare, kind, length).await?;
            whole.push(ours);
            yardstick.push(bare);
            above.push(ours - bare);
        }
        let [name, bare_name, above_name] = kind.names;
        figures.push(Figure::new(name, median(whole), None));
        figures.push(Figure::new(bare_name, median(yardstick), None));
        figures.push(Figure::new(above_name, median(above), Some(Bound::AtMost(TARGET_US))));
    }
    Ok(figures)
}

/// Microseconds of our server and of the bare one.
async fn run(ours: &Server, bare: &Server, kind: &Kind, length: Duration) -> Result<(f64, f64), Failure> {
    let requests = login(&mut Wire::open(ours.address).await?, &user(), kind.wrapping).await?.requests;
    let (mut logins, mut sends) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let wire = if kind.keeps { Some(Wire::open(ours.address).await?) } else { None };
        logins.push(LogsIn { address: ours.address, client: user(), wrapping: kind.wrapping, wire });
        let wire = if kind.keeps { Some(Wire::open(bare.address).await?) } else { None };
        sends.push(Sends { address: bare.address, requests: requests.to_vec(), wire });
    }
    Ok((cost(ours.pid(), logins, length).await?, cost(bare.pid(), sends, length).await?))
}
