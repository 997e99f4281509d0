//! What is durable of a subscription.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::{Account, Principal};
use crate::job::Timestamp;
use crate::soap::SelectorSet;
use crate::wscim::CLASS_SELECTOR;
use crate::wsman::eventing::{Credentials, Delivery, DeliveryMode, Sink, format_date_time};
use crate::wsman::format_duration;

use super::Position;

/// A subscription as it is stored: all that it needs to go on after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `wse:Identifier`.
    pub id: Uuid,
    /// The context by which its events are pulled.
    pub context: Option<Uuid>,
    /// Whose it is.
    pub owner: Owner,
    /// The resource URI of its Subscribe.
    pub resource_uri: String,
    /// The CIM namespace that a selector of its Subscribe named.
    pub namespace: Option<String>,
    /// The text of its filter, in WQL.
    pub filter: Option<String>,
    /// How its events are delivered.
    pub delivery: Delivery,
    /// Where its end is told.
    pub end_to: Option<Sink>,
    /// What its sink asks for. Stored as the rest is: in the data directory, which is its owner's alone.
    pub credentials: Option<Credentials>,
    /// Whether deliveries carry bookmarks.
    pub bookmarks: bool,
    /// The address by which its manager was reached.
    pub manager: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether the subscriber counts in points of time.
    pub as_time: bool,
}

/// Whose a subscription is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The user's name as the users file spells it.
    pub name: String,
    /// Whether it is the local administrator, who is no user.
    pub local: bool,
    /// The account as it was: whoever has the name later, or another password, is not the owner. None of the local
    /// administrator, and of what earlier servers stored.
    #[serde(default)]
    pub account: Option<Account>,
}

impl Owner {
    /// Whoever asks.
    pub(crate) fn of(principal: &Principal) -> Self {
        Self { name: principal.name().to_owned(), local: principal.is_local(), account: principal.account() }
    }

    /// Whether whoever asks is the owner.
    pub(crate) fn is(&self, principal: &Principal) -> bool {
        let same = self.account.is_none() || self.account == principal.account();
        same && self.name == principal.name() && self.local == principal.is_local()
    }
}

/// How far a subscription has come. Stored apart, since it changes with each delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Everything up to here was delivered, or was not asked for.
    pub position: Position,
    /// How many events were dropped as far as the sink was told.
    pub dropped: u64,
    /// How many more were, of which it is still to be told.
    #[serde(default)]
    pub untold: u64,
}

impl Record {
    /// `wse:Identifier` as text.
    pub fn identifier(&self) -> String {
        self.id.hyphenated().to_string().to_ascii_uppercase()
    }

    /// Where its end is told; nowhere when its events are pulled.
    pub fn end_sink(&self) -> Option<&Sink> {
        self.end_to.as_ref().filter(|_| self.delivery.mode != DeliveryMode::Pull)
    }

    /// `wse:Expires`, in the kind in which the subscriber asked.
    //= EVT-28
    pub fn expires_text(&self, now: Timestamp) -> String {
        if self.as_time {
            return format_date_time(self.expires.0);
        }
        // Whole milliseconds, rounded up: a client that waits for it is not to come too late.
        format_duration(Duration::from_millis(self.expires.micros_since(now).div_ceil(1_000)))
    }

    /// The selectors of its Subscribe that matter.
    pub(crate) fn selectors(&self) -> SelectorSet {
        let set = SelectorSet::default();
        match &self.namespace {
            Some(namespace) => set.with(CLASS_SELECTOR, namespace.clone()),
            None => set,
        }
    }
}
