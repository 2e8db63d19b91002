//! What travels on a lane: all of a turn's messages from one core to one other, in one piece.
//!
//! Requests and answers travel on lanes of their own. A core always takes answers, because they end work; it takes
//! requests only while it can put answers. So two cores that are both full cannot wait for each other.

use crate::hold::{Held, Hold, JointId, Settle};
use crate::line::LineStep;
use crate::replica::Note;
use crate::survey::{Finding, Question};
use netio::ConnId;
use shards::wire::{Args, Proto, Span};
use shards::{Db, Slot};
use std::ops::Range;
use std::sync::Arc;

/// Bytes one parcel should hold before the sender looks for room on the lane. A single request may be larger.
pub const PARCEL_BYTES_TARGET: usize = 256 * 1024;

/// Parcels under way from one core to another before the sender is pushed back.
pub const PARCELS_IN_FLIGHT_MAX: usize = 16;

/// All of a turn's messages to one core. `bytes` and `spans` are shared by its items.
#[derive(Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    items: Vec<Item>,
}

/// One message.
pub enum Item {
    /// Run a request on the shard of its key, answer with its reply.
    Ask(Ask),
    /// The reply to an [`Item::Ask`].
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// The reply, in the parcel's bytes.
        reply: Range<u32>,
    },
    /// A step of a command on keys of several cores.
    Hold(Box<Hold>),
    /// What became of an [`Item::Hold`].
    Held(Box<Held>),
    /// Ends an [`Item::Hold`]: does the held work, lets go.
    Settle(Box<Settle>),
    /// The reply to an [`Item::Settle`].
    Settled {
        /// Whose part is done.
        joint: JointId,
        /// This core's part of the reply.
        reply: Vec<u8>,
        /// So much could be cut by now that nobody may be told before the next line, see [`crate::line`].
        late: bool,
    },
    /// Every part of a command over several cores is durable, or logged where that is enough: ends what was still held for it.
    Release(JointId),
    /// A step of a line through all streams. Ends no work, but is taken like an answer: whoever waits for a line takes no requests.
    Line(LineStep),
    /// A question every core answers.
    Question(Ticket, Box<Question>),
    /// The answer to an [`Item::Question`].
    Finding(Ticket, Box<Finding>),
    /// Lines for those in `MONITOR`. Not answered.
    Feed(Arc<[u8]>),
    /// About replicas. Not answered.
    Replica(Box<Note>),
}

/// A request that travels.
pub struct Ask {
    /// Where the reply belongs.
    pub ticket: Ticket,
    /// The command's number.
    pub command: u16,
    /// The connection's dialect.
    pub proto: Proto,
    /// The connection's database.
    pub db: Db,
    /// The connection asked for `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// The first key's hash.
    pub hash: u32,
    /// The first key's slot.
    pub slot: Slot,
    /// The request, in the parcel's bytes.
    pub request: Range<u32>,
    /// Its arguments, in the parcel's spans, relative to the request.
    pub spans: Range<u32>,
}

/// Where a reply belongs: the n-th reply of a connection of the asking core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection on the asking core.
    pub conn: ConnId,
    /// Its reply's number.
    pub sequence: u32,
}

impl Parcel {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it should be sent before more is put in.
    pub fn is_heavy(&self) -> bool {
        self.bytes.len() >= PARCEL_BYTES_TARGET || self.items.len() >= 4096
    }

    /// Bytes it occupies.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>() + self.items.capacity() * size_of::<Item>()
    }

    /// Puts a message that refers to nothing in this parcel.
    pub fn put(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Puts a request; `seal` gets where its bytes and spans lie.
    pub fn put_request(&mut self, request: &[u8], spans: &[Span], seal: impl FnOnce(Range<u32>, Range<u32>) -> Ask) {
        let bytes_from = self.bytes.len() as u32;
        let spans_from = self.spans.len() as u32;
        self.bytes.extend_from_slice(request);
        self.spans.extend_from_slice(spans);
        self.items.push(Item::Ask(seal(bytes_from..self.bytes.len() as u32, spans_from..self.spans.len() as u32)));
    }

    /// Puts a reply that `write` appends to the parcel's bytes.
    pub fn put_answer(&mut self, ticket: Ticket, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len() as u32;
        write(&mut self.bytes);
        self.items.push(Item::Answer { ticket, reply: from..self.bytes.len() as u32 });
    }

    /// Takes the messages out; [`Parcel::args`] and [`Parcel::bytes`] still serve them.
    pub fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// A travelling request's arguments.
    pub fn args(&self, ask: &Ask) -> Args<'_> {
        Args::new(
            &self.bytes[ask.request.start as usize..ask.request.end as usize],
            &self.spans[ask.spans.start as usize..ask.spans.end as usize],
        )
    }

    /// Bytes of this parcel.
    pub fn bytes(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Empties it for the next turn. Keeps allocations of ordinary size only.
    pub fn recycle(mut self, items: Vec<Item>) -> Parcel {
        self.items = items;
        self.items.clear();
        self.bytes.clear();
        self.spans.clear();
        if self.memory_bytes() > 2 * PARCEL_BYTES_TARGET { Parcel::default() } else { self }
    }
}
