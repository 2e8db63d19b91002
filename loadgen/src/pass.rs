//! One pass over the target: threads are connected, started together, watched, and their harvest merged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::machine;
use crate::plan::{Pace, PassPlan, Plan};
use crate::port::Io;
use crate::port::poll::PollPort;
use crate::port::ring::RingPort;
use crate::tally::{Interval, Tally, histogram};
use crate::worker::{self, Harvest};

/// What threads and the watcher share. Threads write, the watcher reads; nobody waits.
pub(crate) struct Shared {
    /// End now, but properly.
    pub(crate) stop: AtomicBool,
    pub(crate) boards: Vec<Board>,
}

/// One thread's board. Aligned so that no two share a cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Board {
    pub(crate) finished: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// How long the oldest due request has been waiting.
    pub(crate) behind_ns: AtomicU64,
    /// Latencies since the last ones were taken.
    pub(crate) interval: Mutex<Option<Box<Interval>>>,
}

/// How a pass went.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// The generator's own lateness, per batch.
    pub(crate) late: Histogram<u64>,
    /// Of the thread that was busiest: CPU time without spinning, over wall time.
    pub(crate) busy_share: f64,
    /// CPU time of all threads while measuring, without and with spinning.
    pub(crate) busy: Duration,
    pub(crate) cpu: Duration,
    /// Share of the time in which something was due and no connection had room, of the worst thread.
    pub(crate) blocked_share: f64,
    pub(crate) offered: u64,
    /// What throughput is counted over.
    pub(crate) measured: Duration,
    pub(crate) io: &'static str,
    pub(crate) failures: Vec<String>,
    /// One entry a second: start and length since the pass began, and its latencies.
    pub(crate) intervals: Vec<(Duration, Duration, Interval)>,
}

/// What the watcher sees a few times a second.
pub(crate) struct Glance<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) finished: u64,
    pub(crate) errors: u64,
    pub(crate) behind: Duration,
    /// The last whole second, when there is one.
    pub(crate) interval: Option<&'a Interval>,
}

/// How often a pass is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// Runs `pass` and returns what came of it. `watch` is called a few times a second, `at_start` once when measuring begins.
pub(crate) fn run(
    plan: &Arc<Plan>,
    pass: &PassPlan,
    mut at_start: impl FnMut(),
    mut watch: impl FnMut(Glance<'_>),
) -> Result<Outcome, String> {
    let uring = match plan.io {
        Io::Epoll => false,
        Io::Uring => worker::probe::<RingPort>().map(|()| true).map_err(|error| format!("io_uring is refused here: {error}"))?,
        Io::Auto => worker::probe::<RingPort>().is_ok(),
    };
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), boards: (0..plan.threads).map(|_| Board::default()).collect() });
    let (ready_send, ready) = mpsc::channel();
    let mut threads = Vec::new();
    let mut starts = Vec::new();
    for thread in 0..plan.threads {
        let (start_send, start) = mpsc::channel();
        starts.push(start_send);
        let (plan, pass, shared, ready) = (plan.clone(), pass.clone(), shared.clone(), ready_send.clone());
        let run = if uring { worker::run::<RingPort> } else { worker::run::<PollPort> };
        let handle = std::thread::Builder::new()
            .name(format!("bench-{thread}"))
            .spawn(move || run(plan, pass, shared, thread, &ready, &start))
            .map_err(|error| format!("cannot start thread {thread}: {error}"))?;
        threads.push(handle);
    }
    drop(ready_send);
    for _ in 0..plan.threads {
        // A thread that fails drops the others' start signals by returning here, and they go home.
        ready.recv().map_err(|_| "a generator thread died".to_string())??;
    }
    let epoch = Instant::now();
    for start in starts {
        start.send(epoch).map_err(|_| "a generator thread died".to_string())?;
    }
    let intervals = watch_until_done(&threads, pass, &shared, epoch, &mut at_start, &mut watch);
    let mut harvests = Vec::new();
    for thread in threads {
        let harvest = thread.join().map_err(|_| "a generator thread panicked".to_string())?;
        harvests.push(harvest.ok_or("a generator thread died")?);
    }
    Ok(merge(pass, harvests, intervals))
}

fn watch_until_done<T>(
    threads: &[std::thread::JoinHandle<T>],
    pass: &PassPlan,
    shared: &Shared,
    epoch: Instant,
    at_start: &mut impl FnMut(),
    watch: &mut impl FnMut(Glance<'_>),
) -> Vec<(Duration, Duration, Interval)> {
    let mut intervals = Vec::new();
    let mut started = false;
    let mut taken_at = Duration::ZERO;
    let mut next_take = Duration::from_secs(1);
    loop {
        let done = threads.iter().all(std::thread::JoinHandle::is_finished);
        let elapsed = epoch.elapsed();
        if !started && elapsed >= pass.warmup {
            started = true;
            at_start();
        }
        if machine::interrupted() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        let mut fresh = None;
        if elapsed >= next_take || done {
            next_take = elapsed + Duration::from_secs(1);
            if let Some(interval) = take_interval(shared) {
                intervals.push((taken_at, elapsed - taken_at, interval));
                fresh = intervals.last();
            }
            taken_at = elapsed;
        }
        let sum = |read: fn(&Board) -> &AtomicU64| shared.boards.iter().map(|board| read(board).load(Ordering::Relaxed)).sum();
        let behind_ns = shared.boards.iter().map(|board| board.behind_ns.load(Ordering::Relaxed)).max().unwrap_or(0);
        watch(Glance {
            elapsed,
            finished: sum(|board| &board.finished),
            errors: sum(|board| &board.errors),
            behind: Duration::from_nanos(behind_ns),
            interval: fresh.map(|(_, _, interval)| interval),
        });
        if done {
            return intervals;
        }
        let warmup_left = pass.warmup.saturating_sub(epoch.elapsed());
        let nap = if started || warmup_left > GLANCE { GLANCE } else { warmup_left.max(Duration::from_micros(100)) };
        // Short passes should not wait for a glance to end.
        let nap_end = Instant::now() + nap;
        while Instant::now() < nap_end && !threads.iter().all(std::thread::JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5).min(nap));
        }
    }
}

fn take_interval(shared: &Shared) -> Option<Interval> {
    let mut all: Option<Interval> = None;
    for board in &shared.boards {
        let taken = board.interval.lock().ok().and_then(|mut slot| slot.take());
        if let Some(taken) = taken {
            match &mut all {
                Some(all) => all.add(&taken),
                None => all = Some(*taken),
            }
        }
    }
    all
}

fn merge(pass: &PassPlan, harvests: Vec<Harvest>, intervals: Vec<(Duration, Duration, Interval)>) -> Outcome {
    let share = |part: Duration, whole: Duration| part.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    let mut outcome = Outcome {
        tally: Tally::new(&[]),
        late: histogram(),
        busy_share: 0.0,
        busy: Duration::ZERO,
        cpu: Duration::ZERO,
        blocked_share: 0.0,
        offered: 0,
        measured: Duration::ZERO,
        io: "",
        failures: Vec::new(),
        intervals,
    };
    for harvest in harvests {
        outcome.tally.add(&harvest.tally);
        outcome.late.add(&harvest.late).expect("same bounds");
        outcome.busy_share = outcome.busy_share.max(share(harvest.busy, harvest.wall));
        outcome.busy += harvest.busy;
        outcome.cpu += harvest.cpu;
        outcome.blocked_share = outcome.blocked_share.max(share(harvest.blocked, harvest.wall).min(1.0));
        outcome.offered += harvest.offered;
        outcome.io = harvest.io;
        outcome.failures.extend(harvest.failure);
    }
    // From where measuring began to the last reply; an open loop offers nothing towards the end of a pass only if the
    // schedule says so, so its whole duration counts.
    let warmup_ns = pass.warmup.as_nanos() as u64;
    let replied_ns = outcome.tally.last_ns.saturating_sub(warmup_ns);
    let planned_ns = match (pass.pace, pass.duration, pass.requests) {
        (Pace::Open(..), Some(duration), None) if !machine::interrupted() => duration.as_nanos() as u64,
        _ => 0,
    };
    outcome.measured = Duration::from_nanos(replied_ns.max(planned_ns));
    outcome
}
