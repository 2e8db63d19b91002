//! The core of a replica's connection: writes the keys to it as one RDB file, then what was said meanwhile and since.
//!
//! Keys are taken from the cores as fast as the socket takes them. The stream waits while the file is under way and until the
//! replica has answered that it has it; that is bounded by `client-output-buffer-limit replica`.

use super::{Note, ReplicaId};
use crate::connection::Modes;
use crate::core::Core;
use crate::placement::CoreId;
use crate::settings::ClientClass;
use netio::{ConnId, Kernel, MonotonicNs};
use shards::rdb::Binding;
use std::collections::VecDeque;
use std::sync::Arc;

/// Output that is made ready for a socket ahead of what it takes. A single piece may be larger.
const OUTPUT_BYTES_AHEAD: usize = 256 * 1024;

/// How often a replica that waits for its keys hears that it is not forgotten.
const NEWLINE_NS: u64 = 1_000_000_000;

/// What a client has said of itself before it asks for keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction {
    pub(crate) port: u16,
    pub(crate) address: Option<String>,
    /// It understands a file whose length is not known beforehand.
    pub(crate) knows_eof: bool,
    /// It understands a stream's name behind `+CONTINUE`.
    pub(crate) knows_psync2: bool,
    /// It wants the keys and nothing else.
    pub(crate) keys_only: bool,
    /// It wants no keys.
    pub(crate) no_keys: bool,
    /// It asked with `SYNC`: it says only once that it is there.
    pub(crate) is_plain: bool,
}

/// How far it is.
#[derive(Debug)]
enum Step {
    /// Its turn has not come.
    Waiting,
    /// The file is under way.
    Keys {
        binding: Binding,
        mark: String,
    },
    /// It has not said that it has the file.
    Loading,
    Following,
}

/// One replica of this core.
pub(crate) struct Replica {
    pub(super) conn: ConnId,
    introduction: Introduction,
    step: Step,
    leaves: VecDeque<(CoreId, u64, Vec<u8>)>,
    /// Cores whose last leaf has not come.
    cores_left: u16,
    stream: VecDeque<Arc<[u8]>>,
    stream_bytes: usize,
    newline: MonotonicNs,
    over_soft_since: Option<MonotonicNs>,
}

impl Replica {
    pub(super) fn memory_bytes(&self) -> usize {
        self.stream_bytes + self.leaves.iter().map(|(.., bytes)| bytes.len()).sum::<usize>()
    }
}

impl<K: Kernel> Core<K> {
    /// A client becomes a replica. What it is answered comes when its turn does.
    pub(crate) fn admit_replica(&mut self, conn: ConnId, introduction: Introduction) {
        self.replication.introductions.remove(&conn);
        self.replication.replicas.push(Replica {
            conn,
            introduction,
            step: Step::Waiting,
            leaves: VecDeque::new(),
            cores_left: self.placement.core_count(),
            stream: VecDeque::new(),
            stream_bytes: 0,
            newline: self.now.monotonic,
            over_soft_since: None,
        });
        if let Some(conn) = self.connection(conn) {
            conn.modes.set(Modes::REPLICA, true);
        }
    }

    fn replica(&mut self, conn: ConnId) -> Option<&mut Replica> {
        self.replication.replicas.iter_mut().find(|replica| replica.conn == conn)
    }

    fn say_to_replica(&mut self, conn: ConnId, text: &str) {
        if let Some(known) = self.connection(conn) {
            known.output.extend_from_slice(text.as_bytes());
            self.dirty.push(conn);
        }
    }

    pub(super) fn begin_keys(&mut self, conn: ConnId, id: &str, offset: u64) {
        let mut half = || self.kernel.entropy();
        let mark = format!("{:016x}{:016x}{:08x}", half(), half(), half() as u32);
        let seconds = (self.now.wall.0 / 1000).to_string();
        let Some(replica) = self.replica(conn) else { return };
        let mut head = Vec::new();
        if !replica.introduction.is_plain {
            head.extend_from_slice(format!("+FULLRESYNC {id} {offset}\r\n").as_bytes());
        }
        head.extend_from_slice(format!("$EOF:{mark}\r\n").as_bytes());
        let about = [("redis-ver", crate::serve::REDIS_VERSION), ("redis-bits", "64"), ("ctime", &seconds)];
        let binding = Binding::begin(&about, &mut head);
        replica.step = Step::Keys { binding, mark };
        if let Some(known) = self.connection(conn) {
            known.output.extend_from_slice(&head);
            self.dirty.push(conn);
        }
        tracing::info!("a replica is given the keys: {}", self.replica_text(conn));
    }

    pub(super) fn continue_stream(&mut self, conn: ConnId, id: &str, chunks: Vec<Arc<[u8]>>) {
        let Some(replica) = self.replica(conn) else { return };
        replica.step = Step::Following;
        replica.stream_bytes = chunks.iter().map(|chunk| chunk.len()).sum();
        replica.stream = chunks.into();
        let reply = if replica.introduction.knows_psync2 { format!("+CONTINUE {id}\r\n") } else { "+CONTINUE\r\n".to_owned() };
        self.say_to_replica(conn, &reply);
        tracing::info!("a replica goes on where it was: {}", self.replica_text(conn));
    }

    pub(super) fn take_leaf(&mut self, from: CoreId, conn: ConnId, number: u64, bytes: Vec<u8>, is_last: bool) {
        if let Some(replica) = self.replica(conn) {
            replica.leaves.push_back((from, number, bytes));
            replica.cores_left -= u16::from(is_last);
        }
    }

    pub(super) fn take_stream(&mut self, conn: ConnId, bytes: Arc<[u8]>) {
        let limit = self.executor.settings.output_limit(ClientClass::Replica);
        let Some(replica) = self.replica(conn) else { return };
        replica.stream_bytes += bytes.len();
        replica.stream.push_back(bytes);
        if limit.hard_bytes > 0 && replica.stream_bytes > limit.hard_bytes {
            self.executor.metrics.closed_output_over_limit += 1;
            self.drop_replica(conn, "more waits for it than client-output-buffer-limit allows");
        }
    }

    /// `REPLCONF ACK`.
    pub(crate) fn take_replica_ack(&mut self, conn: ConnId, offset: u64) {
        let Some(replica) = self.replica(conn) else { return };
        match replica.step {
            Step::Waiting | Step::Keys { .. } => return,
            Step::Loading => {
                replica.step = Step::Following;
                tracing::info!("a replica has the keys and follows: {}", self.replica_text(conn));
            }
            Step::Following => {}
        }
        self.send_note(super::KEEPER, Note::Acked(ReplicaId { home: self.id, conn }, offset));
    }

    /// Makes output for this core's replicas, as much as their sockets take.
    pub(super) fn feed_replicas(&mut self) {
        for index in 0..self.replication.replicas.len() {
            let Core { replication, connections, dirty, .. } = self;
            let Some(replica) = replication.replicas.get_mut(index) else { return };
            let conn = connections.get_mut(replica.conn.index as usize).and_then(|slot| slot.as_deref_mut());
            let Some(conn) = conn.filter(|conn| conn.id == replica.conn) else { continue };
            let (before, mut taken) = (conn.output.len(), Vec::new());
            while conn.output_bytes() < OUTPUT_BYTES_AHEAD {
                match &mut replica.step {
                    Step::Keys { binding, .. } if !replica.leaves.is_empty() => {
                        let Some((core, number, bytes)) = replica.leaves.pop_front() else { break };
                        binding.add(&bytes, &mut conn.output);
                        taken.push((core, number, bytes.len()));
                    }
                    Step::Keys { .. } if replica.cores_left == 0 => {
                        let Step::Keys { binding, mark } = std::mem::replace(&mut replica.step, Step::Loading) else { break };
                        binding.end(&mut conn.output);
                        conn.output.extend_from_slice(mark.as_bytes());
                        conn.modes.set(Modes::CLOSE_AFTER_REPLY, replica.introduction.keys_only);
                    }
                    Step::Following => {
                        let Some(bytes) = replica.stream.pop_front() else { break };
                        replica.stream_bytes -= bytes.len();
                        conn.output.extend_from_slice(&bytes);
                    }
                    _ => break,
                }
            }
            if conn.output.len() > before {
                dirty.push(conn.id);
            }
            for (core, number, bytes) in taken {
                self.send_note(core, Note::Taken(number, bytes));
            }
        }
    }

    /// Ten times a second: who has been too slow or silent for too long, and who should hear that it is not forgotten.
    pub(super) fn check_replicas(&mut self) {
        let now = self.now.monotonic;
        let settings = self.executor.settings.clone();
        let limit = settings.output_limit(ClientClass::Replica);
        let (soft_ns, silent_ns) = (u64::from(limit.soft_s) * 1_000_000_000, u64::from(settings.replica_timeout_s) * 1_000_000_000);
        let (mut dropped, mut hailed) = (Vec::new(), Vec::new());
        for replica in &mut self.replication.replicas {
            let Some(conn) = self.connections.get(replica.conn.index as usize).and_then(|slot| slot.as_deref()) else { continue };
            let is_over = limit.soft_bytes > 0 && replica.stream_bytes > limit.soft_bytes && matches!(replica.step, Step::Following);
            replica.over_soft_since = is_over.then(|| replica.over_soft_since.unwrap_or(now));
            if replica.over_soft_since.is_some_and(|since| now.since(since) > soft_ns) {
                dropped.push((replica.conn, "too much has waited for it for too long, see client-output-buffer-limit"));
            } else if matches!(replica.step, Step::Loading | Step::Following)
                && !replica.introduction.is_plain
                && now.since(conn.active) > silent_ns
            {
                dropped.push((replica.conn, "nothing was heard of it for repl-timeout"));
            } else if matches!(replica.step, Step::Keys { .. }) && conn.sending && now.since(conn.progress) > silent_ns {
                dropped.push((replica.conn, "it has taken none of its keys for repl-timeout"));
            } else if matches!(replica.step, Step::Waiting) && now.since(replica.newline) >= NEWLINE_NS {
                replica.newline = now;
                hailed.push(replica.conn);
            }
        }
        hailed.into_iter().for_each(|conn| self.say_to_replica(conn, "\n"));
        for (conn, why) in dropped {
            self.drop_replica(conn, why);
        }
    }

    /// Closes a replica's connection. It will come again.
    pub(super) fn drop_replica(&mut self, conn: ConnId, why: &str) {
        if self.replica(conn).is_some() {
            tracing::warn!("a replica is let go, {}: {why}", self.replica_text(conn));
            self.close(conn);
        }
    }

    /// Whether all that was said is with the sockets of this core's replicas, as far as they follow.
    pub(super) fn replicas_are_fed(&self) -> bool {
        self.replication.replicas.iter().all(|replica| {
            let conn = self.connections.get(replica.conn.index as usize).and_then(|slot| slot.as_deref());
            let is_sent = conn.is_none_or(|conn| !conn.sending && conn.output.is_empty());
            !matches!(replica.step, Step::Following) || (replica.stream.is_empty() && is_sent)
        })
    }

    pub(super) fn replica_text(&self, conn: ConnId) -> String {
        let conn = self.connections.get(conn.index as usize).and_then(|slot| slot.as_deref()).filter(|known| known.id == conn);
        conn.map_or_else(String::new, |conn| self.peer_text(conn))
    }
}
