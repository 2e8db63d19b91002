//! `SLOWLOG`: the slow requests of all cores, the newest first.

use crate::core::Core;
use crate::hold::Request;
use crate::slowlog::SlowRequest;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::number;
use shards::wire::Reply;

/// Entries that `SLOWLOG GET` shows if nobody says how many.
const COUNT_DEFAULT: usize = 10;

/// `SLOWLOG GET [count]`; -1 for all.
pub(super) fn get<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let count_max = match args.len() {
        2 => COUNT_DEFAULT,
        3 => match number::parse_i64(args.get(2)) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => count as usize,
            _ => return reply.error("ERR count should be greater than or equal to -1"),
        },
        _ => return reply.error("ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."),
    };
    core.survey(
        id,
        Question::Slowlog { count_max },
        Box::new(move |_, _, findings, reply| {
            let mut all: Vec<SlowRequest> = Vec::new();
            for finding in findings {
                if let Finding::Slowlog(some) = finding {
                    all.extend(some);
                }
            }
            all.sort_by_key(|slow| std::cmp::Reverse((slow.at_ms, slow.id)));
            all.truncate(count_max);
            reply.array(all.len());
            all.iter().for_each(|slow| tell(slow, reply));
        }),
    );
}

fn tell(slow: &SlowRequest, reply: &mut Reply<'_>) {
    reply.array(6);
    reply.integer(slow.id as i64);
    reply.integer((slow.at_ms / 1000) as i64);
    reply.integer((slow.ns / 1000) as i64);
    reply.array(slow.args.len());
    slow.args.iter().for_each(|arg| reply.bulk(arg));
    reply.bulk(slow.client_addr.as_bytes());
    reply.bulk(slow.client_name.as_bytes());
}

/// `SLOWLOG LEN`
pub(super) fn len<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey(id, Question::SlowlogLen, Box::new(|_, _, findings, reply| reply.integer(super::sum_of(&findings) as i64)));
}

/// `SLOWLOG RESET`
pub(super) fn reset<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey(id, Question::SlowlogReset, Box::new(|_, _, _, reply| reply.ok()));
}
