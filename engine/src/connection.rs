//! One client: what it said of itself, what it has not yet been told, and why it waits.

use crate::input::Input;
use crate::settings::{ClientClass, OutputLimit};
use netio::{ConnId, ListenerId, MonotonicNs};
use shards::Db;
use shards::log::Lsn;
use shards::wire::{Partial, Proto};
use std::collections::VecDeque;

/// One accepted connection. An idle one owns no buffer.
pub struct Connection {
    /// The kernel's name for it.
    pub id: ConnId,
    /// The number clients see, unique in this process.
    pub client_id: u64,
    /// Which listener it came through; says whether keys of other cores are answered with `MOVED`.
    pub listener: ListenerId,
    /// The database its commands work on.
    pub db: Db,
    /// Its dialect.
    pub proto: Proto,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// Modes and marks.
    pub modes: Modes,
    /// What it calls itself and its library. Most clients say so, idle floods do not.
    pub names: Option<Box<Names>>,
    /// When it came.
    pub since: MonotonicNs,
    /// When it last sent something.
    pub active: MonotonicNs,
    /// Its last command's number, for `CLIENT LIST`.
    pub last_command: Option<u16>,

    /// Bytes received and not yet run: the beginning of a request, or all of a stalled client's.
    pub input: Input,
    /// Bytes of input without which the request at its start cannot be whole; less than that is never too much.
    pub input_bytes_wanted: usize,
    /// Its first bytes are in the batch; what comes now goes behind them.
    pub queued: bool,
    /// How far the request at the start of `input` was understood.
    pub partial: Option<Box<Partial>>,
    /// Replies that are complete and wait for the socket.
    pub output: Vec<u8>,
    /// A rest of output is with the kernel.
    pub sending: bool,
    /// When the socket last took something while a rest was under way.
    pub progress: MonotonicNs,
    /// Bytes of the rest under way.
    pub sending_bytes: usize,
    /// Since when its output is above the soft limit of its class, as far as the sweeps have seen.
    pub over_soft_since: Option<MonotonicNs>,
    /// Why its requests are not run at the moment.
    pub stalls: Stalls,
    /// Receiving is paused.
    pub paused: bool,
    /// Its first pending reply waits for the log, and its name is where such names are (see `parking`).
    pub parked: bool,
    /// The peer has finished sending: close once everything has been answered.
    pub ended: bool,
    /// Replies that other cores still owe, and those behind them, in order.
    pub pending: VecDeque<Pending>,
    /// Number of the reply at the front of `pending`.
    pub sequence_front: u32,
    /// How many replies other cores may owe this client. Grows while they are small, see [`Connection::note_answer`].
    pub window: u16,
    /// Bytes of the replies in `pending` that are ready but not yet due.
    pub pending_bytes: usize,
    /// Commands run, bytes in and out; shown by `CLIENT LIST`.
    pub totals: Totals,
}

/// What a client called itself.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By `CLIENT SETNAME` or `HELLO … SETNAME`.
    pub name: String,
    /// By `CLIENT SETINFO LIB-NAME`.
    pub lib_name: String,
    /// By `CLIENT SETINFO LIB-VER`.
    pub lib_version: String,
}

/// Per-connection counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Commands run.
    pub commands: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// Modes and marks of a connection, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes(u16);

macro_rules! modes {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Modes { $($(#[$doc])* pub const $name: Modes = Modes(1 << $bit);)* }
    };
}

modes! {
    /// Close after the output has left; run nothing more.
    CLOSE_AFTER_REPLY = 0;
    /// `CLIENT REPLY OFF`.
    REPLY_OFF = 1;
    /// `CLIENT REPLY SKIP`: the next reply is not sent.
    REPLY_SKIP_NEXT = 2;
    /// The reply of the command under way is not sent.
    REPLY_SKIP = 3;
    /// `MONITOR`.
    MONITOR = 4;
    /// `CLIENT NO-EVICT ON`.
    NO_EVICT = 5;
    /// `CLIENT NO-TOUCH ON`.
    NO_TOUCH = 6;
    /// `READONLY`.
    READONLY = 7;
    /// `ASKING`: the next command may touch a slot under migration.
    ASKING = 8;
    /// Came through a core's own port: keys of other cores are answered with `MOVED`.
    CLUSTER_PORT = 9;
    /// Came through a Unix socket.
    UNIX = 10;
    /// A replica: keys and what is written are sent to it, and it says how far it is.
    REPLICA = 11;
}

impl Modes {
    /// Modes that every single request must look at; a connection in one of them takes the general way.
    pub const PER_REQUEST: Modes =
        Modes(Self::REPLY_OFF.0 | Self::REPLY_SKIP_NEXT.0 | Self::REPLY_SKIP.0 | Self::ASKING.0 | Self::REPLICA.0);
    /// Modes of clients that listen more than they ask.
    pub const LISTENS: Modes = Modes(Self::MONITOR.0 | Self::REPLICA.0);

    /// Whether `mode` is on; for several, whether any is.
    pub fn has(self, mode: Modes) -> bool {
        self.0 & mode.0 != 0
    }

    /// Turns `mode` on or off.
    pub fn set(&mut self, mode: Modes, on: bool) {
        if on { self.0 |= mode.0 } else { self.0 &= !mode.0 }
    }
}

/// Why a connection's requests are not run at the moment, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls(u8);

impl Stalls {
    /// Its reader is slow: output waits for the socket.
    pub const OUTPUT: Stalls = Stalls(1 << 0);
    /// A command on several cores, or a survey, is under way: what follows must see its effect.
    pub const JOINT: Stalls = Stalls(1 << 1);
    /// A lane is full, or other cores owe it too many replies.
    pub const LANE: Stalls = Stalls(1 << 2);
    /// `CLIENT PAUSE`, or `DEBUG SLEEP` elsewhere.
    pub const PAUSE: Stalls = Stalls(1 << 3);

    /// Whether any reason holds.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether this reason holds.
    pub fn has(self, reason: Stalls) -> bool {
        self.0 & reason.0 != 0
    }

    /// Adds or removes a reason.
    pub fn set(&mut self, reason: Stalls, on: bool) {
        if on { self.0 |= reason.0 } else { self.0 &= !reason.0 }
    }
}

/// A reply that cannot leave yet.
pub enum Pending {
    /// Another core owes it.
    Owed,
    /// It is here, but one before it is not.
    Ready(Vec<u8>),
    /// It is here, and tells of what is durable only when the log is, up to there.
    Parked(Lsn, Vec<u8>),
    /// Owed, but the client asked not to be told.
    OwedSilently,
}

/// Input that may pile up before receiving is paused, unless it is one large request.
const INPUT_BYTES_PILED: usize = 256 * 1024;
/// The same for a client that has not said who it is. One such request fits, and there may be thousands of them.
const INPUT_BYTES_PILED_STRANGER: usize = 32 * 1024;
const _: () = assert!(INPUT_BYTES_PILED_STRANGER >= shards::wire::Limits::UNAUTHENTICATED.bulk_bytes_max);

/// Output of one connection in one turn before it is sent. More in one burst overruns socket buffers and costs latency.
pub const OUTPUT_BURST_BYTES: usize = 256 * 1024;

/// Replies other cores may owe one client at the start, and at most. The start is what a client may make others hold in
/// memory before anything is known of the size of its replies.
const WINDOW_START: u16 = 32;
const WINDOW_MAX: u16 = 1024;
/// A reply larger than this shrinks the window.
const ANSWER_BYTES_LARGE: usize = 16 * 1024;

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(id: ConnId, client_id: u64, listener: ListenerId, now: MonotonicNs) -> Connection {
        Connection {
            id,
            client_id,
            listener,
            db: Db(0),
            proto: Proto::Resp2,
            authenticated: false,
            modes: Modes::default(),
            names: None,
            since: now,
            active: now,
            last_command: None,
            input: Input::default(),
            input_bytes_wanted: 0,
            queued: false,
            partial: None,
            output: Vec::new(),
            sending: false,
            progress: now,
            sending_bytes: 0,
            over_soft_since: None,
            stalls: Stalls::default(),
            paused: false,
            parked: false,
            ended: false,
            pending: VecDeque::new(),
            sequence_front: 0,
            window: WINDOW_START,
            pending_bytes: 0,
            totals: Totals::default(),
        }
    }

    /// Input that may pile up before receiving is paused: a bound for its kind, or what the request at its start is known to need.
    pub fn input_bytes_piled_max(&self) -> usize {
        let piled = if self.authenticated { INPUT_BYTES_PILED } else { INPUT_BYTES_PILED_STRANGER };
        piled.max(self.input_bytes_wanted)
    }

    /// The class whose output limits hold for it.
    pub fn class(&self) -> ClientClass {
        if self.modes.has(Modes::LISTENS) { ClientClass::Replica } else { ClientClass::Normal }
    }

    /// Bytes of output that the socket has not taken.
    pub fn output_bytes(&self) -> usize {
        self.output.len() + self.sending_bytes
    }

    /// Whether it has been above the soft limit for too long. To be asked now and then: what happens between is not seen.
    pub fn is_over_soft_limit(&mut self, limit: OutputLimit, now: MonotonicNs) -> bool {
        if limit.soft_bytes == 0 || self.output_bytes() <= limit.soft_bytes {
            self.over_soft_since = None;
            return false;
        }
        let since = *self.over_soft_since.get_or_insert(now);
        now.since(since) > u64::from(limit.soft_s) * 1_000_000_000
    }

    /// Reserves the next place in the order of replies, and says its number.
    pub fn reserve_reply(&mut self) -> u32 {
        let sequence = self.sequence_front.wrapping_add(self.pending.len() as u32);
        let silent = self.modes.has(Modes::REPLY_OFF) || self.modes.has(Modes::REPLY_SKIP);
        self.pending.push_back(if silent { Pending::OwedSilently } else { Pending::Owed });
        sequence
    }

    /// Whether another reply may be owed to it by other cores.
    pub fn window_is_open(&self) -> bool {
        self.pending.len() < usize::from(self.window) && self.pending_bytes < OUTPUT_BURST_BYTES
    }

    /// Learns from the size of a reply how many may be under way. Small replies let the window grow, as TCP's slow start
    /// does; a large one cuts it so that one client cannot make other cores hold many of them.
    fn note_answer(&mut self, bytes: usize) {
        self.window = if bytes > ANSWER_BYTES_LARGE { (self.window / 2).max(2) } else { (self.window + 1).min(WINDOW_MAX) };
    }

    /// Takes a reply that was owed, and moves everything that is now due to `output`; the log is durable up to `synced`.
    ///
    /// # Panics
    /// If no such reply is owed: cores answer each ticket once.
    pub fn settle_reply(&mut self, sequence: u32, reply: &[u8], synced: Lsn) {
        self.note_answer(reply.len());
        let position = sequence.wrapping_sub(self.sequence_front) as usize;
        assert!(position < self.pending.len(), "a reply nobody is owed");
        let silent = matches!(self.pending[position], Pending::OwedSilently);
        let reply = if silent { &[][..] } else { reply };
        if position == 0 {
            self.output.extend_from_slice(reply);
            self.pending.pop_front();
            self.sequence_front = self.sequence_front.wrapping_add(1);
            self.release_ready(synced);
        } else {
            self.pending_bytes += reply.len();
            self.pending[position] = Pending::Ready(reply.to_vec());
        }
    }

    /// Queues a reply of this core behind those still owed. Only while some are.
    pub fn queue_ready(&mut self, reply: &[u8]) {
        self.queue_reply(Lsn(0), reply, Lsn(u64::MAX));
    }

    /// Queues a reply of this core that may leave when the log is durable up to `until`, behind those that are still owed or wait.
    /// What was appended to the log after `taken` will be durable together, more or less, and so such replies wait as one.
    pub fn queue_reply(&mut self, until: Lsn, reply: &[u8], taken: Lsn) {
        self.pending_bytes += reply.len();
        // Not its own place in the order: nobody will ask for it by number, and places are counted by `Owed` only.
        match self.pending.back_mut() {
            Some(Pending::Ready(last)) if until == Lsn(0) => last.extend_from_slice(reply),
            Some(Pending::Parked(last_until, last)) if until <= *last_until || *last_until > taken => {
                *last_until = until.max(*last_until);
                last.extend_from_slice(reply);
            }
            _ if until == Lsn(0) => self.pending.push_back(Pending::Ready(reply.to_vec())),
            _ => self.pending.push_back(Pending::Parked(until, reply.to_vec())),
        }
    }

    /// What the first pending reply waits for, if it waits for the log.
    pub fn waits_until(&self) -> Option<Lsn> {
        if let Some(Pending::Parked(until, _)) = self.pending.front() { Some(*until) } else { None }
    }

    /// Moves the first pending replies to `output` that wait for nothing; the log is durable up to `synced`.
    pub fn release_ready(&mut self, synced: Lsn) {
        loop {
            let reply = match self.pending.front_mut() {
                Some(Pending::Ready(reply)) => std::mem::take(reply),
                Some(Pending::Parked(until, reply)) if *until <= synced => std::mem::take(reply),
                _ => return,
            };
            self.pending.pop_front();
            self.pending_bytes -= reply.len();
            self.output.extend_from_slice(&reply);
            self.sequence_front = self.sequence_front.wrapping_add(1);
        }
    }

    /// Bytes of memory this connection holds.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Connection>()
            + self.input.capacity()
            + self.output.capacity()
            + self.sending_bytes
            + self.pending_bytes
            + self.pending.capacity() * size_of::<Pending>()
            + self.partial.as_ref().map_or(0, |partial| partial.spans.capacity() * 8)
    }
}
const _: () = assert!(size_of::<Connection>() <= 384, "ten thousand idle connections must fit in little memory");

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(ConnId { index: 0, generation: 0 }, 1, ListenerId(0), MonotonicNs(0))
    }

    #[test]
    fn replies_leave_in_the_order_of_their_requests() {
        let mut conn = connection();
        let first = conn.reserve_reply();
        let second = conn.reserve_reply();
        conn.queue_ready(b"c");
        conn.queue_ready(b"d");
        let fifth = conn.reserve_reply();
        conn.settle_reply(second, b"b", Lsn(0));
        assert_eq!(conn.output, b"");
        conn.settle_reply(first, b"a", Lsn(0));
        assert_eq!(conn.output, b"abcd");
        conn.settle_reply(fifth, b"e", Lsn(0));
        assert_eq!(conn.output, b"abcde");
        assert!(conn.pending.is_empty());
        assert_eq!(conn.pending_bytes, 0);
    }

    #[test]
    fn replies_that_wait_for_the_log_keep_the_order() {
        let mut conn = connection();
        let taken = Lsn(10);
        conn.queue_reply(Lsn(9), b"a", taken);
        conn.queue_reply(Lsn(0), b"b", taken);
        conn.queue_reply(Lsn(12), b"c", taken);
        conn.queue_reply(Lsn(14), b"d", taken);
        assert_eq!(conn.pending.len(), 2, "what will be durable together waits together, and what came meanwhile waits along");
        let owed = conn.reserve_reply();
        conn.queue_reply(Lsn(20), b"f", Lsn(15));
        assert_eq!(conn.waits_until(), Some(Lsn(9)));
        conn.release_ready(Lsn(13));
        assert_eq!((&conn.output[..], conn.waits_until()), (&b"ab"[..], Some(Lsn(14))));
        conn.release_ready(Lsn(14));
        assert_eq!((&conn.output[..], conn.waits_until()), (&b"abcd"[..], None));
        conn.settle_reply(owed, b"e", Lsn(19));
        assert_eq!((&conn.output[..], conn.waits_until()), (&b"abcde"[..], Some(Lsn(20))));
        conn.release_ready(Lsn(20));
        assert_eq!(conn.output, b"abcdef");
        assert!(conn.pending.is_empty() && conn.pending_bytes == 0);
    }

    #[test]
    fn a_silent_reply_keeps_its_place_and_says_nothing() {
        let mut conn = connection();
        conn.modes.set(Modes::REPLY_OFF, true);
        let silent = conn.reserve_reply();
        conn.modes.set(Modes::REPLY_OFF, false);
        let loud = conn.reserve_reply();
        conn.settle_reply(loud, b"x", Lsn(0));
        conn.settle_reply(silent, b"y", Lsn(0));
        assert_eq!(conn.output, b"x");
    }

    #[test]
    fn large_replies_close_the_window_and_small_ones_open_it() {
        let mut conn = connection();
        for _ in 0..10 {
            let ticket = conn.reserve_reply();
            conn.settle_reply(ticket, &vec![0; ANSWER_BYTES_LARGE + 1], Lsn(0));
        }
        assert_eq!(conn.window, 2);
        for _ in 0..2000 {
            let ticket = conn.reserve_reply();
            conn.settle_reply(ticket, b":1\r\n", Lsn(0));
        }
        assert_eq!(conn.window, WINDOW_MAX);
    }
}
