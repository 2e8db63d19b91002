//! Servers that crash, seed by seed. `COREWHEEL_SIM_SEED` is the first, `COREWHEEL_SIM_SEEDS` how many runs of ten crashes.

use simulation::crash::{CrashWorld, Report};
use simulation::plan::Plan;

/// Crashes of one world.
const CRASHES: usize = 10;

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")));
    let first: u64 = number("COREWHEEL_SIM_SEED", 1);
    first..first + number("COREWHEEL_SIM_SEEDS", default)
}

/// A server that keeps nothing must be found out, else whoever says that nothing is lost has not looked.
#[test]
fn a_server_that_forgets_is_found_out() {
    for seed in seeds(8) {
        let finding = CrashWorld::run(&Plan::of(seed, CRASHES), false).expect_err("everything is lost");
        assert!(["must be", "lost", "not even written", "clock went back"].iter().any(|word| finding.why.contains(word)), "{finding}");
    }
}

/// As long as nothing crashes, a server that keeps nothing does as well as any other, and the model agrees with all it says.
#[test]
fn nothing_is_found_where_nothing_crashes() {
    for seed in seeds(20) {
        let mut plan = Plan::of(seed, 1);
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
    let lives = |seed| CrashWorld::run(&Plan::of(seed, CRASHES), false).expect_err("everything is lost").to_string();
    assert_eq!(lives(3), lives(3));
    assert_ne!(lives(3), lives(4));
}

/// Whatever a server promised is there after every crash, and nothing else.
#[test]
fn nothing_promised_is_lost() {
    let seeds = seeds(100);
    let mut sum = Report::default();
    for seed in seeds.clone() {
        match CrashWorld::run(&Plan::of(seed, CRASHES), true) {
            Ok(report) => sum.add(&report),
            Err(finding) => panic!("{finding}"),
        }
    }
    println!("crash: seeds {} to {}: {sum}", seeds.start, seeds.end - 1);
}
