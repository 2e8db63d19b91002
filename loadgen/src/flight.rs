//! Requests on their way: what each connection waits for, and what becomes of each reply.
//!
//! Owns the bookkeeping of one thread's connections and its [`Tally`]. Every request that was sent is answered, refused,
//! redirected or lost with its connection, and each of these is counted once.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use crate::cluster::Redirection;
use crate::port::{Sink, Verdict};
use crate::reply::{self, Answer, Malformed};
use crate::request::{Encoder, Op, Protocol};
use crate::tally::{Interval, Tally};
use crate::workload::{KIND_COUNT, Kind, Sizes};

/// Nanoseconds since the pass began, read once per event, never per operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) epoch: Instant,
}

impl Clock {
    #[inline]
    pub(crate) fn nanos(self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// A request that waits for its reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) op: Op,
    pub(crate) intended_ns: u64,
    pub(crate) sent_ns: u64,
    /// Compare the payload that comes back.
    pub(crate) check: bool,
    /// The last of its batch: the connection has room again after it.
    pub(crate) last: bool,
    pub(crate) phase: Phase,
}

/// What the next reply on a connection answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The operation.
    Whole,
    /// The write that ends a read-modify-write.
    WriteBack,
    /// An `ASKING` before a redirected request: not an operation.
    Asking,
}

/// A redirected request that has to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    pub(crate) pending: Pending,
    pub(crate) there: Redirection,
    /// The node that sent us away, for redirections that name no host.
    pub(crate) from: u16,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) node: u16,
    pub(crate) open: bool,
    pub(crate) pending: VecDeque<Pending>,
    /// Batches in flight.
    pub(crate) batches: u32,
    /// In its node's row of connections with room.
    listed: bool,
    /// When it last got room: a batch sent later than this and than intended is the generator's own lateness.
    pub(crate) room_since_ns: u64,
    /// Requests encoded and not yet handed to the port.
    pub(crate) out: Vec<u8>,
    /// A reply of which only the beginning has come, and how long it has to be before it is looked at again.
    carry: Vec<u8>,
    carry_bytes_min: usize,
}

/// All of one thread.
pub(crate) struct Flight {
    pub(crate) lines: Vec<Line>,
    /// Connections with room, by node, the longest idle first.
    pub(crate) room: Vec<VecDeque<usize>>,
    pub(crate) tally: Tally,
    pub(crate) interval: Interval,
    /// Requests waiting for replies.
    pub(crate) waiting: u64,
    /// Operations finished since the pass began, recorded or not.
    pub(crate) finished: u64,
    /// Errors since the pass began, recorded or not.
    pub(crate) errors: u64,
    /// Redirected requests; bounded by the requests in flight.
    pub(crate) again: VecDeque<Again>,
    /// Lines whose `out` got a write-back and must be handed to the port.
    pub(crate) dirty: Vec<usize>,
    /// Lines that closed and should be opened again.
    pub(crate) closed: Vec<usize>,
    pub(crate) clock: Clock,
    /// Operations intended before this are warm-up and leave no trace in the result.
    record_from_ns: u64,
    window: u32,
    protocol: Protocol,
    encoder: Encoder,
    sizes: Sizes,
    cluster: bool,
    kinds: Vec<Kind>,
    burst: Burst,
}

/// Operations that share their times: recorded with one histogram step per kind.
#[derive(Default)]
struct Burst {
    intended_ns: u64,
    sent_ns: u64,
    counts: [u32; KIND_COUNT],
    total: u32,
}

/// What a [`Flight`] is told once.
pub(crate) struct Terms {
    pub(crate) clock: Clock,
    pub(crate) record_from_ns: u64,
    pub(crate) window: u32,
    pub(crate) protocol: Protocol,
    pub(crate) encoder: Encoder,
    pub(crate) sizes: Sizes,
    pub(crate) cluster: bool,
    pub(crate) kinds: Vec<Kind>,
}

impl Flight {
    pub(crate) fn new(terms: Terms) -> Flight {
        Flight {
            lines: Vec::new(),
            room: Vec::new(),
            tally: Tally::new(&terms.kinds),
            interval: Interval::new(),
            waiting: 0,
            finished: 0,
            errors: 0,
            again: VecDeque::new(),
            dirty: Vec::new(),
            closed: Vec::new(),
            clock: terms.clock,
            record_from_ns: terms.record_from_ns,
            window: terms.window,
            protocol: terms.protocol,
            encoder: terms.encoder,
            sizes: terms.sizes,
            cluster: terms.cluster,
            kinds: terms.kinds,
            burst: Burst::default(),
        }
    }

    /// `slot` is connected to `node` and has room.
    pub(crate) fn opened(&mut self, slot: usize, node: u16, now_ns: u64) {
        self.lines.resize_with(self.lines.len().max(slot + 1), Line::default);
        let line = &mut self.lines[slot];
        assert!(!line.open && line.pending.is_empty());
        line.open = true;
        line.node = node;
        line.room_since_ns = now_ns;
        self.list(slot);
    }

    /// A connection to `node` with room for a batch, the one idle for longest. It has to be given back with
    /// [`Flight::list`] or a batch.
    #[inline]
    pub(crate) fn take_room(&mut self, node: u16) -> Option<usize> {
        let room = self.room.get_mut(usize::from(node))?;
        while let Some(slot) = room.pop_front() {
            let line = &mut self.lines[slot];
            line.listed = false;
            if line.open && line.batches < self.window {
                return Some(slot);
            }
        }
        None
    }

    /// Puts `slot` back among those with room, if it has any.
    #[inline]
    pub(crate) fn list(&mut self, slot: usize) {
        let line = &mut self.lines[slot];
        if line.open && !line.listed && line.batches < self.window {
            line.listed = true;
            let node = usize::from(line.node);
            if self.room.len() <= node {
                self.room.resize_with(node + 1, VecDeque::new);
            }
            self.room[node].push_back(slot);
        }
    }

    /// Whether any connection at all is open.
    pub(crate) fn any_open(&self) -> bool {
        self.lines.iter().any(|line| line.open)
    }

    /// Gives up on everything still in flight: charged as far as the wait went.
    pub(crate) fn give_up(&mut self, now_ns: u64) {
        for slot in 0..self.lines.len() {
            for pending in std::mem::take(&mut self.lines[slot].pending) {
                if pending.phase != Phase::Asking {
                    self.unfinished(pending.op.kind, pending.intended_ns, Some(pending.sent_ns), now_ns);
                }
            }
        }
        for again in std::mem::take(&mut self.again) {
            self.unfinished(again.pending.op.kind, again.pending.intended_ns, Some(again.pending.sent_ns), now_ns);
        }
    }

    /// An operation that will not be waited for any longer: its response time is at least the wait until now.
    pub(crate) fn unfinished(&mut self, kind: Kind, intended_ns: u64, sent_ns: Option<u64>, now_ns: u64) {
        if intended_ns < self.record_from_ns {
            return;
        }
        let row = self.tally.row(kind);
        row.unfinished += 1;
        row.response.saturating_record(now_ns.saturating_sub(intended_ns));
        if let Some(sent_ns) = sent_ns {
            row.service.saturating_record(now_ns.saturating_sub(sent_ns));
        }
    }

    /// Reads every whole reply of `bytes`; returns how many bytes that took and how many the next reply needs.
    #[inline]
    fn consume(&mut self, slot: usize, bytes: &[u8], now_ns: u64) -> Result<(usize, usize), Malformed> {
        let mut at = 0;
        let mut needed = 1;
        while at < bytes.len() {
            let parsed = match self.protocol {
                Protocol::Resp => reply::resp(&bytes[at..])?,
                Protocol::Memcached => reply::memcached(&bytes[at..])?,
            };
            match parsed {
                Ok(reply) => {
                    at += reply.bytes;
                    self.complete(slot, reply.answer, now_ns)?;
                }
                Err(partial) => {
                    needed = partial.bytes_min;
                    break;
                }
            }
        }
        self.flush_burst(now_ns);
        Ok((at, needed))
    }

    #[inline]
    fn complete(&mut self, slot: usize, answer: Answer<'_>, now_ns: u64) -> Result<(), Malformed> {
        if answer == Answer::Push {
            return Ok(());
        }
        let line = &mut self.lines[slot];
        let Some(pending) = line.pending.pop_front() else {
            // More replies than requests: nothing that follows can be trusted. A target that is full says so this way.
            if let Answer::Refused(text) = answer {
                self.tally.sample(&String::from_utf8_lossy(text));
            }
            return Err(Malformed::Unasked);
        };
        self.waiting -= 1;
        if pending.phase == Phase::Asking {
            return Ok(());
        }
        let refused = matches!(answer, Answer::Refused(_));
        if pending.op.kind == Kind::Rmw && pending.phase == Phase::Whole && !refused {
            self.look(&pending, answer);
            self.write_back(slot, pending);
            return Ok(());
        }
        if pending.last {
            line.batches -= 1;
            line.room_since_ns = now_ns;
            self.list(slot);
        }
        if let Answer::Refused(text) = answer {
            self.refused(slot, pending, text);
        } else {
            if pending.phase == Phase::Whole {
                self.look(&pending, answer);
            }
            self.record(&pending, now_ns);
        }
        Ok(())
    }

    /// Hits, misses and payloads.
    #[inline]
    fn look(&mut self, pending: &Pending, answer: Answer<'_>) {
        if pending.intended_ns < self.record_from_ns {
            return;
        }
        match (pending.op.kind, answer) {
            (Kind::Get | Kind::Read | Kind::Rmw, Answer::Value(value)) => {
                self.tally.hits += 1;
                if pending.check {
                    self.verify(pending.op.key, value);
                }
            }
            (Kind::Get | Kind::Read | Kind::Rmw, Answer::Missing) => self.tally.misses += 1,
            (Kind::Mget | Kind::Scan, answer) => self.look_many(pending, answer),
            _ => {}
        }
    }

    fn look_many(&mut self, pending: &Pending, answer: Answer<'_>) {
        let mut found = 0;
        match (self.protocol, answer) {
            (Protocol::Resp, Answer::Many(bytes)) => {
                let (encoder, sizes, tally) = (&self.encoder, &self.sizes, &mut self.tally);
                reply::values(bytes, |index, value| {
                    let Some(value) = value else { return };
                    found += 1;
                    if pending.check {
                        let key = pending.op.key + index as u64;
                        tally.verified += 1;
                        tally.mismatched += u64::from(!encoder.payload().matches(key, value, sizes));
                    }
                });
            }
            (Protocol::Memcached, Answer::Many(bytes)) => {
                let (encoder, sizes, tally) = (&self.encoder, &self.sizes, &mut self.tally);
                reply::memcached_values(bytes, |key, value| {
                    found += 1;
                    if pending.check {
                        // Missing keys are left out of the reply, so each value is checked by the key it names.
                        let right = encoder.key_name().read(key).is_some_and(|key| encoder.payload().matches(key, value, sizes));
                        tally.verified += 1;
                        tally.mismatched += u64::from(!right);
                    }
                });
            }
            (Protocol::Memcached, Answer::Value(_)) => found = 1,
            _ => {}
        }
        self.tally.hits += found;
        self.tally.misses += u64::from(pending.op.run).saturating_sub(found);
    }

    fn verify(&mut self, key: u64, value: &[u8]) {
        self.tally.verified += 1;
        if !self.encoder.payload().matches(key, value, &self.sizes) {
            self.tally.mismatched += 1;
            let shown = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
            self.tally.sample(&format!("key number {key} came back with {} bytes '{shown}'", value.len()));
        }
    }

    fn write_back(&mut self, slot: usize, pending: Pending) {
        let line = &mut self.lines[slot];
        self.encoder.write_back(pending.op.key, pending.op.size, pending.op.ttl_ms, &mut line.out);
        // Answers come in the order of sending, so the write-back goes to the end. If its read ended the batch, it does now.
        line.pending.push_back(Pending { phase: Phase::WriteBack, check: false, ..pending });
        self.waiting += 1;
        if self.dirty.last() != Some(&slot) {
            self.dirty.push(slot);
        }
    }

    fn refused(&mut self, slot: usize, pending: Pending, text: &[u8]) {
        if self.cluster
            && let Some(there) = Redirection::read(text)
        {
            self.tally.redirected += 1;
            self.again.push_back(Again { pending, there, from: self.lines[slot].node });
            return;
        }
        self.fail(&pending, &String::from_utf8_lossy(text));
    }

    /// Counts an operation that ended in an error.
    pub(crate) fn fail(&mut self, pending: &Pending, text: &str) {
        self.errors += 1;
        self.tally.sample(text);
        if pending.intended_ns >= self.record_from_ns {
            self.tally.row(pending.op.kind).errors += 1;
        }
    }

    #[inline]
    fn record(&mut self, pending: &Pending, now_ns: u64) {
        if pending.intended_ns != self.burst.intended_ns || pending.sent_ns != self.burst.sent_ns {
            self.flush_burst(now_ns);
            self.burst.intended_ns = pending.intended_ns;
            self.burst.sent_ns = pending.sent_ns;
        }
        self.burst.counts[pending.op.kind as usize] += 1;
        self.burst.total += 1;
    }

    #[inline]
    fn flush_burst(&mut self, now_ns: u64) {
        if self.burst.total == 0 {
            return;
        }
        let total = u64::from(std::mem::take(&mut self.burst.total));
        self.finished += total;
        let recorded = self.burst.intended_ns >= self.record_from_ns;
        let response_ns = now_ns.saturating_sub(self.burst.intended_ns);
        let service_ns = now_ns.saturating_sub(self.burst.sent_ns);
        for &kind in &self.kinds {
            let count = u64::from(std::mem::take(&mut self.burst.counts[kind as usize]));
            if count > 0 && recorded {
                let row = self.tally.row(kind);
                row.ops += count;
                row.response.saturating_record_n(response_ns, count);
                row.service.saturating_record_n(service_ns, count);
            }
        }
        if recorded {
            self.interval.response.saturating_record_n(response_ns, total);
            self.interval.service.saturating_record_n(service_ns, total);
            self.tally.last_ns = now_ns;
        }
    }
}

impl Sink for Flight {
    #[inline]
    fn received(&mut self, slot: usize, bytes: &[u8]) -> Verdict {
        let now_ns = self.clock.nanos();
        let line = &mut self.lines[slot];
        let consumed = if line.carry.is_empty() {
            self.consume(slot, bytes, now_ns).map(|(used, needed)| {
                let line = &mut self.lines[slot];
                line.carry.extend_from_slice(&bytes[used..]);
                line.carry_bytes_min = needed;
            })
        } else {
            line.carry.extend_from_slice(bytes);
            if line.carry.len() < line.carry_bytes_min {
                return Verdict::Keep;
            }
            let mut carry = std::mem::take(&mut line.carry);
            self.consume(slot, &carry, now_ns).map(|(used, needed)| {
                carry.drain(..used);
                let line = &mut self.lines[slot];
                line.carry = carry;
                line.carry_bytes_min = needed;
            })
        };
        match consumed {
            Ok(()) => Verdict::Keep,
            Err(malformed) => {
                self.flush_burst(now_ns);
                self.tally.sample(&malformed.to_string());
                Verdict::Close
            }
        }
    }

    fn closed(&mut self, slot: usize, cause: io::Error) {
        let line = &mut self.lines[slot];
        line.open = false;
        line.batches = 0;
        line.out.clear();
        line.carry.clear();
        line.carry_bytes_min = 0;
        let lost = std::mem::take(&mut line.pending);
        self.waiting -= lost.len() as u64;
        self.tally.broken += 1;
        let text = match cause.kind() {
            io::ErrorKind::UnexpectedEof => "the target closed the connection".to_string(),
            _ => format!("the connection broke: {cause}"),
        };
        self.tally.sample(&text);
        for pending in lost {
            if pending.phase != Phase::Asking {
                self.fail(&pending, &text);
            }
        }
        self.closed.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{KeyName, Payload};

    fn flight(protocol: Protocol, cluster: bool) -> Flight {
        let mut flight = Flight::new(Terms {
            clock: Clock { epoch: Instant::now() },
            record_from_ns: 0,
            window: 1,
            protocol,
            encoder: Encoder::new(protocol, KeyName::new("key:", 4), Payload::new(100)),
            sizes: Sizes::parse("5").unwrap(),
            cluster,
            kinds: vec![Kind::Get, Kind::Set, Kind::Rmw, Kind::Mget],
        });
        flight.opened(0, 0, 0);
        flight
    }

    fn sent(flight: &mut Flight, kinds: &[Kind]) {
        let slot = flight.take_room(0).expect("room");
        let last = kinds.len() - 1;
        for (index, &kind) in kinds.iter().enumerate() {
            let op = Op { kind, key: 7, run: 2, size: 5, ttl_ms: None };
            flight.lines[slot].pending.push_back(Pending {
                op,
                intended_ns: 0,
                sent_ns: 0,
                check: true,
                last: index == last,
                phase: Phase::Whole,
            });
        }
        flight.lines[slot].batches += 1;
        flight.waiting += kinds.len() as u64;
    }

    #[test]
    fn replies_cut_anywhere_complete_their_requests() {
        let value = String::from_utf8(Payload::new(100).of(7, 5).to_vec()).unwrap();
        let stream = format!("$5\r\n{value}\r\n+OK\r\n$-1\r\n-ERR no\r\n$5\r\nwrong\r\n");
        for cut in 0..stream.len() {
            let mut flight = flight(Protocol::Resp, false);
            sent(&mut flight, &[Kind::Get, Kind::Set, Kind::Get, Kind::Set, Kind::Get]);
            assert_eq!(flight.take_room(0), None, "one batch at a time");
            assert_eq!(flight.received(0, &stream.as_bytes()[..cut]), Verdict::Keep);
            assert_eq!(flight.received(0, &stream.as_bytes()[cut..]), Verdict::Keep);
            assert_eq!((flight.waiting, flight.finished, flight.errors), (0, 4, 1));
            let tally = &mut flight.tally;
            assert_eq!((tally.hits, tally.misses, tally.verified, tally.mismatched), (2, 1, 2, 1));
            assert_eq!((tally.row(Kind::Get).ops, tally.row(Kind::Set).ops, tally.row(Kind::Set).errors), (3, 1, 1));
            assert_eq!(tally.samples.len(), 2, "{:?}", tally.samples);
            assert!(flight.take_room(0).is_some(), "room again");
        }
    }

    #[test]
    fn a_read_modify_write_is_one_operation_of_two_trips() {
        let mut flight = flight(Protocol::Resp, false);
        sent(&mut flight, &[Kind::Rmw]);
        flight.received(0, b"$-1\r\n");
        assert_eq!((flight.waiting, flight.finished), (1, 0));
        assert_eq!(flight.dirty, [0]);
        assert!(flight.lines[0].out.starts_with(b"*3\r\n$3\r\nSET\r\n$8\r\nkey:0007\r\n$5\r\n"));
        flight.received(0, b"+OK\r\n");
        assert_eq!((flight.waiting, flight.finished), (0, 1));
        assert_eq!(flight.tally.row(Kind::Rmw).ops, 1);
    }

    #[test]
    fn redirections_are_sent_again_only_in_a_cluster() {
        let mut alone = flight(Protocol::Resp, false);
        sent(&mut alone, &[Kind::Get]);
        alone.received(0, b"-MOVED 1 127.0.0.1:7001\r\n");
        assert_eq!((alone.errors, alone.again.len()), (1, 0));
        let mut cluster = flight(Protocol::Resp, true);
        sent(&mut cluster, &[Kind::Get]);
        cluster.received(0, b"-MOVED 1 127.0.0.1:7001\r\n");
        assert_eq!((cluster.errors, cluster.again.len(), cluster.tally.redirected), (0, 1, 1));
    }

    #[test]
    fn a_broken_connection_loses_its_requests_loudly() {
        let mut flight = flight(Protocol::Resp, false);
        sent(&mut flight, &[Kind::Get, Kind::Set]);
        flight.closed(0, io::ErrorKind::UnexpectedEof.into());
        assert_eq!((flight.waiting, flight.errors, flight.tally.broken), (0, 2, 1));
        assert_eq!(flight.tally.row(Kind::Get).errors, 1);
        assert_eq!(flight.take_room(0), None);
        flight.opened(0, 0, 5);
        assert_eq!(flight.take_room(0), Some(0));
    }

    #[test]
    fn nonsense_and_surplus_replies_end_the_connection() {
        let mut flight = flight(Protocol::Resp, false);
        assert_eq!(flight.received(0, b"+OK\r\n"), Verdict::Close, "nobody asked");
        sent(&mut flight, &[Kind::Get]);
        assert_eq!(flight.received(0, b"HTTP/1.1 400 Bad Request\r\n"), Verdict::Close);
    }

    #[test]
    fn several_keys_count_hits_and_misses_each() {
        let payload = Payload::new(100);
        let mut reply = b"*2\r\n$-1\r\n$5\r\n".to_vec();
        reply.extend_from_slice(payload.of(8, 5));
        reply.extend_from_slice(b"\r\n");
        let mut flight = flight(Protocol::Resp, false);
        sent(&mut flight, &[Kind::Mget]);
        flight.received(0, &reply);
        let tally = &flight.tally;
        assert_eq!((tally.hits, tally.misses, tally.verified, tally.mismatched), (1, 1, 1, 0));
    }

    #[test]
    fn what_never_came_is_charged_up_to_the_end() {
        let mut flight = flight(Protocol::Resp, false);
        sent(&mut flight, &[Kind::Get]);
        flight.give_up(2_000_000_000);
        let row = flight.tally.row(Kind::Get);
        assert_eq!((row.ops, row.unfinished), (0, 1));
        assert!(row.response.max() >= 1_990_000_000);
    }
}
