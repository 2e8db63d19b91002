//! `INFO`: how the server is doing, in the sections and fields that exporters, consoles and frameworks read, and in two of our
//! own, `engine` and `cores`.
//!
//! Every figure is true of this server; where Redis has a figure for something that does not exist here (a fork, a module, a
//! script), the value is the one Redis shows when it is not in use.

use crate::core::Core;
use crate::hold::Request;
use crate::memory::{available_bytes, machine_bytes};
use crate::metrics::Metrics;
use crate::replica::{Follower, Stage, Standing, SyncCounts};
use crate::serve::memory::Usage;
use crate::serve::{REDIS_VERSION, merged_dbs, stats_of};
use crate::survey::{CoreStats, DbStats, LogStats, Question};
use netio::{ConnId, Kernel};
use shards::command::COMMANDS_BY_NUMBER;
use shards::shard::Counts;
use std::fmt::Write;
use std::fs;

/// Sections in the order in which they are told.
const SECTIONS: &[&str] = &[
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "latencystats",
    "cluster",
    "engine",
    "cores",
    "keyspace",
];

/// Those that are told only when asked for by name, by `all` or by `everything`.
const NOT_BY_DEFAULT: &[&str] = &["commandstats", "latencystats"];

/// `INFO [section ...]`
pub(super) fn info<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, _out: &mut Vec<u8>) {
    let wanted = wanted_sections(request.args().iter_from(1));
    core.survey(
        id,
        Question::Stats,
        Box::new(move |core, id, findings, reply| {
            let view = View::new(core, id, stats_of(findings));
            let mut text = String::new();
            for section in wanted {
                if !text.is_empty() {
                    text.push_str("\r\n");
                }
                view.tell(core, section, &mut text);
            }
            reply.verbatim(text.as_bytes());
        }),
    );
}

fn wanted_sections<'a>(words: impl Iterator<Item = &'a [u8]>) -> Vec<&'static str> {
    let words: Vec<Vec<u8>> = words.map(<[u8]>::to_ascii_lowercase).collect();
    let says = |word: &str| words.iter().any(|said| said == word.as_bytes());
    let all = says("all") || says("everything");
    let default = words.is_empty() || says("default");
    SECTIONS.iter().filter(|section| all || (default && !NOT_BY_DEFAULT.contains(section)) || says(section)).copied().collect()
}

/// Everything `INFO` tells, gathered once.
struct View {
    cores: Vec<CoreStats>,
    metrics: Metrics,
    counts: Counts,
    usage: Usage,
    sees_cluster: bool,
    uptime_s: u64,
    now_us: u64,
}

macro_rules! fields {
    ($text:expr, $($name:literal: $value:expr),* $(,)?) => {{ $( let _ = write!($text, concat!($name, ":{}\r\n"), $value); )* }};
}

impl View {
    fn new<K: Kernel>(core: &mut Core<K>, id: ConnId, cores: Vec<CoreStats>) -> View {
        let mut metrics = Metrics::default();
        let mut counts = Counts::default();
        for stats in &cores {
            metrics.merge(&stats.metrics);
            counts.hits += stats.counts.hits;
            counts.misses += stats.counts.misses;
            counts.expired += stats.counts.expired;
            counts.evicted += stats.counts.evicted;
        }
        View {
            metrics,
            counts,
            usage: Usage::of(&cores),
            cores,
            sees_cluster: core.sees_cluster(id),
            uptime_s: core.now.monotonic.since(core.started) / 1_000_000_000,
            now_us: core.now.wall.0 * 1000 + u64::from(core.now.wall_us_part),
        }
    }

    fn tell<K: Kernel>(&self, core: &Core<K>, section: &str, text: &mut String) {
        let mut heading = section.to_owned();
        heading[..1].make_ascii_uppercase();
        if section == "cpu" {
            heading = "CPU".to_owned();
        }
        let _ = write!(text, "# {heading}\r\n");
        match section {
            "server" => self.tell_server(core, text),
            "clients" => self.tell_clients(core, text),
            "memory" => self.tell_memory(core, text),
            "persistence" => self.tell_persistence(core, text),
            "stats" => self.tell_stats(text),
            "replication" => self.tell_replication(core, text),
            "cpu" => tell_cpu(text),
            "commandstats" => self.tell_commandstats(text),
            "errorstats" => self.tell_errorstats(text),
            "latencystats" => self.tell_latencystats(text),
            "cluster" => fields!(text, "cluster_enabled": u8::from(self.sees_cluster)),
            "engine" => self.tell_engine(core, text),
            "cores" => self.tell_cores(core, text),
            "keyspace" => self.tell_keyspace(text),
            _ => {}
        }
    }

    fn tell_server<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        let settings = &core.executor.settings;
        let facts = core.kernel.facts();
        let port = core.main_port().unwrap_or(settings.port);
        let path = |path: Option<&std::path::Path>| path.map_or_else(String::new, |path| path.display().to_string());
        let mode = if self.sees_cluster { "cluster" } else { "standalone" };
        let bind: String = settings.bind.iter().map(|addr| format!(",bind={addr}")).collect();
        fields!(text,
            "redis_version": REDIS_VERSION,
            "server_name": "corewheel",
            "corewheel_version": env!("CARGO_PKG_VERSION"),
            "redis_git_sha1": "00000000",
            "redis_git_dirty": 0,
            "redis_build_id": concat!("corewheel-", env!("CARGO_PKG_VERSION")),
            "redis_mode": mode,
            "os": format_args!("Linux {} {}", facts.release, std::env::consts::ARCH),
            "arch_bits": usize::BITS,
            "monotonic_clock": "POSIX clock_gettime",
            "multiplexing_api": facts.backend,
            "process_id": std::process::id(),
            "process_supervised": "no",
            "run_id": core.shared.run_id,
            "tcp_port": port,
            "server_time_usec": self.now_us,
            "uptime_in_seconds": self.uptime_s,
            "uptime_in_days": self.uptime_s / 86_400,
            "hz": 10,
            "configured_hz": 10,
            "lru_clock": (self.now_us / 1_000_000) & 0xFF_FFFF,
            "executable": path(std::env::current_exe().ok().as_deref()),
            "config_file": path(settings.config_file.as_deref()),
            "io_threads_active": u8::from(self.cores.len() > 1),
            "listener0": format_args!("name=tcp{bind},port={port}"),
        );
        if let Some(socket) = &settings.unix_socket {
            fields!(text, "listener1": format_args!("name=unix,bind={}", socket.display()));
        }
    }

    fn tell_clients<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        fields!(text,
            "connected_clients": self.sum(|core| core.clients),
            "cluster_connections": 0,
            "maxclients": core.executor.settings.clients_max,
            "client_recent_max_input_buffer": self.usage.client_input_max,
            "client_recent_max_output_buffer": self.usage.client_output_max,
            "blocked_clients": 0,
            "tracking_clients": 0,
            "pubsub_clients": 0,
            "watching_clients": 0,
            "clients_in_timeout_table": 0,
            "total_watched_keys": 0,
            "total_blocking_keys": 0,
            "total_blocking_keys_on_nokey": 0,
        );
    }

    fn tell_memory<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        let Usage { shard_bytes, connection_bytes, kernel_bytes, resident_bytes: resident, .. } = self.usage;
        let settings = &core.executor.settings;
        let used = self.usage.used_bytes();
        let peak = core.shared.memory_bytes_peak().max(used);
        let percent = |part: u64, whole: u64| format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64);
        let beyond = resident as i64 - used as i64;
        fields!(text,
            "used_memory": used,
            "used_memory_human": human(used),
            "used_memory_rss": resident,
            "used_memory_rss_human": human(resident),
            "used_memory_peak": peak,
            "used_memory_peak_human": human(peak),
            "used_memory_peak_perc": percent(used, peak),
            "used_memory_overhead": self.usage.overhead_bytes(),
            "used_memory_startup": kernel_bytes,
            "used_memory_dataset": shard_bytes,
            "used_memory_dataset_perc": percent(shard_bytes, used.saturating_sub(kernel_bytes)),
            "allocator_allocated": used,
            "allocator_active": resident,
            "allocator_resident": resident,
            "allocator_muzzy": 0,
            "total_system_memory": machine_bytes(),
            "total_system_memory_human": human(machine_bytes()),
            "available_memory": available_bytes(),
            "used_memory_lua": 0,
            "used_memory_vm_eval": 0,
            "used_memory_lua_human": "0B",
            "used_memory_scripts_eval": 0,
            "number_of_cached_scripts": 0,
            "number_of_functions": 0,
            "number_of_libraries": 0,
            "used_memory_vm_functions": 0,
            "used_memory_vm_total": 0,
            "used_memory_vm_total_human": "0B",
            "used_memory_functions": 0,
            "used_memory_scripts": 0,
            "used_memory_scripts_human": "0B",
            "maxmemory": settings.memory_bytes_max,
            "maxmemory_human": human(settings.memory_bytes_max),
            "maxmemory_policy": settings.policy.name(),
            "allocator_frag_ratio": format_args!("{:.2}", self.usage.fragmentation()),
            "allocator_frag_bytes": beyond.max(0),
            "allocator_rss_ratio": "1.00",
            "allocator_rss_bytes": 0,
            "rss_overhead_ratio": "1.00",
            "rss_overhead_bytes": 0,
            "mem_fragmentation_ratio": format_args!("{:.2}", self.usage.fragmentation()),
            "mem_fragmentation_bytes": beyond,
            "mem_not_counted_for_evict": 0,
            "mem_replication_backlog": self.standing().map_or(0, |standing| standing.kept_bytes),
            "mem_total_replication_buffers": 0,
            "mem_clients_slaves": 0,
            "mem_clients_normal": connection_bytes,
            "mem_cluster_links": 0,
            "mem_aof_buffer": 0,
            "mem_allocator": "mimalloc",
            "mem_overhead_db_hashtable_rehashing": 0,
            "active_defrag_running": 0,
            "lazyfree_pending_objects": 0,
            "lazyfreed_objects": 0,
        );
    }

    fn tell_persistence<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        let settings = &core.executor.settings;
        let logs = || self.cores.iter().filter_map(|core| core.log.as_ref());
        let progress = core.shared.snapshots.progress();
        let seconds = |ms: Option<u64>| ms.map_or(-1, |ms| (ms / 1000) as i64);
        let current = seconds(progress.begun_ms.map(|begun| core.now.wall.0.saturating_sub(begun)));
        let (last, status) = (seconds(progress.took_ms), if progress.failure.is_some() { "err" } else { "ok" });
        let making = u8::from(progress.begun_ms.is_some());
        fields!(text,
            "loading": u8::from(core.is_loading()),
            "async_loading": 0,
            "current_cow_peak": 0,
            "current_cow_size": 0,
            "current_cow_size_age": 0,
            "current_fork_perc": "0.00",
            "current_save_keys_processed": 0,
            "current_save_keys_total": 0,
            "rdb_changes_since_last_save": self.sum(|core| core.changes_unsaved),
            "rdb_bgsave_in_progress": making,
            "rdb_last_save_time": core.last_save_ms() / 1000,
            "rdb_last_bgsave_status": status,
            "rdb_last_bgsave_time_sec": last,
            "rdb_current_bgsave_time_sec": current,
            "rdb_saves": progress.count,
            "rdb_last_cow_size": 0,
            "rdb_last_load_keys_expired": 0,
            "rdb_last_load_keys_loaded": core.shared.loading.keys(),
            "aof_enabled": u8::from(settings.ladder().logs()),
            "aof_rewrite_in_progress": making,
            "aof_rewrite_scheduled": 0,
            "aof_last_rewrite_time_sec": last,
            "aof_current_rewrite_time_sec": current,
            "aof_last_bgrewrite_status": status,
            "aof_rewrites": progress.count,
            "aof_rewrites_consecutive_failures": 0,
            "aof_last_write_status": if logs().any(|log| log.refuses) { "err" } else { "ok" },
            "aof_last_cow_size": 0,
            "module_fork_in_progress": 0,
            "module_fork_last_cow_size": 0,
            "durability": settings.ladder(),
        );
        if core.is_loading() {
            tell_loading(core, text);
        }
        tell_archive(core, text);
        if logs().next().is_none() {
            return;
        }
        let sum = |count: fn(&LogStats) -> u64| logs().map(count).sum::<u64>();
        fields!(text,
            "aof_pending_bio_fsync": sum(|log| log.counts.syncs_under_way),
            "aof_buffer_length": sum(|log| log.waiting_bytes),
            "log_bytes": sum(|log| log.counts.bytes),
            "log_payload_bytes": sum(|log| log.counts.payload_bytes),
            "log_frames": sum(|log| log.counts.frames),
            "log_syncs": sum(|log| log.counts.syncs),
            "log_segments": sum(|log| log.counts.segments),
            "log_compression": settings.log_compression,
            "log_key_number": settings.keys.newest().unwrap_or(0),
            "log_base_pending": u8::from(core.shared.snapshots.needs_base()),
            "log_parked": sum(|log| log.parked),
            "log_disk_low": u8::from(logs().any(|log| log.is_low)),
            "log_refuses_writes": u8::from(logs().any(|log| log.refuses)),
            "entry_clock_ahead_ms": self.cores.iter().map(|core| core.clock_ahead_ms).max().unwrap_or(0),
        );
        for (core, log) in self.cores.iter().filter_map(|core| Some((core.core.0, core.log.as_ref()?))) {
            let _ = write!(text, "log_core{core}:lsn={},synced_lsn={}\r\n", log.lsn, log.synced_lsn);
        }
    }

    fn tell_stats(&self, text: &mut String) {
        let Metrics { rate, rate_in, rate_out, .. } = &self.metrics;
        let metrics = &self.metrics;
        let syncs = self.standing().map_or_else(SyncCounts::default, |standing| standing.counts);
        fields!(text,
            "total_connections_received": metrics.connections_total,
            "total_commands_processed": metrics.commands_total,
            "instantaneous_ops_per_sec": rate.per_second().round() as u64,
            "total_net_input_bytes": metrics.bytes_in,
            "total_net_output_bytes": metrics.bytes_out,
            "total_net_repl_input_bytes": 0,
            "total_net_repl_output_bytes": 0,
            "instantaneous_input_kbps": format_args!("{:.2}", rate_in.per_second() / 1024.0),
            "instantaneous_output_kbps": format_args!("{:.2}", rate_out.per_second() / 1024.0),
            "instantaneous_input_repl_kbps": "0.00",
            "instantaneous_output_repl_kbps": "0.00",
            "rejected_connections": metrics.connections_rejected,
            "sync_full": syncs.full,
            "sync_partial_ok": syncs.partial,
            "sync_partial_err": syncs.partial_refused,
            "expired_subkeys": 0,
            "expired_keys": self.counts.expired,
            "expired_stale_perc": "0.00",
            "expired_time_cap_reached_count": 0,
            "expire_cycle_cpu_milliseconds": 0,
            "evicted_keys": self.counts.evicted,
            "evicted_clients": 0,
            "evicted_scripts": 0,
            "total_eviction_exceeded_time": 0,
            "current_eviction_exceeded_time": 0,
            "keyspace_hits": self.counts.hits,
            "keyspace_misses": self.counts.misses,
            "pubsub_channels": 0,
            "pubsub_patterns": 0,
            "pubsubshard_channels": 0,
            "latest_fork_usec": 0,
            "total_forks": 0,
            "migrate_cached_sockets": 0,
            "slave_expires_tracked_keys": 0,
            "active_defrag_hits": 0,
            "active_defrag_misses": 0,
            "active_defrag_key_hits": 0,
            "active_defrag_key_misses": 0,
            "total_active_defrag_time": 0,
            "current_active_defrag_time": 0,
            "tracking_total_keys": 0,
            "tracking_total_items": 0,
            "tracking_total_prefixes": 0,
            "unexpected_error_replies": 0,
            "total_error_replies": metrics.errors_total,
            "dump_payload_sanitizations": 0,
            "total_reads_processed": metrics.reads_total,
            "total_writes_processed": metrics.sends_total,
            "io_threaded_reads_processed": 0,
            "io_threaded_writes_processed": 0,
            "client_query_buffer_limit_disconnections": metrics.closed_input_over_limit,
            "client_output_buffer_limit_disconnections": metrics.closed_output_over_limit,
            "reply_buffer_shrinks": 0,
            "reply_buffer_expands": 0,
            "eventloop_cycles": metrics.turns,
            "eventloop_duration_sum": metrics.busy_ns / 1000,
            "eventloop_duration_cmd_sum": metrics.commands.iter().map(|count| count.ns).sum::<u64>() / 1000,
            "acl_access_denied_auth": metrics.auth_failures,
            "acl_access_denied_cmd": metrics.denied,
            "acl_access_denied_key": 0,
            "acl_access_denied_channel": 0,
        );
    }

    fn standing(&self) -> Option<&Standing> {
        self.cores.iter().find_map(|core| core.replication.as_deref())
    }

    fn tell_replication<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        let Some(standing) = self.standing() else { return };
        fields!(text, "role": "master", "connected_slaves": standing.followers.len());
        for (index, follower) in standing.followers.iter().enumerate() {
            let state = match follower.stage {
                Stage::Waiting => "wait_bgsave",
                Stage::Sending => "send_bulk",
                Stage::Online => "online",
            };
            let Follower { address, port, acked, acked_at, .. } = follower;
            let lag = core.now.monotonic.since(*acked_at) / 1_000_000_000;
            let _ = write!(text, "slave{index}:ip={address},port={port},state={state},offset={acked},lag={lag}\r\n");
        }
        let first = if standing.is_kept { standing.offset - standing.kept_bytes + 1 } else { 0 };
        fields!(text,
            "master_failover_state": "no-failover",
            "master_replid": standing.id,
            "master_replid2": "0000000000000000000000000000000000000000",
            "master_repl_offset": standing.offset,
            "second_repl_offset": -1,
            "repl_backlog_active": u8::from(standing.is_kept),
            "repl_backlog_size": core.executor.settings.backlog_bytes,
            "repl_backlog_first_byte_offset": first,
            "repl_backlog_histlen": standing.kept_bytes,
        );
    }

    fn tell_commandstats(&self, text: &mut String) {
        for (command, count) in COMMANDS_BY_NUMBER.iter().zip(&self.metrics.commands) {
            if count.calls == 0 && count.rejected == 0 {
                continue;
            }
            let _ = write!(
                text,
                "cmdstat_{}:calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
                command.full_name,
                count.calls,
                count.ns / 1000,
                count.ns as f64 / 1000.0 / count.calls.max(1) as f64,
                count.rejected,
                count.failed
            );
        }
    }

    fn tell_errorstats(&self, text: &mut String) {
        let mut errors: Vec<&(String, u64)> = self.metrics.errors.iter().collect();
        errors.sort();
        for (name, count) in errors {
            let name: String = name.chars().map(|c| if c == ':' || c.is_whitespace() { '_' } else { c }).collect();
            let _ = write!(text, "errorstat_{name}:count={count}\r\n");
        }
    }

    fn tell_latencystats(&self, text: &mut String) {
        for (command, count) in COMMANDS_BY_NUMBER.iter().zip(&self.metrics.commands) {
            let Some(latency) = &count.latency else { continue };
            let us = |share: f64| latency.quantile(share) as f64 / 1000.0;
            let _ = write!(
                text,
                "latency_percentiles_usec_{}:p50={:.3},p99={:.3},p99.9={:.3}\r\n",
                command.full_name,
                us(0.5),
                us(0.99),
                us(0.999)
            );
        }
    }

    fn tell_engine<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        let facts = core.kernel.facts();
        let missing: Vec<&str> = facts.features.iter().filter(|feature| !feature.present).map(|feature| feature.name).collect();
        let none = |words: String| if words.is_empty() { "none".to_owned() } else { words };
        let metrics = &self.metrics;
        let mean = self.cores.iter().map(utilisation).sum::<f64>() / self.cores.len().max(1) as f64;
        fields!(text,
            "io_backend": facts.backend,
            "io_missing": none(missing.join(",")),
            "io_stepped_down": none(facts.stepped_down.clone().unwrap_or_default()),
            "durability": core.executor.settings.ladder(),
            "cores": self.cores.len(),
            "utilisation": format_args!("{mean:.4}"),
            "turns": metrics.turns,
            "turn_max_usec": metrics.turn_ns_max / 1000,
            "command_max_usec": metrics.commands.iter().map(|count| count.ns_max).max().unwrap_or(0) / 1000,
            "hops": metrics.hops,
            "joints": metrics.joints,
            "joints_ordered": metrics.joints_ordered,
            "lane_pushbacks": metrics.lane_pushbacks,
            "memory_records": self.usage.memory.records,
            "memory_tables": self.usage.memory.buckets + self.usage.memory.directories,
            "memory_wheel": self.usage.memory.wheel,
            "memory_dead": self.usage.memory.dead,
            "memory_lanes": self.usage.lane_bytes,
            "requests_waiting_for_keys": self.sum(|core| core.waiting),
            "clients_stalled": self.sum(|core| core.stalled),
            "clients_core_port": self.sum(|core| core.cluster_clients),
            "clients_monitoring": self.sum(|core| core.monitors),
            "client_pauses": metrics.pauses,
            "clients_closed_stuck": metrics.closed_stuck,
            "clients_closed_idle": metrics.closed_idle,
            "clients_closed_over_limit": metrics.closed_input_over_limit + metrics.closed_output_over_limit,
            "monitor_lines_dropped": self.sum(|core| core.monitor_lines_dropped),
            "wheel_backlog": metrics.wheel_backlog,
        );
    }

    fn tell_cores<K: Kernel>(&self, core: &Core<K>, text: &mut String) {
        for stats in &self.cores {
            let keys: u64 = stats.dbs.iter().map(|db| db.keys).sum();
            let metrics = &stats.metrics;
            let _ = write!(
                text,
                "core{}:utilisation={:.4},cpu={},clients={},keys={keys},memory={},commands={},hops={},turns={},turn_max_usec={},\
                 wheel_backlog={}\r\n",
                stats.core.0,
                utilisation(stats),
                core.cpu_of(stats.core),
                stats.clients,
                stats.memory.resident as u64 + stats.connection_bytes + stats.kernel_bytes + stats.lane_bytes,
                metrics.commands_total,
                metrics.hops,
                metrics.turns,
                metrics.turn_ns_max / 1000,
                metrics.wheel_backlog,
            );
        }
    }

    fn tell_keyspace(&self, text: &mut String) {
        for (db, DbStats { keys, timed, ttl_ms_mean }) in merged_dbs(&self.cores).into_iter().enumerate() {
            if keys > 0 {
                let _ = write!(text, "db{db}:keys={keys},expires={timed},avg_ttl={ttl_ms_mean},subexpiry=0\r\n");
            }
        }
    }

    fn sum(&self, field: impl Fn(&CoreStats) -> u64) -> u64 {
        self.cores.iter().map(field).sum()
    }
}

/// The share of its time that a core worked, lately.
fn utilisation(stats: &CoreStats) -> f64 {
    (stats.metrics.rate_busy.per_second() / 1e9).clamp(0.0, 1.0)
}

/// How far the archive is behind what was written; -1 before its first round.
fn tell_archive<K: Kernel>(core: &Core<K>, text: &mut String) {
    let archive = core.shared.archive.stats();
    fields!(text, "archive_enabled": u8::from(archive.is_some()));
    let Some(archive) = archive else { return };
    let lag_ms = core.now.wall.0.saturating_sub(archive.until_ms);
    fields!(text,
        "archive_until_ms": archive.until_ms,
        "archive_lag_ms": if archive.until_ms == 0 { -1 } else { lag_ms as i64 },
        "archive_kept_bytes": archive.kept_bytes,
        "archive_rounds": archive.rounds,
        "archive_failures": archive.failures,
        "archive_gaps": archive.gaps,
        "archive_last_status": if archive.failure.is_some() { "err" } else { "ok" },
    );
}

/// Processor time of the process and of the asking core's thread, as the system counts it: in hundredths of a second.
/// How far recovery is. The time left assumes that the rest goes as fast as what is done.
fn tell_loading<K: Kernel>(core: &Core<K>, text: &mut String) {
    let (done, total) = core.shared.loading.progress();
    let done = done.min(total);
    let elapsed_s = core.now.monotonic.since(core.started) / 1_000_000_000;
    fields!(text,
        "loading_start_time": core.shared.started_wall.0 / 1000,
        "loading_total_bytes": total,
        "loading_rdb_used_mem": 0,
        "loading_loaded_bytes": done,
        "loading_loaded_perc": format_args!("{:.2}", done as f64 / total.max(1) as f64 * 100.0),
        "loading_eta_seconds": (elapsed_s * (total - done)).checked_div(done).unwrap_or(1),
    );
}

fn tell_cpu(text: &mut String) {
    let times = |path: &str| fs::read_to_string(path).ok().and_then(|stat| cpu_times(&stat)).unwrap_or([0.0; 4]);
    let [user, system, user_children, system_children] = times("/proc/self/stat");
    let [user_main, system_main, ..] = times("/proc/thread-self/stat");
    for (name, seconds) in [
        ("used_cpu_sys", system),
        ("used_cpu_user", user),
        ("used_cpu_sys_children", system_children),
        ("used_cpu_user_children", user_children),
        ("used_cpu_sys_main_thread", system_main),
        ("used_cpu_user_main_thread", user_main),
    ] {
        let _ = write!(text, "{name}:{seconds:.6}\r\n");
    }
}

/// User, system, and both of children that ended, in seconds, from a `stat` file of the process file system.
fn cpu_times(stat: &str) -> Option<[f64; 4]> {
    /// Ticks per second that Linux shows to programs, on every architecture.
    const TICKS: f64 = 100.0;
    // The name may hold anything, even a parenthesis: fields are counted from behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / TICKS);
    Some([seconds(11)?, seconds(12)?, seconds(13)?, seconds(14)?])
}

/// Bytes as Redis shortens them: `1.50M`.
fn human(bytes: u64) -> String {
    let units = [("T", 1u64 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.2}{name}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &str, expected: &str) {
        assert_eq!(wanted_sections(words.split_ascii_whitespace().map(str::as_bytes)).join(" "), expected);
    }

    #[test]
    fn sections_are_chosen_as_in_redis() {
        let default = "server clients memory persistence stats replication cpu modules errorstats cluster engine cores keyspace";
        let all = SECTIONS.join(" ");
        check("", default);
        check("default", default);
        check("all", &all);
        check("EVERYTHING", &all);
        check("Replication", "replication");
        check("keyspace server nonsense", "server keyspace");
        check("nonsense", "");
    }

    #[test]
    fn bytes_and_times_are_read_and_shortened() {
        assert_eq!([human(5), human(1536), human(3 << 30)], ["5B", "1.50K", "3.00G"]);
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 150 7 8 20 0";
        assert_eq!(cpu_times(stat), Some([2.5, 1.5, 0.07, 0.08]));
        assert_eq!(cpu_times("nonsense"), None);
    }
}
