//! The command line of `corewheel bench`. Words only; what they mean together is decided in `plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::arrivals::Spacing;
use crate::keys::KeyShape;
use crate::port::Io;
use crate::quantity;
use crate::request::Protocol;
use crate::slo::Slo;
use crate::workload::{Mix, Sizes, Ttls, Ycsb};

/// Measure a Redis-compatible or memcached server and tell the truth about its latency.
///
/// Requests start when a schedule says so, not when the last reply came (open loop), and response time counts from that
/// intended start. A server that stalls is charged for every request that should have been served meanwhile.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    pub(crate) load: Load,
    #[command(subcommand)]
    pub(crate) other: Option<Other>,
}

/// What `bench` can do besides loading a server.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Other {
    /// Put two results of `--json` side by side and say which is better
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(Compare),
}

/// `bench compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compare {
    /// The result to compare with
    #[arg(value_name = "BEFORE.json")]
    pub(crate) before: PathBuf,
    /// The result to judge
    #[arg(value_name = "AFTER.json")]
    pub(crate) after: PathBuf,
    /// Differences below this are noise
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = quantity::share)]
    pub(crate) noise: f64,
    /// Compare even if the two were measured differently
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Exit with status 3 if anything got worse
    #[arg(long)]
    pub(crate) fail_on_worse: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Host of the target
    #[arg(long, visible_alias = "server", value_name = "HOST", default_value = "127.0.0.1", help_heading = TARGET)]
    pub(crate) host: String,
    /// Port of the target [default: 6379, memcached: 11211]
    #[arg(long, short, value_name = "PORT", help_heading = TARGET)]
    pub(crate) port: Option<u16>,
    /// Unix socket of the target, instead of host and port
    #[arg(long, value_name = "PATH", conflicts_with = "port", help_heading = TARGET)]
    pub(crate) socket: Option<PathBuf>,
    /// What the target speaks
    #[arg(long, value_enum, default_value_t = Protocol::Resp, help_heading = TARGET)]
    pub(crate) protocol: Protocol,
    /// The target is a Redis Cluster: route every key to the node that owns it
    #[arg(long, help_heading = TARGET)]
    pub(crate) cluster: bool,
    /// File whose first line is the password (AUTH)
    #[arg(long, value_name = "FILE", help_heading = TARGET)]
    pub(crate) password_file: Option<PathBuf>,
    /// User name of AUTH
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub(crate) user: Option<String>,
    /// Speak RESP3 (HELLO 3)
    #[arg(long, help_heading = TARGET)]
    pub(crate) resp3: bool,
    /// Database (SELECT)
    #[arg(long = "db", value_name = "N", default_value_t = 0, help_heading = TARGET)]
    pub(crate) database: u32,
    /// Load a target that is not on a loopback or private address
    #[arg(long, help_heading = TARGET)]
    pub(crate) i_own_target: bool,

    /// Operations per second to offer [default: 70 % of what a short closed-loop pass reaches]
    #[arg(long, short, value_name = "RATE", value_parser = quantity::rate, conflicts_with_all = ["closed", "ramp"], help_heading = PACE)]
    pub(crate) rate: Option<f64>,
    /// Closed loop: the next request waits for the last reply. Hides stalls; use it to find the maximum
    #[arg(long, conflicts_with = "ramp", help_heading = PACE)]
    pub(crate) closed: bool,
    /// How intended starts are spaced
    #[arg(long, value_enum, default_value_t = Spacing::Fixed, help_heading = PACE)]
    pub(crate) arrivals: Spacing,
    /// Raise the rate from FROM to TO over the duration, like 10k..1M
    #[arg(long, value_name = "FROM..TO", value_parser = ramp, help_heading = PACE)]
    pub(crate) ramp: Option<(f64, f64)>,
    /// With --ramp: search for the highest rate that meets --slo, one --step at a time
    #[arg(long, requires = "ramp", conflicts_with_all = ["duration", "requests"], help_heading = PACE)]
    pub(crate) find_knee: bool,
    /// What has to hold, like p99<1ms or p50<200us,p99.9<5ms,errors<0.1%. Exit status 3 if it does not
    #[arg(long, value_name = "RULES", value_parser = Slo::parse, help_heading = PACE)]
    pub(crate) slo: Option<Slo>,
    /// With --find-knee: how long each rate is tried
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = span, help_heading = PACE)]
    pub(crate) step: Duration,
    /// How long to measure [default: 10s, or until --requests]
    #[arg(long, short, visible_alias = "test-time", value_name = "TIME", value_parser = span, help_heading = PACE)]
    pub(crate) duration: Option<Duration>,
    /// How many operations to measure
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = some_count, help_heading = PACE)]
    pub(crate) requests: Option<u64>,
    /// Run this long before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = quantity::duration, help_heading = PACE)]
    pub(crate) warmup: Duration,
    /// Wait this long after the end for what is still due or in flight
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = quantity::duration, help_heading = PACE)]
    pub(crate) drain: Duration,

    /// Connections, over all threads
    #[arg(long, short = 'c', visible_alias = "clients", value_name = "COUNT", default_value = "50", value_parser = connections, help_heading = SHAPE)]
    pub(crate) connections: usize,
    /// Operations sent together as one batch; they share one intended start
    #[arg(long, short = 'P', value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = SHAPE)]
    pub(crate) pipeline: u32,
    /// Batches in flight on one connection
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = SHAPE)]
    pub(crate) in_flight: u32,
    /// Generator threads [default: one per CPU of --cpus, else 1]
    #[arg(long, short = 't', value_name = "COUNT", help_heading = SHAPE)]
    pub(crate) threads: Option<usize>,
    /// CPUs to keep the threads on, like 1 or 4-7; none leaves them to the kernel [default: from the last CPU down]
    #[arg(long, value_name = "LIST", help_heading = SHAPE)]
    pub(crate) cpus: Option<String>,
    /// How sockets are driven
    #[arg(long, value_enum, default_value_t = Io::Auto, help_heading = SHAPE)]
    pub(crate) io: Io,
    /// Spin on the clock when the next start is this close; 0 always sleeps [default: 100us, 0 where no CPU is left over]
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, help_heading = SHAPE)]
    pub(crate) spin: Option<Duration>,

    /// Reads to writes, like 9:1 [default: 9:1]
    #[arg(long, value_name = "GET:SET", value_parser = Mix::ratio, conflicts_with_all = ["mix", "ycsb"], help_heading = WORK)]
    pub(crate) ratio: Option<Mix>,
    /// Operations and weights, like get=70,set=20,del=5,incr=5 (get set del incr mget mset exists expire ttl ping)
    #[arg(long, value_name = "KIND=W,..", value_parser = Mix::parse, conflicts_with = "ycsb", help_heading = WORK)]
    pub(crate) mix: Option<Mix>,
    /// YCSB core workload: sets mix, key distribution and a value size of 1000
    #[arg(long, value_enum, ignore_case = true, help_heading = WORK)]
    pub(crate) ycsb: Option<Ycsb>,
    /// Number of keys
    #[arg(long, short = 'k', value_name = "COUNT", default_value = "100k", value_parser = some_count, help_heading = WORK)]
    pub(crate) keys: u64,
    /// uniform, zipf[:THETA], sequential or latest[:THETA] [default: uniform]
    #[arg(long, value_name = "SHAPE", value_parser = KeyShape::parse, help_heading = WORK)]
    pub(crate) key_distribution: Option<KeyShape>,
    /// Start of every key
    #[arg(long, value_name = "TEXT", default_value = "key:", help_heading = WORK)]
    pub(crate) key_prefix: String,
    /// Length of every key, prefix and zero-padded number [default: prefix and 12 digits]
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, help_heading = WORK)]
    pub(crate) key_bytes: Option<usize>,
    /// Value sizes and weights, like 64:70,1k:30 or 30-300 [default: 64, YCSB: 1000]
    #[arg(long, short = 's', visible_alias = "data-size", value_name = "SIZES", value_parser = Sizes::parse, help_heading = WORK)]
    pub(crate) value_size: Option<Sizes>,
    /// Expiries of writes and their shares, like 10s:50%,1m:10%; the rest does not expire
    #[arg(long, value_name = "TTLS", value_parser = Ttls::parse, help_heading = WORK)]
    pub(crate) ttl: Option<Ttls>,
    /// Keys of one mget or mset
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = WORK)]
    pub(crate) scan_keys: u64,
    /// Write every key once before measuring
    #[arg(long, help_heading = WORK)]
    pub(crate) load: bool,
    /// Write every key once and stop
    #[arg(long, conflicts_with_all = ["rate", "ramp", "closed", "slo"], help_heading = WORK)]
    pub(crate) load_only: bool,
    /// Compare this share of the values read with what was written [without a share: 1%]
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "1%", value_parser = quantity::share, help_heading = WORK)]
    pub(crate) verify: Option<f64>,
    /// The same seed asks for the same keys in the same order
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = WORK)]
    pub(crate) seed: u64,

    /// Write the result as JSON (- for standard output)
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(crate) json: Option<PathBuf>,
    /// Write the result as Markdown (- for standard output)
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw latency by percentile
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(crate) svg: Option<PathBuf>,
    /// Write an HdrHistogram interval log, one histogram a second
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub(crate) hdr: Option<PathBuf>,
    /// Show nothing while running
    #[arg(long, short, help_heading = RESULT)]
    pub(crate) quiet: bool,
}

const TARGET: &str = "Target";
const PACE: &str = "Pace";
const SHAPE: &str = "Connections and threads";
const WORK: &str = "Workload";
const RESULT: &str = "Result";

/// More connections than this do not fit one address and port of a target anyway.
const CONNECTIONS_MAX: u64 = 60_000;

const EXAMPLES: &str = "\
Examples:
  What does this server do?  Finds its maximum, then measures at 70 % of it:
      corewheel bench --load
  Latency at a rate you choose, reads 9 to 1, hot keys:
      corewheel bench --rate 50k --duration 30s --ratio 9:1 --key-distribution zipf:0.99 --load
  The highest rate with a p99 below a millisecond:
      corewheel bench --load --ramp 10k..1M --find-knee --slo 'p99<1ms'
  Most operations per second, pipelined, the way redis-benchmark asks:
      corewheel bench --closed --pipeline 16 --requests 2M --load
  YCSB A, values checked, everything written down:
      corewheel bench --ycsb a --load --verify --json a.json --svg a.svg --hdr a.hlog --markdown -
  memcached with the same eyes:
      corewheel bench --protocol memcached --load --rate 50k
  Two results side by side:
      corewheel bench compare before.json after.json

Exit status: 0 well, 1 the run failed (or most of its operations did), 2 wrong options, 3 the --slo was not met, 4 payloads were not what was written.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  corewheel bench compare before.json after.json
  corewheel bench compare before.json after.json --noise 10% --fail-on-worse";

fn ramp(text: &str) -> Result<(f64, f64), String> {
    let Some((from, to)) = text.split_once("..") else {
        return Err(format!("'{text}' is not a ramp; write FROM..TO, like 10k..1M"));
    };
    Ok((quantity::rate(from)?, quantity::rate(to)?))
}

fn span(text: &str) -> Result<Duration, String> {
    let duration = quantity::duration(text)?;
    if duration < Duration::from_millis(10) {
        return Err(format!("'{text}' is too short to measure anything; take at least 10ms"));
    }
    Ok(duration)
}

fn some_count(text: &str) -> Result<u64, String> {
    match quantity::count(text)? {
        0 => Err("0 leaves nothing to do".to_string()),
        count => Ok(count),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match quantity::count(text)? {
        count if (1..=CONNECTIONS_MAX).contains(&count) => Ok(count as usize),
        _ => Err(format!("'{text}' is not within 1 to {CONNECTIONS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::augment_args(clap::Command::new("bench")).debug_assert();
    }

    #[test]
    fn wrong_words_are_refused_with_what_was_meant() {
        let parse = |line: &str| {
            Options::augment_args(clap::Command::new("bench"))
                .try_get_matches_from(std::iter::once("bench").chain(line.split_whitespace()))
                .map(drop)
                .map_err(|error| error.to_string())
        };
        for (line, reason) in [
            ("--rate 0", "above 0"),
            ("--ramp 10k", "FROM..TO"),
            ("--find-knee", "--ramp"),
            ("--ramp 1..2 --find-knee --requests 5", "cannot be used with"),
            ("--duration 1us", "too short"),
            ("--requests 0", "nothing to do"),
            ("--connections 0", "within 1"),
            ("--slo p99", "write"),
            ("--piepline 3", "'--pipeline'"),
            ("--arrivals poison", "'poisson'"),
            ("--mix gett=1", "did you mean 'get'"),
            ("comapre a b", "'compare'"),
            ("--closed --rate 5", "cannot be used with"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert_eq!(parse("compare a.json b.json --noise 3%"), Ok(()));
        assert_eq!(parse("--ycsb A --verify --slo p99<1ms"), Ok(()));
    }
}
