//! `PING`, `ECHO`, `HELLO`, `AUTH`, `SELECT`, `QUIT`, `RESET` and the words of cluster clients: a connection about itself.

use crate::connection::{Modes, Names};
use crate::core::Core;
use crate::hold::Request;
use crate::serve::{NO_CLUSTER, REDIS_VERSION, client};
use netio::{ConnId, Kernel};
use shards::Db;
use shards::command::texts;
use shards::number;
use shards::wire::{Proto, Reply};

/// A login that failed, whatever was wrong with it: nobody learns which names exist.
const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// The one user there is.
pub(super) const DEFAULT_USER: &[u8] = b"default";

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

/// `ECHO message`
pub(super) fn echo<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto).bulk(request.args().get(1));
}

/// `AUTH [username] password`
pub(super) fn auth<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let (user, password) = match args.len() {
        2 if core.executor.settings.password.is_none() => {
            return reply.error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is \
                 correct?",
            );
        }
        2 => (DEFAULT_USER, args.get(1)),
        3 => (args.get(1), args.get(2)),
        _ => return reply.error(texts::SYNTAX),
    };
    if log_in(core, id, user, password) { reply.ok() } else { reply.error(WRONG_PASS) }
}

/// Whether the user is who it claims to be; remembers it of the connection. The default user without a password is anybody.
fn log_in<K: Kernel>(core: &mut Core<K>, id: ConnId, user: &[u8], password: &[u8]) -> bool {
    let right = user == DEFAULT_USER && core.executor.settings.password.as_ref().is_none_or(|secret| secret.matches(password));
    if !right {
        core.executor.metrics.auth_failures += 1;
    } else if let Some(conn) = core.connection(id) {
        conn.authenticated = true;
    }
    right
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
pub(super) fn hello<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let mut proto = None;
    if args.len() > 1 {
        proto = match number::parse_i64(args.get(1)) {
            Some(2) => Some(Proto::Resp2),
            Some(3) => Some(Proto::Resp3),
            Some(_) => return reply.error("NOPROTO unsupported protocol version"),
            None => return reply.error("ERR Protocol version is not an integer or out of range"),
        };
    }
    let (mut login, mut name) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - 1 - index;
        let word = args.get(index);
        if word.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
            login = Some((args.get(index + 1), args.get(index + 2)));
            index += 3;
        } else if word.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
            match client::checked_name(args.get(index + 1)) {
                Ok(checked) => name = Some(checked),
                Err(text) => return reply.error(text),
            }
            index += 2;
        } else {
            return reply.error_bytes(&[b"ERR Syntax error in HELLO option '", word, b"'"].concat());
        }
    }
    if let Some((user, password)) = login
        && !log_in(core, id, user, password)
    {
        return reply.error(WRONG_PASS);
    }
    let server = core.executor.settings.hello_server.clone();
    let Some(conn) = core.connection(id) else { return };
    if !conn.authenticated {
        return reply.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option \
             can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = name {
        conn.names.get_or_insert_default().name = name;
    }
    conn.proto = proto.unwrap_or(conn.proto);
    let mode = if conn.modes.has(Modes::CLUSTER_PORT) { "cluster" } else { "standalone" };
    let (client_id, proto) = (conn.client_id, conn.proto);
    let mut reply = Reply::new(out, proto);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(server.as_bytes());
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if proto == Proto::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(client_id as i64);
    reply.bulk(b"mode");
    reply.bulk(mode.as_bytes());
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// `SELECT index`
pub(super) fn select<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let Some(index) = number::parse_i64(request.args().get(1)) else { return reply.error(texts::NOT_INTEGER) };
    if i32::try_from(index).is_err() {
        return reply.error("ERR value is out of range, value must between -2147483648 and 2147483647");
    }
    let db_count = i64::from(core.executor.settings.db_count);
    let Some(conn) = core.connection(id) else { return };
    if conn.modes.has(Modes::CLUSTER_PORT) && index != 0 {
        return reply.error("ERR SELECT is not allowed in cluster mode");
    }
    if !(0..db_count).contains(&index) {
        return reply.error(texts::DB_OUT_OF_RANGE);
    }
    conn.db = Db(index as u16);
    reply.ok();
}

/// `QUIT`
pub(super) fn quit<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    if let Some(conn) = core.connection(id) {
        conn.modes.set(Modes::CLOSE_AFTER_REPLY, true);
    }
    Reply::new(out, request.proto).ok();
}

/// `RESET`: the connection is as it was when it came, except for what it said of its library.
pub(super) fn reset<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, out: &mut Vec<u8>) {
    core.stop_monitoring(id);
    let open = core.executor.settings.password.is_none();
    let Some(conn) = core.connection(id) else { return };
    conn.db = Db(0);
    conn.proto = Proto::Resp2;
    conn.authenticated = open;
    for mode in
        [Modes::REPLY_OFF, Modes::REPLY_SKIP, Modes::REPLY_SKIP_NEXT, Modes::NO_EVICT, Modes::NO_TOUCH, Modes::READONLY, Modes::ASKING]
    {
        conn.modes.set(mode, false);
    }
    if let Some(names) = &mut conn.names {
        **names = Names { name: String::new(), ..std::mem::take(&mut **names) };
    }
    Reply::new(out, Proto::Resp2).status("RESET");
}

/// `ASKING`, `READONLY`, `READWRITE`
pub(super) fn cluster_word<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    if core.executor.settings.cluster_port_first.is_none() {
        return reply.error(NO_CLUSTER);
    }
    let word = request.args().get(0).to_ascii_lowercase();
    let Some(conn) = core.connection(id) else { return };
    match word.as_slice() {
        b"asking" => conn.modes.set(Modes::ASKING, true),
        b"readonly" => conn.modes.set(Modes::READONLY, true),
        _ => conn.modes.set(Modes::READONLY, false),
    }
    reply.ok();
}
