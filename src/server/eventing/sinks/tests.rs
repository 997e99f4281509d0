//! What sinks that are slow to be found, or to be told of an end, may hold; and how many connections one has.

use std::net::Ipv4Addr;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn sinks(delivery_timeout_ms: u64) -> Sinks {
    Sinks::new(&EventingConfig { delivery_timeout_ms, ..EventingConfig::default() }).unwrap()
}

#[test]
fn so_many_ends_are_told_at_a_time_and_no_more() {
    let sinks = sinks(1_000);
    let mut told: Vec<_> = (0..ENDS_MAX).map(|_| sinks.may_tell().expect("below the ceiling")).collect();
    assert!(sinks.may_tell().is_none());
    told.pop();
    assert!(sinks.may_tell().is_some(), "one was told");
}

/// A name server that answers no one until it is let.
#[derive(Default)]
struct Silent {
    asked: AtomicUsize,
    answers: Mutex<bool>,
    let_go: Condvar,
}

impl Silent {
    fn resolve(&self, port: u16) -> Vec<SocketAddr> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answers = self.answers.lock().unwrap();
        let _answers = self.let_go.wait_while(answers, |answers| !*answers).unwrap();
        vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_names_are_looked_up_at_a_time_also_when_nobody_waits_for_them_any_more() {
    let silent = Arc::new(Silent::default());
    let server = Arc::clone(&silent);
    let names: Arc<Names> = Arc::new(move |_: &str, port| Ok(server.resolve(port)));
    let sinks = Arc::new(Sinks { names, ..sinks(100) });
    let target = || SinkTarget::parse("http://slow.example:5985/").unwrap();
    let mut waits = Vec::new();
    for _ in 0..3 * LOOKUPS_MAX {
        let sinks = Arc::clone(&sinks);
        waits.push(tokio::spawn(async move { sinks.resolve(&target()).await }));
    }
    for wait in waits {
        assert_eq!(wait.await.unwrap(), None, "its time is up");
    }
    assert_eq!(silent.asked.load(Ordering::SeqCst), LOOKUPS_MAX);
    assert_eq!(sinks.resolve(&target()).await, None);
    assert_eq!(silent.asked.load(Ordering::SeqCst), LOOKUPS_MAX, "those that nobody waits for still count");
    *silent.answers.lock().unwrap() = true;
    silent.let_go.notify_all();
    let all = u32::try_from(LOOKUPS_MAX).unwrap();
    drop(tokio::time::timeout(Duration::from_secs(20), sinks.lookups.acquire_many(all)).await.unwrap().unwrap());
    assert!(sinks.resolve(&target()).await.is_some());
}

#[test]
fn what_an_administrator_has_to_put_right_is_told_now_and_then() {
    let sinks = sinks(1_000);
    assert!(sinks.may_warn() && !sinks.may_warn());
    *sinks.warned.lock().unwrap() = Instant::now().checked_sub(WARNED);
    assert!(sinks.may_warn() && !sinks.may_warn());
}

#[tokio::test]
async fn connections_of_all_kinds_to_one_sink_are_eight_at_most() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let target = SinkTarget::parse(&format!("http://{address}/")).unwrap();
    let route = sinks(1_000).route(&target);
    let idle = || route.idle.lock().unwrap().len();
    let [one, other] = [false, true].map(|shows| Some(Kind { reading: 0, shows }));
    // So many messages at once, each of one kind; how many connections are opened for them, and are left.
    for (kinds, opens, left) in [
        (vec![one; 8], 8, 8),
        (vec![one; 8], 0, 8),
        (vec![other; 3], 3, 8),
        (vec![one; 5], 0, 8),
        (vec![one, other, one, other, one, other], 0, 8),
        (vec![None; 8], 8, 8),
        (vec![one], 1, 8),
    ] {
        let (mut under_way, mut opened) = (Vec::new(), 0);
        for kind in &kinds {
            let turn = Arc::clone(&route.turns).try_acquire_owned().unwrap();
            let connection = if let Some(connection) = route.take(*kind) {
                connection
            } else {
                opened += 1;
                SinkConnection::open(&target, address, None).await.unwrap()
            };
            under_way.push((*kind, connection, turn));
            assert!(idle() + under_way.len() <= CONNECTIONS_MAX, "{kinds:?}");
        }
        assert_eq!(opened, opens, "{kinds:?}");
        for (kind, connection, turn) in under_way {
            route.keep(kind, connection);
            drop(turn);
        }
        assert_eq!(idle(), left, "{kinds:?}");
    }
}
