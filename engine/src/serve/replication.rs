//! Replicas as clients meet them: `REPLCONF`, `PSYNC`, `SYNC`, `WAIT`, `ROLE`, `REPLICAOF`. What becomes of them is in
//! [`crate::replica`].

use crate::core::Core;
use crate::hold::Request;
use crate::placement::CoreId;
use crate::replica::{Follower, Introduction, ReplicaId, Stage, Standing, Wish};
use crate::serve::NEVER;
use crate::serve::server::timeout_of;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::command::texts;
use shards::number;
use shards::wire::{Args, Reply};

/// The longest address that a replica may say it has.
const ADDRESS_BYTES_MAX: usize = 255;

/// `REPLCONF option value ...`
pub(super) fn replconf<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let option = args.get(1.min(args.len() - 1)).to_ascii_lowercase();
    match option.as_slice() {
        // How far it is: never answered.
        b"ack" => {
            if let Some(offset) = args.len().gt(&2).then(|| number::parse_u64(args.get(2))).flatten() {
                core.take_replica_ack(id, offset);
            }
        }
        b"getack" => {}
        _ if args.len().is_multiple_of(2) => reply.error(texts::SYNTAX),
        _ => match introduce(core, id, args) {
            Ok(()) => reply.ok(),
            Err(why) => reply.error(&why),
        },
    }
}

/// Takes what a client says of itself. What is wrong with it, if something is.
fn introduce<K: Kernel>(core: &mut Core<K>, id: ConnId, args: Args<'_>) -> Result<(), String> {
    let words: Vec<&[u8]> = args.iter_from(1).collect();
    let mut introduction = core.replication.introductions.get(&id).cloned().unwrap_or_default();
    for pair in words.chunks_exact(2) {
        match pair[0].to_ascii_lowercase().as_slice() {
            b"listening-port" => {
                let port = number::parse_u64(pair[1]).and_then(|port| u16::try_from(port).ok());
                introduction.port = port.ok_or(texts::NOT_INTEGER)?;
            }
            b"ip-address" => {
                let is_plain = pair[1].len() <= ADDRESS_BYTES_MAX && pair[1].iter().all(u8::is_ascii_graphic);
                let address = is_plain.then(|| String::from_utf8_lossy(pair[1]).into_owned());
                introduction.address = Some(address.ok_or("ERR REPLCONF ip-address is not an address")?);
            }
            b"capa" if pair[1].eq_ignore_ascii_case(b"eof") => introduction.knows_eof = true,
            b"capa" if pair[1].eq_ignore_ascii_case(b"psync2") => introduction.knows_psync2 = true,
            // What it can do beyond is not needed; what version it is changes nothing.
            b"capa" | b"version" => {}
            b"rdb-only" => introduction.keys_only = number::parse_i64(pair[1]).ok_or(texts::NOT_INTEGER)? != 0,
            b"rdb-filter-only" => {
                introduction.no_keys = !pair[1].split(|byte| *byte == b' ').any(|word| word.eq_ignore_ascii_case(b"data"));
            }
            _ => return Err(format!("ERR Unrecognized REPLCONF option: {}", String::from_utf8_lossy(pair[0]).escape_default())),
        }
    }
    core.replication.introductions.insert(id, introduction);
    Ok(())
}

/// `PSYNC replicationid offset`
pub(super) fn psync<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let Some(from) = number::parse_i64(args.get(2)) else { return reply.error(texts::NOT_INTEGER) };
    // It names the first byte that it does not have.
    let known = u64::try_from(from).ok().filter(|from| *from > 0).map(|from| {
        let name = String::from_utf8_lossy(args.get(1)).into_owned();
        (name, from - 1)
    });
    admit(core, id, known, false, &mut reply);
}

/// `SYNC`
pub(super) fn sync<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    admit(core, id, None, true, &mut Reply::new(out, request.proto));
}

/// Lets a client become a replica, or says why not. There is no other answer: what it asked for comes instead.
fn admit<K: Kernel>(core: &mut Core<K>, id: ConnId, known: Option<(String, u64)>, is_plain: bool, reply: &mut Reply<'_>) {
    let introduction = core.replication.introductions.get(&id).cloned().unwrap_or_default();
    if !introduction.knows_eof {
        return reply.error("ERR keys are sent without their length in advance: say REPLCONF capa eof first, as Redis since 2.8.18 does");
    }
    let Some(conn) = core.connection(id) else { return };
    if !conn.pending.is_empty() {
        return reply.error("ERR replies to earlier commands are still due: wait for them before SYNC or PSYNC");
    }
    let introduction = Introduction { is_plain, ..introduction };
    let peer = core.kernel.peer_addr(id).map_or_else(String::new, |addr| addr.ip().to_canonical().to_string());
    let wish = Wish {
        id: ReplicaId { home: core.id, conn: id },
        address: introduction.address.clone().unwrap_or(peer),
        port: introduction.port,
        keys_only: introduction.keys_only,
        no_keys: introduction.no_keys,
        known,
    };
    core.admit_replica(id, introduction);
    core.wish(wish);
}

/// `REPLICAOF`, `SLAVEOF`: following nobody is what this server does.
pub(super) fn replicaof<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    if args.get(1).eq_ignore_ascii_case(b"no") && args.get(2).eq_ignore_ascii_case(b"one") {
        return reply.ok();
    }
    reply.error("ERR this server does not follow another one; `corewheel import redis://HOST:PORT --follow` brings its data here");
}

/// `WAIT numreplicas timeout`: until so many replicas have what was written before, by anybody and on any core.
pub(super) fn wait<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let (Some(replicas), Some(timeout)) = (number::parse_i64(args.get(1)), number::parse_i64(args.get(2))) else {
        return reply.error(texts::NOT_INTEGER);
    };
    if timeout < 0 {
        return reply.error("ERR timeout is negative");
    }
    let mut none = Vec::new();
    Reply::new(&mut none, request.proto).integer(0);
    // Who wants none is told how many there are, as soon as that is known.
    let until = if replicas <= 0 { NEVER } else { timeout_of(core, timeout) };
    core.wait_in_vain(id, until, none);
    if let Some(ticket) = core.survey_of(id) {
        core.wait_for_replicas(ticket, replicas.max(0) as u64);
    }
}

/// `ROLE`: a leader, and who follows.
pub(super) fn role<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey_cores(
        id,
        &[CoreId(0)],
        Question::Standing,
        Box::new(|_, _, findings, reply| {
            let Some(Finding::Standing(Some(standing))) = findings.into_iter().next() else { unreachable!("core 0 knows") };
            let Standing { offset, followers, .. } = *standing;
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(offset as i64);
            let online: Vec<&Follower> = followers.iter().filter(|follower| follower.stage == Stage::Online).collect();
            reply.array(online.len());
            for follower in online {
                reply.array(3);
                reply.bulk(follower.address.as_bytes());
                reply.bulk_integer(follower.port.into());
                reply.bulk_integer(follower.acked as i64);
            }
        }),
    );
}
