//! Logins by Kerberos with tickets of a real KDC, where there is one.

use std::time::Duration;

use crate::cost::{Client as _, microseconds};
use crate::handshake::Sends;
use crate::kerberos_lab::{Ask, Lab};
use crate::lab::Server;
use crate::sealing;
use crate::table::{Bound, Figure, median};
use crate::wire::{Wire, authorization};
use crate::{Failure, process};

/// What a login may cost, in microseconds.
const TARGET_US: f64 = 400.0;

/// What Kerberos costs: logins at the server, each with a ticket's authenticator that is good once, and messages in
/// this process.
pub(crate) async fn figures(
    lab: &Lab,
    ours: &Server,
    bare: &Server,
    runs: usize,
    logins: usize,
) -> Result<Vec<Figure>, Failure> {
    let mut client = lab.client();
    let [mut whole, mut yardstick, mut above] = [const { Vec::new() }; 3];
    for _ in 0..runs {
        let requests: Vec<String> = std::iter::repeat_with(|| client.login(Ask::default()))
            .take(logins)
            .map(|login| authorization("Negotiate", &login.token))
            .collect();
        let mut wire = Wire::open(ours.address).await?;
        let before = process::cpu_time(ours.pid())?;
        for request in &requests {
            wire.post("/wsman", request, b"").await?.expect(200)?;
        }
        let cost_ours = microseconds(process::cpu_time(ours.pid())?.saturating_sub(before), logins);
        let wire = Some(Wire::open(bare.address).await?);
        let mut sends = Sends { address: bare.address, requests, wire };
        let before = process::cpu_time(bare.pid())?;
        sends.repeat().await?;
        let cost_bare = microseconds(process::cpu_time(bare.pid())?.saturating_sub(before), logins);
        whole.push(cost_ours);
        yardstick.push(cost_bare);
        above.push(cost_ours - cost_bare);
    }
    let mut figures = vec![
        Figure::new("Kerberos handshake, same connection, server CPU µs", median(whole), None),
        Figure::new("its request at the bare server, µs", median(yardstick), None),
        Figure::new("Kerberos handshake, above the bare server, µs", median(above), Some(Bound::AtMost(TARGET_US))),
    ];
    let (login, mut done) = client.established(&lab.server(), Ask::default());
    let names = [
        "Kerberos: sealing 2 KB, µs",
        "Kerberos: opening 2 KB, µs",
        "Kerberos: sealing 500 KB, MB/s",
        "Kerberos: opening 500 KB, MB/s",
    ];
    let mut peer = |message: &[u8]| {
        let (signature, ciphertext) = client.seal(&login, message);
        (u32::try_from(signature.len()).unwrap_or(u32::MAX), [signature, ciphertext].concat())
    };
    figures.extend(sealing::figures(&mut done.context, &mut peer, names, runs, 20)?);
    Ok(figures)
}

/// The configuration of a server in the realm.
pub(crate) fn configuration(lab: &Lab) -> String {
    format!("[kerberos]\nkeytab = \"{}\"\n", lab.directory.join("server.keytab").display())
}

/// What a reader of the table is told where there is no realm.
pub(crate) const MISSING: &str = "Kerberos was not measured: FAILBACKD_TEST_KDC names no realm (see \
                                  conformance/clients/kdc).";

/// A run of this many logins is longer than the clock of CPU time is coarse.
pub(crate) fn logins(length: Duration) -> usize {
    usize::try_from(length.as_millis()).unwrap_or(usize::MAX).clamp(100, 1000)
}
