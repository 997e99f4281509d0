//! Sealing and opening of messages in this process, with their framing: what a sealed request costs beside all else.
//! The time is the thread's CPU time, so that a busy machine does not count.

use std::time::Duration;

use failbackd::auth::SecurityContext;
use failbackd::auth::ntlm::{Challenged, NtlmContext, ServerNames};
use failbackd::auth::password::NtHash;
use failbackd::auth::seal::{self, Declared, Protocol, Sealed, Style};

use crate::Failure;
use crate::cost::thread_time;
use crate::handshake::user;
use crate::lab::PASSWORD;
use crate::ntlm_client::Session;
use crate::table::{Bound, Figure, count, median};

const SHORT_OCTETS: usize = 2 * 1024;
const SHORT_TARGET_US: f64 = 12.0;
const LONG_OCTETS: usize = 500 * 1024;
const LONG_TARGET_MB: f64 = 250.0;

const MESSAGE_TYPE: &str = "application/soap+xml;charset=UTF-8";
pub(crate) const SEALED_TYPE: &str = "multipart/encrypted;\
    protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"Encrypted Boundary\"";
const TRAILER: &[u8] = b"--Encrypted Boundary--\r\n";

/// A sealed message as most clients write it.
pub(crate) fn frame(octets: usize, signature_octets: u32, token: &[u8]) -> Vec<u8> {
    let head = format!(
        "--Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\
         \tOriginalContent: type={MESSAGE_TYPE};Length={octets}\r\n\
         --Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
    );
    [head.as_bytes(), &signature_octets.to_le_bytes(), token, TRAILER].concat()
}

/// The token in a sealed answer.
pub(crate) fn token(body: &[u8]) -> Result<&[u8], Failure> {
    let mark = b"Content-Type: application/octet-stream\r\n";
    let at = body.windows(mark.len()).position(|window| window == mark).ok_or("an answer that is not sealed")?;
    let rest = body.get(at + mark.len() + 4..).and_then(|rest| rest.strip_suffix(TRAILER));
    rest.ok_or_else(|| "a sealed answer without its end".into())
}

/// The peer of a context: seals a message; octets of its signature, and the token.
pub(crate) type Peer<'p> = dyn FnMut(&[u8]) -> (u32, Vec<u8>) + 'p;

/// Both ends of an NTLM session.
fn ntlm() -> Result<(Box<NtlmContext>, Session), Failure> {
    let client = user();
    let challenged = Challenged::begin(&client.negotiate(), &ServerNames::of_host("home.example"), [7; 8], 0)?;
    let (authenticate, session) = client.authenticate(challenged.token());
    let established = challenged.authenticate(&authenticate)?.prove(&NtHash::of(PASSWORD), None)?;
    Ok((established.context, session))
}

/// What NTLM's sealing costs.
pub(crate) fn ntlm_figures(runs: usize) -> Result<Vec<Figure>, Failure> {
    let (mut context, mut session) = ntlm()?;
    let names = [
        "NTLM: sealing 2 KB, µs",
        "NTLM: opening 2 KB, µs",
        "NTLM: sealing 500 KB, MB/s",
        "NTLM: opening 500 KB, MB/s",
    ];
    figures(&mut *context, &mut |message| (16, session.seal(message)), names, runs, 40)
}

/// Times of a context: sealing and opening of short and long messages.
pub(crate) fn figures(
    context: &mut dyn SecurityContext,
    peer: &mut Peer<'_>,
    names: [&'static str; 4],
    runs: usize,
    long_messages: usize,
) -> Result<Vec<Figure>, Failure> {
    let [mut short, mut long] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..runs {
        let messages = long_messages * 10;
        for (times, time) in short.iter_mut().zip(measure(context, peer, SHORT_OCTETS, messages)?) {
            times.push(time.as_secs_f64() * 1e6 / count(messages));
        }
        for (rates, time) in long.iter_mut().zip(measure(context, peer, LONG_OCTETS, long_messages)?) {
            rates.push(count(LONG_OCTETS * long_messages) / time.as_secs_f64() / 1e6);
        }
    }
    let short = short.map(|times| (times, Bound::AtMost(SHORT_TARGET_US)));
    let long = long.map(|rates| (rates, Bound::AtLeast(LONG_TARGET_MB)));
    let values = short.into_iter().chain(long).map(|(values, bound)| (median(values), Some(bound)));
    Ok(names.into_iter().zip(values).map(|(name, (value, bound))| Figure::new(name, value, bound)).collect())
}

/// The times of sealing and of opening so many messages.
fn measure(
    context: &mut dyn SecurityContext,
    peer: &mut Peer<'_>,
    octets: usize,
    messages: usize,
) -> Result<[Duration; 2], Failure> {
    let message = b"<p:Name>web01</p:Name>\r\n".iter().copied().cycle().take(octets).collect::<Vec<u8>>();
    let sealed: Vec<Vec<u8>> = std::iter::repeat_with(|| {
        let (signature_octets, token) = peer(&message);
        frame(octets, signature_octets, &token)
    })
    .take(messages)
    .collect();
    let style = Style { protocol: Protocol::Spnego, tab: true };
    let began = thread_time();
    for _ in 0..messages {
        std::hint::black_box(seal::seal(style, context, MESSAGE_TYPE, &message)?.body);
    }
    let sealing = thread_time().saturating_sub(began);
    let declared = Declared::parse(SEALED_TYPE).ok_or("no sealed type")??;
    let began = thread_time();
    for body in &sealed {
        let opened = Sealed::parse(&declared, body)?.open(context)?;
        if opened.message.len() != octets {
            return Err("a message of another length".into());
        }
    }
    Ok([sealing, thread_time().saturating_sub(began)])
}
