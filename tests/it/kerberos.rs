//! Kerberos logins of a real client with tickets of a real KDC.
//!
//! They run in a realm of their own, with a client that `conformance/clients/run` has installed:
//! `conformance/clients/kdc run cargo test --test it kerberos::`. Without a realm they say that they are skipped.

mod http;
mod lab;

use failbackd::auth::{Kerberos, KerberosError, SealError, SecurityContext as _};
use lab::{Ask, Client, Lab, Login, refused};

use failbackd::auth::kerberos::KerberosDone;

/// Octets of a signature with AES keys.
const SIGNATURE_OCTETS: usize = 60;
/// Flags of RFC 2744.
const MUTUAL: u32 = 0x2;
const REPLAY: u32 = 0x4;
const SEQUENCE: u32 = 0x8;

/// Octets that look random, the same at each run.
fn noise(octets: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(octets).collect()
}

fn why(result: Result<KerberosDone, KerberosError>) -> &'static str {
    refused(result).why()
}

/// Seal at the client, open at the server.
fn send(client: &mut Client, login: &Login, done: &mut KerberosDone, message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (signature, ciphertext) = client.seal(login, message);
    let mut out = b"before".to_vec();
    let result = done.context.unseal(Some(signature.len()), &[signature, ciphertext].concat(), &mut out);
    let message = out.strip_prefix(b"before").expect("what was there stays").to_vec();
    match result {
        Ok(()) => Ok(message),
        Err(error) => {
            assert!(message.is_empty(), "nothing is left of a message that is refused");
            Err(error.0)
        }
    }
}

/// Seal at the server, open at the client.
fn answer(client: &mut Client, login: &Login, done: &mut KerberosDone, message: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let signature = done.context.seal(message, &mut out).unwrap();
    let token = out.strip_prefix(b"before").expect("what was there stays");
    client.unseal(login, &token[..signature], &token[signature..]).unwrap()
}

#[test]
fn tickets_for_http_and_wsman_log_in_and_the_server_proves_itself() {
    let Some(lab) = Lab::open("tickets_for_http_and_wsman_log_in_and_the_server_proves_itself") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    for service in ["HTTP", "WSMAN"] {
        let login = client.login(Ask { service, ..Ask::default() });
        let done = server.begin(None).step(&login.token).unwrap();
        assert_eq!(done.user, lab.user);
        assert_eq!(done.client, format!("{}@FAILBACKD.TEST", lab.user));
        assert!(done.confidential && !done.channel_bound && done.lifetime.as_secs() > 60, "{service}");
        assert_eq!(client.finish(&login, &done.token.unwrap()), Ok(true), "{service}");
    }
    let (_, done) = client.established(&server, Ask { flags: Some(REPLAY | SEQUENCE), ..Ask::default() });
    assert!(done.token.is_none(), "a client that asks for no proof gets none");
}

#[test]
fn the_mechanism_as_windows_once_wrote_it_logs_in() {
    let Some(lab) = Lab::open("the_mechanism_as_windows_once_wrote_it_logs_in") else { return };
    let mut login = lab.client().login(Ask::default());
    let at = login.token.windows(4).position(|window| window == b"\x2a\x86\x48\x86").unwrap();
    login.token[at + 3] = 0x82;
    assert_eq!(lab.server().begin(None).step(&login.token).unwrap().user, lab.user);
}

#[test]
fn messages_are_sealed_both_ways() {
    let Some(lab) = Lab::open("messages_are_sealed_both_ways") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let (login, mut done) = client.established(&server, Ask::default());
    for octets in [0, 1, 15, 16, 17, 2048, 500_000] {
        let message = noise(octets);
        assert_eq!(send(&mut client, &login, &mut done, &message), Ok(message.clone()), "{octets}");
        assert_eq!(answer(&mut client, &login, &mut done, &message), message, "{octets}");
    }
    let mut out = Vec::new();
    assert_eq!(done.context.seal(b"text", &mut out), Ok(SIGNATURE_OCTETS));
    assert_eq!(out.len(), SIGNATURE_OCTETS + 4, "the ciphertext is as long as the message");
}

#[test]
fn a_message_whose_signature_has_no_stated_length_is_opened() {
    let Some(lab) = Lab::open("a_message_whose_signature_has_no_stated_length_is_opened") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let (login, mut done) = client.established(&server, Ask::default());
    // The second form has its trailer at the end.
    for form in 0..2 {
        let (signature, ciphertext) = client.seal(&login, b"text");
        let sealed = [signature, ciphertext].concat();
        let token = if form == 0 { sealed } else { client.wrap(&login, b"text", true) };
        let mut out = Vec::new();
        if form == 1 {
            // What was sealed in between is a message that never came.
            assert!(done.context.unseal(None, &token, &mut out).is_err());
            continue;
        }
        done.context.unseal(None, &token, &mut out).unwrap();
        assert_eq!(out, b"text");
    }
    let (login, mut done) = client.established(&server, Ask::default());
    let token = client.wrap(&login, b"text", true);
    let mut out = Vec::new();
    done.context.unseal(Some(SIGNATURE_OCTETS), &token, &mut out).unwrap();
    assert_eq!(out, b"text");
}

#[test]
fn keys_of_old_types_do_not_seal() {
    let Some(lab) = Lab::open("keys_of_old_types_do_not_seal") else { return };
    let server = Kerberos::open(&lab.settings("rc4.keytab", &[])).unwrap();
    let ask = Ask { host: "rc4.test", ..Ask::default() };
    let (_, done) = lab.client().established(&server, ask);
    assert!(done.confidential, "client and server agree on a better key than the ticket's");
    let mut client = lab.client_with("permitted_enctypes = arcfour-hmac aes256-cts");
    let (_, mut done) = client.established(&server, ask);
    assert!(!done.confidential);
    assert_eq!(done.context.seal(b"text", &mut Vec::new()), Err(SealError("the login has no keys to seal with")));
    let (login, mut done) = client.established(&server, ask);
    assert!(client.seal(&login, b"text").0.starts_with(&[0x60]), "a token of RFC 1964");
    assert_eq!(send(&mut client, &login, &mut done, b"text"), Err("the login has no keys to seal with"));
    let (login, mut done) = client.established(&server, ask);
    let mic = client.sign(&login, b"text");
    assert_eq!(done.context.verify_mic(b"text", &mic), Ok(()), "SPNEGO can do without sealing");
}

#[test]
fn signatures_are_made_and_checked() {
    let Some(lab) = Lab::open("signatures_are_made_and_checked") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let (login, mut done) = client.established(&server, Ask::default());
    let mic = client.sign(&login, b"mechanisms");
    done.context.verify_mic(b"mechanisms", &mic).unwrap();
    let mic = done.context.mic(b"mechanisms").unwrap();
    assert_eq!(client.verify(&login, b"mechanisms", &mic), Ok(()));
    assert_eq!(send(&mut client, &login, &mut done, b"after"), Ok(b"after".to_vec()));
    assert!(done.context.verify_mic(b"mechanisms", &mic).is_err(), "our own signature is not the client's");
    for (text, at) in [("mechanism", 0), ("mechanisms", 2), ("mechanisms", 15), ("mechanisms", 20)] {
        let (login, mut done) = client.established(&server, Ask::default());
        let mut mic = client.sign(&login, b"mechanisms");
        mic[at] ^= u8::from(text == "mechanisms");
        assert!(done.context.verify_mic(text.as_bytes(), &mic).is_err(), "{text} {at}");
        assert!(done.context.mic(b"x").is_err(), "nothing is done with it afterwards");
    }
    let (_, mut done) = client.established(&server, Ask::default());
    assert!(done.context.verify_mic(b"", b"").is_err());
}

#[test]
fn a_token_logs_in_once() {
    let Some(lab) = Lab::open("a_token_logs_in_once") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let login = client.login(Ask::default());
    server.begin(None).step(&login.token).unwrap();
    let again = "the ticket's authenticator was used before";
    assert_eq!(why(server.begin(None).step(&login.token)), again);
    assert_eq!(why(server.begin(Some(b"x")).step(&login.token)), again);
    assert_eq!(why(lab.server().begin(None).step(&login.token)), again, "another server with the same cache");
    // Even a token that got nobody in.
    let login = client.login(Ask { binding: Some(b"tls-server-end-point:other"), ..Ask::default() });
    assert!(server.begin(Some(b"tls-server-end-point:this")).step(&login.token).is_err());
    assert_eq!(why(server.begin(None).step(&login.token)), again);
}

#[test]
fn no_login_without_a_replay_cache() {
    let Some(lab) = Lab::open("no_login_without_a_replay_cache") else { return };
    let settings = lab.settings("server.keytab", &[]);
    let server = Kerberos::open(&settings).unwrap();
    std::fs::create_dir(&settings.replay_cache).unwrap();
    let error = refused(server.begin(None).step(&lab.client().login(Ask::default()).token));
    assert!(error.to_string().contains("replays"), "{error}");
}

#[test]
fn channel_bindings_are_compared_when_both_sides_give_one() {
    let Some(lab) = Lab::open("channel_bindings_are_compared_when_both_sides_give_one") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let this = &b"tls-server-end-point:0123456789abcdef0123456789abcdef"[..];
    let other = &b"tls-server-end-point:0123456789abcdef0123456789abcdeF"[..];
    for (theirs, ours, bound) in [
        (Some(this), Some(this), Some(true)),
        (Some(other), Some(this), None),
        (Some(&b""[..]), Some(this), None),
        (None, Some(this), Some(false)),
        (Some(this), None, Some(false)),
        (None, None, Some(false)),
    ] {
        let login = client.login(Ask { binding: theirs, ..Ask::default() });
        let result = server.begin(ours).step(&login.token);
        match bound {
            Some(bound) => assert_eq!(result.unwrap().channel_bound, bound, "{theirs:?} {ours:?}"),
            None => assert_eq!(why(result), "the login was made for another TLS connection"),
        }
    }
}

#[test]
fn tokens_of_others_do_not_reach_the_library() {
    let Some(lab) = Lab::open("tokens_of_others_do_not_reach_the_library") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let token = client.login(Ask::default()).token;
    let ntlm = b"\x60\x1a\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0aNTLMSSP\0\x01\0\0\0";
    let bare = &token[17..];
    let long = vec![0x60; 70_000];
    for wrong in [&b""[..], b"NTLMSSP\0\x01\0\0\0", ntlm, bare, &token[..token.len() - 1], &long] {
        assert!(matches!(refused(server.begin(None).step(wrong)), KerberosError::NotKerberos));
    }
}

#[test]
fn a_changed_token_lets_nobody_in() {
    let Some(lab) = Lab::open("a_changed_token_lets_nobody_in") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let token = client.login(Ask::default()).token;
    // The ticket's and the authenticator's ciphertext: the two long strings of octets.
    let starts: Vec<usize> = (4..token.len() - 4).filter(|&at| token[at - 4..at - 2] == [0xA2, 0x82]).collect();
    assert!(!starts.is_empty());
    let sealed = |at: usize| at > token.len() - 190 || (starts[0] + 8..starts[0] + 300).contains(&at);
    let mut accepted = 0;
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        let result = server.begin(None).step(&changed);
        if sealed(at) {
            refused(result);
        } else if let Ok(done) = result {
            // What stands in clear (the name of the host, options) is not vouched for, and means nothing.
            assert_eq!(done.user, lab.user);
            accepted += 1;
        }
    }
    assert!(accepted <= 1, "all of these are one authenticator");
}

#[test]
fn tickets_for_other_services_are_refused() {
    let Some(lab) = Lab::open("tickets_for_other_services_are_refused") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let login = client.login(Ask { service: "host", ..Ask::default() });
    let error = refused(server.begin(None).step(&login.token));
    assert!(matches!(&error, KerberosError::Service(service) if service == "host/localhost"), "{error}");
    // The name in the ticket is in clear: changing it does not make the key fit.
    let mut renamed = login.token;
    let at = renamed.windows(4).position(|window| window == b"host").unwrap();
    for name in [b"HTTP", b"http"] {
        renamed[at..at + 4].copy_from_slice(name);
        let error = refused(server.begin(None).step(&renamed));
        assert!(matches!(error, KerberosError::Refused { .. }), "{error}");
    }
    // The server's keytab has no such host, and another key.
    let login = client.login(Ask { host: "rc4.test", ..Ask::default() });
    assert_eq!(why(server.begin(None).step(&login.token)), "the keytab has no key for the ticket");
    match Kerberos::open(&lab.settings("host.keytab", &[])) {
        Err(KerberosError::NoService { found, .. }) => assert_eq!(found, "host/host-only.test@FAILBACKD.TEST"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_plain_names_of_allowed_realms_are_users() {
    let Some(lab) = Lab::open("only_plain_names_of_allowed_realms_are_users") else { return };
    let mut client = lab.client();
    let server = lab.server();
    assert_eq!(server.realms().collect::<Vec<_>>(), ["FAILBACKD.TEST"], "those of the keytab");
    let stranger = format!("{}@OTHER.TEST", lab.user);
    let instance = format!("{}/admin@FAILBACKD.TEST", lab.user);
    for (user, expected) in
        [(&stranger, "the principal is of another realm"), (&instance, "the principal has an instance")]
    {
        let login = client.login(Ask { user, ..Ask::default() });
        let error = refused(server.begin(None).step(&login.token));
        assert_eq!((error.why(), error.client()), (expected, Some(user.as_str())));
    }
    let server = Kerberos::open(&lab.settings("server.keytab", &["OTHER.TEST"])).unwrap();
    let login = client.login(Ask { user: &stranger, ..Ask::default() });
    assert_eq!(server.begin(None).step(&login.token).unwrap().user, lab.user);
    let login = client.login(Ask::default());
    assert_eq!(why(server.begin(None).step(&login.token)), "the principal is of another realm");
    let server = Kerberos::open(&lab.settings("server.keytab", &["failbackd.test"])).unwrap();
    let login = client.login(Ask::default());
    assert_eq!(why(server.begin(None).step(&login.token)), "the principal is of another realm", "realms have case");
}

#[test]
fn a_changed_message_is_refused_and_ends_the_context() {
    let Some(lab) = Lab::open("a_changed_message_is_refused_and_ends_the_context") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let message = b"<s:Envelope/>";
    for at in 0..SIGNATURE_OCTETS + message.len() {
        let (login, mut done) = client.established(&server, Ask::default());
        let (signature, ciphertext) = client.seal(&login, message);
        let mut token = [signature, ciphertext].concat();
        token[at] ^= 1;
        let mut out = Vec::new();
        assert!(done.context.unseal(Some(SIGNATURE_OCTETS), &token, &mut out).is_err(), "octet {at}");
        assert!(out.is_empty());
        token[at] ^= 1;
        assert!(done.context.unseal(Some(SIGNATURE_OCTETS), &token, &mut out).is_err(), "the context is spent");
        assert!(done.context.seal(message, &mut out).is_err() && out.is_empty());
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let Some(lab) = Lab::open("lengths_that_do_not_fit_are_refused") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let cut: [fn(usize) -> usize; 4] = [|_| 0, |_| 15, |_| SIGNATURE_OCTETS, |whole| whole - 1];
    for cut in cut {
        let (login, mut done) = client.established(&server, Ask::default());
        let (signature, ciphertext) = client.seal(&login, b"text");
        let token = [signature, ciphertext].concat();
        assert!(done.context.unseal(Some(SIGNATURE_OCTETS), &token[..cut(token.len())], &mut Vec::new()).is_err());
    }
    for stated in [0, 16, 59, 61, 64, 65, usize::MAX] {
        let (login, mut done) = client.established(&server, Ask::default());
        let (signature, ciphertext) = client.seal(&login, b"text");
        let token = [signature, ciphertext].concat();
        let error = done.context.unseal(Some(stated), &token, &mut Vec::new()).unwrap_err();
        assert_eq!(error.0, "a signature of a wrong length", "{stated}");
    }
    // The count of filling stands in clear: a message must not be cut short with it.
    for filling in 1..=4 {
        let (login, mut done) = client.established(&server, Ask::default());
        let mut token = client.wrap(&login, b"text", true);
        token[5] = filling;
        assert!(done.context.unseal(None, &token, &mut Vec::new()).is_err(), "{filling}");
        // Nor with the length of the signature, which stands in clear as well.
        let (login, mut done) = client.established(&server, Ask::default());
        let mut token = client.wrap(&login, b"text", true);
        token[5] = filling;
        let stated = SIGNATURE_OCTETS + usize::from(filling);
        let error = done.context.unseal(Some(stated), &token, &mut Vec::new()).unwrap_err();
        assert_eq!(error.0, "a signature of a wrong length", "{filling}");
    }
}

#[test]
fn a_message_is_taken_once_and_in_its_order() {
    let Some(lab) = Lab::open("a_message_is_taken_once_and_in_its_order") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    // Whether the client has asked for it or not.
    for flags in [MUTUAL | REPLAY | SEQUENCE, MUTUAL | SEQUENCE, MUTUAL | REPLAY, MUTUAL] {
        let ask = Ask { flags: Some(flags), ..Ask::default() };
        let order: [&[usize]; 4] = [&[0, 0], &[0, 1, 0], &[0, 2], &[0, 1, 1]];
        for order in order {
            let (login, mut done) = client.established(&server, ask);
            let tokens: Vec<Vec<u8>> = (0..3_u8)
                .map(|number| {
                    let (signature, ciphertext) = client.seal(&login, &[number]);
                    [signature, ciphertext].concat()
                })
                .collect();
            let (last, first) = order.split_last().unwrap();
            for &at in first {
                done.context.unseal(Some(SIGNATURE_OCTETS), &tokens[at], &mut Vec::new()).unwrap();
            }
            let result = done.context.unseal(Some(SIGNATURE_OCTETS), &tokens[*last], &mut Vec::new());
            assert!(result.is_err(), "flags {flags:#x}, order {order:?}");
        }
    }
}

#[test]
fn what_is_not_sealed_by_the_client_of_this_login_is_refused() {
    let Some(lab) = Lab::open("what_is_not_sealed_by_the_client_of_this_login_is_refused") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let (login, mut done) = client.established(&server, Ask::default());
    let signed = client.wrap(&login, b"text", false);
    assert!(done.context.unseal(None, &signed, &mut Vec::new()).is_err(), "signed is not sealed");
    let (_, mut done) = client.established(&server, Ask::default());
    let mut own = Vec::new();
    done.context.seal(b"text", &mut own).unwrap();
    assert!(done.context.unseal(Some(SIGNATURE_OCTETS), &own, &mut Vec::new()).is_err(), "the server's own message");
    let (login, _) = client.established(&server, Ask::default());
    let (_, mut other) = client.established(&server, Ask::default());
    let (signature, ciphertext) = client.seal(&login, b"text");
    let token = [signature, ciphertext].concat();
    assert!(other.context.unseal(Some(SIGNATURE_OCTETS), &token, &mut Vec::new()).is_err(), "of another login");
}

#[test]
fn many_log_in_at_once() {
    let Some(lab) = Lab::open("many_log_in_at_once") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let logins: Vec<Login> = (0..64).map(|_| client.login(Ask::default())).collect();
    let accepted = |part: &[Login]| part.iter().filter(|it| server.begin(None).step(&it.token).is_ok()).count();
    // Two threads for each part, so that every token comes twice, and at about the same time.
    let accepted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            logins.chunks(8).flat_map(|part| [(); 2].map(|()| scope.spawn(move || accepted(part)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, logins.len(), "each token once");
}
