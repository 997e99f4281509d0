//! Enumeration contexts: rows of a bounded table, one principal's each, unguessable, constant over the enumeration and
//! O(1) in memory (the scan and its last key). A released or expired one is gone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::job::Timestamp;
use crate::soap::Fault;
use crate::wsman::fault;

use super::scan::Scan;

/// Limits of enumeration contexts.
#[derive(Clone, Debug)]
pub struct CursorLimits {
    /// Open contexts of one principal.
    pub per_principal_max: usize,
    /// Open contexts altogether.
    pub total_max: usize,
    /// How long an idle context lives, in milliseconds, when the client asks for nothing shorter.
    pub idle_ms: u64,
}

impl Default for CursorLimits {
    fn default() -> Self {
        Self { per_principal_max: 4_096, total_max: 65_536, idle_ms: 600_000 }
    }
}

#[derive(Debug)]
struct Cursor {
    principal: String,
    scan: Scan,
    idle_ms: u64,
    expires: Timestamp,
}

/// The table of open contexts.
#[derive(Debug)]
pub(crate) struct Cursors {
    limits: CursorLimits,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    cursors: HashMap<Uuid, Cursor>,
    per_principal: HashMap<String, usize>,
    /// No row expires before this time, so a sweep before it would find nothing.
    sweep_at: Timestamp,
}

impl Rows {
    fn remove(&mut self, id: &Uuid) {
        let Some(cursor) = self.cursors.remove(id) else { return };
        if let Some(count) = self.per_principal.get_mut(&cursor.principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_principal.remove(&cursor.principal);
            }
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        if now < self.sweep_at {
            return;
        }
        let expired: Vec<Uuid> = self.cursors.iter().filter(|(_, c)| c.expires <= now).map(|(id, _)| *id).collect();
        for id in &expired {
            self.remove(id);
        }
        self.sweep_at = self.cursors.values().map(|cursor| cursor.expires).min().unwrap_or(now);
    }
}

impl Cursors {
    pub(crate) fn new(limits: CursorLimits) -> Self {
        Self { limits, rows: Mutex::default() }
    }

    /// The lock is held for a few map operations only, so a holder that panicked left nothing half done.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a context. `idle_ms` is what the client asked for; the shorter of it and the limit holds.
    //= ENU-31
    pub(crate) fn open(
        &self,
        id: Uuid,
        principal: &str,
        scan: Scan,
        idle_ms: Option<u64>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let idle_ms = idle_ms.unwrap_or(self.limits.idle_ms).min(self.limits.idle_ms);
        let expires = after(now, idle_ms);
        let mut rows = self.rows();
        let held = rows.per_principal.get(principal).copied().unwrap_or(0);
        if self.limits.per_principal_max <= held || self.limits.total_max <= rows.cursors.len() {
            rows.sweep_at = now;
            rows.sweep(now);
        } else {
            rows.sweep(now);
        }
        let held = rows.per_principal.get(principal).copied().unwrap_or(0);
        if self.limits.per_principal_max <= held {
            return Err(fault::quota_limit(format!(
                "the user has {held} open enumerations, the most allowed; release one or pull it to its end"
            )));
        }
        if self.limits.total_max <= rows.cursors.len() {
            return Err(fault::quota_limit("too many enumerations are open on this server; try again later"));
        }
        *rows.per_principal.entry(principal.to_owned()).or_default() += 1;
        if expires < rows.sweep_at || rows.cursors.is_empty() {
            rows.sweep_at = expires;
        }
        rows.cursors.insert(id, Cursor { principal: principal.to_owned(), scan, idle_ms, expires });
        Ok(())
    }

    /// The scan of a context as it stands. A context of someone else is as unknown as one that never was.
    //= ENU-03, ENU-22, ENU-32
    pub(crate) fn scan(&self, context: &str, principal: &str, now: Timestamp) -> Result<(Uuid, Scan), Fault> {
        let mut rows = self.rows();
        rows.sweep(now);
        let id = parse_context(context);
        match id.and_then(|id| rows.cursors.get(&id).map(|cursor| (id, cursor))) {
            Some((id, cursor)) if cursor.principal == principal && now < cursor.expires => {
                Ok((id, cursor.scan.clone()))
            }
            _ => Err(fault::invalid_enumeration_context(
                "the enumeration context is not open: it ended, was released or expired, or belongs to another user",
            )),
        }
    }

    /// Lets a context live for `idle_ms` from now on, as far as the limit allows, and says how long that is.
    pub(crate) fn renew(&self, id: Uuid, idle_ms: Option<u64>, now: Timestamp) -> u64 {
        let granted = idle_ms.unwrap_or(self.limits.idle_ms).min(self.limits.idle_ms);
        let mut rows = self.rows();
        if let Some(cursor) = rows.cursors.get_mut(&id) {
            cursor.idle_ms = granted;
            cursor.expires = after(now, granted);
            rows.sweep_at = rows.sweep_at.min(after(now, granted));
        }
        granted
    }

    /// How many milliseconds a context will live if it is left alone.
    pub(crate) fn remaining_ms(&self, id: Uuid, now: Timestamp) -> u64 {
        self.rows().cursors.get(&id).map_or(0, |cursor| cursor.expires.micros_since(now) / 1_000)
    }

    /// Keeps how far a context has come; it lives on for its idle time. One released meanwhile stays gone.
    //= ENU-30
    pub(crate) fn advance(&self, id: Uuid, scan: Scan, now: Timestamp) {
        if let Some(cursor) = self.rows().cursors.get_mut(&id) {
            cursor.scan = scan;
            cursor.expires = after(now, cursor.idle_ms);
        }
    }

    /// Ends a context.
    pub(crate) fn close(&self, id: Uuid) {
        self.rows().remove(&id);
    }
}

/// The name of a context as it is sent.
pub(crate) fn context_name(id: Uuid) -> String {
    let mut name = String::from("uuid:");
    name.push_str(&id.as_hyphenated().to_string().to_ascii_uppercase());
    name
}

pub(crate) fn parse_context(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let bare = text.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("uuid:")).and_then(|_| text.get(5..));
    bare.and_then(|bare| Uuid::try_parse(bare).ok())
}

fn after(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)))
}
