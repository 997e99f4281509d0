//! Who gets in over HTTP: Basic, its refusals, its limits, and users that change.

use std::time::Duration;

use failbackd::auth::password::{Cost, SALT_OCTETS};
use failbackd::auth::{BasicSettings, Role, ThrottleSettings};

use crate::transport::{CHEAP, Server, Setup, basic, post, run};

async fn status(server: &Server, user: &str, password: &str) -> u16 {
    server.once(&post(&basic(user, password), "x")).await.status
}

#[test]
fn the_right_password_gets_in_under_every_spelling_of_the_user() {
    run(async {
        let server = Server::start(Setup {
            users: vec![
                ("otto", "a:b:\u{20ac}", Role::Operator),
                ("J\u{f6}rg", "", Role::Viewer),
                ("vera", "x", Role::Viewer),
            ],
            ..Setup::default()
        });
        for name in ["otto", "OTTO", "HOME\\otto", ".\\otto", "otto@example.com"] {
            let reply = server.once(&post(&basic(name, "a:b:\u{20ac}"), "x")).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, "otto -|x"), "{name}");
        }
        assert_eq!(status(&server, "j\u{f6}RG", "").await, 200);
        assert_eq!(status(&server, "vera", "").await, 401, "an empty password is a password, not none");
    });
}

#[test]
fn nothing_but_the_whole_name_and_password_gets_in() {
    run(async {
        let server = Server::start(Setup::default());
        let long = "o".repeat(40_000);
        for (name, password) in [
            ("otto", "wrong"),
            ("otto", ""),
            ("otto", "secre"),
            ("otto", "secret "),
            ("otto", "secrets"),
            ("otto", "SECRET"),
            ("", ""),
            ("", "secret"),
            ("ott", "secret"),
            ("ottoo", "secret"),
            ("otto\0", "secret"),
            ("HOME\\", "secret"),
            ("@otto", "secret"),
            (long.as_str(), "secret"),
            ("otto", long.as_str()),
        ] {
            let reply = server.once(&post(&basic(name, password), "x")).await;
            assert_eq!(reply.status, 401, "{name:.10}:{password:.10}");
            assert_eq!(reply.header("www-authenticate"), ["Basic realm=\"WSMAN\""]);
        }
        for header in ["Basic", "Basic ", "Basic !!!", "Basic b3R0bw==", "Bearer b3R0bzpzZWNyZXQ=", "b3R0bzpzZWNyZXQ="]
        {
            let reply = server.once(&post(&format!("Authorization: {header}\r\n"), "x")).await;
            assert_eq!(reply.status, 401, "{header}");
        }
    });
}

#[test]
fn the_header_counts_for_its_own_request_only() {
    run(async {
        let server = Server::start(Setup::default());
        let mut client = server.connect().await;
        let good = post(&basic("otto", "secret"), "x");
        assert_eq!(client.exchange(&post("", "x")).await.status, 401);
        assert_eq!(client.exchange(&good).await.status, 200);
        assert_eq!(client.exchange(&post("", "x")).await.status, 401, "nothing carries over");
        assert_eq!(client.exchange(&good).await.status, 200);
        assert_eq!(client.exchange(&post(&basic("otto", "wrong"), "x")).await.status, 401);
        assert_eq!(client.exchange(&post("", "x")).await.status, 401, "nor after a refusal");
    });
}

#[test]
fn clear_text_is_refused_without_a_challenge() {
    run(async {
        let server = Server::start(Setup { allow_unencrypted: false, ..Setup::default() });
        for headers in [String::new(), basic("otto", "secret")] {
            let reply = server.once(&post(&headers, "x")).await;
            assert_eq!(reply.status, 403);
            assert!(reply.header("www-authenticate").is_empty(), "nobody may be asked for a password here");
            assert!(reply.body.contains("--allow-unencrypted"), "{}", reply.body);
        }
    });
}

#[test]
fn users_that_change_are_seen_at_once() {
    run(async {
        let server = Server::start(Setup::default());
        assert_eq!(status(&server, "otto", "secret").await, 200);
        server.users.add("vera", Role::Viewer, b"new", [8; SALT_OCTETS], CHEAP).unwrap();
        assert_eq!(status(&server, "vera", "new").await, 200);
        assert_eq!(status(&server, "otto", "secret").await, 200);
        // A remembered login ends with its user.
        server.users.remove("otto").unwrap();
        assert_eq!(status(&server, "otto", "secret").await, 401);
        server.users.add("otto", Role::Viewer, b"other", [9; SALT_OCTETS], CHEAP).unwrap();
        assert_eq!(status(&server, "otto", "secret").await, 401);
        assert_eq!(status(&server, "otto", "other").await, 200);
        std::fs::remove_file(server.users.path()).unwrap();
        assert_eq!(status(&server, "vera", "new").await, 401);
    });
}

#[test]
fn a_wrong_password_delays_the_next_guess_and_nobody_else() {
    run(async {
        let delay = Duration::from_mins(10);
        let usual = Setup::default();
        let users = vec![("otto", "secret", Role::Operator), ("vera", "x", Role::Viewer)];
        let throttle = ThrottleSettings { delay, delay_max: delay };
        let server = Server::start(Setup { throttle, users, ..usual });
        assert_eq!(status(&server, "otto", "secret").await, 200);
        assert_eq!(status(&server, "otto", "wrong").await, 401, "the first mistake is free");
        // A right guess waits as a wrong one does. The test would run into its own time limit if the others waited.
        let mut guessers = Vec::new();
        for (name, guess) in [("HOME\\otto", "wrong too"), ("HOME\\otto", "secret"), ("otto", "secret")] {
            let mut guesser = server.connect().await;
            guesser.send(post(&basic(name, guess), "x").as_bytes()).await;
            guessers.push(guesser);
        }
        assert_eq!(status(&server, "vera", "x").await, 200);
        let mut elsewhere = server.connect_from("127.0.0.2").await;
        assert_eq!(elsewhere.exchange(&post(&basic("HOME\\otto", "wrong"), "x")).await.status, 401);
        for guesser in &mut guessers {
            assert!(guesser.waits().await);
        }
    });
}

#[test]
fn what_is_remembered_is_no_way_around_the_wait() {
    run(async {
        let delay = Duration::from_mins(10);
        let throttle = ThrottleSettings { delay, delay_max: delay };
        let server = Server::start(Setup { throttle, ..Setup::default() });
        assert_eq!(status(&server, "otto", "secret").await, 200);
        // Somebody elsewhere guesses, with the very header that is remembered.
        let guess = async |password: &str| {
            let mut guesser = server.connect_from("127.0.0.2").await;
            guesser.send(post(&basic("otto", password), "x").as_bytes()).await;
            guesser
        };
        assert_eq!(guess("wrong").await.reply().await.unwrap().status, 401);
        let mut waiting = guess("secret").await;
        assert_eq!(status(&server, "otto", "secret").await, 200, "nobody elsewhere waits");
        assert!(waiting.waits().await);
    });
}

#[test]
fn what_is_remembered_is_no_way_around_a_full_queue() {
    run(async {
        let delay = Duration::from_mins(10);
        let throttle = ThrottleSettings { delay, delay_max: delay };
        let usual = Setup::default();
        let basic_settings = BasicSettings { queue_max: 0, ..usual.basic };
        let cost = Cost { memory_kib: 16 * 1024, passes: 60, lanes: 1 };
        let server = Server::start(Setup { basic: basic_settings, throttle, cost, ..usual });
        assert_eq!(status(&server, "otto", "secret").await, 200);
        let ask = async |address: &str, user: &str, password: &str| {
            let mut client = server.connect_from(address).await;
            client.send(post(&basic(user, password), "x").as_bytes()).await;
            client
        };
        // One of two takes the only place: the other one's answer tells that it is taken.
        let mut slow = [ask("127.0.0.3", "x", "x").await, ask("127.0.0.3", "y", "y").await];
        while slow[0].waits().await && slow[1].waits().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What is remembered of another address is not at hand, and one's own waits after a guess that was turned away.
        let turned_away = async |address, password| {
            let reply = ask(address, "otto", password).await.reply().await.unwrap();
            assert_eq!(reply.header("retry-after"), ["1"]);
            reply.status
        };
        assert_eq!(turned_away("127.0.0.2", "secret").await, 503);
        assert_eq!(status(&server, "otto", "secret").await, 200);
        assert_eq!(turned_away("127.0.0.1", "wrong").await, 503);
        let mut waiting = ask("127.0.0.1", "otto", "secret").await;
        assert_eq!(turned_away("127.0.0.4", "secret").await, 503, "the place is still taken");
        assert!(waiting.waits().await);
    });
}

#[test]
fn whoever_finds_every_place_to_wait_taken_is_told_when_to_come_again() {
    run(async {
        let delay = Duration::from_mins(10);
        let throttle = ThrottleSettings { delay, delay_max: delay };
        let server = Server::start(Setup { throttle, ..Setup::default() });
        assert_eq!(status(&server, "otto", "wrong").await, 401, "the first mistake is free");
        // One more than may wait: the answer to whichever comes last tells that all places are taken.
        let mut guessers = Vec::new();
        for guess in 0..9 {
            let mut guesser = server.connect().await;
            guesser.send(post(&basic("otto", &format!("wrong{guess}")), "x").as_bytes()).await;
            guessers.push(guesser);
        }
        let mut all_wait = true;
        while all_wait {
            tokio::time::sleep(Duration::from_millis(1)).await;
            for guesser in &mut guessers {
                all_wait &= guesser.waits().await;
            }
        }
        // Refused before the body was read, with a body on its way and without one.
        for body in ["x", ""] {
            let reply = server.once(&post(&basic("otto", "secret"), body)).await;
            assert_eq!((reply.status, reply.header("retry-after")), (503, vec!["1"]), "a body of {body:?}");
            assert!(reply.body.contains("try again in a second"), "{}", reply.body);
        }
    });
}

#[test]
fn a_full_queue_of_verifications_is_503() {
    run(async {
        let usual = Setup::default();
        // No place to wait in, and no memory: while one slow verification runs, every other header is turned away.
        let basic_settings = BasicSettings { queue_max: 0, cache_entries_max: 0, ..usual.basic };
        let cost = Cost { memory_kib: 16 * 1024, passes: 20, lanes: 1 };
        let server = Server::start(Setup { basic: basic_settings, cost, ..usual });
        let mut clients = Vec::new();
        for guess in 0..8 {
            let mut client = server.connect().await;
            client.send(post(&basic("otto", &format!("wrong{guess}")), "x").as_bytes()).await;
            clients.push(client);
        }
        let mut busy = 0;
        for client in &mut clients {
            let reply = client.reply().await.unwrap();
            match reply.status {
                503 => {
                    assert_eq!(reply.header("retry-after"), ["1"]);
                    busy += 1;
                }
                status => assert_eq!(status, 401),
            }
        }
        assert!((1..8).contains(&busy), "{busy} of 8 were turned away");
    });
}

#[test]
fn the_same_header_is_verified_once_for_all_who_wait() {
    run(async {
        let usual = Setup::default();
        let basic_settings = BasicSettings { queue_max: 0, ..usual.basic };
        let cost = Cost { memory_kib: 16 * 1024, passes: 2, lanes: 1 };
        let server = Server::start(Setup { basic: basic_settings, cost, ..usual });
        let mut clients = Vec::new();
        for _ in 0..32 {
            let mut client = server.connect().await;
            client.send(post(&basic("otto", "secret"), "x").as_bytes()).await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.reply().await.unwrap().status, 200);
        }
    });
}

#[test]
fn a_password_is_told_of_when_it_is_checked_and_a_refusal_whenever_there_is_one() {
    run(async {
        let server = Server::start(Setup::default());
        for _ in 0..3 {
            assert_eq!(status(&server, "OTTO", "secret").await, 200);
        }
        assert_eq!(*server.logins.lock().unwrap(), ["otto by basic"], "the others were remembered");
        assert_eq!(status(&server, "otto", "wrong").await, 401);
        assert_eq!(status(&server, "otto", "wrong").await, 401);
        let refused = "Basic as otto: wrong password or unknown user";
        assert_eq!(server.logins.lock().unwrap()[1..], [refused, refused]);
        assert_eq!(status(&server, &"\u{f6}".repeat(5_000), "x").await, 401);
        let told = server.logins.lock().unwrap().pop().unwrap();
        assert_eq!(told, format!("Basic as {}: wrong password or unknown user", "\u{f6}".repeat(256)));
        let server = Server::start(Setup { allow_unencrypted: false, ..Setup::default() });
        assert_eq!(status(&server, "otto", "secret").await, 403);
        assert_eq!(server.once(&post("Authorization: secret\r\n", "x")).await.status, 403);
        assert_eq!(*server.logins.lock().unwrap(), ["Basic as nobody: a secret over clear text"]);
    });
}
