//! A server that is told to stop ends in order, at whatever moment; one that is told to read its certificate again does
//! that, and goes on.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use failbackd::transport::Tls;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::process::{Served, program};
use crate::transport::{run, tls_client};

/// Connects as a client that trusts nothing but the certificate in this directory.
async fn handshake(address: SocketAddr, trusted: &Path) -> io::Result<()> {
    let tcp = TcpStream::connect(address).await?;
    tls_client(trusted).connect("localhost".try_into().unwrap(), tcp).await.map(drop)
}

#[test]
fn a_server_that_is_told_to_stop_while_it_starts_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The moment at which its sockets are open, and before anything else is looked at.
    let ready = Served::spawn(&data, &[]).ready();
    assert!(ready.terminate().0.success());
    // The store's file is what a start opens first.
    fs::remove_dir_all(&data).unwrap();
    let starting = Served::spawn(&data, &[]);
    while !data.join("failbackd.redb").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(starting.terminate().0.success());
    assert!(!data.join("admin.sock").exists());
}

#[test]
fn a_hangup_makes_a_server_read_its_certificate_again() {
    let directory = tempfile::tempdir().unwrap();
    let [data, first, second] = ["data", "first", "second"].map(|name| directory.path().join(name));
    for made in [&first, &second] {
        fs::create_dir(made).unwrap();
        Tls::self_made(made, "home", time::OffsetDateTime::now_utc()).unwrap();
    }
    let mut command = program();
    command.args(["serve", "--http", "off", "--https", "127.0.0.1:0", "--data-dir"]).arg(&data);
    for (variable, file) in [("FAILBACKD_TLS_CERTIFICATE", "certificate.pem"), ("FAILBACKD_TLS_KEY", "certificate.key")]
    {
        fs::create_dir_all(&data).unwrap();
        fs::copy(first.join(file), data.join(file)).unwrap();
        command.env(variable, data.join(file));
    }
    let server = Served::spawn_command(&mut command, &data).ready();
    let address = server.address();
    run(async {
        handshake(address, &first).await.unwrap();
        // A key that does not fit changes nothing.
        fs::copy(second.join("certificate.key"), data.join("certificate.key")).unwrap();
        server.signal(Signal::HUP);
        server.has_logged("FBD4002");
        handshake(address, &first).await.unwrap();
        fs::copy(second.join("certificate.pem"), data.join("certificate.pem")).unwrap();
        server.signal(Signal::HUP);
        server.has_logged("FBD4001");
        handshake(address, &second).await.unwrap();
        assert!(handshake(address, &first).await.is_err());
    });
    assert!(server.terminate().0.success());
}

#[test]
fn a_hangup_does_not_end_a_server_without_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let server = Served::spawn(&directory.path().join("data"), &[]).ready();
    server.signal(Signal::HUP);
    server.has_logged("HTTPS is off");
    assert!(server.terminate().0.success());
}

#[test]
fn the_certificate_of_credssp_is_read_again_without_an_https_listener() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Served::spawn(&data, &[("FAILBACKD_LOGIN_CREDSSP", "true")]).ready();
    // The self-made certificate has a key that some clients do not take.
    server.has_logged("some clients will not take it for CredSSP");
    server.signal(Signal::HUP);
    server.has_logged("FBD4001");
    assert!(server.terminate().0.success());
}
