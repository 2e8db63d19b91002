//! `SAVE`, `BGSAVE`, `BGREWRITEAOF` and `LASTSAVE`: snapshots, by Redis' names.

use crate::connection::Stalls;
use crate::core::Core;
use crate::hold::Request;
use crate::parcel::Ticket;
use netio::{ConnId, Kernel};
use shards::command::texts;
use shards::wire::Reply;

/// The answer where there is nowhere to save to.
const NO_DIRECTORY: &str = "ERR nothing can be saved: this server keeps its data in memory only (start it with --dir)";

/// `SAVE`: the client waits until the snapshot counts. Nobody else does.
pub(super) fn save<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let Some(number) = begin(core, request, "ERR Background save already in progress", out) else { return };
    let Some(conn) = core.connection(id) else { return };
    let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
    core.stall(id, Stalls::JOINT);
    core.wait_for_snapshot(ticket, number);
}

/// `BGSAVE [SCHEDULE]`: answered at once.
pub(super) fn bgsave<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let scheduled = args.len() == 2 && args.get(1).eq_ignore_ascii_case(b"schedule");
    if args.len() > 2 || (args.len() == 2 && !scheduled) {
        return Reply::new(out, request.proto).error(texts::SYNTAX);
    }
    if begin(core, request, "ERR Background save already in progress", out).is_some() {
        Reply::new(out, request.proto).status("Background saving started");
    }
}

/// `BGREWRITEAOF`: a snapshot is what makes the log short.
pub(super) fn bgrewriteaof<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    if begin(core, request, "ERR Background append only file rewriting already in progress", out).is_some() {
        Reply::new(out, request.proto).status("Background append only file rewriting started");
    }
}

/// `LASTSAVE`: when the last snapshot was made; when the server was started if there is none, as Redis says then.
pub(super) fn lastsave<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let saved_ms = core.last_save_ms();
    Reply::new(out, request.proto).integer((saved_ms / 1000) as i64);
}

/// Asks for a snapshot: its number; answers why not if one is being made, or none can be.
fn begin<K: Kernel>(core: &mut Core<K>, request: &Request, busy: &str, out: &mut Vec<u8>) -> Option<u64> {
    let number = core.shared.snapshots.want();
    if number.is_none() {
        let why = if core.executor.settings.dir.is_none() { NO_DIRECTORY } else { busy };
        Reply::new(out, request.proto).error(why);
    }
    number
}

impl<K: Kernel> Core<K> {
    /// When the last snapshot was made, or else when the server was started: milliseconds since 1970.
    pub(super) fn last_save_ms(&self) -> u64 {
        let saved_ms = self.shared.snapshots.progress().saved_ms;
        if saved_ms > 0 { saved_ms } else { self.shared.started_wall.0 }
    }
}
