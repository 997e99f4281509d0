//! Passwords that the system checks (PAM), for Basic: the cargo feature `pam`.
//!
//! The user must still be one of the users file, which gives the role; only the password is the system's. PAM modules
//! are code of others in this process, with its rights: who enables the feature decides to trust them.

use std::ffi::{CStr, CString};

use pam_client2::{Context, ConversationHandler, ErrorCode, Flag};
use zeroize::Zeroizing;

/// The PAM service that is asked (`/etc/pam.d/NAME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PamService(pub String);

impl PamService {
    /// Whether the system takes the password and the account is valid now. Blocks, and may take seconds.
    pub(super) fn verify(&self, user: &str, password: &[u8]) -> bool {
        let answers = Answers { user: user.to_owned(), password: Zeroizing::new(password.to_vec()) };
        let checked = Context::new(&self.0, Some(user), answers).and_then(|mut context| {
            context.authenticate(Flag::DISALLOW_NULL_AUTHTOK)?;
            context.acct_mgmt(Flag::DISALLOW_NULL_AUTHTOK)
        });
        if let Err(error) = &checked {
            tracing::debug!(service = self.0, %error, "PAM refused");
        }
        checked.is_ok()
    }
}

/// Answers what a module asks: the name in the open, the password where it is hidden, and nothing else.
struct Answers {
    user: String,
    password: Zeroizing<Vec<u8>>,
}

impl ConversationHandler for Answers {
    fn prompt_echo_on(&mut self, _: &CStr) -> Result<CString, ErrorCode> {
        CString::new(self.user.as_str()).map_err(|_| ErrorCode::CONV_ERR)
    }

    fn prompt_echo_off(&mut self, _: &CStr) -> Result<CString, ErrorCode> {
        CString::new(self.password.as_slice()).map_err(|_| ErrorCode::CONV_ERR)
    }

    fn text_info(&mut self, _: &CStr) {}

    fn error_msg(&mut self, _: &CStr) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service must take the password `right` of any user, and no other: see `tests/pam`.
    #[test]
    fn the_system_says_who_has_the_password() {
        let service = std::env::var("FAILBACKD_TEST_PAM").expect("FAILBACKD_TEST_PAM names a service; see tests/pam");
        let service = PamService(service);
        assert!(service.verify("otto", b"right"));
        for wrong in [&b"wrong"[..], b"", b"right ", b"ri\0ght", b"\xff"] {
            assert!(!service.verify("otto", wrong), "{wrong:?}");
        }
        assert!(!service.verify("ot\0to", b"right"));
        assert!(!PamService("failbackd-no-such-service".to_owned()).verify("otto", b"right"));
    }
}
