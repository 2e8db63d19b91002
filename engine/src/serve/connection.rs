//! `PING`, `ECHO`, `HELLO`, `AUTH`, `SELECT`, `QUIT`, `RESET`: a connection about itself.

use crate::core::Core;
use crate::hold::Request;
use netio::{ConnId, Kernel};
use shards::wire::Reply;

/// `PING [message]`
pub(super) fn ping<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    match args.len() {
        1 => reply.status("PONG"),
        2 => reply.bulk(args.get(1)),
        _ => reply.error("ERR wrong number of arguments for 'ping' command"),
    }
}
