//! Deliberate faults, to prove that the simulator finds them. They exist with the feature `planted` only, which nothing but the
//! simulator turns on; without it every question here is a constant `false`.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A write that should be synced is not, and counts as if it were.
    SyncSkipped,
    /// Replies leave when a write begins, not when it is synced.
    AckedBeforeSync,
    /// A frame in the middle that cannot be read is taken for the torn end of a log.
    DamageTakenForTornTail,
    /// New names are not made durable.
    DirectorySyncForgotten,
    /// An entry is applied twice.
    EntryReplayedTwice,
    /// A read shows what is not yet synced.
    ReadNotParked,
    /// A sync that failed counts as done.
    SyncErrorIgnored,
    /// The keys of a command over several cores are let go before all parts are synced.
    HoldsReleasedEarly,
    /// A command over several cores is kept although parts of it are missing.
    HalfTransactionKept,
    /// After a restart the clock may go back.
    ClockFloorForgotten,
    /// What a killed process left in the page cache is taken for durable.
    TailNotSyncedAfterKill,
    /// What is durable on one core counts as safe although a crash could cut it for the sake of another.
    CutTakenForSafe,
}

impl Bug {
    /// Every one.
    pub const ALL: [Bug; 12] = [
        Bug::SyncSkipped,
        Bug::AckedBeforeSync,
        Bug::DamageTakenForTornTail,
        Bug::DirectorySyncForgotten,
        Bug::EntryReplayedTwice,
        Bug::ReadNotParked,
        Bug::SyncErrorIgnored,
        Bug::HoldsReleasedEarly,
        Bug::HalfTransactionKept,
        Bug::ClockFloorForgotten,
        Bug::TailNotSyncedAfterKill,
        Bug::CutTakenForSafe,
    ];
}

/// Whether this fault is in place on this thread.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this fault is in place on this thread.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Does something with this fault in place on this thread, or with none.
#[cfg(feature = "planted")]
pub fn with<T>(bug: Option<Bug>, what: impl FnOnce() -> T) -> T {
    struct Restore(Option<Bug>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLANTED.set(self.0);
        }
    }
    let _restore = Restore(PLANTED.replace(bug));
    what()
}
