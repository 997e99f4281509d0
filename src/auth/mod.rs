//! Who is asking: principals and the mechanisms that make them.
//!
//! The one rule of this module: a [`Principal`] comes out of an authenticator that has seen proof, and out of nothing
//! else. There is no default principal and no constructor outside this module, so a request without proof has no
//! identity that a mistake elsewhere could make use of.
//!
//! What reads octets of strangers is pure: [`ntlm`], [`spnego`], [`seal`], the messages of [`credssp`], the keytab and
//! the tokens of [`kerberos`]; each has a fuzz target. [`users`] reads and writes the users file. What takes long
//! (argon2, MIT's library, TLS handshakes inside CredSSP) runs on blocking threads. ARCHITECTURE.md, Logins, has the
//! whole.

mod account;
pub mod basic;
mod cache;
pub mod certificate;
pub mod credssp;
pub mod kerberos;
mod local;
pub mod mechanism;
pub mod negotiate;
pub mod ntlm;
mod pace;
#[cfg(feature = "pam")]
pub mod pam;
pub mod password;
pub mod principal;
pub mod protection;
mod queue;
pub mod seal;
pub mod session;
pub mod spnego;
pub mod throttle;
pub mod users;

pub use account::Account;
pub use basic::{Basic, BasicSettings};
pub use certificate::{Certificate, CertificateRule, CertificateRules, RuleError};
pub use credssp::{CredSsp, Identity};
pub use kerberos::{Kerberos, KerberosError, KerberosSettings};
pub use local::{LocalRefusal, local_administrator};
pub use mechanism::{Accepted, Channel, Exchange, Mechanism, Outcome, Proof, Refusal, Step};
pub use principal::{Principal, Role, RoleError};
pub use protection::{ChannelBinding, Protection, SealError, Sealing, SecurityContext};
pub use session::{Mechanisms, Session, Settled, Verdict};
pub use throttle::{Throttle, ThrottleSettings};
pub use users::{Secrets, UserEntry, UserFile, Users, UsersError, UsersUnusable};
