//! The proof that the simulator can fail: each deliberate fault is found within a hundred seeds.

use engine::planted::{self, Bug};
use simulation::crash::CrashWorld;
use simulation::plan::{Fault, Plan};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The faults that are tried.
const FAULTS: [Bug; 12] = [
    Bug::SyncSkipped,
    Bug::AckedBeforeSync,
    Bug::DamageTakenForTornTail,
    Bug::DirectorySyncForgotten,
    Bug::EntryReplayedTwice,
    Bug::ReadNotParked,
    Bug::HoldsReleasedEarly,
    Bug::HalfTransactionKept,
    Bug::ClockFloorForgotten,
    Bug::TailNotSyncedAfterKill,
    Bug::SyncErrorIgnored,
    Bug::CutTakenForSafe,
];

/// Crashes of one world.
const CRASHES: usize = 10;
/// Seeds within which a fault must be found.
const SEEDS: u64 = 100;

/// The world of a seed in which this fault could show.
fn plan(bug: Bug, seed: u64) -> Plan {
    match bug {
        // What is damaged must be, and what is read after it.
        Bug::DamageTakenForTornTail => Plan::on(seed, CRASHES, Some(Fault::Rots)),
        // Elsewhere keys are held, and nothing is cut.
        Bug::CutTakenForSafe => {
            let ladder = "periodic:20".parse().expect("a ladder");
            Plan { ladder, operated: false, room_bytes: None, ..Plan::on(seed, CRASHES, Some(Fault::Slow)) }
        }
        _ => Plan::of(seed, CRASHES),
    }
}

/// The first seed that finds this fault, and how. A fault may also show as a broken invariant of the server's own.
fn finds(bug: Bug) -> Option<(u64, String)> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (1..=SEEDS).find_map(|seed| {
        let run = || planted::with(Some(bug), || CrashWorld::run(&plan(bug, seed), true));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(_)) => None,
            Ok(Err(finding)) => Some((seed, finding.why.lines().next().unwrap_or_default().to_owned())),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
                Some((seed, format!("panic: {}", why.unwrap_or_default())))
            }
        }
    });
    std::panic::set_hook(quiet);
    found
}

#[test]
fn every_planted_fault_is_found() {
    let mut missed = Vec::new();
    for bug in FAULTS {
        match finds(bug) {
            Some((seed, why)) => println!("{bug:?}: found by seed {seed}: {why}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "{SEEDS} seeds do not find {missed:?}");
}
