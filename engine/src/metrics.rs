//! What a core counts. Written by that core only, read by asking it; nothing here is shared.

use shards::command::COMMAND_COUNT;

/// Buckets of a latency histogram: bucket `n` counts durations below `2^n` ns (and at least half of that).
pub const LATENCY_BUCKETS: usize = 48;

/// Durations by power of two, from 1 ns to 39 hours. Two cache lines of counts are touched per command at most.
#[derive(Clone, Debug)]
pub struct Latency {
    buckets: [u64; LATENCY_BUCKETS],
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { buckets: [0; LATENCY_BUCKETS] }
    }
}

impl Latency {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let bucket = (u64::BITS - ns.leading_zeros()) as usize;
        self.buckets[bucket.min(LATENCY_BUCKETS - 1)] += 1;
    }

    /// Adds another core's counts.
    pub fn merge(&mut self, other: &Latency) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// Upper bound in nanoseconds and count of every bucket that is not empty, ascending.
    pub fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| (1 << bucket, *count))
    }

    /// The bound below which `share` of all durations lie; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bound, count) in self.counted() {
            seen += count;
            if seen >= wanted {
                return bound;
            }
        }
        0
    }
}

/// Counts of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandCount {
    /// Times it ran.
    pub calls: u64,
    /// Nanoseconds it took.
    pub ns: u64,
    /// The longest single run.
    pub ns_max: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered an error.
    pub failed: u64,
    /// How long it took, if `latency-tracking` is on.
    pub latency: Option<Box<Latency>>,
}

impl CommandCount {
    fn merge(&mut self, other: &CommandCount) {
        self.calls += other.calls;
        self.ns += other.ns;
        self.ns_max = self.ns_max.max(other.ns_max);
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(latency) = &other.latency {
            self.latency.get_or_insert_default().merge(latency);
        }
    }
}

/// Everything a core counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// By command number.
    pub commands: Vec<CommandCount>,
    /// Commands run for clients of this core.
    pub commands_total: u64,
    /// Commands of this core's clients that ran on another core.
    pub hops: u64,
    /// Commands on keys of several cores.
    pub joints: u64,
    /// Of those, how often a key was busy and the cores were asked one after the other.
    pub joints_ordered: u64,
    /// Connections accepted.
    pub connections_total: u64,
    /// Connections refused because there were too many.
    pub connections_rejected: u64,
    /// Buffers received.
    pub reads_total: u64,
    /// Sends to sockets.
    pub sends_total: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Error replies, by their first word; bounded, see [`Metrics::count_error`].
    pub errors: Vec<(String, u64)>,
    /// Error replies.
    pub errors_total: u64,
    /// Clients closed because they did not read.
    pub closed_stuck: u64,
    /// Clients closed because they were idle.
    pub closed_idle: u64,
    /// Clients closed because their unanswered input grew over its limit.
    pub closed_input_over_limit: u64,
    /// Clients closed because their output grew over its limit.
    pub closed_output_over_limit: u64,
    /// Times a client was paused because it did not read.
    pub pauses: u64,
    /// Requests pushed back because a lane was full.
    pub lane_pushbacks: u64,
    /// Failed logins.
    pub auth_failures: u64,
    /// Commands refused because the client may not run them.
    pub denied: u64,
    /// Turns.
    pub turns: u64,
    /// Nanoseconds spent working, sleep and fruitless looking excluded: the core's true utilisation.
    pub busy_ns: u64,
    /// The longest turn.
    pub turn_ns_max: u64,
    /// Records the wheel has not come to yet.
    pub wheel_backlog: u64,
    /// Commands per second in the last samples of 100 ms.
    pub rate: Rate,
    /// Bytes received per second.
    pub rate_in: Rate,
    /// Bytes sent per second.
    pub rate_out: Rate,
    /// Nanoseconds worked per second.
    pub rate_busy: Rate,
}

/// The errors that are counted by name. A client that makes up names cannot make this grow.
const ERROR_NAMES_MAX: usize = 64;

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            commands: vec![CommandCount::default(); COMMAND_COUNT],
            commands_total: 0,
            hops: 0,
            joints: 0,
            joints_ordered: 0,
            connections_total: 0,
            connections_rejected: 0,
            reads_total: 0,
            sends_total: 0,
            bytes_in: 0,
            bytes_out: 0,
            errors: Vec::new(),
            errors_total: 0,
            closed_stuck: 0,
            closed_idle: 0,
            closed_input_over_limit: 0,
            closed_output_over_limit: 0,
            pauses: 0,
            lane_pushbacks: 0,
            auth_failures: 0,
            denied: 0,
            turns: 0,
            busy_ns: 0,
            turn_ns_max: 0,
            wheel_backlog: 0,
            rate: Rate::default(),
            rate_in: Rate::default(),
            rate_out: Rate::default(),
            rate_busy: Rate::default(),
        }
    }
}

impl Metrics {
    /// Counts a command that ran.
    #[inline]
    pub fn count_run(&mut self, command: u16, ns: u64, tracking: bool) {
        let count = &mut self.commands[usize::from(command)];
        count.calls += 1;
        count.ns += ns;
        count.ns_max = count.ns_max.max(ns);
        if tracking {
            count.latency.get_or_insert_default().record(ns);
        }
    }

    /// Counts an error reply; `reply` begins with its `-`.
    #[cold]
    pub fn count_error(&mut self, reply: &[u8]) {
        self.errors_total += 1;
        let word = reply[1..].split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
        let name = String::from_utf8_lossy(word);
        if let Some((_, count)) = self.errors.iter_mut().find(|(known, _)| *known == name) {
            *count += 1;
        } else if self.errors.len() < ERROR_NAMES_MAX {
            self.errors.push((name.into_owned(), 1));
        }
    }

    /// Adds another core's counts.
    pub fn merge(&mut self, other: &Metrics) {
        for (mine, theirs) in self.commands.iter_mut().zip(&other.commands) {
            mine.merge(theirs);
        }
        for (name, count) in &other.errors {
            match self.errors.iter_mut().find(|(known, _)| known == name) {
                Some((_, mine)) => *mine += count,
                None => self.errors.push((name.clone(), *count)),
            }
        }
        self.commands_total += other.commands_total;
        self.hops += other.hops;
        self.joints += other.joints;
        self.joints_ordered += other.joints_ordered;
        self.connections_total += other.connections_total;
        self.connections_rejected += other.connections_rejected;
        self.reads_total += other.reads_total;
        self.sends_total += other.sends_total;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.errors_total += other.errors_total;
        self.closed_stuck += other.closed_stuck;
        self.closed_idle += other.closed_idle;
        self.closed_input_over_limit += other.closed_input_over_limit;
        self.closed_output_over_limit += other.closed_output_over_limit;
        self.pauses += other.pauses;
        self.lane_pushbacks += other.lane_pushbacks;
        self.auth_failures += other.auth_failures;
        self.denied += other.denied;
        self.turns += other.turns;
        self.busy_ns += other.busy_ns;
        self.turn_ns_max = self.turn_ns_max.max(other.turn_ns_max);
        self.wheel_backlog += other.wheel_backlog;
        self.rate.merge(&other.rate);
        self.rate_in.merge(&other.rate_in);
        self.rate_out.merge(&other.rate_out);
        self.rate_busy.merge(&other.rate_busy);
    }

    /// `CONFIG RESETSTAT`: everything but the rates starts again.
    pub fn reset(&mut self) {
        let rates = [&self.rate, &self.rate_in, &self.rate_out, &self.rate_busy].map(Rate::restarted);
        *self = Metrics::default();
        [self.rate, self.rate_in, self.rate_out, self.rate_busy] = rates;
    }
}

/// A rate per second, smoothed over the last samples.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: [f64; 16],
    next: usize,
    last: u64,
}

impl Rate {
    /// Takes a sample of a count that only grows.
    pub fn sample(&mut self, total: u64, elapsed_ns: u64) {
        if elapsed_ns > 0 {
            self.samples[self.next % 16] = total.saturating_sub(self.last) as f64 * 1e9 / elapsed_ns as f64;
            self.next += 1;
        }
        self.last = total;
    }

    /// The mean of the last samples.
    pub fn per_second(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.next.clamp(1, 16) as f64
    }

    /// The same rate, of a count that has just gone back to zero.
    fn restarted(&self) -> Rate {
        Rate { last: 0, ..self.clone() }
    }

    fn merge(&mut self, other: &Rate) {
        // Rates of different cores add up; each is already a mean.
        let sum = self.per_second() + other.per_second();
        self.samples = [sum; 16];
        self.next = 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_bounds_what_it_counted() {
        let mut latency = Latency::default();
        for ns in [0, 1, 100, 1000, 1_000_000, u64::MAX] {
            latency.record(ns);
        }
        let counted: Vec<(u64, u64)> = latency.counted().collect();
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 6);
        assert_eq!(counted[0], (1, 1));
        assert!(counted.contains(&(128, 1)) && counted.contains(&(1024, 1)));
        assert_eq!(latency.quantile(0.5), 128);
    }

    #[test]
    fn made_up_errors_do_not_make_the_counts_grow() {
        let mut metrics = Metrics::default();
        for number in 0..1000 {
            metrics.count_error(format!("-E{number} x\r\n").as_bytes());
        }
        assert_eq!(metrics.errors.len(), ERROR_NAMES_MAX);
        assert_eq!(metrics.errors_total, 1000);
    }
}
