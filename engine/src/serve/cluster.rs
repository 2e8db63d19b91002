//! `CLUSTER`: every core as a node, so that cluster clients send each key straight to the core that has it.
//!
//! The address of a node is the one the client dialled, with the core's own port; never an empty host, which several clients
//! cannot use. Which core has which slot is fixed for the life of the process.

use crate::connection::Modes;
use crate::core::Core;
use crate::hold::Request;
use crate::placement::CoreId;
use crate::serve::NO_CLUSTER;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::Slot;
use shards::number;
use shards::slot::SLOT_COUNT;
use shards::wire::Reply;
use std::fmt::Write;

/// `CLUSTER` and its subcommands.
pub(super) fn cluster<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let name = args.get(1).to_ascii_lowercase();
    if core.executor.settings.cluster_port_first.is_none() {
        return reply.error(NO_CLUSTER);
    }
    match name.as_slice() {
        b"slots" => core.tell_slots(id, &mut reply),
        b"shards" => core.tell_shards(id, &mut reply),
        b"nodes" => {
            let text = core.node_lines(id);
            reply.verbatim(text.as_bytes());
        }
        b"info" => {
            let text = core.cluster_info();
            reply.verbatim(text.as_bytes());
        }
        b"myid" | b"myshardid" => {
            let own = core.shared.node_ids[usize::from(core.id.0)].clone();
            reply.bulk(own.as_bytes());
        }
        b"keyslot" => reply.integer(i64::from(Slot::of(args.get(2)).0)),
        b"countkeysinslot" => match slot_at(args.get(2)) {
            Ok(slot) => {
                let owner = core.placement.core_of(slot);
                core.survey_cores(
                    id,
                    &[owner],
                    Question::CountInSlot(slot),
                    Box::new(|_, _, findings, reply| reply.integer(super::sum_of(&findings) as i64)),
                );
            }
            Err(text) => reply.error(text),
        },
        b"getkeysinslot" => match (slot_at(args.get(2)), number::parse_u64(args.get(3))) {
            (Err(text), _) => reply.error(text),
            (_, None) => reply.error("ERR Invalid number of keys"),
            (Ok(slot), Some(count)) => core.ask_slot(id, slot, usize::try_from(count).unwrap_or(usize::MAX), |keys, reply| {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }),
        },
        b"links" => reply.array(0),
        b"count-failure-reports" => core.with_node(args.get(2), &mut reply, |reply| reply.integer(0)),
        b"replicas" | b"slaves" => core.with_node(args.get(2), &mut reply, |reply| reply.array(0)),
        _ => reply.error("ERR the nodes are the cores of one server and their slots are fixed; this cluster cannot be changed"),
    }
}

fn slot_at(text: &[u8]) -> Result<Slot, &'static str> {
    let number = number::parse_i64(text).ok_or("ERR Invalid or out of range slot")?;
    u16::try_from(number).ok().filter(|slot| *slot < SLOT_COUNT).map(Slot).ok_or("ERR Invalid or out of range slot")
}

impl<K: Kernel> Core<K> {
    fn tell_slots(&mut self, id: ConnId, reply: &mut Reply<'_>) {
        reply.array(usize::from(self.placement.core_count()));
        for core in self.placement.cores() {
            let slots = self.placement.slots_of(core);
            let (host, port) = self.node_address(id, core);
            reply.array(3);
            reply.integer(i64::from(slots.start));
            reply.integer(i64::from(slots.end - 1));
            reply.array(4);
            reply.bulk(host.as_bytes());
            reply.integer(i64::from(port));
            reply.bulk(self.shared.node_ids[usize::from(core.0)].as_bytes());
            reply.map(0);
        }
    }

    fn tell_shards(&mut self, id: ConnId, reply: &mut Reply<'_>) {
        reply.array(usize::from(self.placement.core_count()));
        for core in self.placement.cores() {
            let slots = self.placement.slots_of(core);
            let (host, port) = self.node_address(id, core);
            reply.map(2);
            reply.bulk(b"slots");
            reply.array(2);
            reply.integer(i64::from(slots.start));
            reply.integer(i64::from(slots.end - 1));
            reply.bulk(b"nodes");
            reply.array(1);
            reply.map(7);
            reply.bulk(b"id");
            reply.bulk(self.shared.node_ids[usize::from(core.0)].as_bytes());
            reply.bulk(b"port");
            reply.integer(i64::from(port));
            for field in [&b"ip"[..], b"endpoint"] {
                reply.bulk(field);
                reply.bulk(host.as_bytes());
            }
            reply.bulk(b"role");
            reply.bulk(b"master");
            reply.bulk(b"replication-offset");
            reply.integer(0);
            reply.bulk(b"health");
            reply.bulk(b"online");
        }
    }

    /// The nodes in the words of Redis' cluster file. There is no cluster bus: its port is 0.
    fn node_lines(&mut self, id: ConnId) -> String {
        // Through the main port every core is as good as another, and the one that answers is itself.
        let myself = self.id;
        let mut text = String::new();
        for core in self.placement.cores() {
            let slots = self.placement.slots_of(core);
            let (host, port) = self.node_address(id, core);
            let flags = if core == myself { "myself,master" } else { "master" };
            let _ = writeln!(
                text,
                "{} {host}:{port}@0 {flags} - 0 0 {} connected {}-{}",
                self.shared.node_ids[usize::from(core.0)],
                core.0 + 1,
                slots.start,
                slots.end - 1
            );
        }
        text
    }

    fn cluster_info(&self) -> String {
        let cores = self.placement.core_count();
        format!(
            "cluster_state:ok\r\ncluster_slots_assigned:{SLOT_COUNT}\r\ncluster_slots_ok:{SLOT_COUNT}\r\ncluster_slots_pfail:0\r\n\
             cluster_slots_fail:0\r\ncluster_known_nodes:{cores}\r\ncluster_size:{cores}\r\ncluster_current_epoch:{cores}\r\n\
             cluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
             total_cluster_links_buffer_limit_exceeded:0\r\n",
            self.id.0 + 1
        )
    }

    fn ask_slot(&mut self, id: ConnId, slot: Slot, count_max: usize, then: fn(Vec<Vec<u8>>, &mut Reply<'_>)) {
        let owner = self.placement.core_of(slot);
        self.survey_cores(
            id,
            &[owner],
            Question::KeysInSlot { slot, count_max },
            Box::new(move |_, _, findings, reply| match findings.into_iter().next() {
                Some(Finding::Keys(keys)) => then(keys, reply),
                _ => unreachable!("the question is for keys"),
            }),
        );
    }

    fn with_node(&self, name: &[u8], reply: &mut Reply<'_>, then: fn(&mut Reply<'_>)) {
        if self.shared.node_ids.iter().any(|id| id.as_bytes() == name) {
            then(reply);
        } else {
            reply.error_bytes(&[b"ERR Unknown node ", name].concat());
        }
    }

    /// Whether a connection came through a core's own port, and so sees a cluster.
    pub(super) fn sees_cluster(&mut self, id: ConnId) -> bool {
        self.connection(id).is_some_and(|conn| conn.modes.has(Modes::CLUSTER_PORT))
    }

    /// This core's number, for people.
    pub(super) fn cpu_of(&self, core: CoreId) -> usize {
        self.executor.settings.cpus.get(usize::from(core.0)).copied().unwrap_or(0)
    }
}
