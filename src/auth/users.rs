//! The users file, and the live view of it that logins are checked against.
//!
//! One JSON object a line, `{"name":"otto","role":"operator","account":"..","password":"$argon2id$..","nt_hash":".."}`,
//! in a file of the data directory that only its owner may read. Both secrets are optional: without the NT hash a user
//! cannot log in by NTLM, and without either only by what needs no secret here (Kerberos, a certificate). `account` is
//! random, so that who is added anew is not taken for who had the name before; earlier files have none. The file is
//! replaced as a whole (a new file, synced, renamed over the old one), so a reader sees the old users or the new ones
//! and a crash leaves one of the two.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::account::{Account, ID_OCTETS};
use super::local;
use super::password::{Cost, NtHash, PasswordError, SALT_OCTETS, StoredPassword};
use super::principal::{Principal, Role};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "users";
/// Octets of the longest name.
const NAME_OCTETS_MAX: usize = 64;
/// The largest file that is read: some 10,000 users.
const FILE_OCTETS_MAX: u64 = 4 * 1024 * 1024;

/// A users file that cannot be used, or a change to it that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Reading or writing failed.
    #[error("users file {path}: {source}")]
    Io {
        /// The file at fault.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Group or others have access.
    #[error("users file {path} has mode {mode:04o}: nobody but its owner may have access (chmod 600 {path})")]
    Exposed {
        /// The file at fault.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not a user.
    #[error("users file {path}, line {line}: {problem}")]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The name cannot be a user's.
    #[error("{name:?} cannot be a user name: {problem}")]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The user is there already.
    #[error("user {0} exists already: remove it first to change its role or password")]
    Exists(String),
    /// There is no such user.
    #[error("there is no user {0}")]
    Unknown(String),
    /// The password could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// A user without the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// The name as it was given when the user was added; compared without case.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether a password's hash is stored, which Basic needs.
    pub has_password: bool,
    /// Whether the NT hash is stored, which NTLM needs and Basic can use.
    pub has_nt_hash: bool,
}

/// What a new user's logins are checked against.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// For Basic.
    pub password: Option<StoredPassword>,
    /// For NTLM, and for Basic where there is no password's hash.
    pub nt_hash: Option<NtHash>,
}

/// One line of the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    role: Role,
    /// What tells the user from others who had the name before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// PHC string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Zeroizing<String>>,
    /// 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nt_hash: Option<Zeroizing<String>>,
}

impl Line {
    fn entry(&self) -> UserEntry {
        let (has_password, has_nt_hash) = (self.password.is_some(), self.nt_hash.is_some());
        UserEntry { name: self.name.clone(), role: self.role, has_password, has_nt_hash }
    }

    fn mark(&self) -> Account {
        Account::of(self.account.as_deref(), [self.password.as_ref(), self.nt_hash.as_ref()])
    }
}

/// The users file as the command line edits it.
#[derive(Clone, Debug)]
pub struct UserFile {
    path: PathBuf,
}

impl UserFile {
    /// The users file of a data directory, whether it is there yet or not.
    pub fn in_directory(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE_NAME) }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The users in the file's order; none when there is no file.
    pub fn list(&self) -> Result<Vec<UserEntry>, UsersError> {
        Ok(self.read()?.iter().map(Line::entry).collect())
    }

    /// Whether a user of this name could be added now; the error says why not.
    pub fn check_new(&self, name: &str) -> Result<(), UsersError> {
        check_name(name)?;
        check_absent(&self.read()?, name)
    }

    /// Add a user with a password and no NT hash. `salt` must be random.
    pub fn add(
        &self,
        name: &str,
        role: Role,
        password: &[u8],
        salt: [u8; SALT_OCTETS],
        cost: Cost,
    ) -> Result<(), UsersError> {
        check_name(name)?;
        let password = StoredPassword::create(password, salt, cost)?;
        self.add_with(name, role, &Secrets { password: Some(password), nt_hash: None })
    }

    /// Add a user with these secrets, or with none.
    pub fn add_with(&self, name: &str, role: Role, secrets: &Secrets) -> Result<(), UsersError> {
        check_name(name)?;
        let password = secrets.password.as_ref().map(|password| Zeroizing::new(password.to_phc()));
        let nt_hash = secrets.nt_hash.as_ref().map(NtHash::to_hex);
        let mut id = [0; ID_OCTETS];
        getrandom::fill(&mut id).map_err(|error| self.io(io::Error::other(error.to_string())))?;
        let account = Some(format!("{:032x}", u128::from_be_bytes(id)));
        let _lock = self.lock()?;
        let mut lines = self.read()?;
        check_absent(&lines, name)?;
        lines.push(Line { name: name.to_owned(), role, account, password, nt_hash });
        self.replace(&lines)
    }

    /// Remove a user.
    pub fn remove(&self, name: &str) -> Result<(), UsersError> {
        let _lock = self.lock()?;
        let mut lines = self.read()?;
        let before = lines.len();
        lines.retain(|line| !same_name(&line.name, name));
        if lines.len() == before {
            return Err(UsersError::Unknown(name.to_owned()));
        }
        self.replace(&lines)
    }

    fn read(&self) -> Result<Vec<Line>, UsersError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(source)),
        };
        let metadata = file.metadata().map_err(|source| self.io(source))?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(UsersError::Exposed { path: self.path.clone(), mode });
        }
        if metadata.len() > FILE_OCTETS_MAX {
            return Err(self.io(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB")));
        }
        // Of the right size at once: what a growing string leaves behind is not wiped.
        let octets = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
        let mut text = Zeroizing::new(String::with_capacity(octets));
        file.read_to_string(&mut text).map_err(|source| self.io(source))?;
        let mut lines: Vec<Line> = Vec::new();
        for (index, source) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let damaged = |problem| UsersError::Damaged { path: self.path.clone(), line: index + 1, problem };
            let line: Line = serde_json::from_str(source).map_err(|error| damaged(error.to_string()))?;
            check_name(&line.name).map_err(|error| damaged(error.to_string()))?;
            if lines.iter().any(|earlier| same_name(&earlier.name, &line.name)) {
                return Err(damaged(format!("user {} is there twice", line.name)));
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// Keep other writers out until the returned file is dropped.
    fn lock(&self) -> Result<File, UsersError> {
        let path = self.path.with_extension("lock");
        let open = || {
            let lock = match OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
                Ok(lock) => {
                    self.hand_over(&lock)?;
                    lock
                }
                // One that was there already is whatever the directory's owner put there: root gives nothing away that
                // it has not made, and follows no link to something else.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
                    OpenOptions::new().write(true).custom_flags(no_link).open(&path)?
                }
                Err(error) => return Err(error),
            };
            lock.lock()?;
            Ok(lock)
        };
        open().map_err(|source| UsersError::Io { path: path.clone(), source })
    }

    /// Give a file that root has made to the directory's owner: the server runs as that user, and could not read it.
    fn hand_over(&self, file: &File) -> io::Result<()> {
        let Some(directory) = self.path.parent().filter(|_| rustix::process::geteuid().is_root()) else {
            return Ok(());
        };
        let owner = fs::metadata(directory)?;
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
    }

    fn replace(&self, lines: &[Line]) -> Result<(), UsersError> {
        let write = || {
            let new = self.path.with_extension("new");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Made anew, so that the mode is ours and no link is followed.
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
            self.hand_over(&file)?;
            for line in lines {
                serde_json::to_writer(&mut file, line)?;
                file.write_all(b"\n")?;
            }
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            // The rename itself is durable only with its directory.
            self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        };
        write().map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> UsersError {
        UsersError::Io { path: self.path.clone(), source }
    }

    /// What tells one state of the file from another without reading it.
    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some(Stamp {
            file: (metadata.dev(), metadata.ino(), metadata.size(), metadata.mode()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64, u64, u32),
    modified: (i64, i64),
    changed: (i64, i64),
}

fn check_name(name: &str) -> Result<(), UsersError> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_OCTETS_MAX {
        "it is longer than 64 octets"
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "it has white space or control characters"
    } else if name.contains([':', '\\', '@', '/']) {
        "':' ends a name in HTTP Basic, '\\', '@' and '/' separate it from its domain"
    } else if same_name(name, local::NAME) {
        "it is the administrator's on the server's own socket"
    } else {
        return Ok(());
    };
    Err(UsersError::Name { name: name.to_owned(), problem })
}

fn check_absent(lines: &[Line], name: &str) -> Result<(), UsersError> {
    if lines.iter().any(|line| same_name(&line.name, name)) {
        return Err(UsersError::Exists(name.to_owned()));
    }
    Ok(())
}

fn same_name(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The user that a name means: what stands before `@` or after `\\`. This server has no domains, and clients fill in
/// what they like.
pub(super) fn bare_name(name: &str) -> &str {
    match (name.rsplit_once('\\'), name.split_once('@')) {
        (Some((_, user)), _) | (None, Some((user, _))) => user,
        (None, None) => name,
    }
}

/// A user as logins see it.
pub(super) struct Known {
    folded: String,
    pub(super) entry: UserEntry,
    pub(super) password: Option<Arc<StoredPassword>>,
    pub(super) nt_hash: Option<NtHash>,
    /// To see that the user is another one, or has other secrets.
    account: Account,
    /// The generation of the users in which it came.
    since: u64,
}

impl Known {
    /// The caller that this user is, once proved.
    pub(super) fn principal(&self, mechanism: &'static str, generation: u64) -> Principal {
        let UserEntry { name, role, .. } = self.entry.clone();
        Principal::new(name, role, mechanism, generation, Some(self.account))
    }
}

/// Whom an NTLM proof is checked against: a user, or nobody, who has a hash too.
pub(super) struct NtlmCandidate {
    /// The user's NT hash, or one that no password has.
    pub(super) hash: NtHash,
    /// The user with the account, and the generation of the users; none for nobody.
    user: Option<(UserEntry, Account, u64)>,
}

impl NtlmCandidate {
    /// The principal, now that the proof has been found right. Nobody has none.
    pub(super) fn proved(self, mechanism: &'static str) -> Option<Arc<Principal>> {
        let (entry, account, generation) = self.user?;
        Some(Arc::new(Principal::new(entry.name, entry.role, mechanism, generation, Some(account))))
    }
}

/// The users at one moment.
pub(super) struct Snapshot {
    /// Grows with every change, so that what was proved against earlier users can be told.
    pub(super) generation: u64,
    known: Vec<Known>,
    /// Verified in the place of an unknown user's password, so that both cost the same.
    pub(super) decoy: Arc<StoredPassword>,
    /// The same for NTLM.
    nt_decoy: NtHash,
    stamp: Option<Stamp>,
    /// Whether the file could be read.
    usable: bool,
}

/// The users file cannot be used at the moment, or is not there, so that nobody knows who is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsersUnusable;

impl Snapshot {
    /// The user of that name, compared without case over the whole length.
    pub(super) fn find(&self, name: &str) -> Option<&Known> {
        let folded = name.to_lowercase();
        let mut found = None;
        for known in &self.known {
            // No early end: the time does not tell where in the file a name stands.
            if bool::from(known.folded.as_bytes().ct_eq(folded.as_bytes())) {
                found = Some(known);
            }
        }
        found
    }

    /// The same for what is not about a login, with the letters of the file.
    fn named(&self, name: &str) -> Result<Option<&Known>, UsersUnusable> {
        if !self.usable || self.stamp.is_none() {
            return Err(UsersUnusable);
        }
        Ok(self.find(name).filter(|known| known.entry.name.eq_ignore_ascii_case(name)))
    }
}

/// The live users: the file's content, read again when the file changes.
pub struct Users {
    file: UserFile,
    snapshot: ArcSwap<Snapshot>,
    recheck: Duration,
    started: Instant,
    /// When to look at the file again, in milliseconds after `started`.
    due: AtomicU64,
    decoy: [u8; SALT_OCTETS],
    /// Held while the file is read: one generation is one content, and a later content never gives way to an earlier.
    reading: Mutex<()>,
}

impl Users {
    /// Read the users of `file`. Later changes are noticed within `recheck` (or with the first login after them).
    /// `random` makes the password of nobody, which unknown users are checked against.
    pub fn open(
        file: UserFile,
        recheck: Duration,
        random: [u8; SALT_OCTETS],
        now: Instant,
    ) -> Result<Self, UsersError> {
        let stamp = file.stamp();
        let snapshot = snapshot(file.read()?, 1, stamp, random, &file.path, &[])?;
        let due = AtomicU64::new(millis(recheck));
        let snapshot = ArcSwap::from_pointee(snapshot);
        Ok(Self { file, snapshot, recheck, started: now, due, decoy: random, reading: Mutex::new(()) })
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.snapshot.load().known.len()
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The users now; looks at the file when a look is due.
    pub(super) fn current(&self, now: Instant) -> arc_swap::Guard<Arc<Snapshot>> {
        let elapsed = millis(now.saturating_duration_since(self.started));
        if elapsed >= self.due.load(Ordering::Relaxed) {
            self.due.store(elapsed.saturating_add(millis(self.recheck)), Ordering::Relaxed);
            self.refresh();
        }
        self.snapshot.load()
    }

    /// Whom the NTLM proof of a client that calls itself `name` is to be checked against. It takes as long for a user
    /// as for nobody, and for one without an NT hash.
    pub(super) fn ntlm_candidate(&self, name: &str, now: Instant) -> NtlmCandidate {
        let current = self.current(now);
        let known = current.find(bare_name(name));
        let hash = known.and_then(|known| known.nt_hash.as_ref());
        // Whoever has no hash is nobody to NTLM: even a match with the decoy must let nobody in.
        let user = known.filter(|_| hash.is_some());
        let user = user.map(|known| (known.entry.clone(), known.account, current.generation));
        NtlmCandidate { hash: hash.unwrap_or(&current.nt_decoy).clone(), user }
    }

    /// The principal of a user who has just been proved by somebody else: a KDC, an authority. None when there is no
    /// such user. Letters beyond ASCII must be the same as in the file: some have a sign of another alphabet for a
    /// small letter (the Kelvin sign), and whoever names people may take the two for different names.
    pub(super) fn proved(&self, name: &str, mechanism: &'static str, now: Instant) -> Option<Arc<Principal>> {
        let current = self.current(now);
        let known = current.find(name).filter(|known| known.entry.name.eq_ignore_ascii_case(name))?;
        Some(Arc::new(known.principal(mechanism, current.generation)))
    }

    /// The role that a user has now; none when there is no such user, or another of the same name than that of the
    /// account. It proves nobody: it is for what goes on in the name of a user who was proved before, such as a
    /// subscription. While the file cannot be used, or is not there, nobody knows.
    pub fn standing(&self, name: &str, account: Option<Account>, now: Instant) -> Result<Option<Role>, UsersUnusable> {
        let current = self.current(now);
        let known = current.named(name)?.filter(|known| account.is_none_or(|account| known.account == account));
        Ok(known.map(|known| known.entry.role))
    }

    /// The account of a user as it is now.
    pub fn account(&self, name: &str, now: Instant) -> Result<Option<Account>, UsersUnusable> {
        let current = self.current(now);
        Ok(current.named(name)?.map(|known| known.account))
    }

    /// Grows with every change of the users.
    pub fn generation(&self, now: Instant) -> u64 {
        self.current(now).generation
    }

    /// The principal as the users are now: the same one while nothing changed, another when the role did, none when the
    /// user is gone. Whoever is no user of the file (generation 0) stays.
    pub(super) fn renew(&self, principal: &Arc<Principal>, now: Instant) -> Option<Arc<Principal>> {
        let current = self.current(now);
        if principal.generation() == 0 || principal.generation() == current.generation {
            return Some(Arc::clone(principal));
        }
        // With other secrets it is another user, whatever its name: a password is changed to end what the old one
        // began.
        let known = current.find(principal.name()).filter(|known| known.since <= principal.generation())?;
        Some(Arc::new(known.principal(principal.mechanism(), current.generation)))
    }

    /// Look at the file, and read it when it changed. A file that became unreadable, open to others or damaged lets
    /// nobody in until it is put right: whom it was meant to remove is unknown.
    pub fn refresh(&self) {
        if self.file.stamp() == self.snapshot.load().stamp {
            return;
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot.load();
        // Taken before the file is read: a change meanwhile makes the stamps differ, and the file is read again.
        let stamp = self.file.stamp();
        if stamp == current.stamp {
            return;
        }
        let generation = current.generation + 1;
        let fresh = self
            .file
            .read()
            .and_then(|lines| snapshot(lines, generation, stamp, self.decoy, self.file.path(), &current.known));
        let fresh = match fresh {
            Ok(fresh) => {
                tracing::info!(message_id = "FBD4004", users = fresh.known.len(), "users file read again");
                fresh
            }
            Err(error) => {
                tracing::error!(message_id = "FBD4005", %error, "nobody can log in until the users file is put right");
                let (decoy, nt_decoy) = (Arc::clone(&current.decoy), current.nt_decoy.clone());
                Snapshot { generation, known: Vec::new(), decoy, nt_decoy, stamp, usable: false }
            }
        };
        self.snapshot.store(Arc::new(fresh));
    }
}

fn snapshot(
    lines: Vec<Line>,
    generation: u64,
    stamp: Option<Stamp>,
    random: [u8; SALT_OCTETS],
    path: &Path,
    earlier: &[Known],
) -> Result<Snapshot, UsersError> {
    let mut known: Vec<Known> = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let damaged = |error: PasswordError| UsersError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            problem: error.to_string(),
        };
        let password = line.password.as_deref().map(|phc| StoredPassword::parse(phc)).transpose().map_err(damaged)?;
        let nt_hash = line.nt_hash.as_deref().map(|text| NtHash::parse(text)).transpose().map_err(damaged)?;
        let folded = line.name.to_lowercase();
        let account = line.mark();
        let since = earlier
            .iter()
            .find(|earlier| earlier.folded == folded && earlier.account == account)
            .map_or(generation, |earlier| earlier.since);
        known.push(Known { folded, entry: line.entry(), password: password.map(Arc::new), nt_hash, account, since });
    }
    let cost = known.iter().find_map(|user| user.password.as_ref()).map_or_else(Cost::default, |it| it.cost());
    let decoy = Arc::new(StoredPassword::decoy(random, cost));
    Ok(Snapshot { generation, known, decoy, nt_decoy: NtHash::decoy(random), stamp, usable: true })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
