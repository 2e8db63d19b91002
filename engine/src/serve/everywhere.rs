//! Commands without keys that every core answers for its own shard: `DBSIZE`, `KEYS`, `RANDOMKEY`; and `SCAN`, which asks one
//! core after the other. They hold nothing. Those that write, such as `FLUSHALL`, hold every core, see [`crate::joint`].

use crate::core::Core;
use crate::executor::Job;
use crate::hold::Request;
use crate::placement::{CoreId, Placement};
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::PartitionId;
use shards::command::COMMANDS_BY_NUMBER;
use shards::number;
use shards::wire::{Proto, Reply};

impl<K: Kernel> Core<K> {
    /// Asks every core to run a request, and joins their replies.
    pub(crate) fn ask_everywhere(&mut self, id: ConnId, request: Request) {
        let name = COMMANDS_BY_NUMBER[usize::from(request.command)].full_name;
        if name == "scan" {
            return self.ask_scan(id, request);
        }
        let proto = request.proto;
        self.survey(
            id,
            Question::Run(request, self.now_ms()),
            Box::new(move |core, _, findings, reply| {
                let parts: Vec<Part> = findings
                    .into_iter()
                    .map(|finding| match finding {
                        Finding::Reply { bytes, keys } => Part { bytes, keys },
                        _ => unreachable!("the question is for a reply"),
                    })
                    .collect();
                let chance = core.kernel.entropy();
                join_replies(name, parts, proto, chance, reply);
            }),
        );
    }

    /// Asks the core whose turn it is by the cursor; when that one has come to its end, the client goes on with the next.
    fn ask_scan(&mut self, id: ConnId, request: Request) {
        let cursor = number::parse_u64(request.args().get(1)).unwrap_or(0);
        let core = core_of_cursor(self.placement, cursor);
        let placement = self.placement;
        self.survey_cores(
            id,
            &[core],
            Question::Run(request, self.now_ms()),
            Box::new(move |_, _, findings, reply| {
                let Some(Finding::Reply { bytes, .. }) = findings.into_iter().next() else { unreachable!("the question is for a reply") };
                match bytes.strip_prefix(SCAN_ENDED) {
                    Some(keys) if core.0 + 1 < placement.core_count() => {
                        reply.array(2);
                        reply.bulk(cursor_of_core(placement, CoreId(core.0 + 1)).to_string().as_bytes());
                        reply.raw(keys);
                    }
                    _ => reply.raw(&bytes),
                }
            }),
        );
    }

    /// Runs a request of every core on this one's shard.
    pub(super) fn run_everywhere(&mut self, request: &Request, now: u64) -> Finding {
        let mut bytes = Vec::new();
        let key = self.executor.shard.key(b"");
        let job = Job {
            command: request.command,
            args: request.args(),
            key,
            db: request.db,
            proto: request.proto,
            now: now.max(self.now_ms()),
            no_touch: request.no_touch,
        };
        let Core { kernel, executor, .. } = self;
        executor.run(&job, &mut bytes, kernel.stamp_ns(), || kernel.stamp_ns());
        Finding::Reply { bytes, keys: self.executor.shard.len(request.db) as u64 }
    }
}

/// How a step of `SCAN` begins after which nothing is left on its shard.
const SCAN_ENDED: &[u8] = b"*2\r\n$1\r\n0\r\n";

/// A shard's cursor has its partition in the high half. Partitions are owned in ascending ranges, so that a cursor says whose it is.
const PARTITION_SHIFT: u32 = 32;

fn core_of_cursor(placement: Placement, cursor: u64) -> CoreId {
    let partition = (cursor >> PARTITION_SHIFT).min(u64::from(shards::key::PARTITION_COUNT - 1));
    placement.core_of_partition(PartitionId(partition as u16))
}

fn cursor_of_core(placement: Placement, core: CoreId) -> u64 {
    u64::from(placement.partitions_of(core).start) << PARTITION_SHIFT
}

/// One core's part of a reply, and how many keys it has.
struct Part {
    bytes: Vec<u8>,
    keys: u64,
}

fn join_replies(name: &str, parts: Vec<Part>, proto: Proto, chance: u64, reply: &mut Reply<'_>) {
    if let Some(error) = parts.iter().find(|part| part.bytes.first() == Some(&b'-')) {
        return reply.raw(&error.bytes);
    }
    match name {
        "dbsize" => reply.integer(parts.iter().map(|part| integer_of(&part.bytes)).sum()),
        "keys" => {
            reply.array(parts.iter().map(|part| integer_of(&part.bytes) as usize).sum());
            parts.iter().for_each(|part| reply.raw(&part.bytes[line_bytes(&part.bytes)..]));
        }
        "randomkey" => pick(parts, proto, chance, reply),
        _ => unreachable!("{name} is not asked everywhere"),
    }
}

/// A core's key wins as often as the core has keys, so that every key is as likely as the next.
fn pick(parts: Vec<Part>, proto: Proto, chance: u64, reply: &mut Reply<'_>) {
    let mut none = Vec::new();
    Reply::new(&mut none, proto).null();
    let found: Vec<Part> = parts.into_iter().filter(|part| part.bytes != none && part.keys > 0).collect();
    let total: u64 = found.iter().map(|part| part.keys).sum();
    if total == 0 {
        return reply.null();
    }
    let mut at = chance % total;
    for part in found {
        if at < part.keys {
            return reply.raw(&part.bytes);
        }
        at -= part.keys;
    }
    unreachable!("the parts' keys add up to the total")
}

/// The number in a first line such as `:12` or `*12`.
fn integer_of(reply: &[u8]) -> i64 {
    std::str::from_utf8(&reply[1..line_bytes(reply) - 2]).expect("our own reply").parse().expect("an integer")
}

fn line_bytes(reply: &[u8]) -> usize {
    reply.windows(2).position(|pair| pair == b"\r\n").expect("our own reply") + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_core_it_belongs_to() {
        for core_count in [1, 2, 3, 7, 256] {
            let placement = Placement::new(core_count);
            assert_eq!(core_of_cursor(placement, 0), CoreId(0));
            for core in placement.cores() {
                let first = cursor_of_core(placement, core);
                assert_eq!(core_of_cursor(placement, first), core);
                assert_eq!(core_of_cursor(placement, first | 0xffff_ffff), core);
            }
            assert_eq!(core_of_cursor(placement, u64::MAX), CoreId(core_count - 1));
        }
    }

    #[test]
    fn a_random_key_comes_from_a_core_as_often_as_the_core_has_keys() {
        let parts = || {
            let part = |bytes: &[u8], keys| Part { bytes: bytes.to_vec(), keys };
            vec![part(b"$1\r\na\r\n", 3), part(b"$-1\r\n", 0), part(b"$1\r\nb\r\n", 1)]
        };
        let picked = |chance| {
            let mut out = Vec::new();
            pick(parts(), Proto::Resp2, chance, &mut Reply::new(&mut out, Proto::Resp2));
            out[4]
        };
        assert_eq!([0, 1, 2, 3, 4].map(picked), *b"aaaba");
        let mut out = Vec::new();
        pick(Vec::new(), Proto::Resp3, 0, &mut Reply::new(&mut out, Proto::Resp3));
        assert_eq!(out, b"_\r\n");
    }
}
