//! `CLIENT`: looking at connections, naming them, closing them, making them wait.

use crate::connection::{Connection, Modes, Stalls};
use crate::core::{Core, Pause};
use crate::hold::Request;
use crate::serve::connection::DEFAULT_USER;
use crate::survey::{ClientFilter, ClientKind, Finding, Question};
use netio::{ConnId, Kernel, MonotonicNs};
use shards::command::{COMMANDS_BY_NUMBER, texts};
use shards::number;
use shards::wire::{Args, Proto, Reply};
use std::fmt::Write;
use std::time::Duration;

/// Bytes of a name or of a library's name that are kept.
const NAME_BYTES_MAX: usize = 4096;

/// `CLIENT ID`
pub(super) fn id<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let Some(conn) = core.connection(id) else { return };
    Reply::new(out, request.proto).integer(conn.client_id as i64);
}

/// `CLIENT GETNAME`
pub(super) fn getname<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let Some(conn) = core.connection(id) else { return };
    match conn.names.as_ref().map(|names| names.name.as_str()) {
        None | Some("") => reply.null(),
        Some(name) => reply.bulk(name.as_bytes()),
    }
}

/// `CLIENT SETNAME connection-name`
pub(super) fn setname<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let name = match checked_name(request.args().get(2)) {
        Ok(name) => name,
        Err(text) => return reply.error(text),
    };
    let Some(conn) = core.connection(id) else { return };
    if !name.is_empty() || conn.names.is_some() {
        conn.names.get_or_insert_default().name = name;
    }
    reply.ok();
}

/// A name that does not break the lines of `CLIENT LIST`.
pub(super) fn checked_name(name: &[u8]) -> Result<String, &'static str> {
    if !is_plain(name) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("ERR Client names cannot be longer than 4096 bytes.");
    }
    Ok(String::from_utf8(name.to_vec()).expect("plain names are ASCII"))
}

fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// `CLIENT SETINFO (LIB-NAME libname | LIB-VER libver)`
pub(super) fn setinfo<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let (option, value) = (args.get(2), args.get(3));
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        return reply.error_bytes(&[b"ERR Unrecognized option '", option, b"'"].concat());
    }
    let shown = if is_name { "lib-name" } else { "lib-ver" };
    if !is_plain(value) {
        return reply.error(&format!("ERR {shown} cannot contain spaces, newlines or special characters."));
    }
    if value.len() > NAME_BYTES_MAX {
        return reply.error(&format!("ERR {shown} cannot be longer than {NAME_BYTES_MAX} bytes."));
    }
    let value = String::from_utf8(value.to_vec()).expect("plain names are ASCII");
    let Some(conn) = core.connection(id) else { return };
    let names = conn.names.get_or_insert_default();
    if is_name {
        names.lib_name = value;
    } else {
        names.lib_version = value;
    }
    reply.ok();
}

/// `CLIENT INFO`
pub(super) fn info<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let line = core.client_line(id);
    Reply::new(out, request.proto).verbatim(line.unwrap_or_default().as_bytes());
}

/// `CLIENT LIST [TYPE type] [ID client-id ...]`
pub(super) fn list<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let mut filter = ClientFilter::default();
    let mut index = 2;
    while index < args.len() {
        let word = args.get(index);
        let valued = index + 1 < args.len();
        if word.eq_ignore_ascii_case(b"TYPE") && valued {
            match kind_at(args, index + 1, &mut reply) {
                Some(kind) => filter.kind = Some(kind),
                None => return,
            }
            index += 2;
        } else if word.eq_ignore_ascii_case(b"ID") && valued {
            for text in args.iter_from(index + 1) {
                match number::parse_u64(text).filter(|id| *id > 0) {
                    Some(id) => filter.ids.push(id),
                    None => return reply.error("ERR Invalid client ID"),
                }
            }
            index = args.len();
        } else {
            return reply.error(texts::SYNTAX);
        }
    }
    core.survey(
        id,
        Question::Clients(filter),
        Box::new(|_, _, findings, reply| {
            let mut lines: Vec<(u64, String)> = Vec::new();
            for finding in findings {
                if let Finding::Clients(some) = finding {
                    lines.extend(some);
                }
            }
            lines.sort_unstable_by_key(|(id, _)| *id);
            let text: String = lines.into_iter().map(|(_, line)| line).collect();
            reply.verbatim(text.as_bytes());
        }),
    );
}

fn kind_at(args: Args<'_>, index: usize, reply: &mut Reply<'_>) -> Option<ClientKind> {
    let word = args.get(index);
    let kind = ClientKind::named(word);
    if kind.is_none() {
        reply.error_bytes(&[b"ERR Unknown client type '", word, b"'"].concat());
    }
    kind
}

/// `CLIENT KILL (ip:port | filter ...)`
pub(super) fn kill<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let own = core.connection(id).map_or(0, |conn| conn.client_id);
    if args.len() == 3 {
        let addr = String::from_utf8_lossy(args.get(2)).into_owned();
        let filter = ClientFilter { addr: Some(addr), ..ClientFilter::default() };
        let then = |killed: u64, reply: &mut Reply<'_>| if killed == 0 { reply.error("ERR No such client") } else { reply.ok() };
        return core.kill_clients(id, filter, then);
    }
    let Some(filter) = parse_kill(args, own, &mut reply) else { return };
    core.kill_clients(id, filter, |killed, reply| reply.integer(killed as i64));
}

fn parse_kill(args: Args<'_>, own: u64, reply: &mut Reply<'_>) -> Option<ClientFilter> {
    let mut filter = ClientFilter { skip: Some(own), ..ClientFilter::default() };
    for index in (2..args.len()).step_by(2) {
        let word = args.get(index).to_ascii_lowercase();
        if index + 1 >= args.len() {
            reply.error(texts::SYNTAX);
            return None;
        }
        let value = args.get(index + 1);
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match word.as_slice() {
            b"id" => match number::parse_u64(value).filter(|id| *id > 0) {
                Some(id) => filter.ids.push(id),
                None => {
                    reply.error("ERR client-id should be greater than 0");
                    return None;
                }
            },
            b"maxage" => match number::parse_i64(value) {
                Some(age @ 1..) => filter.age_s_min = Some(age as u64),
                Some(_) => {
                    reply.error("ERR maxage should be greater than 0");
                    return None;
                }
                None => {
                    reply.error("ERR maxage is not an integer or out of range");
                    return None;
                }
            },
            b"type" => filter.kind = Some(kind_at(args, index + 1, reply)?),
            b"addr" => filter.addr = text(),
            b"laddr" => filter.laddr = text(),
            b"user" => {
                if value != DEFAULT_USER {
                    reply.error_bytes(&[b"ERR No such user '", value, b"'"].concat());
                    return None;
                }
                filter.user = text();
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skip = Some(own),
            b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skip = None,
            _ => {
                reply.error(texts::SYNTAX);
                return None;
            }
        }
    }
    Some(filter)
}

/// `CLIENT REPLY (ON | OFF | SKIP)`
pub(super) fn reply<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let Some(conn) = core.connection(id) else { return };
    match request.args().get(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            conn.modes.set(Modes::REPLY_OFF, false);
            conn.modes.set(Modes::REPLY_SKIP, false);
            reply.ok();
        }
        b"off" => conn.modes.set(Modes::REPLY_OFF, true),
        b"skip" => {
            if !conn.modes.has(Modes::REPLY_OFF) {
                conn.modes.set(Modes::REPLY_SKIP_NEXT, true);
            }
        }
        _ => reply.error(texts::SYNTAX),
    }
}

/// `CLIENT NO-EVICT (ON | OFF)`
pub(super) fn no_evict<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    set_mode(core, id, request, Modes::NO_EVICT, out);
}

/// `CLIENT NO-TOUCH (ON | OFF)`
pub(super) fn no_touch<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    set_mode(core, id, request, Modes::NO_TOUCH, out);
}

fn set_mode<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, mode: Modes, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let Some(on) = on_off(request.args().get(2)) else { return reply.error(texts::SYNTAX) };
    let Some(conn) = core.connection(id) else { return };
    conn.modes.set(mode, on);
    reply.ok();
}

fn on_off(word: &[u8]) -> Option<bool> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`: clients' commands on keys wait, on all cores. Commands of the engine itself go on, so
/// that whoever paused can also look around and end it.
pub(super) fn pause<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let writes_only = match args.len() {
        3 => false,
        4 if args.get(3).eq_ignore_ascii_case(b"WRITE") => true,
        4 if args.get(3).eq_ignore_ascii_case(b"ALL") => false,
        4 => return reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        _ => return reply.error(texts::SYNTAX),
    };
    let Some(ms) = number::parse_i64(args.get(2)) else {
        return reply.error("ERR timeout is not an integer or out of range");
    };
    let Ok(ms) = u64::try_from(ms) else { return reply.error("ERR timeout is negative") };
    let until_ns = core.now.monotonic.0.saturating_add(ms.saturating_mul(1_000_000));
    core.survey(id, Question::Pause { until_ns, writes_only }, Box::new(|_, _, _, reply| reply.ok()));
}

/// `CLIENT UNPAUSE`
pub(super) fn unpause<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey(id, Question::Pause { until_ns: 0, writes_only: false }, Box::new(|_, _, _, reply| reply.ok()));
}

/// `CLIENT TRACKING (ON | OFF) [...]`: not there yet, and says so; switching off what is off is fine.
pub(super) fn tracking<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    match on_off(request.args().get(2)) {
        Some(true) => reply.error("ERR client tracking is not available on this server; turn client-side caching off"),
        Some(false) => reply.ok(),
        None => reply.error(texts::SYNTAX),
    }
}

/// `CLIENT CACHING (YES | NO)`
pub(super) fn caching<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto)
        .error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled");
}

/// `CLIENT TRACKINGINFO`
pub(super) fn trackinginfo<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
}

/// `CLIENT GETREDIR`
pub(super) fn getredir<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto).integer(-1);
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`: no command blocks, so nobody is ever unblocked.
pub(super) fn unblock<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"TIMEOUT") || word.eq_ignore_ascii_case(b"ERROR");
    match args.len() {
        4 if !known(args.get(3)) => reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        3 | 4 if number::parse_i64(args.get(2)).is_none() => reply.error(texts::NOT_INTEGER),
        3 | 4 => reply.integer(0),
        _ => reply.error(texts::SYNTAX),
    }
}

/// `CLIENT MAINT_NOTIFICATIONS (ON | OFF) [...]`: accepted; there is never anything to notify of.
pub(super) fn maint_notifications<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    match on_off(request.args().get(2)) {
        Some(_) => reply.ok(),
        None => reply.error(texts::SYNTAX),
    }
}

impl<K: Kernel> Core<K> {
    fn kill_clients(&mut self, id: ConnId, filter: ClientFilter, then: fn(u64, &mut Reply<'_>)) {
        self.survey(
            id,
            Question::Kill(filter, self.now.monotonic),
            Box::new(move |_, _, findings, reply| {
                let killed = findings.iter().map(|finding| if let Finding::Killed(count) = finding { *count } else { 0 }).sum();
                then(killed, reply);
            }),
        );
    }

    /// Lines of this core's clients that match, with their numbers.
    pub(super) fn client_lines(&mut self, filter: &ClientFilter) -> Vec<(u64, String)> {
        let ids = self.matching_clients(filter);
        ids.into_iter()
            .filter_map(|id| {
                let client_id = self.connection(id)?.client_id;
                Some((client_id, self.client_line(id)?))
            })
            .collect()
    }

    /// Closes this core's clients that match. One that waits for a command on several cores, such as whoever asks, gets its
    /// reply first: it comes at once.
    pub(super) fn close_clients(&mut self, filter: &ClientFilter, connected_by: MonotonicNs) -> u64 {
        let mut closed = 0;
        for id in self.matching_clients(filter) {
            let Some(conn) = self.connection(id).filter(|conn| conn.since <= connected_by) else { continue };
            closed += 1;
            if conn.stalls.has(Stalls::JOINT) {
                conn.modes.set(Modes::CLOSE_AFTER_REPLY, true);
            } else {
                self.close(id);
            }
        }
        closed
    }

    fn matching_clients(&self, filter: &ClientFilter) -> Vec<ConnId> {
        let now = self.now.monotonic;
        self.connections
            .iter()
            .flatten()
            .filter(|conn| {
                (filter.ids.is_empty() || filter.ids.contains(&conn.client_id))
                    && filter.skip != Some(conn.client_id)
                    && filter.kind.is_none_or(|kind| kind == kind_of(conn))
                    && filter.user.as_ref().is_none_or(|user| user.as_bytes() == DEFAULT_USER && conn.authenticated)
                    && filter.age_s_min.is_none_or(|age| now.since(conn.since) / 1_000_000_000 >= age)
                    && filter.addr.as_ref().is_none_or(|addr| *addr == self.peer_text(conn))
                    && filter.laddr.as_ref().is_none_or(|laddr| *laddr == self.local_text(conn))
            })
            .map(|conn| conn.id)
            .collect()
    }

    /// The client's address as Redis writes it.
    pub(crate) fn peer_text(&self, conn: &Connection) -> String {
        self.kernel.peer_addr(conn.id).map_or_else(|| self.unix_text(conn), |addr| addr.to_string())
    }

    fn local_text(&self, conn: &Connection) -> String {
        self.kernel.local_addr(conn.id).map_or_else(|| self.unix_text(conn), |addr| addr.to_string())
    }

    fn unix_text(&self, conn: &Connection) -> String {
        match &self.executor.settings.unix_socket {
            Some(path) if conn.modes.has(Modes::UNIX) => format!("{}:0", path.display()),
            _ => "?:0".to_owned(),
        }
    }

    /// One line of `CLIENT LIST`, its end included.
    pub(super) fn client_line(&self, id: ConnId) -> Option<String> {
        let conn = self.connections.get(id.index as usize)?.as_deref().filter(|conn| conn.id == id)?;
        let now = self.now.monotonic;
        let seconds = |since: MonotonicNs| Duration::from_nanos(now.since(since)).as_secs();
        let names = conn.names.as_deref();
        let output = conn.output.len() + conn.sending_bytes + conn.pending_bytes;
        let command = conn.last_command.map_or("NULL", |number| COMMANDS_BY_NUMBER[usize::from(number)].full_name);
        let mut line = String::new();
        let _ = writeln!(
            line,
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf={} qbuf-free={} \
             argv-mem=0 multi-mem=0 rbs={} rbp=0 obl={} oll={} omem={} tot-mem={} events={} cmd={} user={} redir=-1 resp={} lib-name={} \
             lib-ver={} durability={}",
            conn.client_id,
            self.peer_text(conn),
            self.local_text(conn),
            self.kernel.descriptor(id),
            names.map_or("", |names| &names.name),
            seconds(conn.since),
            seconds(conn.active),
            flags_text(conn),
            conn.db.0,
            conn.input.len(),
            conn.input.capacity() - conn.input.len(),
            conn.output.capacity(),
            conn.output.len(),
            conn.pending.len() + usize::from(conn.sending),
            output,
            conn.memory_bytes(),
            if conn.sending { "rw" } else { "r" },
            command,
            if conn.authenticated { "default" } else { "(superuser)" },
            if conn.proto == Proto::Resp3 { 3 } else { 2 },
            names.map_or("", |names| &names.lib_name),
            names.map_or("", |names| &names.lib_version),
            self.executor.journal.ladder().level(conn.db),
        );
        Some(line)
    }

    /// Lets clients' commands wait until a moment; a moment that is past ends the wait.
    pub(super) fn pause_clients(&mut self, until_ns: u64, writes_only: bool) {
        if until_ns <= self.now.monotonic.0 {
            self.end_pause();
            return;
        }
        // A pause is only made longer and stricter by another, as in Redis; UNPAUSE ends all.
        let (until_before, all_before) = self.pause.map_or((0, false), |pause| (pause.until.0, !pause.writes_only));
        self.pause = Some(Pause { until: MonotonicNs(until_ns.max(until_before)), writes_only: writes_only && !all_before });
    }
}

fn kind_of(conn: &Connection) -> ClientKind {
    if conn.modes.has(Modes::REPLICA) { ClientKind::Replica } else { ClientKind::Normal }
}

fn flags_text(conn: &Connection) -> String {
    let marks = [
        (Modes::REPLICA, 'S'),
        (Modes::MONITOR, 'O'),
        (Modes::CLOSE_AFTER_REPLY, 'c'),
        (Modes::UNIX, 'U'),
        (Modes::READONLY, 'r'),
        (Modes::NO_EVICT, 'e'),
        (Modes::NO_TOUCH, 'T'),
    ];
    let text: String = marks.iter().filter(|(mode, _)| conn.modes.has(*mode)).map(|(_, mark)| *mark).collect();
    if text.is_empty() { "N".to_owned() } else { text }
}
