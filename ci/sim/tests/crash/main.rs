//! Servers that crash, seed by seed. `COREWHEEL_SIM_SEED` is the first, `COREWHEEL_SIM_SEEDS` how many runs of ten crashes.

use simulation::crash::{CrashWorld, Report};
use simulation::plan::{Fault, Plan};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Crashes of one world.
const CRASHES: usize = 10;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")));
    let first: u64 = number("COREWHEEL_SIM_SEED", 1);
    first..first + number("COREWHEEL_SIM_SEEDS", default)
}

/// A world in which no key has to go: where one may go at any time, one that is lost looks the same.
fn roomy(seed: u64, crashes: usize) -> Plan {
    Plan { room_bytes: None, ..Plan::of(seed, crashes) }
}

/// A server that keeps nothing must be found out, else whoever says that nothing is lost has not looked.
#[test]
fn a_server_that_forgets_is_found_out() {
    for seed in seeds(8) {
        let finding = CrashWorld::run(&roomy(seed, CRASHES), false).expect_err("everything is lost");
        assert!(["must be", "lost", "not even written", "clock went back"].iter().any(|word| finding.why.contains(word)), "{finding}");
    }
}

/// As long as nothing crashes, a server that keeps nothing does as well as any other, and the model agrees with all it says.
#[test]
fn nothing_is_found_where_nothing_crashes() {
    for seed in seeds(20) {
        let mut plan = roomy(seed, 1);
        plan.lives[0].crash_at = None;
        plan.lives[0].crash_in_loading = None;
        plan.lives[0].commands = 200;
        let finding = CrashWorld::run(&plan, false).expect_err("the end of the only life takes everything");
        assert_eq!(finding.life, 1, "{finding}");
    }
}

/// A failure comes back with its seed.
#[test]
fn a_seed_is_a_history() {
    let lives = |seed| CrashWorld::run(&roomy(seed, CRASHES), false).expect_err("everything is lost").to_string();
    assert_eq!(lives(3), lives(3));
    assert_ne!(lives(3), lives(4));
}

/// Where a period is all that is promised, on disks that are slow now and then: commands over several cores must not let a crash
/// take back more. Without lines through all streams (see `engine::line`) some of these seeds find that it does.
#[test]
fn a_period_is_one_over_several_cores_too() {
    for seed in seeds(60) {
        let fault = if seed.is_multiple_of(3) { Fault::Nothing } else { Fault::Slow };
        let ladder = format!("periodic:{}", 5 + seed % 40).parse().expect("a ladder");
        let plan = Plan { ladder, operated: false, room_bytes: None, ..Plan::on(seed, CRASHES, Some(fault)) };
        if let Err(finding) = CrashWorld::run(&plan, true) {
            panic!("{finding}");
        }
    }
}

/// Seeds that found something, and what it was. Their histories change with the simulator; what they showed may not come back.
const FOUND: [(u64, &str); 14] = [
    (55, "keys still had to make room when the log had ended, and were back after the start"),
    (210, "the age of what was lost was counted through lives that never served, on a disk that fails"),
    (750, "the model took the moment when somebody found a key gone for that when it went"),
    (803, "a part of MSET was refused for want of memory after the others were done"),
    (
        896,
        "a stream that ended in a full segment never came to its end; a frame that found no place in one less than half full waited for ever",
    ),
    (1069, "the model counted a time to live that was given twice within a millisecond"),
    (1255, "a snapshot that a killed process left in the page cache counted among the kept, and was lost with the power"),
    (1280, "the same, with an older snapshot to fall back on"),
    (1290, "the model took it for sure that a key is there whose write was refused"),
    (1292, "as 750, on a slow disk"),
    (1783, "as 55"),
    (1788, "the simulator let cores sleep for longer than they had said, and writes were late"),
    (5000, "a server that was ending polled for keys whose time had come, which it did not let go any more"),
    (5720, "a client that waited for a snapshot was not told that the server stops, and held that up"),
];

#[test]
fn what_was_found_stays_mended() {
    for (seed, what) in FOUND {
        if let Err(finding) = CrashWorld::run(&Plan::of(seed, CRASHES), true) {
            panic!("it was: {what}. Now: {finding}");
        }
    }
}

/// Whatever a server promised is there after every crash, and nothing else. A world that panics fails like one that finds something.
#[test]
fn nothing_promised_is_lost() {
    let seeds = seeds(100);
    let mut sum = Report::default();
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| CrashWorld::run(&Plan::of(seed, CRASHES), true))) {
            Ok(Ok(report)) => sum.add(&report),
            Ok(Err(finding)) => {
                println!("{finding}\n");
                failed.push(seed);
            }
            Err(_) => {
                println!("COREWHEEL_SIM_SEED={seed}: it panicked; see above\n");
                failed.push(seed);
            }
        }
    }
    println!("crash: seeds {} to {}: {sum}", seeds.start, seeds.end - 1);
    assert!(failed.is_empty(), "{} of {} seeds failed: {failed:?}", failed.len(), seeds.end - seeds.start);
}
