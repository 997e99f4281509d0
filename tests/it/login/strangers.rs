//! Connections on which nobody logs in, and what they leave to those on which somebody does.

use std::time::Duration;

use failbackd::transport::TransportLimits;

use crate::transport::{Server, Setup, basic, post, run};

fn otto() -> String {
    post(&basic("otto", "secret"), "x")
}

#[test]
fn who_never_logs_in_is_let_go_whatever_it_sends() {
    run(async {
        let limits = TransportLimits { login_timeout: Duration::from_millis(300), ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let (mut stranger, mut known) = (server.connect().await, server.connect().await);
        assert_eq!(known.exchange(&otto()).await.status, 200);
        let mut answers = 0;
        loop {
            stranger.send(post("", "x").as_bytes()).await;
            let Ok(reply) = stranger.reply().await else { break };
            assert_eq!(reply.status, 401);
            answers += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(answers > 0);
        assert_eq!(known.exchange(&otto()).await.status, 200);
    });
}

#[test]
fn who_has_logged_in_takes_no_place_from_newcomers() {
    run(async {
        let limits = TransportLimits { newcomers_max: 2, ..TransportLimits::default() };
        let server = Server::start(Setup { limits, ..Setup::default() });
        let mut known = Vec::new();
        for _ in 0..3 {
            let mut client = server.connect().await;
            assert_eq!(client.exchange(&otto()).await.status, 200);
            known.push(client);
        }
        // One network has half of the places.
        let mut stranger = server.connect().await;
        assert_eq!(stranger.exchange(&post("", "x")).await.status, 401);
        assert!(server.connect().await.closed().await);
        assert_eq!(stranger.exchange(&otto()).await.status, 200);
        assert_eq!(server.once(&otto()).await.status, 200);
    });
}
