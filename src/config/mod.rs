//! Configuration: one [`Config`] with every default in one place; the TOML file below the environment below the flags.
//!
//! A key of the file `[table] key` is the variable `FAILBACKD_TABLE_KEY`. A key that does not exist is an error that
//! names it, its line and the nearest one that does: a limit that is misspelt is a limit that is not there.

mod access;
mod audit;
mod certificates;
mod eventing;
mod key;
mod limits;
mod lists;
mod load;
mod login;
mod nearest;
mod places;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::provider::Rules;
use crate::wsman::Profile;

pub use access::AccessRule;
pub use audit::AuditConfig;
pub use certificates::ClientCertificatesConfig;
pub use eventing::{EventingConfig, Network};
pub use limits::Limits;
pub use load::{ConfigError, Loaded, Origin, load};
pub use login::{KerberosConfig, LoginConfig};

/// The word that turns a listener off.
pub const OFF: &str = "off";

/// The whole configuration. Field names are the keys of the TOML file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything that must survive is kept: users, certificate, store, inventory. Mode 0700.
    pub data_dir: PathBuf,
    /// The name under which this host appears to clients; empty takes the machine's.
    pub host_name: String,
    /// Address of the clear-text listener, or `off`. Loopback: who opens it to the network does so on purpose.
    pub http: String,
    /// Address of the TLS listener, or `off`.
    pub https: String,
    /// Take passwords over clear text.
    pub allow_unencrypted: bool,
    /// What holds where the standards and the practice of WinRM differ.
    pub profile: ProfileName,
    /// Directory into which every exchange is written, without its secrets; empty writes none. For labs.
    pub record: PathBuf,
    /// Transfers at the same time; the other jobs wait in order.
    pub max_active_transfers: u32,
    /// Octets a second that all transfers together may move; 0 means no limit.
    pub link_octets_per_second_max: u64,
    /// How long a finished job can be read, in milliseconds.
    pub time_before_removal_ms: u64,
    /// Load the backend `fault`: virtual machines without disks and with scripted faults, for tests of other programs.
    pub fault_backend: bool,
    /// Let transfers wait until the next start: for benchmarks of what is accepted.
    pub transfers_held: bool,
    /// The TLS listener's certificate.
    pub tls: TlsConfig,
    /// The ways of logging in.
    pub login: LoginConfig,
    /// Kerberos.
    pub kerberos: KerberosConfig,
    /// The certificates that clients log in with.
    pub client_certificates: ClientCertificatesConfig,
    /// The log.
    pub log: LogConfig,
    /// What a peer may take of this server.
    pub limits: Limits,
    /// The record of who did what.
    pub audit: AuditConfig,
    /// Subscriptions to events.
    pub eventing: EventingConfig,
    /// What users may reach, on top of their roles.
    pub access: Vec<AccessRule>,
    /// Settings of single VMs, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vm: BTreeMap<String, VmConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/failbackd"),
            host_name: String::new(),
            http: "127.0.0.1:5985".to_owned(),
            https: "127.0.0.1:5986".to_owned(),
            allow_unencrypted: false,
            profile: ProfileName::default(),
            record: PathBuf::new(),
            max_active_transfers: 6,
            link_octets_per_second_max: 0,
            time_before_removal_ms: 300_000,
            fault_backend: false,
            transfers_held: false,
            tls: TlsConfig::default(),
            login: LoginConfig::default(),
            kerberos: KerberosConfig::default(),
            client_certificates: ClientCertificatesConfig::default(),
            log: LogConfig::default(),
            limits: Limits::default(),
            audit: AuditConfig::default(),
            eventing: EventingConfig::default(),
            access: Vec::new(),
            vm: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The clear-text listener's address, unless it is off.
    pub fn http_address(&self) -> Option<&str> {
        (self.http != OFF).then_some(self.http.as_str())
    }

    /// The TLS listener's address, unless it is off.
    pub fn https_address(&self) -> Option<&str> {
        (self.https != OFF).then_some(self.https.as_str())
    }

    /// The configured certificate and key; none means the self-made one of the data directory.
    pub fn certificate(&self) -> Option<(&Path, &Path)> {
        let given = !self.tls.certificate.as_os_str().is_empty();
        given.then_some((self.tls.certificate.as_path(), self.tls.key.as_path()))
    }

    /// The access rules as they are checked.
    pub fn access_rules(&self) -> Rules {
        Rules::new((1..).zip(&self.access).map(|(number, rule)| rule.compile(number)))
    }

    /// What is wrong with the values taken together: key and problem.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = self.limits.problems();
        for (key, address) in [("http", &self.http), ("https", &self.https)] {
            let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if address != OFF && !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                problems.push((key, format!("{address:?} is neither ADDRESS:PORT nor off")));
            }
        }
        if self.tls.certificate.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            problems.push(("tls", "certificate and key are given together or not at all".to_owned()));
        }
        problems.extend(self.client_certificates.problems());
        problems.extend(self.login.problems());
        problems.extend(self.eventing.problems());
        if let Err(problem) = self.log.check_level() {
            problems.push(("log.level", problem));
        }
        if self.max_active_transfers == 0 {
            problems.push(("max_active_transfers", "0 would let no job begin".to_owned()));
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.push(("data_dir", "it is empty".to_owned()));
        }
        problems
    }
}

/// Whose word counts where the standards and the practice of WinRM differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// As WinRM does it: for Windows' clients, and those that were written against Windows.
    #[default]
    Ms,
    /// As DSP0226 and DSP0227 have it.
    Dmtf,
}

impl ProfileName {
    /// What holds at each place.
    pub const fn places(self) -> &'static Profile {
        match self {
            Self::Ms => &Profile::MS,
            Self::Dmtf => &Profile::DMTF,
        }
    }
}

/// Certificate and key of the TLS listener, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, the server's first; empty makes a self-signed one in the data directory.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Its form.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,failbackd::transport=debug`.
    pub level: String,
}

impl LogConfig {
    /// Whether the level can be meant. A filter takes any word for the name of a module, so that a level that is
    /// misspelt would leave no log at all.
    fn check_level(&self) -> Result<(), String> {
        EnvFilter::try_new(&self.level).map_err(|error| error.to_string())?;
        let spans = self.level.contains('[');
        for directive in self.level.split(',').map(str::trim).filter(|it| !spans && !it.is_empty() && !it.contains('='))
        {
            if directive.parse::<LevelFilter>().is_err() && !directive.starts_with("failbackd") {
                let words = "error, warn, info, debug, trace, off, or MODULE=LEVEL";
                return Err(format!("{directive:?} is no level: write {words}"));
            }
        }
        Ok(())
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Settings of one VM: `[vm."web01"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VmConfig {
    /// How its guests are stopped and started: `[vm."web01".hooks]`.
    pub hooks: HooksConfig,
}

/// Programs with their arguments, run without a shell; empty means that nothing is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksConfig {
    /// Stops the peer's VM; must also succeed when it is stopped already.
    pub peer_stop: Vec<String>,
    /// Starts the peer's VM; likewise.
    pub peer_start: Vec<String>,
    /// Stops home's VM; likewise.
    pub home_stop: Vec<String>,
    /// Starts home's VM; likewise.
    pub home_start: Vec<String>,
    /// Makes a VM hold its writes while a recovery point is taken.
    pub freeze: Vec<String>,
    /// Undoes `freeze`.
    pub thaw: Vec<String>,
    /// The longest that any of them may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self {
            peer_stop: Vec::new(),
            peer_start: Vec::new(),
            home_stop: Vec::new(),
            home_start: Vec::new(),
            freeze: Vec::new(),
            thaw: Vec::new(),
            timeout_ms: 120_000,
        }
    }
}

/// Where a command finds the configuration and the data: the flags that every command on a data directory has.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct PlaceFlags {
    /// Configuration file, TOML [env: FAILBACKD_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Data directory [env: FAILBACKD_DATA_DIR] [default: /var/lib/failbackd]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// The flags of `serve` and `check-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ServeFlags {
    /// Where configuration and data are.
    #[command(flatten)]
    pub place: PlaceFlags,
    /// Clear-text listener, or off [env: FAILBACKD_HTTP] [default: 127.0.0.1:5985]
    #[arg(long, value_name = "ADDR|off")]
    pub http: Option<String>,
    /// TLS listener, or off [env: FAILBACKD_HTTPS] [default: 127.0.0.1:5986]
    #[arg(long, value_name = "ADDR|off")]
    pub https: Option<String>,
    /// Take passwords over clear text [env: FAILBACKD_ALLOW_UNENCRYPTED]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub allow_unencrypted: Option<bool>,
    /// Whose word counts where standards and WinRM differ [env: FAILBACKD_PROFILE] [default: ms]
    #[arg(long, value_enum)]
    pub profile: Option<ProfileName>,
    /// Write every exchange into this directory, for labs [env: FAILBACKD_RECORD]
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Form of the log [env: FAILBACKD_LOG_FORMAT] [default: auto]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Level or filter of the log [env: FAILBACKD_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl From<PlaceFlags> for ServeFlags {
    fn from(place: PlaceFlags) -> Self {
        Self { place, ..Self::default() }
    }
}
