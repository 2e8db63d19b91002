//! Commands without keys that every core answers for its own shard: `DBSIZE`, `KEYS`, `FLUSHALL`, `RANDOMKEY`, ….

use crate::core::Core;
use crate::hold::Request;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::command::COMMANDS_BY_NUMBER;
use shards::wire::Reply;

impl<K: Kernel> Core<K> {
    /// Asks every core to run a request, and joins their replies.
    pub(crate) fn ask_everywhere(&mut self, id: ConnId, request: Request) {
        let now = self.now_ms();
        let command = COMMANDS_BY_NUMBER[usize::from(request.command)];
        let join = command.name;
        let question = Question::Run(request, now);
        self.survey(
            id,
            question,
            Box::new(move |core, _, findings, reply| {
                let replies: Vec<Vec<u8>> =
                    findings.into_iter().map(|finding| if let Finding::Reply(bytes) = finding { bytes } else { Vec::new() }).collect();
                let chance = core.kernel.entropy();
                join_replies(join, replies, chance, reply);
            }),
        );
    }

    /// Runs a request of every core on this one's shard.
    pub(super) fn run_everywhere(&mut self, request: &Request) -> Finding {
        let mut out = Vec::new();
        let key = self.executor.shard.key(b"");
        self.execute(request, key.hash, key.slot, &mut out);
        Finding::Reply(out)
    }
}

fn join_replies(name: &str, replies: Vec<Vec<u8>>, chance: u64, reply: &mut Reply<'_>) {
    if let Some(error) = replies.iter().find(|bytes| bytes.first() == Some(&b'-')) {
        return reply.raw(error);
    }
    match name {
        "dbsize" => reply.integer(replies.iter().map(|bytes| integer_of(bytes)).sum()),
        "keys" => {
            reply.array(replies.iter().map(|bytes| integer_of(bytes) as usize).sum());
            replies.iter().for_each(|bytes| reply.raw(&bytes[line_bytes(bytes)..]));
        }
        "randomkey" => {
            // A core with more keys should win more often; as slots are spread evenly, cores with any key are alike.
            let found: Vec<&Vec<u8>> = replies.iter().filter(|bytes| bytes.starts_with(b"$") && !bytes.starts_with(b"$-1")).collect();
            match found.len() {
                0 => reply.null(),
                count => reply.raw(found[(chance % count as u64) as usize]),
            }
        }
        _ => reply.raw(&replies[0]),
    }
}

/// The number in a first line such as `:12` or `*12`.
fn integer_of(reply: &[u8]) -> i64 {
    std::str::from_utf8(&reply[1..line_bytes(reply) - 2]).expect("our own reply").parse().expect("an integer")
}

fn line_bytes(reply: &[u8]) -> usize {
    reply.windows(2).position(|pair| pair == b"\r\n").expect("our own reply") + 2
}
