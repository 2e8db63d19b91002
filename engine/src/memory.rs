//! How much memory there is to use: the machine's, or what its container was given.

use crate::core::Core;
use netio::Kernel;
use std::fs;

/// The share of it that is used when nobody says otherwise. The rest is for the kernel's socket buffers and page tables.
const DEFAULT_SHARE_PERCENT: u64 = 80;

/// The default of `maxmemory`: a share of the smallest of the machine's memory and the control groups' limits.
pub fn default_bytes_max() -> u64 {
    available_bytes() / 100 * DEFAULT_SHARE_PERCENT
}

/// The machine's memory, or the tightest limit of the control groups around this process.
pub fn available_bytes() -> u64 {
    let machine = total_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits: Vec<u64> = group_limit_paths(&group).iter().filter_map(|path| parse_limit(&fs::read_to_string(path).ok()?)).collect();
    limits.extend(machine);
    limits.into_iter().min().unwrap_or(1 << 30)
}

/// Resident bytes of this process.
pub fn resident_bytes() -> u64 {
    let pages: Option<u64> =
        fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// The machine's memory.
pub fn machine_bytes() -> u64 {
    total_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()).unwrap_or(0)
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// Where limits may be written: every group from ours to the root counts, in version 2 and in version 1.
fn group_limit_paths(proc_self_cgroup: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in proc_self_cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut group = group.trim_end_matches('/');
        loop {
            paths.push(format!("{root}{group}/{file}"));
            match group.rfind('/') {
                Some(end) => group = &group[..end],
                None => break,
            }
        }
    }
    paths
}

fn parse_limit(text: &str) -> Option<u64> {
    // "max" in version 2; a number close to 2^63 stands for "no limit" in version 1, and the minimum with the machine undoes it.
    text.trim().parse().ok()
}

impl<K: Kernel> Core<K> {
    /// Tells the others how much memory this core holds, and takes its part of what is left.
    pub(crate) fn share_memory(&mut self) {
        let connections: usize = self.connections.iter().flatten().map(|conn| conn.memory_bytes()).sum();
        let overhead = connections
            + self.connections.capacity() * size_of::<usize>()
            + self.kernel.memory_bytes()
            + self.peers.memory_bytes()
            + self.log_bytes()
            + self.executor.effects.memory_bytes()
            + self.replication.memory_bytes();
        let shard = self.executor.shard.used_bytes();
        let total = self.shared.publish_memory(self.id, (shard + overhead) as u64);
        let max = self.executor.settings.memory_bytes_max;
        // What nobody uses is divided evenly; what is used stays where it is. So skewed keys do not waste memory.
        let spare = (max as i64 - total as i64) / i64::from(self.placement.core_count());
        let budget = (shard as i64 + spare).max(0) as usize;
        self.executor.shard.set_memory_budget(Some(budget).filter(|_| max > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_enclosing_groups_are_looked_at() {
        assert_eq!(
            group_limit_paths("0::/system.slice/a.service\n"),
            ["/sys/fs/cgroup/system.slice/a.service/memory.max", "/sys/fs/cgroup/system.slice/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(group_limit_paths("4:memory:/\n3:cpu:/x\n"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1048576\n"), Some(1 << 20));
        assert_eq!(total_bytes("MemTotal:       16000 kB\nMemFree: 1 kB"), Some(16_384_000));
    }
}
