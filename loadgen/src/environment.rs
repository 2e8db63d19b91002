//! Where and against what a result was measured: without it a number means nothing.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::control::{Control, Tree};
use crate::machine;
use crate::plan::{Plan, cpu_text};
use crate::request::Protocol;
use crate::target::{CONNECT_TIMEOUT, Endpoint};

/// The machine the generator runs on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    /// CPUs the generator may use.
    pub(crate) cpus_allowed: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) clock: String,
    pub(crate) virtualized: bool,
    /// Runnable threads per the last minute when the run began: others that took part.
    pub(crate) load_average: f64,
}

/// The server that was measured, by its own word.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) software: String,
    pub(crate) version: String,
    /// Nodes of a cluster.
    pub(crate) nodes: usize,
    /// CPU time the server says it used per operation while it was measured.
    pub(crate) cpu_us_per_op: Option<f64>,
}

impl Target {
    /// Software and version, as far as the target told.
    pub(crate) fn name(&self) -> String {
        match (self.software.as_str(), self.version.as_str()) {
            ("", _) => format!("a {} server that does not name itself", self.protocol),
            (software, "") => software.to_string(),
            (software, version) => format!("{software} {version}"),
        }
    }
}

impl Machine {
    /// Reads what the kernel says; what it does not say stays empty.
    pub(crate) fn look() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            cpuinfo
                .lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_string())
        };
        let memory_kib = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0);
        Machine {
            cpu: field("model name").or_else(|| field("CPU part")).unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            cpus_allowed: cpu_text(&machine::cpus_allowed()),
            memory_bytes: memory_kib * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
            clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource").trim().to_string(),
            virtualized: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            load_average: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// Conversations about the target itself, besides the load: one with each process it consists of.
pub(crate) struct Witness {
    /// The one that was named comes first.
    controls: Vec<Control>,
    protocol: Protocol,
}

type Facts = Vec<(String, String)>;

impl Witness {
    /// Connects. This is also where a target that is not there, or wants a password, is found out.
    pub(crate) fn open(plan: &Plan) -> Result<Witness, String> {
        let control = plan.greeting.open(&plan.endpoint, plan.protocol, CONNECT_TIMEOUT)?;
        Ok(Witness { controls: vec![control], protocol: plan.protocol })
    }

    /// Adds the other processes of a cluster. Several nodes may be one process, which counts once.
    pub(crate) fn join(&mut self, plan: &Plan, nodes: &[SocketAddr]) -> Result<(), String> {
        let mut known = vec![identity(&facts(&mut self.controls[0], self.protocol)?)];
        for &node in nodes {
            let mut control = plan.greeting.open(&Endpoint::Tcp(node), plan.protocol, CONNECT_TIMEOUT)?;
            let identity = identity(&facts(&mut control, self.protocol)?);
            if identity.is_some() && !known.contains(&identity) {
                known.push(identity);
                self.controls.push(control);
            }
        }
        Ok(())
    }

    /// Who the target says it is. A target that only speaks the data commands stays unnamed; one that demands a password
    /// or speaks another protocol is an error.
    pub(crate) fn target(&mut self, plan: &Plan) -> Result<Target, String> {
        let facts = facts(&mut self.controls[0], self.protocol)?;
        let (software, version) = match self.protocol {
            Protocol::Memcached => ("memcached".to_string(), find(&facts, "version")),
            Protocol::Resp => ["corewheel", "valkey", "dragonfly", "redis"]
                .iter()
                .find_map(|name| find(&facts, &format!("{name}_version")).map(|version| (name.to_string(), Some(version))))
                .unwrap_or_default(),
        };
        Ok(Target {
            address: plan.endpoint.to_string(),
            protocol: format!("{:?}", self.protocol).to_lowercase(),
            software,
            version: version.unwrap_or_default(),
            nodes: plan.cluster.as_ref().map_or(1, |layout| layout.nodes.len()),
            cpu_us_per_op: None,
        })
    }

    /// CPU time all of the target has used since its start, by its own word.
    pub(crate) fn cpu(&mut self) -> Option<Duration> {
        let names = match self.protocol {
            Protocol::Resp => ["used_cpu_sys", "used_cpu_user"],
            Protocol::Memcached => ["rusage_system", "rusage_user"],
        };
        let mut sum = Duration::ZERO;
        for control in &mut self.controls {
            let facts = facts(control, self.protocol).ok()?;
            for name in names {
                sum += Duration::try_from_secs_f64(find(&facts, name)?.parse().ok()?).ok()?;
            }
        }
        Some(sum)
    }

    /// The first conversation itself, for other questions.
    pub(crate) fn control(&mut self) -> &mut Control {
        &mut self.controls[0]
    }
}

fn find(facts: &Facts, name: &str) -> Option<String> {
    facts.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

/// What tells two processes apart.
fn identity(facts: &Facts) -> Option<String> {
    find(facts, "run_id").or_else(|| find(facts, "process_id"))
}

fn facts(control: &mut Control, protocol: Protocol) -> Result<Facts, String> {
    let pair = |(key, value): (&str, &str)| (key.to_string(), value.trim().to_string());
    match protocol {
        Protocol::Memcached => {
            let lines = control.lines("stats", &["END", "ERROR"])?;
            Ok(lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' ')).map(pair).collect())
        }
        Protocol::Resp => match control.command(&["INFO"])? {
            Tree::Text(text) => Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.split_once(':')).map(pair).collect()),
            Tree::Refused(text) if ["NOAUTH", "WRONGPASS", "DENIED"].iter().any(|word| text.starts_with(word)) => {
                Err(format!("the target wants a password ({text}); give it with --password-file"))
            }
            _ => Ok(Vec::new()),
        },
    }
}

/// Now, as `2026-11-21T13:04:05Z`.
pub(crate) fn now_utc() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn utc(seconds: u64) -> String {
    // Days to a date by Howard Hinnant's method: years begin in March, eras have 400 of them.
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_795_266_245), "2026-11-21T13:04:05Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::look();
        assert!(!machine.kernel.is_empty());
        assert!(machine.cpus > 0 && machine.memory_bytes > 0);
    }
}
