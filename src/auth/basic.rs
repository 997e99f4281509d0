//! HTTP Basic (RFC 7617) against the users file.
//!
//! A password costs an argon2 of milliseconds and megabytes on purpose, so verifications run one at a time for each
//! spare core, on threads that give way, behind a bounded queue (see [`super::queue`]); requests with the same header
//! share one verification; and what was verified is remembered for a short while. After a wrong password the next one
//! waits (see [`super::throttle`]), whether it is remembered or not: an answer at once would tell a right guess from a
//! wrong one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::cache::{Cache, Key};
use super::mechanism::{Accepted, Channel, Exchange, Mechanism, Outcome, Proof, Refusal, Step};
#[cfg(feature = "pam")]
use super::pam::PamService;
use super::password::{NtHash, StoredPassword};
use super::principal::Principal;
use super::queue::Queue;
use super::throttle::{Throttle, Turn};
use super::users::{Known, Snapshot, Users, bare_name};

/// Base64 as clients send it: some leave the padding out.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Limits of password verification.
#[derive(Clone, Copy, Debug)]
pub struct BasicSettings {
    /// Verifications at the same time.
    pub verifications_max: usize,
    /// Verifications that may wait; more are answered Busy.
    pub queue_max: usize,
    /// Verified credentials that are remembered.
    pub cache_entries_max: usize,
    /// For how long they are.
    pub cache_life: Duration,
}

/// A user name and a password as a client sent them.
pub struct Credentials {
    /// The user's name, without its domain.
    pub user: String,
    /// The password's octets, wiped when dropped.
    pub password: Zeroizing<Vec<u8>>,
}

/// Read the value of an `Authorization: Basic` header. The name ends at the first colon; `DOMAIN\user` and
/// `user@domain` name the user, since this server has no domains and clients fill in what they like. Octets that are
/// not UTF-8 are taken as Latin-1 (Python's requests sends that). None when it is not Basic or damaged.
pub fn parse_authorization(value: &[u8]) -> Option<Credentials> {
    let space = value.iter().position(|octet| *octet == b' ')?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let octets = Zeroizing::new(LENIENT.decode(rest.trim_ascii()).ok()?);
    let colon = octets.iter().position(|octet| *octet == b':')?;
    let (name, password) = octets.split_at(colon);
    let password = password.strip_prefix(b":")?;
    let latin1 = std::str::from_utf8(&octets).is_err();
    let user = bare_name(&text(name, latin1)).to_owned();
    let password = if latin1 { text(password, true).into_bytes() } else { password.to_vec() };
    Some(Credentials { user, password: Zeroizing::new(password) })
}

fn text(octets: &[u8], latin1: bool) -> String {
    if latin1 { octets.iter().copied().map(char::from).collect() } else { String::from_utf8_lossy(octets).into_owned() }
}

/// What a verification found.
#[derive(Clone)]
enum Found {
    Accepted(Arc<Principal>),
    Rejected,
    Busy,
}

/// What a password is compared with.
struct Secret {
    /// The user's, or nobody's.
    password: Arc<StoredPassword>,
    /// Whether it is the user's.
    owned: bool,
    /// The NT hash of a user who has nothing else.
    nt_hash: Option<NtHash>,
    /// The system's word, for a user who has no secret here, and for nobody.
    #[cfg(feature = "pam")]
    pam: Option<(PamService, String)>,
}

impl Secret {
    fn of(known: Option<&Known>, snapshot: &Snapshot) -> Self {
        let password = known.and_then(|known| known.password.as_ref());
        let nt_hash = known.filter(|_| password.is_none()).and_then(|known| known.nt_hash.clone());
        Self {
            password: Arc::clone(password.unwrap_or(&snapshot.decoy)),
            owned: password.is_some(),
            nt_hash,
            #[cfg(feature = "pam")]
            pam: None,
        }
    }

    /// With the system's word, where the users file has none of its own.
    #[cfg(feature = "pam")]
    fn with_pam(self, service: Option<&PamService>, user: &str) -> Self {
        let here = self.owned || self.nt_hash.is_some();
        Self { pam: service.filter(|_| !here).map(|service| (service.clone(), user.to_owned())), ..self }
    }

    /// Whether `password` is the user's. Always costs an argon2: an answer that came sooner would tell who has none.
    fn verify(&self, password: &[u8]) -> bool {
        let matches = self.password.verify(password) & self.owned;
        let matches = matches | self.nt_hash.as_ref().is_some_and(|hash| hash.verify(password));
        #[cfg(feature = "pam")]
        let matches = matches | self.pam.as_ref().is_some_and(|(service, user)| service.verify(user, password));
        matches
    }
}

/// A verification that is under way, shared by all requests with the same header; `None` until it is done.
type UnderWay = watch::Receiver<Option<Found>>;

/// The Basic mechanism: one for the process.
pub struct Basic {
    users: Arc<Users>,
    cache: Cache,
    under_way: Mutex<HashMap<(Key, u64), UnderWay>>,
    queue: Arc<Queue>,
    throttle: Arc<Throttle>,
    #[cfg(feature = "pam")]
    pam: Option<PamService>,
}

impl Basic {
    /// `secret` is random and new in every process: it keys the cache.
    pub fn new(users: Arc<Users>, throttle: Arc<Throttle>, settings: BasicSettings, secret: &[u8; 32]) -> Self {
        Self {
            users,
            cache: Cache::new(secret, settings.cache_entries_max, settings.cache_life),
            under_way: Mutex::default(),
            queue: Arc::new(Queue::new(settings.verifications_max, settings.queue_max)),
            throttle,
            #[cfg(feature = "pam")]
            pam: None,
        }
    }

    /// Let the system check the passwords of users who have none in the users file.
    #[cfg(feature = "pam")]
    #[must_use]
    pub fn with_pam(self, service: PamService) -> Self {
        Self { pam: Some(service), ..self }
    }

    /// Judge one header value.
    fn judge(self: &Arc<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step {
        let key = self.cache.key(channel.peer, authorization);
        if let Some(principal) = self.remembered(&key, now)
            && self.throttle.is_clear(channel.peer, principal.name(), now)
        {
            return Step::Done(accepted(principal));
        }
        // The slow path can afford a look at the file: a user who was just added can log in.
        self.users.refresh();
        let Some(credentials) = parse_authorization(authorization) else {
            return Step::Done(Outcome::Rejected(Refusal::nameless("the header is damaged")));
        };
        let (wait, attempt) = match self.throttle.turn(channel.peer, &credentials.user, now) {
            Turn::Now(attempt) => (None, attempt),
            Turn::After(wait, attempt) => (Some(wait), attempt),
            Turn::Never => return Step::Done(Outcome::Busy),
        };
        let (this, peer) = (Arc::clone(self), channel.peer);
        Step::Wait(Box::pin(async move {
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
                if let Some(principal) = this.remembered(&key, Instant::now()) {
                    attempt.succeeded();
                    return accepted(principal);
                }
            }
            let refusal = Refusal::of(&credentials.user, "wrong password or unknown user");
            let mut verification = this.join(key, credentials, peer, Instant::now());
            let found = match verification.wait_for(Option::is_some).await {
                Ok(found) => found.clone().unwrap_or(Found::Busy),
                // The verification ended without a word: its thread died.
                Err(_) => Found::Busy,
            };
            match found {
                Found::Accepted(principal) => {
                    attempt.succeeded();
                    accepted(principal)
                }
                Found::Rejected => {
                    attempt.failed(Instant::now());
                    Outcome::Rejected(refusal)
                }
                Found::Busy => {
                    // A password that is remembered needs no verification: a wrong one that costs nothing while there
                    // is no place for one could be told from it as often as one likes.
                    attempt.failed(Instant::now());
                    Outcome::Busy
                }
            }
        }))
    }

    /// Who was verified with this header from this network a short while ago, if the users are still the same.
    fn remembered(&self, key: &Key, now: Instant) -> Option<Arc<Principal>> {
        self.cache.get(key, self.users.current(now).generation, now)
    }

    /// The verification of this header that is under way, or a new one.
    fn join(self: &Arc<Self>, key: Key, credentials: Credentials, peer: Option<IpAddr>, now: Instant) -> UnderWay {
        let snapshot = self.users.current(now);
        let generation = snapshot.generation;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verification) = under_way.get(&(key, generation)) {
            return verification.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let Some(place) = self.queue.enter(peer) else {
            sender.send_replace(Some(Found::Busy));
            return receiver;
        };
        under_way.insert((key, generation), receiver.clone());
        drop(under_way);
        let known = snapshot.find(&credentials.user);
        let secret = Secret::of(known, &snapshot);
        #[cfg(feature = "pam")]
        let secret = secret.with_pam(self.pam.as_ref(), known.map_or(&credentials.user, |known| &known.entry.name));
        let principal = known.map(|known| Arc::new(known.principal("basic", generation)));
        let entry = Entry { basic: Arc::clone(self), key: (key, generation) };
        // A task of its own: the client that asked first may hang up while others wait for the same answer.
        tokio::spawn(async move {
            let entry = entry;
            let turn = place.turn().await;
            let matches = turn.run(move || secret.verify(&credentials.password)).await;
            let found = match (matches, principal) {
                (Some(true), Some(principal)) => {
                    entry.basic.cache.put(key, Arc::clone(&principal), generation, Instant::now());
                    Found::Accepted(principal)
                }
                (Some(_), _) => Found::Rejected,
                (None, _) => Found::Busy,
            };
            drop((entry, place));
            sender.send_replace(Some(found));
        });
        receiver
    }
}

/// The row of a verification under way; gone when the verification is over, however it ended.
struct Entry {
    basic: Arc<Basic>,
    key: (Key, u64),
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.basic.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Mechanism for Basic {
    fn scheme(&self) -> &'static str {
        "Basic"
    }

    fn challenge(&self) -> Option<&'static str> {
        Some("Basic realm=\"WSMAN\"")
    }

    fn sends_secret(&self) -> bool {
        true
    }

    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        Box::new(BasicExchange(self))
    }
}

fn accepted(principal: Arc<Principal>) -> Outcome {
    Outcome::Accepted(Accepted { principal, token: None, proof: Proof::Request })
}

/// Basic keeps nothing of a connection: every request brings its own proof.
struct BasicExchange(Arc<Basic>);

impl Exchange for BasicExchange {
    fn step(self: Box<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step {
        self.0.judge(authorization, channel, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &[u8]) -> Vec<u8> {
        let mut value = b"Basic ".to_vec();
        value.extend_from_slice(LENIENT.encode(text).as_bytes());
        value
    }

    fn parsed(text: &[u8]) -> Option<(String, String)> {
        let credentials = parse_authorization(&header(text))?;
        Some((credentials.user, String::from_utf8_lossy(&credentials.password).into_owned()))
    }

    fn check(text: &[u8], user: &str, password: &str) {
        assert_eq!(parsed(text), Some((user.to_owned(), password.to_owned())));
    }

    #[test]
    fn names_and_passwords_are_taken_apart() {
        check(b"otto:secret", "otto", "secret");
        check(b"otto:a:b:c", "otto", "a:b:c");
        check(b"otto:", "otto", "");
        check(b":x", "", "x");
        check(b"DOMAIN\\otto:p@ss\\word", "otto", "p@ss\\word");
        check(b"otto@example.com:x", "otto", "x");
        check("j\u{f6}rg:\u{20ac}".as_bytes(), "j\u{f6}rg", "\u{20ac}");
        check(b"j\xf6rg:\xe4", "j\u{f6}rg", "\u{e4}");
        assert_eq!(parsed(b"no colon"), None);
    }

    #[test]
    fn the_scheme_has_no_case_and_padding_may_be_missing() {
        for value in [&b"basic b3R0bzp4"[..], b"BASIC   b3R0bzp4 ", b"Basic b3R0bzp4"] {
            assert!(parse_authorization(value).is_some());
        }
        assert!(parse_authorization(b"Basic b3R0bzp4eA").is_some(), "no padding");
        for value in [&b"Basic"[..], b"Basic ", b"Basic !!!", b"Basicb3R0bzp4", b"Bearer b3R0bzp4", b""] {
            assert!(parse_authorization(value).is_none());
        }
    }
}
