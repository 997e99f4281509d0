//! `failbackd user add|list|remove`: who may log in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::auth::password::{Cost, NtHash, SALT_OCTETS, StoredPassword};
use crate::auth::{Role, Secrets, UserFile, UsersError};
use crate::config::{ConfigError, PlaceFlags, load};

/// Longest password, so that a wrong file on standard input is not taken for one.
const PASSWORD_OCTETS_MAX: usize = 1024;

/// What whoever stores an NT hash has to know.
const NTLM_WARNING: &str = "The users file now holds this user's NT hash. It is a login secret by itself: whoever \
reads it can log in by NTLM without the password. Where you can, prefer Kerberos or a client certificate.\n";

/// The `user` subcommand.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct UserArgs {
    /// Where the users are kept.
    #[command(flatten)]
    pub place: PlaceFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with users.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum UserCommand {
    /// Add a user; asks for the password
    Add {
        /// Name, compared without case
        name: String,
        /// viewer reads, operator also calls methods, administrator does everything
        #[arg(long, default_value_t = Role::Viewer)]
        role: Role,
        /// Read the password from standard input; a newline at its end is dropped
        #[arg(long)]
        password_stdin: bool,
        /// Let the user log in by NTLM too, as WinRM clients do: stores the password's NT hash, which is itself enough
        /// to log in
        #[arg(long)]
        ntlm: bool,
        /// Store no password: the user logs in by Kerberos or a certificate only
        #[arg(long, conflicts_with_all = ["ntlm", "password_stdin"])]
        no_password: bool,
    },
    /// List users, their roles and what their logins are checked against
    List,
    /// Remove a user; a running server notices within half a second
    Remove {
        /// Name, compared without case
        name: String,
    },
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum UserCommandError {
    /// The configuration does not say where.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The users file.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The data directory cannot be made.
    #[error("data directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No password could be had.
    #[error("no password: {0}")]
    Password(String),
    /// The system gave no random octets.
    #[error("no random octets: {0}")]
    Random(getrandom::Error),
}

/// Run `user`; the result is the text to print. `input` is standard input.
pub fn user(
    args: &UserArgs,
    environment: &BTreeMap<String, String>,
    input: &mut dyn BufRead,
) -> Result<String, UserCommandError> {
    let config = load(&args.place.clone().into(), environment)?.config;
    let file = UserFile::in_directory(&config.data_dir);
    match &args.command {
        UserCommand::Add { name, role, password_stdin, ntlm, no_password } => {
            // Nobody should think of a password for a user who cannot be.
            file.check_new(name)?;
            make_directory(&config.data_dir)?;
            let secrets = if *no_password {
                Secrets::default()
            } else {
                let password = if *password_stdin { read_password(input)? } else { ask_password(name)? };
                make_secrets(&password, *ntlm)?
            };
            file.add_with(name, *role, &secrets)?;
            let warning = if *ntlm { NTLM_WARNING } else { "" };
            Ok(format!("user {name} added as {role}\n{warning}"))
        }
        UserCommand::List => {
            let users = file.list()?;
            let width = users.iter().map(|user| user.name.chars().count()).max().unwrap_or(0);
            let mut text = String::new();
            for user in users {
                let logins = match (user.has_password, user.has_nt_hash) {
                    (true, true) => "password, NT hash",
                    (true, false) => "password",
                    (false, true) => "NT hash",
                    (false, false) => "no password",
                };
                let _ = writeln!(text, "{:width$}  {:13}  {logins}", user.name, user.role.as_str());
            }
            Ok(text)
        }
        UserCommand::Remove { name } => {
            file.remove(name)?;
            Ok(format!("user {name} removed\n"))
        }
    }
}

/// What is stored of a password that [`check_password`] has let through.
fn make_secrets(password: &[u8], ntlm: bool) -> Result<Secrets, UserCommandError> {
    let mut salt = [0; SALT_OCTETS];
    getrandom::fill(&mut salt).map_err(UserCommandError::Random)?;
    let stored = StoredPassword::create(password, salt, Cost::default()).map_err(UsersError::from)?;
    let text = std::str::from_utf8(password).ok().filter(|_| ntlm);
    Ok(Secrets { password: Some(stored), nt_hash: text.map(NtHash::of) })
}

/// A data directory is for its owner alone.
fn make_directory(path: &Path) -> Result<(), UserCommandError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| UserCommandError::Directory { path: path.to_owned(), source })
}

/// All of standard input but one newline at its end.
fn read_password(input: &mut dyn BufRead) -> Result<Zeroizing<Vec<u8>>, UserCommandError> {
    let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_OCTETS_MAX + 3));
    let most = u64::try_from(PASSWORD_OCTETS_MAX + 3).unwrap_or(u64::MAX);
    input.take(most).read_to_end(&mut password).map_err(|error| UserCommandError::Password(error.to_string()))?;
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    check_password(password)
}

fn ask_password(name: &str) -> Result<Zeroizing<Vec<u8>>, UserCommandError> {
    let ask = |prompt: String| {
        let typed = rpassword::prompt_password(prompt);
        typed.map(Zeroizing::new).map_err(|error| {
            UserCommandError::Password(format!("{error} (use --password-stdin where there is no terminal)"))
        })
    };
    let password = ask(format!("Password for {name}: "))?;
    if *ask("Again: ".to_owned())? != *password {
        return Err(UserCommandError::Password("the two do not agree".to_owned()));
    }
    check_password(Zeroizing::new(password.as_bytes().to_vec()))
}

fn check_password(password: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, UserCommandError> {
    let problem = if password.is_empty() {
        "it is empty"
    } else if password.len() > PASSWORD_OCTETS_MAX {
        "it is longer than 1024 octets"
    } else if std::str::from_utf8(&password).is_err() {
        "it is not UTF-8"
    } else if password.contains(&b'\n') || password.contains(&0) {
        "it has more than one line, or a NUL"
    } else {
        return Ok(password);
    };
    Err(UserCommandError::Password(problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(directory: &Path, command: UserCommand, input: &str) -> Result<String, UserCommandError> {
        let place = PlaceFlags { config: None, data_dir: Some(directory.to_owned()) };
        user(&UserArgs { place, command }, &BTreeMap::new(), &mut input.as_bytes())
    }

    fn add(name: &str, role: Role) -> UserCommand {
        UserCommand::Add { name: name.to_owned(), role, password_stdin: true, ntlm: false, no_password: false }
    }

    #[test]
    fn users_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("new");
        assert_eq!(run(&data_dir, add("otto", Role::Operator), "secret\r\n").unwrap(), "user otto added as operator\n");
        run(&data_dir, add("al", Role::Viewer), "secret").unwrap();
        assert!(matches!(run(&data_dir, add("AL", Role::Viewer), "x"), Err(UserCommandError::Users(_))));
        assert_eq!(
            run(&data_dir, UserCommand::List, "").unwrap(),
            "otto  operator       password\nal    viewer         password\n"
        );
        // Told before a password is asked for: there is no terminal here, and none on standard input.
        for (name, told) in [("otto", "exists already"), ("o:o", "cannot be a user name"), ("local", "socket")] {
            for password_stdin in [true, false] {
                let name = name.to_owned();
                let add =
                    UserCommand::Add { name, role: Role::Viewer, password_stdin, ntlm: false, no_password: false };
                let refusal = run(&data_dir, add, "").unwrap_err().to_string();
                assert!(refusal.contains(told), "{refusal}");
            }
        }
        run(&data_dir, UserCommand::Remove { name: "Otto".to_owned() }, "").unwrap();
        assert_eq!(run(&data_dir, UserCommand::List, "").unwrap(), "al  viewer         password\n");
    }

    #[test]
    fn an_nt_hash_is_stored_on_request_and_with_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let add = |name: &str, ntlm: bool, no_password: bool| UserCommand::Add {
            name: name.to_owned(),
            role: Role::Viewer,
            password_stdin: !no_password,
            ntlm,
            no_password,
        };
        let told = run(directory.path(), add("otto", true, false), "Password\n").unwrap();
        assert!(told.contains("login secret by itself"), "{told}");
        assert_eq!(run(directory.path(), add("kim", false, true), "").unwrap(), "user kim added as viewer\n");
        let list = run(directory.path(), UserCommand::List, "").unwrap();
        assert_eq!(list, "otto  viewer         password, NT hash\nkim   viewer         no password\n");
        let text = std::fs::read_to_string(directory.path().join("users")).unwrap();
        assert!(text.contains("\"nt_hash\":\"a4f49c406510bdcab6824ee7c30fd852\""), "{text}");
        assert!(!text.contains("Password"), "{text}");
    }

    #[test]
    fn one_newline_is_dropped_and_no_more() {
        let read = |text: &str| read_password(&mut text.as_bytes()).map(|password| password.to_vec()).ok();
        assert_eq!(read("a b\n"), Some(b"a b".to_vec()));
        assert_eq!(read("a\r\n"), Some(b"a".to_vec()));
        assert_eq!(read(" a "), Some(b" a ".to_vec()));
        for bad in ["", "\n", "a\nb\n", "a\n\n", "a\0"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert!(read(&"x".repeat(PASSWORD_OCTETS_MAX)).is_some());
        assert!(read(&"x".repeat(PASSWORD_OCTETS_MAX + 1)).is_none());
    }
}
