//! The state machine of a replication relationship, seen from home's copy.
//!
//! ```text
//!   primary (mode 1)                          replica (mode 2)
//!
//!   3 ──PeerTookOver──► 3 (authority: peer)
//!   │                   │ StateRequested(2)
//!   │ StateRequested(4) └───────────────────► 2 ─┐                      FailbackCancelled, FailbackFailed:
//!   ▼                                         3  │                      back to the prior state,
//!   4 ──FailoverReverted──► 3                 7  ├─FailbackAdmitted─► 13 ──────────────► prior
//!                                             8  │                    │
//!                                             9 ─┘                    │ FailbackCompleted (authority: home)
//!                                                                     ▼
//!   3 ◄──ReplicationReversed── 6 ◄────────FailoverCommitted────────── 14 ──FailoverReverted──► prior
//!   3 ◄──ReplicationReversed────────────────────────────────────────── 14      (authority: peer)
//! ```
//!
//! * `prior` is the state before the failback: 2, 3, 7, 8 or 9. It is kept until the commit, because a revert needs it.
//! * Resume (3), suspend (7), cancel of the initial replication (1) or of a resynchronization (9) and the retry of a
//!   disk update (15) follow the table of Hyper-V's own transitions.
//! * The authority says which site's copy is the real one. Home may run only with the authority, and a failback is
//!   admitted only without it: so there are never two runnable copies, and a failback can never overwrite the only one.
//! * The epoch grows whenever the ownership of a job or the authority changes; backends refuse older orders.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::vm::{EnabledState, ReplicationHealth, ReplicationMode, ReplicationState};

/// Which of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Site {
    /// The site that this endpoint serves.
    Home,
    /// The other one, where the virtual machine runs after a failover.
    Peer,
}

/// What a failback returns to when it is undone or reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prior {
    /// The state before.
    pub state: ReplicationState,
    /// The health before.
    pub health: ReplicationHealth,
}

/// The part of a virtual machine's record that the state machine decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Role of home's copy.
    pub mode: ReplicationMode,
    /// State of the relationship.
    pub state: ReplicationState,
    /// Health of the relationship.
    pub health: ReplicationHealth,
    /// Power state of home's copy.
    pub enabled: EnabledState,
    /// Which site's copy is the real one.
    pub authority: Site,
    /// Grows with every change of ownership or authority.
    pub epoch: u64,
    /// What to return to.
    pub prior: Option<Prior>,
    /// Home's data is no consistent copy of anything.
    pub needs_resync: bool,
}

/// What happens to a relationship. A closed set: every event is decided for every standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmEvent {
    /// A failback was accepted.
    FailbackAdmitted,
    /// A job was taken up, for the first time or again after a restart: older orders become void.
    OwnerChanged,
    /// The end transaction of a failback.
    FailbackCompleted,
    /// A failback was cancelled and undone.
    FailbackCancelled,
    /// A failback failed and was undone.
    FailbackFailed,
    /// CommitFailover.
    FailoverCommitted,
    /// RevertFailover.
    FailoverReverted,
    /// ReverseReplicationRelationship.
    ReplicationReversed,
    /// The peer could not be started again after a revert.
    PeerNotResumed,
    /// The peer's copy was started in a failover: told by the administrator, since the peer decides it.
    PeerTookOver,
    /// RequestReplicationStateChange.
    StateRequested(ReplicationState),
    /// RequestStateChange of the virtual machine.
    PowerRequested(EnabledState),
}

/// An event that the standing does not allow: what it is now, and what would be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidState {
    /// Role now.
    pub mode: ReplicationMode,
    /// State now.
    pub state: ReplicationState,
    /// Power state now.
    pub enabled: EnabledState,
    /// What would be needed, in words.
    pub needs: &'static str,
}

impl fmt::Display for InvalidState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, state, enabled, needs } = self;
        write!(
            formatter,
            "ReplicationState is {state}, ReplicationMode {mode}, EnabledState {enabled}; needed: {needs}"
        )
    }
}

impl std::error::Error for InvalidState {}

impl ReplicationState {
    /// The states from which a failback may start.
    pub const FAILBACK_SOURCES: &'static [Self] = &[
        Self::WAITING_TO_COMPLETE_INITIAL_REPLICATION,
        Self::REPLICATING,
        Self::SUSPENDED,
        Self::CRITICAL,
        Self::WAITING_TO_START_RESYNCHRONIZATION,
    ];

    /// The states that RequestReplicationStateChange may ask for.
    pub const REQUESTABLE: &'static [Self] = &[
        Self::READY,
        Self::WAITING_TO_COMPLETE_INITIAL_REPLICATION,
        Self::REPLICATING,
        Self::SYNCED_REPLICATION_COMPLETE,
        Self::SUSPENDED,
        Self::WAITING_TO_START_RESYNCHRONIZATION,
        Self::DISK_UPDATE_IN_PROGRESS,
    ];
}

impl Standing {
    /// Whether home's copy may be running: the authority is here.
    #[must_use]
    pub fn home_may_run(&self) -> bool {
        self.authority == Site::Home
    }

    fn needs(&self, needs: &'static str) -> InvalidState {
        InvalidState { mode: self.mode, state: self.state, enabled: self.enabled, needs }
    }

    fn is_off(&self) -> bool {
        self.enabled == EnabledState::DISABLED
    }
}

/// The standing that follows from an event: pure, and total over every (standing, event).
pub fn apply(now: Standing, event: VmEvent) -> Result<Standing, InvalidState> {
    match event {
        VmEvent::FailbackAdmitted => failback_admitted(now),
        VmEvent::OwnerChanged => Ok(Standing { epoch: now.epoch.saturating_add(1), ..now }),
        VmEvent::FailbackCompleted => failback_completed(now),
        VmEvent::FailbackCancelled => failback_undone(now, ReplicationHealth::WARNING),
        VmEvent::FailbackFailed => failback_undone(now, ReplicationHealth::CRITICAL),
        VmEvent::FailoverCommitted => failover_committed(now),
        VmEvent::FailoverReverted => failover_reverted(now),
        VmEvent::ReplicationReversed => replication_reversed(now),
        VmEvent::PeerNotResumed => Ok(Standing { health: ReplicationHealth::CRITICAL, ..now }),
        VmEvent::PeerTookOver => peer_took_over(now),
        VmEvent::StateRequested(state) => state_requested(now, state),
        VmEvent::PowerRequested(enabled) => power_requested(now, enabled),
    }
}

fn failback_admitted(now: Standing) -> Result<Standing, InvalidState> {
    let source = ReplicationState::FAILBACK_SOURCES.contains(&now.state);
    if now.mode != ReplicationMode::REPLICA || now.authority != Site::Peer {
        return Err(now.needs("home's copy in the replica role (2) of a virtual machine that runs at the peer"));
    }
    if !now.is_off() {
        return Err(now.needs("home's copy turned off (EnabledState 3)"));
    }
    if !source {
        return Err(now.needs("ReplicationState 2, 3, 7, 8 or 9"));
    }
    Ok(Standing {
        state: ReplicationState::FAILBACK_IN_PROGRESS,
        prior: Some(Prior { state: now.state, health: now.health }),
        epoch: now.epoch.saturating_add(1),
        ..now
    })
}

fn failback_completed(now: Standing) -> Result<Standing, InvalidState> {
    if now.state != ReplicationState::FAILBACK_IN_PROGRESS {
        return Err(now.needs("ReplicationState 13"));
    }
    Ok(Standing {
        state: ReplicationState::FAILBACK_COMPLETE,
        health: ReplicationHealth::OK,
        authority: Site::Home,
        epoch: now.epoch.saturating_add(1),
        needs_resync: false,
        ..now
    })
}

fn failback_undone(now: Standing, health: ReplicationHealth) -> Result<Standing, InvalidState> {
    match (now.state, now.prior) {
        (ReplicationState::FAILBACK_IN_PROGRESS, Some(prior)) => {
            Ok(Standing { state: prior.state, health, prior: None, needs_resync: true, ..now })
        }
        _ => Err(now.needs("ReplicationState 13 with a state to return to")),
    }
}

fn failover_committed(now: Standing) -> Result<Standing, InvalidState> {
    if now.state != ReplicationState::FAILBACK_COMPLETE {
        return Err(now.needs("a complete failback (ReplicationState 14)"));
    }
    Ok(Standing { state: ReplicationState::COMMITTED, prior: None, ..now })
}

fn failover_reverted(now: Standing) -> Result<Standing, InvalidState> {
    match (now.state, now.mode, now.prior) {
        (ReplicationState::FAILBACK_COMPLETE, _, Some(prior)) => Ok(Standing {
            state: prior.state,
            health: ReplicationHealth::WARNING,
            authority: Site::Peer,
            epoch: now.epoch.saturating_add(1),
            prior: None,
            needs_resync: true,
            ..now
        }),
        (ReplicationState::SYNCED_REPLICATION_COMPLETE, ReplicationMode::PRIMARY, _) if now.home_may_run() => {
            Ok(Standing { state: ReplicationState::REPLICATING, ..now })
        }
        _ => Err(now.needs("a complete failback that is not committed (14), or a prepared planned failover (4)")),
    }
}

fn replication_reversed(now: Standing) -> Result<Standing, InvalidState> {
    if !matches!(now.state, ReplicationState::COMMITTED | ReplicationState::FAILBACK_COMPLETE) || !now.home_may_run() {
        return Err(now.needs("a complete (14) or committed (6) failback"));
    }
    Ok(Standing {
        mode: ReplicationMode::PRIMARY,
        state: ReplicationState::REPLICATING,
        health: ReplicationHealth::OK,
        epoch: now.epoch.saturating_add(1),
        prior: None,
        needs_resync: false,
        ..now
    })
}

fn peer_took_over(now: Standing) -> Result<Standing, InvalidState> {
    let protected = now.mode == ReplicationMode::PRIMARY && now.state != ReplicationState::DISABLED;
    if !protected || !now.home_may_run() {
        return Err(now.needs("a protected primary (1) whose authority is here"));
    }
    Ok(Standing {
        enabled: EnabledState::DISABLED,
        health: ReplicationHealth::WARNING,
        authority: Site::Peer,
        epoch: now.epoch.saturating_add(1),
        ..now
    })
}

fn state_requested(now: Standing, requested: ReplicationState) -> Result<Standing, InvalidState> {
    use ReplicationState as State;
    let to = |state: State, health: ReplicationHealth| Ok(Standing { state, health, ..now });
    let primary = now.mode == ReplicationMode::PRIMARY;
    let (ok, warning) = (ReplicationHealth::OK, ReplicationHealth::WARNING);
    match (requested, now.state) {
        (State::READY, State::WAITING_TO_COMPLETE_INITIAL_REPLICATION | State::SUSPENDED | State::CRITICAL)
            if primary =>
        {
            to(State::READY, now.health)
        }
        (State::WAITING_TO_COMPLETE_INITIAL_REPLICATION, _) => become_replica(now),
        (State::REPLICATING, State::SUSPENDED | State::CRITICAL | State::WAITING_TO_START_RESYNCHRONIZATION) => {
            to(State::REPLICATING, if now.needs_resync { warning } else { ok })
        }
        (State::REPLICATING, State::RESYNCHRONIZATION_SUSPENDED) => to(State::RESYNCHRONIZING, now.health),
        (State::SYNCED_REPLICATION_COMPLETE, State::REPLICATING) if primary && now.is_off() && now.home_may_run() => {
            to(State::SYNCED_REPLICATION_COMPLETE, now.health)
        }
        (State::SUSPENDED, State::WAITING_TO_COMPLETE_INITIAL_REPLICATION | State::REPLICATING) => {
            to(State::SUSPENDED, warning)
        }
        (State::SUSPENDED, State::RESYNCHRONIZING) => to(State::RESYNCHRONIZATION_SUSPENDED, warning),
        (State::WAITING_TO_START_RESYNCHRONIZATION, State::RESYNCHRONIZING | State::RESYNCHRONIZATION_SUSPENDED)
            if primary =>
        {
            to(State::WAITING_TO_START_RESYNCHRONIZATION, warning)
        }
        (State::DISK_UPDATE_IN_PROGRESS, State::DISK_UPDATE_CRITICAL) => to(State::DISK_UPDATE_IN_PROGRESS, now.health),
        _ => Err(now.needs(match requested {
            State::READY => "a primary (1) in ReplicationState 2, 7 or 8",
            State::REPLICATING => "ReplicationState 7, 8, 9 or 11",
            State::SYNCED_REPLICATION_COMPLETE => "a primary (1) in ReplicationState 3 that is turned off",
            State::SUSPENDED => "ReplicationState 2, 3 or 10",
            State::WAITING_TO_START_RESYNCHRONIZATION => "a primary (1) in ReplicationState 10 or 11",
            State::DISK_UPDATE_IN_PROGRESS => "ReplicationState 16",
            _ => "a ReplicationState that can be requested",
        })),
    }
}

/// The old primary becomes the replica of the virtual machine that now runs at the peer.
fn become_replica(now: Standing) -> Result<Standing, InvalidState> {
    if now.mode != ReplicationMode::PRIMARY || now.state == ReplicationState::DISABLED {
        return Err(now.needs("a primary (1) with replication enabled"));
    }
    if now.home_may_run() {
        return Err(now.needs("a virtual machine that runs at the peer; here home holds the only current copy"));
    }
    if !now.is_off() {
        return Err(now.needs("home's copy turned off (EnabledState 3)"));
    }
    Ok(Standing {
        mode: ReplicationMode::REPLICA,
        state: ReplicationState::WAITING_TO_COMPLETE_INITIAL_REPLICATION,
        health: ReplicationHealth::OK,
        needs_resync: true,
        ..now
    })
}

fn power_requested(now: Standing, requested: EnabledState) -> Result<Standing, InvalidState> {
    let state_allows = now.state == ReplicationState::COMMITTED
        || (now.mode == ReplicationMode::PRIMARY && now.state != ReplicationState::SYNCED_REPLICATION_COMPLETE)
        || now.mode == ReplicationMode::NONE;
    match requested {
        EnabledState::ENABLED if now.enabled == EnabledState::ENABLED => Err(now.needs("a power state other than on")),
        EnabledState::ENABLED if now.home_may_run() && state_allows => {
            Ok(Standing { enabled: EnabledState::ENABLED, ..now })
        }
        EnabledState::ENABLED => Err(now.needs("a committed failback (6), or a primary (1) whose authority is here")),
        EnabledState::DISABLED if now.is_off() => Err(now.needs("a power state other than off")),
        EnabledState::DISABLED => Ok(Standing { enabled: EnabledState::DISABLED, ..now }),
        _ => Err(now.needs("a request for 2 (Enabled) or 3 (Disabled)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_standing() -> impl Iterator<Item = Standing> {
        let modes = (0..=4).map(ReplicationMode);
        modes.flat_map(|mode| {
            (0..=21).map(ReplicationState).flat_map(move |state| {
                [EnabledState(2), EnabledState(3), EnabledState(6)].into_iter().flat_map(move |enabled| {
                    [Site::Home, Site::Peer].into_iter().flat_map(move |authority| {
                        let priors = ReplicationState::FAILBACK_SOURCES.iter();
                        let priors = priors.map(|state| Some(Prior { state: *state, health: ReplicationHealth(1) }));
                        priors.chain([None]).map(move |prior| Standing {
                            mode,
                            state,
                            health: ReplicationHealth::OK,
                            enabled,
                            authority,
                            epoch: 7,
                            prior,
                            needs_resync: false,
                        })
                    })
                })
            })
        })
    }

    fn every_event() -> Vec<VmEvent> {
        let mut events = vec![
            VmEvent::FailbackAdmitted,
            VmEvent::OwnerChanged,
            VmEvent::FailbackCompleted,
            VmEvent::FailbackCancelled,
            VmEvent::FailbackFailed,
            VmEvent::FailoverCommitted,
            VmEvent::FailoverReverted,
            VmEvent::ReplicationReversed,
            VmEvent::PeerNotResumed,
            VmEvent::PeerTookOver,
        ];
        events.extend((0..=22).map(|state| VmEvent::StateRequested(ReplicationState(state))));
        events.extend((0..=11).map(|state| VmEvent::PowerRequested(EnabledState(state))));
        events
    }

    /// What must hold of every step of the machine, over every standing and event.
    #[test]
    fn every_step_keeps_the_rules() {
        let mut allowed = 0_u32;
        for standing in every_standing() {
            for event in every_event() {
                let Ok(next) = apply(standing, event) else { continue };
                allowed += 1;
                let told = format!("{standing:?} {event:?} -> {next:?}");
                assert!(next.epoch >= standing.epoch, "the epoch never goes back: {told}");
                if next.authority != standing.authority {
                    assert!(next.epoch > standing.epoch, "a change of authority is a new epoch: {told}");
                    assert!(next.enabled == EnabledState::DISABLED || standing.enabled == next.enabled, "{told}");
                }
                if next.enabled == EnabledState::ENABLED && standing.enabled != EnabledState::ENABLED {
                    assert_eq!(next.authority, Site::Home, "home starts only with the authority: {told}");
                }
                if next.state == ReplicationState::FAILBACK_IN_PROGRESS
                    && standing.state != ReplicationState::FAILBACK_IN_PROGRESS
                {
                    assert_eq!(event, VmEvent::FailbackAdmitted, "{told}");
                    assert!(next.prior.is_some() && standing.authority == Site::Peer, "{told}");
                }
                let by_our_hand =
                    next.state == ReplicationState::CRITICAL && standing.state != ReplicationState::CRITICAL;
                let returned = standing.prior.is_some_and(|prior| prior.state == ReplicationState::CRITICAL);
                assert!(!by_our_hand || returned, "never critical by our own hand: {told}");
            }
        }
        assert!(allowed > 1000, "{allowed}");
    }

    fn at_peer(state: u16) -> Standing {
        Standing {
            mode: ReplicationMode::REPLICA,
            state: ReplicationState(state),
            health: ReplicationHealth::OK,
            enabled: EnabledState::DISABLED,
            authority: Site::Peer,
            epoch: 1,
            prior: None,
            needs_resync: false,
        }
    }

    #[test]
    fn a_failback_starts_from_exactly_five_states() {
        let sources: Vec<u16> =
            (0..=21).filter(|state| apply(at_peer(*state), VmEvent::FailbackAdmitted).is_ok()).collect();
        assert_eq!(sources, [2, 3, 7, 8, 9]);
        for wrong in [
            Standing { mode: ReplicationMode::PRIMARY, ..at_peer(3) },
            Standing { mode: ReplicationMode::EXTENDED_REPLICA, ..at_peer(3) },
            Standing { enabled: EnabledState::ENABLED, ..at_peer(3) },
            Standing { authority: Site::Home, ..at_peer(3) },
        ] {
            assert!(apply(wrong, VmEvent::FailbackAdmitted).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_whole_path_and_both_ways_back() {
        for state in [2, 3, 7, 8, 9] {
            let running = apply(at_peer(state), VmEvent::FailbackAdmitted).unwrap();
            assert_eq!(running.state, ReplicationState(13));
            let cancelled = apply(running, VmEvent::FailbackCancelled).unwrap();
            assert_eq!((cancelled.state.0, cancelled.health.0, cancelled.needs_resync), (state, 2, true));
            let failed = apply(running, VmEvent::FailbackFailed).unwrap();
            assert_eq!((failed.state.0, failed.health.0, failed.needs_resync), (state, 3, true));
            let complete = apply(running, VmEvent::FailbackCompleted).unwrap();
            assert_eq!((complete.state.0, complete.mode.0, complete.authority), (14, 2, Site::Home));
            assert!(apply(complete, VmEvent::PowerRequested(EnabledState::ENABLED)).is_err(), "not before the commit");
            let reverted = apply(complete, VmEvent::FailoverReverted).unwrap();
            assert_eq!((reverted.state.0, reverted.authority, reverted.needs_resync), (state, Site::Peer, true));
            let committed = apply(complete, VmEvent::FailoverCommitted).unwrap();
            assert_eq!(committed.state.0, 6);
            assert!(apply(committed, VmEvent::FailoverReverted).is_err(), "no way back after the commit");
            assert!(apply(committed, VmEvent::PowerRequested(EnabledState::ENABLED)).is_ok());
            for from in [complete, committed] {
                let primary = apply(from, VmEvent::ReplicationReversed).unwrap();
                assert_eq!((primary.mode.0, primary.state.0), (1, 3));
                assert!(apply(primary, VmEvent::PowerRequested(EnabledState::ENABLED)).is_ok());
                assert!(apply(primary, VmEvent::StateRequested(ReplicationState(2))).is_err(), "home is the real one");
            }
        }
    }

    #[test]
    fn an_old_primary_is_put_into_the_replica_role() {
        let primary = Standing { mode: ReplicationMode::PRIMARY, authority: Site::Home, ..at_peer(3) };
        let taken = apply(Standing { enabled: EnabledState::ENABLED, ..primary }, VmEvent::PeerTookOver).unwrap();
        assert_eq!((taken.enabled.0, taken.authority), (3, Site::Peer));
        let replica = apply(taken, VmEvent::StateRequested(ReplicationState(2))).unwrap();
        assert_eq!((replica.mode.0, replica.state.0), (2, 2));
        assert!(apply(replica, VmEvent::FailbackAdmitted).is_ok());
    }
}
