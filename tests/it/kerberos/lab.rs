//! The realm that a test was given, servers in it, and a client that does as told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use failbackd::auth::kerberos::{KerberosDone, SERVICES};
use failbackd::auth::{Kerberos, KerberosError, KerberosSettings};
use serde_json::{Value, json};

/// A directory that `conformance/clients/kdc start` has prepared.
pub(super) struct Lab {
    pub(super) directory: PathBuf,
    pub(super) user: String,
    /// Of the test's own, for replay caches.
    scratch: tempfile::TempDir,
}

impl Lab {
    /// The realm that `FAILBACKD_TEST_KDC` names. Without one the test says so on the terminal and does nothing.
    pub(super) fn open(test: &str) -> Option<Self> {
        let Some(directory) = std::env::var_os("FAILBACKD_TEST_KDC").map(PathBuf::from) else {
            // Not `eprintln`: the test harness would keep that to itself.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED kerberos::{test}: FAILBACKD_TEST_KDC names no realm to test in");
            return None;
        };
        let configuration = std::env::var_os("KRB5_CONFIG").map(PathBuf::from);
        assert_eq!(configuration, Some(directory.join("krb5.conf")), "run it by `conformance/clients/kdc run`");
        let user = std::fs::read_to_string(directory.join("user")).unwrap();
        Some(Self { directory, user, scratch: tempfile::tempdir().unwrap() })
    }

    pub(super) fn settings(&self, keytab: &str, realms: &[&str]) -> KerberosSettings {
        KerberosSettings {
            keytab: self.directory.join(keytab),
            services: SERVICES.map(str::to_owned).to_vec(),
            realms: realms.iter().map(|&realm| realm.to_owned()).collect(),
            replay_cache: self.scratch.path().join("replays"),
        }
    }

    pub(super) fn server(&self) -> Kerberos {
        Kerberos::open(&self.settings("server.keytab", &[])).unwrap()
    }

    pub(super) fn client(&self) -> Client {
        self.client_with("")
    }

    /// A client with one more setting of `krb5.conf`.
    pub(super) fn client_with(&self, setting: &str) -> Client {
        let configuration = std::fs::read_to_string(self.directory.join("krb5.conf")).unwrap();
        let path = self.scratch.path().join("client.conf");
        std::fs::write(&path, configuration.replacen('\n', &format!("\n{setting}\n"), 1)).unwrap();
        let python = std::env::var_os("FAILBACKD_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/clients/kerberos_token.py");
        let mut child = Command::new(python)
            .arg(script)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("KRB5_CONFIG", path)
            .env("KRB5CCNAME", format!("FILE:{}", self.directory.join("user.ccache").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("FAILBACKD_TEST_PYTHON names a Python with pyspnego[kerberos]");
        let answers = BufReader::new(child.stdout.take().unwrap());
        let password = std::fs::read_to_string(self.directory.join("password")).unwrap();
        Client { questions: child.stdin.take(), answers, child, password }
    }
}

/// pyspnego, in a process of its own.
pub(super) struct Client {
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Child,
    password: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.child.wait();
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    /// HTTP on localhost when empty.
    pub(super) service: &'a str,
    pub(super) host: &'a str,
    /// The principal, with the lab's password; the lab's ticket when empty.
    pub(super) user: &'a str,
    pub(super) binding: Option<&'a [u8]>,
    /// Flags of RFC 2744; all that WinRM uses when absent.
    pub(super) flags: Option<u32>,
}

/// A login of the client's.
pub(super) struct Login {
    number: u64,
    pub(super) token: Vec<u8>,
}

impl Client {
    fn ask(&mut self, question: &Value) -> Result<Value, String> {
        writeln!(self.questions.as_mut().unwrap(), "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("the client has died");
        answer["error"].as_str().map_or(Ok(answer.clone()), |error| Err(error.to_owned()))
    }

    pub(super) fn login(&mut self, ask: Ask<'_>) -> Login {
        let or = |given: &str, usual: &str| if given.is_empty() { usual.to_owned() } else { given.to_owned() };
        let mut question =
            json!({"do": "login", "service": or(ask.service, "HTTP"), "host": or(ask.host, "localhost")});
        if !ask.user.is_empty() {
            question["user"] = ask.user.into();
            question["password"] = self.password.as_str().into();
        }
        if let Some(binding) = ask.binding {
            question["binding"] = STANDARD.encode(binding).into();
        }
        if let Some(flags) = ask.flags {
            question["flags"] = flags.into();
        }
        let answer = self.ask(&question).unwrap();
        Login { number: answer["login"].as_u64().unwrap(), token: octets(&answer, "token") }
    }

    /// Whether the client takes the server's proof.
    pub(super) fn finish(&mut self, login: &Login, token: &[u8]) -> Result<bool, String> {
        let question = json!({"do": "finish", "login": login.number, "token": STANDARD.encode(token)});
        Ok(self.ask(&question)?["complete"] == true)
    }

    /// Signature and ciphertext.
    pub(super) fn seal(&mut self, login: &Login, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let question = json!({"do": "seal", "login": login.number, "message": STANDARD.encode(message)});
        let answer = self.ask(&question).unwrap();
        (octets(&answer, "signature"), octets(&answer, "ciphertext"))
    }

    pub(super) fn wrap(&mut self, login: &Login, message: &[u8], encrypt: bool) -> Vec<u8> {
        let message = STANDARD.encode(message);
        let question = json!({"do": "wrap", "login": login.number, "message": message, "encrypt": encrypt});
        octets(&self.ask(&question).unwrap(), "token")
    }

    pub(super) fn unseal(&mut self, login: &Login, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String> {
        let (signature, ciphertext) = (STANDARD.encode(signature), STANDARD.encode(ciphertext));
        let question = json!({"do": "unseal", "login": login.number, "signature": signature, "ciphertext": ciphertext});
        Ok(octets(&self.ask(&question)?, "message"))
    }

    pub(super) fn sign(&mut self, login: &Login, message: &[u8]) -> Vec<u8> {
        let question = json!({"do": "sign", "login": login.number, "message": STANDARD.encode(message)});
        octets(&self.ask(&question).unwrap(), "mic")
    }

    pub(super) fn verify(&mut self, login: &Login, message: &[u8], mic: &[u8]) -> Result<(), String> {
        let (message, mic) = (STANDARD.encode(message), STANDARD.encode(mic));
        self.ask(&json!({"do": "verify", "login": login.number, "message": message, "mic": mic})).map(|_| ())
    }

    /// A login that both sides have finished.
    pub(super) fn established(&mut self, server: &Kerberos, ask: Ask<'_>) -> (Login, KerberosDone) {
        let login = self.login(ask);
        let mut done = server.begin(ask.binding).step(&login.token).unwrap();
        if let Some(token) = done.token.take() {
            assert_eq!(self.finish(&login, &token), Ok(true));
        }
        (login, done)
    }
}

fn octets(answer: &Value, field: &str) -> Vec<u8> {
    STANDARD.decode(answer[field].as_str().unwrap()).unwrap()
}

/// The error of a login that must not be accepted.
#[track_caller]
pub(super) fn refused(result: Result<KerberosDone, KerberosError>) -> KerberosError {
    match result {
        Ok(done) => panic!("{} was let in", done.client),
        Err(error) => error,
    }
}
