//! One line of the audit log.

use std::borrow::Cow;

use serde::Serialize;
use time::OffsetDateTime;

use crate::auth::Principal;
use crate::endpoint::{Journal, Outcome};
use crate::job::Timestamp;
use crate::transport::{Login, Peer, RequestContext};

/// Characters of a text of the client's: an id of a megabyte is not to fill the disk.
const TEXT_CHARACTERS_MAX: usize = 512;

/// The members in the order in which they are written; what is not known is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'l> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mechanism: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_value: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl<'l> Line<'l> {
    /// An event that nobody asked for; `count` is how many of something, where the event is about several.
    pub(super) fn of_server(now: Timestamp, event: &'static str, count: Option<u64>) -> Self {
        Self { time: rfc_3339(now), event, count, ..Self::default() }
    }

    /// A login, or the refusal of one.
    pub(super) fn of_login(now: Timestamp, peer: Peer, encrypted: bool, login: &Login<'l>) -> Self {
        let line = Self {
            event: "login",
            peer: Some(peer.to_string()),
            encrypted: Some(encrypted),
            ..Self::of_server(now, "login", None)
        };
        match *login {
            Login::Accepted(principal) => Self { outcome: Some("ok"), ..line.by(principal) },
            Login::Unsealed(principal) => {
                Self { outcome: Some("refused"), why: Some(Cow::Borrowed("a message in clear")), ..line.by(principal) }
            }
            Login::Ended { principal, why } => {
                Self { outcome: Some("ended"), why: Some(text(why)), ..line.by(principal) }
            }
            Login::Refused { scheme, user, why } => Self {
                user: user.map(text),
                mechanism: Some(text(scheme)),
                outcome: Some("refused"),
                why: Some(text(why)),
                ..line
            },
        }
    }

    /// A request that was answered.
    pub(super) fn of_request(now: Timestamp, context: &'l RequestContext, journal: &'l Journal) -> Self {
        let line = Self { event: "request", ..Self::of_change(now, context, journal) };
        let (outcome, return_value, refusal, why) = match &journal.outcome {
            Outcome::Ok => ("ok", None, None, None),
            Outcome::Returned(value) => ("returned", Some(*value), None, None),
            Outcome::Fault { name, reason, .. } => (*name, None, None, Some(text(reason))),
            Outcome::Denied { return_value, message_id, message } => {
                ("denied", Some(*return_value), Some(*message_id), Some(text(message)))
            }
        };
        let missing = journal.outcome.missing();
        Self { outcome: Some(outcome), return_value, refusal, missing, why, ..line }
    }

    /// A change that is about to be carried out.
    pub(super) fn of_change(now: Timestamp, context: &'l RequestContext, journal: &'l Journal) -> Self {
        let line = Self {
            peer: Some(context.peer.to_string()),
            encrypted: Some(context.encrypted),
            sealed: Some(context.sealed),
            operation: Some(journal.operation).filter(|operation| !operation.is_empty()),
            class: journal.class.as_deref().map(text),
            method: journal.method.as_deref().map(text),
            keys: journal.keys.as_deref().map(text),
            vm: journal.vm.as_deref().map(text),
            job: journal.job.map(|job| job.to_string()),
            message_id: journal.message_id.as_deref().map(text),
            ..Self::of_server(now, "change", None)
        };
        match context.principal.as_deref() {
            Some(principal) => line.by(principal),
            None => line,
        }
    }

    fn by(self, principal: &'l Principal) -> Self {
        Self {
            user: Some(text(principal.name())),
            role: Some(principal.role().as_str()),
            mechanism: Some(Cow::Borrowed(principal.mechanism())),
            ..self
        }
    }

    /// Appends the line with its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // Strings and numbers, into memory: nothing of it can fail.
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        }
    }
}

/// A text that may be the client's: cut, and without what would change a terminal or the look of a line. JSON's own
/// escapes come on top.
fn text(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(TEXT_CHARACTERS_MAX).map(|(end, _)| end);
    let cut = end.and_then(|end| text.get(..end)).unwrap_or(text);
    if end.is_none() && !cut.chars().any(is_treacherous) {
        return Cow::Borrowed(cut);
    }
    let mut shown = String::with_capacity(cut.len());
    for c in cut.chars() {
        if is_treacherous(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    if end.is_some() {
        shown.push('\u{2026}');
    }
    Cow::Owned(shown)
}

/// Control characters of both sets, and the marks that turn or hide text.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `2026-01-02T03:04:05.678Z`.
fn rfc_3339(now: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Role;

    const NOW: Timestamp = Timestamp(1_767_323_045_678_901);

    fn written(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_says_who_did_what_from_where_to_what_and_how_it_ended() {
        let principal = Principal::for_tests("otto", Role::Operator);
        let context = RequestContext {
            principal: Some(Arc::new(principal)),
            peer: Peer::Tcp("192.0.2.7:4711".parse().unwrap()),
            encrypted: false,
            sealed: true,
            charset: None,
            soap_action: None,
            head: None,
        };
        let journal = Journal {
            operation: "Invoke",
            class: Some("Msvm_ReplicationService".into()),
            method: Some("InitiateFailback".to_owned()),
            keys: Some("Name=replicasvc".to_owned()),
            vm: Some("web01".to_owned()),
            message_id: Some("uuid:1".to_owned()),
            job: None,
            outcome: Outcome::Returned(4096),
        };
        assert_eq!(
            written(&Line::of_request(NOW, &context, &journal)),
            concat!(
                r#"{"time":"2026-01-02T03:04:05.678Z","event":"request","user":"otto","role":"operator","#,
                r#""peer":"192.0.2.7:4711","mechanism":"test","encrypted":false,"sealed":true,"operation":"Invoke","#,
                r#""class":"Msvm_ReplicationService","method":"InitiateFailback","keys":"Name=replicasvc","#,
                r#""vm":"web01","outcome":"returned","return_value":4096,"message_id":"uuid:1"}"#,
                "\n"
            )
        );
        let denied = Journal {
            outcome: Outcome::Fault {
                name: "AccessDenied",
                reason: "no".to_owned(),
                internal: Some("role administrator".to_owned()),
            },
            ..Journal::default()
        };
        let line = written(&Line::of_request(NOW, &context, &denied));
        let end = r#""outcome":"AccessDenied","missing":"role administrator","why":"no"}"#;
        assert!(line.trim_end().ends_with(end), "{line}");
    }

    #[test]
    fn no_text_of_a_client_makes_a_line_or_moves_a_cursor() {
        let user = "otto\",\"role\":\"x\"}\r\n{\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{7f}\0\\u{9b}j\u{f6}rg";
        let login = Login::Refused { scheme: "ba\nsic", user: Some(user), why: "wrong" };
        let line = written(&Line::of_login(NOW, Peer::Local, true, &login));
        assert_eq!(line.matches('\n').count(), 1);
        let line = line.trim_end();
        assert!(!line.chars().any(is_treacherous), "{line}");
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(read["role"], serde_json::Value::Null);
        let told = read["user"].as_str().unwrap();
        assert!(told.contains("\\u{1b}[2J\\u{9b}31m\\u{202e}\\u{2028}\\u{7f}\\u{0}") && told.ends_with("j\u{f6}rg"));
        let long = "\u{20ac}".repeat(1_000_000);
        let login = Login::Refused { scheme: "basic", user: Some(&long), why: "wrong" };
        let line = written(&Line::of_login(NOW, Peer::Local, true, &login));
        assert!(line.len() < 2_000 && line.contains("\u{20ac}\u{2026}\""));
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc_3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc_3339(Timestamp(-1_000)), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc_3339(Timestamp(i64::MAX)), "1970-01-01T00:00:00.000Z", "no such time");
    }
}
