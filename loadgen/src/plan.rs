//! A run that makes sense: everything the options ask for, checked against each other, in the types the workers use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::arrivals::{Slope, Spacing};
use crate::cluster::Layout;
use crate::keys::KeyShape;
use crate::machine;
use crate::options::Load;
use crate::port::Io;
use crate::request::{Encoder, KeyName, Payload, Protocol};
use crate::source::Workload;
use crate::target::{Endpoint, Greeting};
use crate::workload::{Kind, Mix, Sizes, Ttls, YCSB_VALUE};

/// Bytes one connection may have to hold for one batch of writes.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// Threads one generator drives; more belong on another machine.
pub(crate) const THREADS_MAX: usize = 256;
/// Spins for this long before an intended start: longer than a thread takes to wake up. Where the target may have to share
/// the generator's CPUs, spinning would take away the time it is measured with.
const SPIN: Duration = Duration::from_micros(100);
/// Descriptors left for everything that is not a connection.
const FILES_SPARE: u64 = 64;

/// What does not change between the passes of a run.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) endpoint: Endpoint,
    pub(crate) greeting: Greeting,
    pub(crate) protocol: Protocol,
    pub(crate) io: Io,
    pub(crate) own_target: bool,
    pub(crate) cluster: Option<Layout>,
    pub(crate) threads: usize,
    /// CPU of each thread, if it is kept on one.
    pub(crate) cpus: Vec<Option<usize>>,
    pub(crate) connections: usize,
    pub(crate) pipeline: u32,
    pub(crate) window: u32,
    pub(crate) workload: Workload,
    pub(crate) encoder: Encoder,
    /// Every how manyth read is compared with what was written; 0 is none.
    pub(crate) verify_every: u32,
    /// Spin on the clock when the next start is this close.
    pub(crate) spin: Duration,
    /// How long after its end a pass waits for what is still due or in flight.
    pub(crate) drain: Duration,
}

/// One pass over the target.
#[derive(Clone, Debug)]
pub(crate) struct PassPlan {
    /// Shown while it runs.
    pub(crate) label: String,
    pub(crate) pace: Pace,
    /// Write every key once instead of drawing from the mix.
    pub(crate) fill: bool,
    pub(crate) warmup: Duration,
    pub(crate) duration: Option<Duration>,
    /// Operations to record, over all threads.
    pub(crate) requests: Option<u64>,
    pub(crate) pipeline: u32,
    pub(crate) window: u32,
    /// Tells passes apart, so that each draws other keys.
    pub(crate) stream: u64,
}

/// Who decides when a request starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// The reply before it: a slow target is asked less.
    Closed,
    /// The clock. The rate counts batches, over all threads.
    Open(Slope, Spacing),
}

impl Plan {
    /// Everything that can be refused without asking the target.
    pub(crate) fn new(load: &Load) -> Result<Plan, String> {
        let protocol = load.protocol;
        let endpoint = endpoint(load)?;
        endpoint.check_private(load.i_own_target)?;
        let greeting = greeting(load)?;
        let workload = workload(load)?;
        let key_name = key_name(load, &workload)?;
        check_pace(load)?;
        check_outputs(load)?;
        check_kinds(load, &workload.mix, &key_name)?;
        let (threads, cpus) = threads(load)?;
        let connections = load.connections;
        if connections < threads {
            return Err(format!("--connections {connections} is below --threads {threads}: each thread needs one"));
        }
        let files = machine::files_max();
        if connections as u64 + FILES_SPARE > files {
            return Err(format!("--connections {connections} needs more than the {files} open files this process may have"));
        }
        if load.pipeline as usize * workload.sizes.largest() > BATCH_BYTES_MAX && workload.mix.kinds().iter().any(|kind| kind.writes()) {
            return Err(format!(
                "--pipeline {} of values of up to {} bytes is over 256 MiB per connection; lower one of them",
                load.pipeline,
                workload.sizes.largest()
            ));
        }
        let payload = Payload::new(workload.sizes.largest());
        Ok(Plan {
            endpoint,
            greeting,
            protocol,
            io: load.io,
            own_target: load.i_own_target,
            cluster: None,
            threads,
            cpus,
            connections,
            pipeline: load.pipeline,
            window: load.in_flight,
            encoder: Encoder::new(protocol, key_name, payload),
            workload,
            verify_every: load.verify.map_or(0, |share| if share == 0.0 { 0 } else { (1.0 / share).round() as u32 }),
            spin: load.spin.unwrap_or(if machine::cpus_allowed().len() > threads { SPIN } else { Duration::ZERO }),
            drain: load.drain,
        })
    }

    /// Batches per second that make up `rate` operations per second.
    pub(crate) fn batches(&self, rate: f64) -> f64 {
        rate / f64::from(self.pipeline)
    }
}

fn endpoint(load: &Load) -> Result<Endpoint, String> {
    if let Some(path) = &load.socket {
        if load.cluster {
            return Err("--cluster routes over TCP; it cannot start from a --socket".to_string());
        }
        return Ok(Endpoint::Unix(path.clone()));
    }
    let port = load.port.unwrap_or(match load.protocol {
        Protocol::Resp => 6379,
        Protocol::Memcached => 11211,
    });
    Endpoint::resolve(&load.host, port)
}

fn greeting(load: &Load) -> Result<Greeting, String> {
    let password = match &load.password_file {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read --password-file {}: {error}", path.display()))?;
            let password = text.trim_end_matches(['\n', '\r']).to_string();
            if password.is_empty() {
                return Err(format!("--password-file {} is empty", path.display()));
            }
            Some(password)
        }
    };
    if load.user.is_some() && password.is_none() {
        return Err("--user needs a --password-file".to_string());
    }
    if load.protocol == Protocol::Memcached {
        for (given, flag) in
            [(password.is_some(), "--password-file"), (load.resp3, "--resp3"), (load.database != 0, "--db"), (load.cluster, "--cluster")]
        {
            if given {
                return Err(format!("{flag} is not part of memcached's text protocol"));
            }
        }
    }
    Ok(Greeting { user: load.user.clone(), password, resp3: load.resp3, database: load.database })
}

fn workload(load: &Load) -> Result<Workload, String> {
    let mix = match (load.ycsb, &load.mix, &load.ratio) {
        (Some(ycsb), _, _) => ycsb.mix(),
        (None, Some(mix), _) => mix.clone(),
        (None, None, Some(ratio)) => ratio.clone(),
        (None, None, None) => Mix::new(&[(Kind::Get, 9.0), (Kind::Set, 1.0)]),
    };
    let shape = load.key_distribution.or(load.ycsb.map(|ycsb| ycsb.keys())).unwrap_or(KeyShape::Uniform);
    let sizes = match &load.value_size {
        Some(sizes) => sizes.clone(),
        None => Sizes::parse(if load.ycsb.is_some() { YCSB_VALUE } else { "64" })?,
    };
    Ok(Workload {
        mix,
        keys: load.keys,
        shape,
        sizes,
        ttls: load.ttl.clone().unwrap_or_else(Ttls::never),
        scan_keys: load.scan_keys,
        seed: load.seed,
        newest: Arc::new(AtomicU64::new(load.keys)),
    })
}

/// Digits of a key number where no length is asked for: with `key:` that makes 16 bytes.
const DIGITS: usize = 12;

fn key_name(load: &Load, workload: &Workload) -> Result<KeyName, String> {
    let prefix = load.key_prefix.as_str();
    // Inserts go on counting: one digit more than the keys need.
    let needed = (workload.keys.max(10).ilog10() + 2) as usize;
    let digits = match load.key_bytes {
        None => DIGITS.max(needed),
        Some(bytes) if bytes >= prefix.len() + needed && bytes - prefix.len() <= 20 => bytes - prefix.len(),
        Some(bytes) => {
            return Err(format!(
                "--key-bytes {bytes} does not fit: the prefix '{prefix}' and the number of a key take {} to {} bytes",
                prefix.len() + needed,
                prefix.len() + 20
            ));
        }
    };
    if load.protocol == Protocol::Memcached {
        if prefix.len() + digits > 250 {
            return Err("memcached keys end at 250 bytes; shorten --key-prefix".to_string());
        }
        if prefix.bytes().any(|byte| byte <= b' ' || byte == 127) {
            return Err("memcached keys have no spaces or control characters; change --key-prefix".to_string());
        }
    }
    Ok(KeyName::new(prefix, digits))
}

fn check_pace(load: &Load) -> Result<(), String> {
    if load.ramp.is_some() && !load.find_knee && load.duration.is_none() && load.requests.is_some() {
        return Err("--ramp needs a --duration to rise over, not only --requests".to_string());
    }
    if let Some((from, to)) = load.ramp
        && load.find_knee
        && from >= to
    {
        return Err(format!("--find-knee climbs: {from}..{to} does not"));
    }
    Ok(())
}

/// A file that cannot be written is better known before the run than after it.
fn check_outputs(load: &Load) -> Result<(), String> {
    let outputs = [&load.json, &load.markdown, &load.svg, &load.hdr];
    let standard = outputs.iter().filter(|path| path.as_deref() == Some(Path::new("-"))).count();
    if standard > 1 {
        return Err("only one result can go to standard output".to_string());
    }
    for path in outputs.into_iter().flatten().filter(|path| path.as_path() != Path::new("-")) {
        let cannot = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let existed = path.exists();
        std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(cannot)?;
        if !existed {
            // A run that fails leaves nothing behind that looks like a result.
            std::fs::remove_file(path).map_err(cannot)?;
        }
    }
    Ok(())
}

fn check_kinds(load: &Load, mix: &Mix, key_name: &KeyName) -> Result<(), String> {
    for &kind in mix.kinds() {
        if !Encoder::speaks(load.protocol, kind) {
            return Err(format!("memcached's text protocol has no '{}'", kind.name()));
        }
        if kind.many() && load.cluster && !key_name.one_slot() {
            return Err(format!(
                "'{}' names several keys, which a cluster takes only within one slot; use a --key-prefix with a hash tag, like '{{app}}:'",
                kind.name()
            ));
        }
    }
    if mix.kinds().contains(&Kind::Ping) && load.cluster {
        return Err("'ping' names no key, so a cluster cannot route it".to_string());
    }
    Ok(())
}

fn threads(load: &Load) -> Result<(usize, Vec<Option<usize>>), String> {
    let allowed = machine::cpus_allowed();
    let chosen = match load.cpus.as_deref() {
        None => None,
        Some("none") => Some(Vec::new()),
        Some(text) => Some(cpu_list(text)?),
    };
    let threads = load.threads.unwrap_or(chosen.as_ref().map_or(1, |cpus| cpus.len().max(1)));
    if threads == 0 || threads > THREADS_MAX {
        return Err(format!("--threads {threads} is not within 1 to {THREADS_MAX}"));
    }
    let cpus = match chosen {
        Some(cpus) if cpus.is_empty() => vec![None; threads],
        Some(cpus) => {
            if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(format!("--cpus names CPU {cpu}, but this process may run only on {}", cpu_text(&allowed)));
            }
            (0..threads).map(|thread| Some(cpus[thread % cpus.len()])).collect()
        }
        // From the top down, because servers usually take the first ones; not at all when none would be left over.
        None if allowed.len() > threads => allowed.iter().rev().take(threads).copied().map(Some).collect(),
        None => vec![None; threads],
    };
    Ok((threads, cpus))
}

/// Reads `0-3,8`.
fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let wrong = |part: &str| format!("'{part}' in --cpus '{text}' is no CPU; write numbers and ranges like 1,4-7, or none");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong(part))?;
        let last: usize = last.trim().parse().map_err(|_| wrong(part))?;
        if first > last || last >= 4096 {
            return Err(wrong(part));
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// Writes `0-3,8`.
pub(crate) fn cpu_text(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut index = 0;
    while index < cpus.len() {
        let mut end = index;
        while end + 1 < cpus.len() && cpus[end + 1] == cpus[end] + 1 {
            end += 1;
        }
        if !text.is_empty() {
            text.push(',');
        }
        if end == index {
            text.push_str(&cpus[index].to_string());
        } else {
            text.push_str(&format!("{}-{}", cpus[index], cpus[end]));
        }
        index = end + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clap::{Args, FromArgMatches};

    fn plan(line: &str) -> Result<Plan, String> {
        let command = Options::augment_args(clap::Command::new("bench"));
        let matches = command.try_get_matches_from(std::iter::once("bench").chain(line.split_whitespace()));
        let options = Options::from_arg_matches(&matches.map_err(|error| error.to_string())?).unwrap();
        Plan::new(&options.load)
    }

    #[test]
    fn what_is_asked_for_is_planned() {
        let plan = plan("--connections 10 --pipeline 4 --keys 1000 --ycsb f --cpus none --threads 2 --verify").unwrap();
        assert_eq!((plan.connections, plan.pipeline, plan.threads), (10, 4, 2));
        assert_eq!(plan.cpus, [None, None]);
        assert_eq!(plan.workload.sizes.largest(), 1000);
        assert_eq!(plan.workload.mix.kinds(), [Kind::Read, Kind::Rmw]);
        assert_eq!(plan.verify_every, 100);
        assert_eq!(plan.encoder.key_name().bytes(), 16);
        assert_eq!(plan.batches(1000.0), 250.0);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (line, reason) in [
            ("--connections 1 --threads 2 --cpus none", "below --threads"),
            ("--host 8.8.8.8", "--i-own-target"),
            ("--protocol memcached --resp3", "not part of memcached"),
            ("--protocol memcached --cluster", "not part of memcached"),
            ("--protocol memcached --mix exists=1", "no 'exists'"),
            ("--cluster --mix mget=1", "hash tag"),
            ("--cluster --ycsb e", "hash tag"),
            ("--cluster --socket /tmp/x", "--socket"),
            ("--cpus 4095", "may run only on"),
            ("--cpus 1-x", "no CPU"),
            ("--key-bytes 5", "does not fit"),
            ("--pipeline 1000 --value-size 1m --mix set=1", "256 MiB"),
            ("--user me", "--password-file"),
            ("--ramp 1..2 --requests 5", "--duration"),
            ("--ramp 5..2 --find-knee", "climbs"),
            ("--json - --markdown -", "only one"),
            ("--json /nonexistent/a.json", "cannot write"),
            ("--password-file /nonexistent", "cannot read"),
            ("--ratio 1:1 --ycsb a", "cannot be used with"),
            ("--conections 5", "similar argument"),
            ("--protocol memcache", "similar value"),
        ] {
            let Err(error) = plan(line) else { panic!("'{line}' was taken") };
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert!(plan("--cluster --ycsb e --key-prefix {a}:").is_ok());
    }

    #[test]
    fn cpus_are_read_and_written() {
        assert_eq!(cpu_list("0-2,5"), Ok(vec![0, 1, 2, 5]));
        assert_eq!(cpu_text(&[0, 1, 2, 5]), "0-2,5");
        assert!(cpu_list("3-1").is_err());
    }
}
