//! `sink`: an event sink for makers of event sources, that takes, refuses, stalls or acknowledges as told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::path::{Variables, text};
use crate::serve::{Incoming, Reaction, listen_with};
use crate::sink::{Mode, document, react};
use crate::{say, tls};

/// What `sink` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5987")]
    listen: SocketAddr,
    /// What to do with messages
    #[arg(long, value_enum, default_value = "accept")]
    mode: Mode,
    /// How many messages to treat so; then --then applies
    #[arg(long, value_name = "NUMBER", requires = "then")]
    first: Option<usize>,
    /// What to do with those after --first
    #[arg(long, value_enum, value_name = "MODE", requires = "first")]
    then: Option<Mode>,
    /// Milliseconds to wait before each answer
    #[arg(long, value_name = "MILLISECONDS", default_value = "0")]
    delay: u64,
    /// Want Basic authentication with this user and the password of WSMAN_SINK_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password for --user
    #[arg(long, env = "WSMAN_SINK_PASSWORD", hide_env_values = true, value_name = "SECRET", default_value = "")]
    password: String,
    /// Speak TLS with this certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Want a certificate of the source, issued by one of these authorities, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    client_ca: Option<PathBuf>,
    /// Print whole messages, not only a line for each
    #[arg(long)]
    full: bool,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
}

/// A sink's rules, apart from where it listens.
struct Rules {
    mode: Mode,
    first: usize,
    then: Mode,
    delay: Duration,
    login: Option<String>,
    taken: AtomicUsize,
}

impl Rules {
    fn of(arguments: &Arguments) -> Self {
        let login = arguments.user.as_ref().map(|user| format!("{user}:{}", arguments.password));
        Self {
            mode: arguments.mode,
            first: arguments.first.unwrap_or(usize::MAX),
            then: arguments.then.unwrap_or(arguments.mode),
            delay: Duration::from_millis(arguments.delay),
            login: login.map(|pair| format!("Basic {}", STANDARD.encode(pair))),
            taken: AtomicUsize::new(0),
        }
    }

    /// What is done with a message, in a word and in deed.
    fn react(&self, message: &Incoming) -> (String, Reaction) {
        std::thread::sleep(self.delay);
        if self.login.as_deref().is_some_and(|login| message.header("authorization") != Some(login)) {
            return ("unauthorized".to_owned(), react(Mode::Unauthorized, message));
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let mode = if number < self.first { self.mode } else { self.then };
        (mode.word(), react(mode, message))
    }
}

/// A message in a line: what it is and how it was taken.
fn line(message: &Incoming, deed: &str) -> String {
    let tree = document(message);
    let read = |path: &str| {
        let read = tree.as_ref().and_then(|tree| text(tree, &Variables::new(), path).ok());
        read.filter(|value| !value.is_empty()).unwrap_or_else(|| "-".to_owned())
    };
    let action = read("normalize-space(/s:Envelope/s:Header/a:Action)");
    let action = action.rsplit('/').next().unwrap_or("-").to_owned();
    let (id, events) = (read("normalize-space(/s:Envelope/s:Header/a:MessageID)"), read("string(count(//w:Event))"));
    let (octets, shown) = (message.body.len(), message.certificate.as_deref().map(thumbprint).unwrap_or_default());
    let (method, path) = (&message.method, &message.path);
    format!("{deed:<12} {method} {path} {action} {id} {events} events in a batch, {octets} octets{shown}")
}

/// The certificate that came with a message, as subscribers name it.
fn thumbprint(certificate: &[u8]) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    let digits = hash.as_ref().iter().map(|octet| format!("{octet:02X}"));
    format!(", certificate {}", digits.collect::<String>())
}

fn whole(message: &Incoming) -> String {
    let fields = message.headers.iter().map(|(name, value)| {
        let is_secret = name == "authorization";
        format!("{name}: {}\n", if is_secret { "(not shown)" } else { value })
    });
    format!("{}\n{}\n", fields.collect::<String>(), String::from_utf8_lossy(&message.body))
}

/// Listens, and prints what comes, until the process ends or enough has come.
pub(crate) fn work(arguments: &Arguments) -> Result<(), String> {
    let rules = Rules::of(arguments);
    let (teller, told) = mpsc::channel();
    let is_full = arguments.full;
    let tls = match (&arguments.certificate, &arguments.key) {
        (Some(chain), Some(key)) => {
            let told: fn(&str) = |line| say(line);
            Some((tls::server(chain, key, arguments.client_ca.as_deref())?, told))
        }
        _ => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = listen_with(arguments.listen, tls, move |message| {
        let (deed, reaction) = rules.react(message);
        let mut out = line(message, &deed);
        if is_full {
            out = format!("{out}\n{}", whole(message));
        }
        // Who no longer listens has ended the program.
        _ = teller.send(out);
        reaction
    });
    let address = address.map_err(|error| format!("{}: {error}", arguments.listen))?;
    say(&format!("{scheme}://{address}/"));
    for out in told.iter().take(arguments.count.unwrap_or(usize::MAX)) {
        say(&out);
    }
    // The last answer is still on its way.
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn statuses(line: &[&str], headers: &[(&str, &str)], times: usize) -> Vec<u16> {
        let line = Line::parse_from(std::iter::once("sink").chain(line.iter().copied()));
        let rules = Rules::of(&line.arguments);
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (method, path, body) = ("POST".to_owned(), "/x".to_owned(), b"<a/>".to_vec());
        let message = Incoming { method, path, headers, body, certificate: None };
        let status = |_| match rules.react(&message).1 {
            Reaction::Answer { status, .. } => status,
            Reaction::Stall(_) => 1,
            Reaction::Close => 2,
        };
        (0..times).map(status).collect()
    }

    #[test]
    fn a_sink_changes_its_mind_and_wants_a_password() {
        assert_eq!(statuses(&["--mode", "accept", "--first", "2", "--then", "refuse"], &[], 3), [200, 200, 500]);
        assert_eq!(statuses(&["--mode", "close"], &[], 1), [2]);
        assert_eq!(statuses(&["--user", "u", "--password", "p"], &[], 1), [401]);
        assert_eq!(statuses(&["--user", "u", "--password", "p"], &[("authorization", "Basic dTpw")], 1), [200]);
    }

    #[test]
    fn messages_are_told_in_a_line() {
        let body = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
            xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing'><s:Header><a:Action>urn:x/Events</a:Action>\
            </s:Header></s:Envelope>";
        let message = Incoming { path: "/p".to_owned(), body: body.as_bytes().to_vec(), ..Incoming::default() };
        assert!(line(&message, "accept").contains("/p Events - 0 events"), "{}", line(&message, "accept"));
        assert!(!line(&message, "accept").contains("certificate"));
        // SHA-1 of "abc", the first example of its standard.
        let shown = Incoming { certificate: Some(b"abc".to_vec()), ..message };
        let told = line(&shown, "accept");
        assert!(told.ends_with(" octets, certificate A9993E364706816ABA3E25717850C26C9CD0D89D"), "{told}");
    }
}
