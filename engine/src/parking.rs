//! What waits for the log: replies, and answers to other cores, that tell of something a crash could still take back.
//!
//! Everything here leaves when the log is durable up to where it says, and nothing else holds it up. A connection's own replies
//! wait in the connection (see [`crate::connection::Pending`]), whose name is here while the first of them waits.

use crate::connection::{Connection, Pending};
use crate::hold::{Held, JointId};
use crate::parcel::Ticket;
use crate::placement::CoreId;
use crate::survey::Finding;
use netio::ConnId;
use shards::log::Lsn;

/// Bytes of answers to other cores that may wait before no more is taken from them.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// One thing that waits.
pub(crate) enum Parked {
    /// A connection whose first pending reply waits.
    Conn(ConnId),
    /// A reply whose place in its connection's order was reserved before.
    Reply(Ticket, Vec<u8>),
    /// The answer to another core's request.
    Answer(CoreId, Ticket, Vec<u8>),
    /// The answer to a question that every core is asked.
    Finding(CoreId, Ticket, Box<Finding>),
    /// A grant that shows keys.
    Held(Box<Held>),
    /// A part of a command over several cores.
    Settled(JointId, Vec<u8>),
}

/// Everything that waits on one core. Bounded by what it is for: connections have a bound for pending replies, other cores are
/// not listened to while [`Parking::is_full`], and of the rest there is one per command over several cores.
#[derive(Default)]
pub(crate) struct Parking {
    waiting: Vec<(Lsn, Parked)>,
    answer_bytes: usize,
    /// The furthest that anybody waits for.
    wanted: Lsn,
}

impl Parking {
    /// Waits until the log is durable up to `until`.
    pub(crate) fn park(&mut self, until: Lsn, parked: Parked) {
        self.want(until);
        self.answer_bytes += parked.answer_bytes();
        self.waiting.push((until, parked));
    }

    /// Somebody whose name is here already waits for this too.
    pub(crate) fn want(&mut self, until: Lsn) {
        self.wanted = self.wanted.max(until);
    }

    /// Takes a connection's name if its first pending reply waits for the log.
    pub(crate) fn park_connection(&mut self, conn: &mut Connection) {
        if let Some(Pending::Parked(until, _)) = conn.pending.back() {
            self.want(*until);
        }
        if let Some(until) = conn.waits_until().filter(|_| !conn.parked) {
            conn.parked = true;
            self.park(until, Parked::Conn(conn.id));
        }
    }

    /// The furthest that anybody waits for.
    pub(crate) fn wanted(&self) -> Lsn {
        self.wanted
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether so much waits for other cores that no more should be taken from them. Ends with a sync, not with a lane.
    pub(crate) fn is_full(&self) -> bool {
        self.answer_bytes > ANSWER_BYTES_MAX
    }

    /// Bytes it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<(Lsn, Parked)>() + self.answer_bytes
    }

    /// Takes out what waits no longer, in the order in which it came. Looks at everything: each sync ends about half of the waiting.
    pub(crate) fn release(&mut self, safe: Lsn) -> Vec<Parked> {
        let mut released = Vec::new();
        if self.waiting.is_empty() {
            return released;
        }
        for (until, parked) in std::mem::take(&mut self.waiting) {
            if until <= safe {
                self.answer_bytes -= parked.answer_bytes();
                released.push(parked);
            } else {
                self.waiting.push((until, parked));
            }
        }
        released
    }
}

impl Parked {
    fn answer_bytes(&self) -> usize {
        match self {
            Parked::Answer(_, _, bytes) => bytes.len() + size_of::<Parked>(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> Parked {
        Parked::Conn(ConnId { index, generation: 0 })
    }

    #[test]
    fn each_leaves_when_what_it_tells_of_is_durable_and_not_before() {
        let mut parking = Parking::default();
        for (index, until) in [(0, 7), (1, 3), (2, 7), (3, 9)] {
            parking.park(Lsn(until), conn(index));
        }
        assert_eq!(parking.wanted(), Lsn(9));
        let released = |parking: &mut Parking, synced| {
            let all = parking.release(Lsn(synced));
            all.iter().map(|parked| if let Parked::Conn(id) = parked { id.index } else { u32::MAX }).collect::<Vec<_>>()
        };
        assert_eq!(released(&mut parking, 2), [0; 0]);
        assert_eq!(released(&mut parking, 7), [0, 1, 2]);
        assert_eq!(released(&mut parking, 9), [3]);
        assert!(parking.is_empty());
    }

    #[test]
    fn answers_that_wait_have_a_bound() {
        let mut parking = Parking::default();
        let ticket = Ticket { conn: ConnId { index: 0, generation: 0 }, sequence: 0 };
        while !parking.is_full() {
            parking.park(Lsn(1), Parked::Answer(CoreId(1), ticket, vec![0; 1000]));
        }
        assert!(parking.memory_bytes() < 2 * ANSWER_BYTES_MAX + (1 << 20));
        parking.release(Lsn(1));
        assert!(!parking.is_full() && parking.is_empty());
    }
}
