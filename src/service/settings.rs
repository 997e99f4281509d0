//! Settings of the engine, with their defaults spelled out.

/// How much the engine does at once, how long it keeps and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Jobs that move data at the same time; the rest wait as New, in order.
    pub max_active_transfers: usize,
    /// Size of the job table, finished jobs included.
    pub jobs_max: usize,
    /// Milliseconds that a job stays readable after its end.
    pub time_before_removal_ms: u64,
    /// Limit of a backend's admission check, milliseconds.
    pub admission_limit_ms: u64,
    /// Admission checks that may be open at the same time.
    pub admissions_max: usize,
    /// Most rounds while the peer still runs; the final one comes on top.
    pub rounds_max: u32,
    /// The peer is stopped when a round estimates that no more than this many octets are left.
    pub final_round_octets: u64,
    /// Progress is made durable at most this often, milliseconds.
    pub progress_persist_ms: u64,
    /// Octets per second over the link, all jobs together; none for no limit.
    pub link_octets_per_second: Option<u64>,
    /// Transfers wait until [`super::Engine::release_transfers`]: for tests and benchmarks.
    pub transfers_held: bool,
    /// How long a shutdown waits for running steps to stop, milliseconds.
    pub shutdown_limit_ms: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_active_transfers: 6,
            jobs_max: 10_000,
            time_before_removal_ms: 300_000,
            admission_limit_ms: 10_000,
            admissions_max: 64,
            rounds_max: 8,
            final_round_octets: 16 << 20,
            progress_persist_ms: 5_000,
            link_octets_per_second: None,
            transfers_held: false,
            shutdown_limit_ms: 10_000,
        }
    }
}
