//! `MEMORY`: where memory goes, and what to do about it. `MEMORY USAGE` is the shards'.

use crate::core::Core;
use crate::hold::Request;
use crate::memory::resident_bytes;
use crate::survey::{CoreStats, DbStats, Question};
use netio::{ConnId, Kernel};
use shards::shard::Memory;
use shards::wire::Reply;

/// The sums that `MEMORY` and `INFO memory` tell.
pub(super) struct Usage {
    /// Where the shards' memory is.
    pub(super) memory: Memory,
    /// All of that.
    pub(super) shard_bytes: u64,
    /// Connections and their buffers.
    pub(super) connection_bytes: u64,
    /// Rings and receive buffers.
    pub(super) kernel_bytes: u64,
    /// Lanes and parcels.
    pub(super) lane_bytes: u64,
    /// The largest input a client has waiting.
    pub(super) client_input_max: u64,
    /// The largest output a client has waiting.
    pub(super) client_output_max: u64,
    /// Keys of all databases.
    pub(super) keys: u64,
    /// What is resident of the process.
    pub(super) resident_bytes: u64,
}

impl Usage {
    /// Of all cores together.
    pub(super) fn of(cores: &[CoreStats]) -> Usage {
        let sum = |field: fn(&CoreStats) -> u64| cores.iter().map(field).sum();
        let max = |field: fn(&CoreStats) -> u64| cores.iter().map(field).max().unwrap_or(0);
        let mut memory = Memory::default();
        for core in cores {
            memory.records += core.memory.records;
            memory.dead += core.memory.dead;
            memory.buckets += core.memory.buckets;
            memory.directories += core.memory.directories;
            memory.wheel += core.memory.wheel;
            memory.resident += core.memory.resident;
        }
        Usage {
            memory,
            shard_bytes: memory.used() as u64,
            connection_bytes: sum(|core| core.connection_bytes),
            kernel_bytes: sum(|core| core.kernel_bytes),
            lane_bytes: sum(|core| core.lane_bytes),
            client_input_max: max(|core| core.client_input_max),
            client_output_max: max(|core| core.client_output_max),
            keys: sum(|core| core.dbs.iter().map(|db| db.keys).sum()),
            resident_bytes: resident_bytes(),
        }
    }

    /// What counts under `maxmemory`.
    pub(super) fn used_bytes(&self) -> u64 {
        self.shard_bytes + self.overhead_bytes()
    }

    /// What is not data.
    pub(super) fn overhead_bytes(&self) -> u64 {
        self.connection_bytes + self.kernel_bytes + self.lane_bytes
    }

    /// Resident bytes for each byte used.
    pub(super) fn fragmentation(&self) -> f64 {
        self.resident_bytes as f64 / self.used_bytes().max(1) as f64
    }
}

/// `MEMORY STATS`
pub(super) fn stats<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    ask(core, id, |core, cores, reply| {
        let usage = Usage::of(&cores);
        let dbs = super::merged_dbs(&cores);
        let shown: Vec<(usize, &DbStats)> = dbs.iter().enumerate().filter(|(_, db)| db.keys > 0).collect();
        let used = usage.used_bytes();
        let peak = core.shared.memory_bytes_peak().max(used);
        let memory = usage.memory;
        let numbers: [(&str, u64); 16] = [
            ("peak.allocated", peak),
            ("total.allocated", used),
            ("startup.allocated", usage.kernel_bytes),
            ("replication.backlog", 0),
            ("clients.slaves", 0),
            ("clients.normal", usage.connection_bytes),
            ("cluster.links", 0),
            ("aof.buffer", 0),
            ("lua.caches", 0),
            ("functions.caches", 0),
            ("kernel.buffers", usage.kernel_bytes),
            ("lanes", usage.lane_bytes),
            ("records", memory.records as u64),
            ("records.dead", memory.dead as u64),
            ("tables", (memory.buckets + memory.directories) as u64),
            ("wheel", memory.wheel as u64),
        ];
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        reply.map(numbers.len() + shown.len() + 9);
        for (name, bytes) in numbers {
            reply.bulk(name.as_bytes());
            reply.integer(bytes as i64);
        }
        for (db, DbStats { keys, timed, .. }) in &shown {
            reply.bulk(format!("db.{db}").as_bytes());
            reply.map(2);
            reply.bulk(b"keys");
            reply.integer(*keys as i64);
            reply.bulk(b"keys.with.expiry");
            reply.integer(*timed as i64);
        }
        for (name, bytes) in [
            ("overhead.total", usage.overhead_bytes()),
            ("keys.count", usage.keys),
            ("keys.bytes-per-key", usage.shard_bytes / usage.keys.max(1)),
            ("dataset.bytes", usage.shard_bytes),
            ("allocator.resident", usage.resident_bytes),
            ("fragmentation.bytes", usage.resident_bytes.saturating_sub(used)),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(bytes as i64);
        }
        for (name, value) in [
            ("dataset.percentage", share(usage.shard_bytes, used)),
            ("peak.percentage", share(used, peak)),
            ("fragmentation", usage.fragmentation()),
        ] {
            reply.bulk(name.as_bytes());
            reply.double(value);
        }
    });
}

/// `MEMORY DOCTOR`
pub(super) fn doctor<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    ask(core, id, |core, cores, reply| {
        let settings = &core.executor.settings;
        let machine = crate::memory::available_bytes();
        let evicted = cores.iter().map(|core| core.counts.evicted).sum();
        let max = settings.memory_bytes_max;
        reply.verbatim(advice(&Usage::of(&cores), max, machine, settings.policy.name(), evicted).as_bytes());
    });
}

fn advice(usage: &Usage, max: u64, machine: u64, policy: &str, evicted: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    let used = usage.used_bytes();
    let mut found = Vec::new();
    if used > max / 100 * 90 {
        found.push(if policy == "noeviction" {
            format!(
                "Memory is {} % full and nothing may be evicted: soon writes will be refused with OOM. Raise maxmemory, let keys expire, \
                 or choose a maxmemory-policy that evicts.",
                100 * used / max.max(1)
            )
        } else {
            format!(
                "Memory is {} % full; {evicted} keys were evicted so far by {policy}. That is normal for a cache. If hits suffer (INFO \
                 stats, keyspace_misses), raise maxmemory.",
                100 * used / max.max(1)
            )
        });
    }
    if max > machine / 100 * 95 {
        found.push(format!(
            "maxmemory is {} MiB, but this machine or container has {} MiB. The system may kill the server before it evicts; leave a tenth \
             to socket buffers and page tables.",
            max / MIB,
            machine / MIB
        ));
    }
    if usage.connection_bytes > (used / 2).max(64 * MIB) {
        found.push(format!(
            "Connections hold {} MiB, more than the data. CLIENT LIST shows in qbuf and omem who sends much at once or does not read; \
             client-output-buffer-limit closes them earlier.",
            usage.connection_bytes / MIB
        ));
    }
    if usage.client_output_max > 32 * MIB {
        found.push(format!(
            "One client has {} MiB of replies waiting. It asks for more than it reads: smaller pipelines or smaller values help.",
            usage.client_output_max / MIB
        ));
    }
    if usage.resident_bytes > used.saturating_add(256 * MIB) && usage.fragmentation() > 1.5 {
        found.push(format!(
            "The process holds {} MiB more than is in use: memory freed lately and not yet returned. MEMORY PURGE asks for it back; if it \
             does not go, a restart will.",
            (usage.resident_bytes - used) / MIB
        ));
    }
    if found.is_empty() {
        return "Nothing is odd about the memory in use.\n".to_owned();
    }
    let mut text = String::new();
    for (number, line) in found.iter().enumerate() {
        text += &format!("{}. {line}\n", number + 1);
    }
    text
}

/// `MEMORY MALLOC-STATS`
pub(super) fn malloc_stats<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    ask(core, id, |_, cores, reply| {
        let usage = Usage::of(&cores);
        let mut text = format!("allocator: mimalloc for buffers, each core's own arenas for records\nresident: {}\n", usage.resident_bytes);
        for core in &cores {
            text += &format!(
                "core {}: records and tables {}, connections {}, kernel buffers {}, lanes {}\n",
                core.core.0, core.memory.resident, core.connection_bytes, core.kernel_bytes, core.lane_bytes
            );
        }
        reply.verbatim(text.as_bytes());
    });
}

/// `MEMORY PURGE`: the allocators give unused pages back by themselves; every core takes stock at once.
pub(super) fn purge<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey(id, Question::Settings(core.executor.settings.clone()), Box::new(|_, _, _, reply| reply.ok()));
}

fn ask<K: Kernel>(core: &mut Core<K>, id: ConnId, then: impl FnOnce(&mut Core<K>, Vec<CoreStats>, &mut Reply<'_>) + Send + 'static) {
    core.survey(id, Question::Stats, Box::new(move |core, _, findings, reply| then(core, super::stats_of(findings), reply)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn usage(shard_bytes: u64, connection_bytes: u64) -> Usage {
        Usage {
            memory: Memory::default(),
            shard_bytes,
            connection_bytes,
            kernel_bytes: 0,
            lane_bytes: 0,
            client_input_max: 0,
            client_output_max: 0,
            keys: 1,
            resident_bytes: shard_bytes + connection_bytes,
        }
    }

    #[test]
    fn advice_is_given_where_something_is_odd() {
        assert!(advice(&usage(GIB / 2, 0), GIB, 4 * GIB, "noeviction", 0).starts_with("Nothing"));
        assert!(advice(&usage(GIB, 0), GIB, 4 * GIB, "noeviction", 0).contains("OOM"));
        assert!(advice(&usage(GIB, 0), GIB, 4 * GIB, "allkeys-lru", 7).contains("7 keys were evicted"));
        assert!(advice(&usage(GIB / 4, 0), GIB, GIB, "noeviction", 0).contains("may kill"));
        assert!(advice(&usage(GIB / 8, GIB / 4), GIB, 4 * GIB, "noeviction", 0).contains("Connections hold"));
        let mut bloated = usage(GIB / 2, 0);
        bloated.resident_bytes = 2 * GIB;
        assert!(advice(&bloated, GIB, 4 * GIB, "noeviction", 0).contains("MEMORY PURGE"));
        let mut slow = usage(GIB / 2, 0);
        slow.client_output_max = 33 << 20;
        assert!(advice(&slow, GIB, 4 * GIB, "noeviction", 0).contains("33 MiB of replies"));
    }
}
