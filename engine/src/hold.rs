//! Keys held together for a command on several cores, so that nobody sees it half done.
//!
//! A command whose keys live on several cores takes a hold on its keys on every core before it changes any. First it
//! asks all cores at once and none waits; if one refuses, it lets go and asks core after core in ascending order, and then
//! each waits until its keys are free. Whoever waits holds only keys of lower cores, so a circle is impossible.
//! While a key is held, other requests for it wait here, in order.
//!
//! A command on everything (`FLUSHALL`, `FLUSHDB`, `SWAPDB`) holds every core whole, by the same two steps. Where keys are held
//! already, its second step claims the core first: no further hold is given, requests go on, and it is granted when the last key
//! is let go. So it is not starved, and whoever it waits for waits for higher cores only.
//!
//! A core never waits for anything else while it holds, and a hold always ends with one [`Settle`]. Where the work is logged as
//! parts on several cores, keys stay held after it until every part is durable, and a release ends the hold: a crash that leaves
//! only some of the parts takes all of them back, and nobody may have seen one.

use crate::journal::PartTag;
use crate::parcel::{Ask, Ticket};
use crate::placement::CoreId;
use netio::ConnId;
use shards::Db;
use shards::wire::{Proto, Span};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// One command on several cores: who coordinates it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JointId {
    /// The core where the command arrived.
    pub core: CoreId,
    /// Counted by that core.
    pub number: u64,
}

/// Asks a core to hold keys.
#[derive(Clone, Debug)]
pub struct Hold {
    /// For whom.
    pub joint: JointId,
    /// What to hold.
    pub extent: Extent,
    /// Wait until they are free, or refuse at once.
    pub wait: bool,
    /// Make room for a write first, refuse if there is none.
    pub room: bool,
    /// Refuse if the log has no room for a write.
    pub write: bool,
    /// What to answer with the grant.
    pub look: Look,
    /// The entry's clock, the same on every core of one command.
    pub now: u64,
}

/// What is held of a core.
#[derive(Clone, Debug)]
pub enum Extent {
    /// These keys, without repeats.
    Keys(Vec<DbKey>),
    /// Every key of every database, those that are not there included.
    Whole,
}

impl Extent {
    /// The keys; none if everything is meant.
    pub fn keys(&self) -> &[DbKey] {
        match self {
            Extent::Keys(keys) => keys,
            Extent::Whole => &[],
        }
    }
}

/// What a grant brings along.
#[derive(Clone, Debug)]
pub enum Look {
    /// Nothing.
    Nothing,
    /// The reply to this request, which only reads.
    Reply(Request),
    /// The records of these keys, in the command's order.
    Records(Vec<(Db, Box<[u8]>)>),
}

/// A request that owns its bytes.
#[derive(Clone, Debug)]
pub struct Request {
    /// The command's number.
    pub command: u16,
    /// The connection's database.
    pub db: Db,
    /// Its dialect.
    pub proto: Proto,
    /// It asked for `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// The request in its array form.
    pub bytes: Vec<u8>,
    /// Its arguments.
    pub spans: Vec<Span>,
}

impl Request {
    /// A request made of these arguments, by a connection that did not ask for `CLIENT NO-TOUCH`.
    pub fn of<'a>(command: u16, db: Db, proto: Proto, args: impl Iterator<Item = &'a [u8]>) -> Request {
        let mut request = Request { command, db, proto, no_touch: false, bytes: Vec::new(), spans: Vec::new() };
        for arg in args {
            request.spans.push(Span { start: request.bytes.len() as u32, len: arg.len() as u32 });
            request.bytes.extend_from_slice(arg);
        }
        request
    }

    /// Its arguments.
    pub fn args(&self) -> shards::wire::Args<'_> {
        shards::wire::Args::new(&self.bytes, &self.spans)
    }
}

/// What became of a [`Hold`].
#[derive(Clone, Debug)]
pub struct Held {
    /// For whom.
    pub joint: JointId,
    /// Who answers.
    pub core: CoreId,
    /// The answer.
    pub outcome: HoldOutcome,
}

/// The answer to a [`Hold`].
#[derive(Clone, Debug)]
pub enum HoldOutcome {
    /// The keys are held; with what was asked for.
    Granted(Sight),
    /// A key is held by somebody else, and waiting was not wanted. Nothing is held.
    Busy,
    /// There is no room for a write. Nothing is held.
    NoRoom,
    /// The log's disk has none. Nothing is held.
    NoDisk,
}

/// What [`Look`] saw.
#[derive(Clone, Debug)]
pub enum Sight {
    /// Nothing was asked for.
    Nothing,
    /// A reply.
    Reply(Vec<u8>),
    /// Records, `None` where there is no such key.
    Records(Vec<Option<Vec<u8>>>),
}

/// Ends a hold.
#[derive(Clone, Debug)]
pub struct Settle {
    /// Whose.
    pub joint: JointId,
    /// What to do before letting go.
    pub work: Work,
    /// How many cores have a part of it.
    pub cores: usize,
    /// Set if the log must keep what is done together with what other cores do.
    pub part: Option<PartTag>,
    /// The entry's clock.
    pub now: u64,
}

/// A key of a database.
pub type DbKey = (Db, Box<[u8]>);

/// A key and the record it gets; `None` removes it.
pub type Replacement = (Db, Box<[u8]>, Option<Vec<u8>>);

/// What to do before letting go.
#[derive(Clone, Debug)]
pub enum Work {
    /// Nothing. No answer is sent.
    Nothing,
    /// Run this request and answer with its reply.
    Run(Request),
    /// Put these records; `None` removes the key.
    Store(Vec<Replacement>),
}

/// Who waits for a key, or for all.
pub enum Waiter {
    /// A request of one of this core's own connections.
    Own(Ticket, u32, shards::Slot, Request),
    /// A request of another core's connection.
    Ask(CoreId, Ask, Request),
    /// A hold of another command.
    Hold(Box<Hold>),
}

/// What is held of one core.
#[derive(Default)]
pub struct Holds {
    keys: HashMap<DbKey, Queue>,
    /// The command that holds the core whole, or will.
    whole: Option<Whole>,
    joints: HashMap<JointId, Vec<DbKey>>,
    waiters: usize,
    /// Connections of other cores whose request waits: how many do, and for which key. Their later requests wait behind it, or a
    /// request on several keys would be overtaken by one on those that nobody holds.
    asking: HashMap<(CoreId, ConnId), (usize, DbKey)>,
}

struct Queue {
    owner: JointId,
    waiting: VecDeque<Waiter>,
}

struct Whole {
    owner: JointId,
    waiting: VecDeque<Waiter>,
    /// Not granted before the last key is let go.
    draining: Option<Box<Hold>>,
}

/// In whose way a hold is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Somebody holds this key.
    Key(DbKey),
    /// Somebody holds the core whole, or has claimed it.
    Whole,
    /// The core is wanted whole, and keys are held.
    Keys,
}

impl Holds {
    /// Whether nothing is held; the one question of the fast path.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.whole.is_none()
    }

    /// How many requests wait.
    pub fn waiters(&self) -> usize {
        self.waiters
    }

    /// Whether somebody holds this key, by itself or with all others.
    pub fn is_held(&self, db: Db, key: &[u8]) -> bool {
        // A lookup by borrowed parts would need a key type of its own; holds are rare and keys short.
        self.is_held_whole() || (!self.keys.is_empty() && self.keys.contains_key(&(db, key.into())))
    }

    fn is_held_whole(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.draining.is_none())
    }

    /// Holds everything of an extent, or nothing: then it says what is in the way.
    pub fn hold(&mut self, joint: JointId, extent: &Extent) -> Result<(), Busy> {
        if self.whole.is_some() {
            return Err(Busy::Whole);
        }
        let keys = match extent {
            Extent::Whole if !self.keys.is_empty() => return Err(Busy::Keys),
            Extent::Whole => {
                self.whole = Some(Whole { owner: joint, waiting: VecDeque::new(), draining: None });
                return Ok(());
            }
            Extent::Keys(keys) => keys,
        };
        if let Some(busy) = keys.iter().find(|key| self.keys.contains_key(*key)) {
            return Err(Busy::Key(busy.clone()));
        }
        for key in keys {
            self.keys.insert(key.clone(), Queue { owner: joint, waiting: VecDeque::new() });
        }
        let earlier = self.joints.insert(joint, keys.clone());
        assert!(earlier.is_none(), "a command holds once per core");
        Ok(())
    }

    /// Queues a hold behind what is in its way; for one that wants the core whole, claims it.
    pub fn wait_to_hold(&mut self, busy: &Busy, hold: Hold) {
        match busy {
            Busy::Key((db, key)) => self.wait(*db, key, Waiter::Hold(Box::new(hold))),
            Busy::Whole => {
                let whole = self.whole.as_mut().expect("it was in the way a moment ago");
                whole.waiting.push_back(Waiter::Hold(Box::new(hold)));
                self.waiters += 1;
            }
            Busy::Keys => {
                let owner = hold.joint;
                assert!(self.whole.is_none() && !self.keys.is_empty(), "else it would have got it, or waited for the other");
                self.whole = Some(Whole { owner, waiting: VecDeque::new(), draining: Some(Box::new(hold)) });
                self.waiters += 1;
            }
        }
    }

    /// Queues behind a held key.
    ///
    /// # Panics
    /// If nobody holds it: the caller has just seen that somebody does.
    pub fn wait(&mut self, db: Db, key: &[u8], waiter: Waiter) {
        self.waiters += 1;
        // Whoever holds the core whole was granted it when no key was held.
        let queue = match &mut self.whole {
            Some(whole) if whole.draining.is_none() => &mut whole.waiting,
            _ => &mut self.keys.get_mut(&(db, key.into())).expect("only held keys are waited for").waiting,
        };
        queue.push_back(waiter);
    }

    /// What a request of another core has to wait for: a key that its connection waits for already, else one of its own.
    pub fn in_the_way<'a>(&'a self, from: CoreId, conn: ConnId, held: Option<(Db, &'a [u8])>) -> Option<(Db, &'a [u8])> {
        match self.asking.get(&(from, conn)) {
            Some((_, (db, key))) if self.is_held(*db, key) => Some((*db, key)),
            _ => held,
        }
    }

    /// Queues a request of another core behind a held key.
    pub fn wait_to_answer(&mut self, from: CoreId, ask: Ask, db: Db, key: &[u8], request: Request) {
        let waiting = self.asking.entry((from, ask.ticket.conn)).or_insert_with(|| (0, (db, key.into())));
        *waiting = (waiting.0 + 1, (db, key.into()));
        self.wait(db, key, Waiter::Ask(from, ask, request));
    }

    /// A request of another core waits no longer.
    pub fn asked_again(&mut self, from: CoreId, conn: ConnId) {
        let Entry::Occupied(mut waiting) = self.asking.entry((from, conn)) else { unreachable!("it was counted when it began to wait") };
        waiting.get_mut().0 -= 1;
        if waiting.get().0 == 0 {
            waiting.remove();
        }
    }

    /// Lets go of everything a command holds. Returns who waited for it; those who waited for the same in order.
    pub fn release(&mut self, joint: JointId) -> VecDeque<Waiter> {
        let mut released = VecDeque::new();
        if let Some(whole) = self.whole.take_if(|whole| whole.owner == joint && whole.draining.is_none()) {
            released = whole.waiting;
        }
        for key in self.joints.remove(&joint).unwrap_or_default() {
            let queue = self.keys.remove(&key).expect("a joint's keys are held");
            assert_eq!(queue.owner, joint);
            released.extend(queue.waiting);
        }
        self.waiters -= released.len();
        released
    }

    /// The hold that claimed the core whole and now has it, because the last key was let go.
    pub fn drained(&mut self) -> Option<Hold> {
        if !self.keys.is_empty() {
            return None;
        }
        let hold = self.whole.as_mut()?.draining.take()?;
        self.waiters -= 1;
        Some(*hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(number: u64) -> JointId {
        JointId { core: CoreId(0), number }
    }

    fn keys(names: &[&str]) -> Extent {
        Extent::Keys(names.iter().map(|name| (Db(0), name.as_bytes().into())).collect())
    }

    fn hold(number: u64, extent: Extent) -> Hold {
        Hold { joint: joint(number), extent, wait: true, room: false, write: false, look: Look::Nothing, now: 0 }
    }

    fn numbers(waiters: &VecDeque<Waiter>) -> Vec<u64> {
        waiters.iter().map(|waiter| if let Waiter::Hold(hold) = waiter { hold.joint.number } else { 0 }).collect()
    }

    #[test]
    fn all_keys_are_held_or_none() {
        let mut holds = Holds::default();
        holds.hold(joint(1), &keys(&["a", "b"])).expect("free");
        assert_eq!(holds.hold(joint(2), &keys(&["c", "b"])), Err(Busy::Key((Db(0), b"b".as_slice().into()))));
        assert!(!holds.is_held(Db(0), b"c"));
        assert!(!holds.is_held(Db(1), b"a"), "databases are apart");
        assert!(holds.release(joint(1)).is_empty());
        assert!(holds.is_empty());
        holds.hold(joint(2), &keys(&["c", "b"])).expect("free again");
    }

    #[test]
    fn those_who_waited_come_back_in_order() {
        let mut holds = Holds::default();
        holds.hold(joint(1), &keys(&["a"])).expect("free");
        for number in 2..5 {
            holds.wait(Db(0), b"a", Waiter::Hold(Box::new(hold(number, keys(&["a"])))));
        }
        assert_eq!(holds.waiters(), 3);
        assert_eq!(numbers(&holds.release(joint(1))), [2, 3, 4]);
        assert_eq!(holds.waiters(), 0);
    }

    #[test]
    fn a_core_is_held_whole_when_its_last_key_is_let_go() {
        let mut holds = Holds::default();
        holds.hold(joint(1), &keys(&["a"])).expect("free");
        holds.hold(joint(2), &keys(&["b"])).expect("free");
        let busy = holds.hold(joint(3), &Extent::Whole).expect_err("keys are held");
        assert_eq!(busy, Busy::Keys);
        holds.wait_to_hold(&busy, hold(3, Extent::Whole));
        assert!(!holds.is_held(Db(0), b"c"), "requests go on");
        for (number, extent) in [(4, keys(&["c"])), (5, Extent::Whole)] {
            let busy = holds.hold(joint(number), &extent).expect_err("claimed: no further hold is given");
            assert_eq!(busy, Busy::Whole);
            holds.wait_to_hold(&busy, hold(number, extent));
        }
        assert_eq!(holds.waiters(), 3);
        assert!(holds.release(joint(1)).is_empty());
        assert!(holds.drained().is_none(), "one key is still held");
        assert!(holds.release(joint(2)).is_empty());
        assert_eq!(holds.drained().expect("nothing is held any more").joint, joint(3));
        assert!(holds.drained().is_none(), "granted once");
        assert!(holds.is_held(Db(0), b"c") && holds.is_held(Db(9), b"a") && !holds.is_empty());
        assert_eq!(numbers(&holds.release(joint(3))), [4, 5]);
        assert!(holds.is_empty() && holds.waiters() == 0);
    }
}
