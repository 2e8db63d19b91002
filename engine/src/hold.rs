//! Keys held together for a command on several cores, so that nobody sees it half done.
//!
//! A command whose keys live on several cores takes a hold on its keys on every core before it changes any. First it
//! asks all cores at once and none waits; if one refuses, it lets go and asks core after core in ascending order, and then
//! each waits until its keys are free. Whoever waits holds only keys of lower cores, so a circle is impossible.
//! While a key is held, other requests for it wait here, in order.
//!
//! A core never waits for anything else while it holds, and a hold always ends with one [`Settle`].

use crate::parcel::{Ask, Ticket};
use crate::placement::CoreId;
use shards::Db;
use shards::wire::{Proto, Span};
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
    /// The keys on this core, without repeats.
    pub keys: Vec<(Db, Box<[u8]>)>,
    /// Wait until they are free, or refuse at once.
    pub wait: bool,
    /// Make room for a write first, refuse if there is none.
    pub room: bool,
    /// What to answer with the grant.
    pub look: Look,
    /// The entry's clock, the same on every core of one command.
    pub now: u64,
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
    /// The request in its array form.
    pub bytes: Vec<u8>,
    /// Its arguments.
    pub spans: Vec<Span>,
}

impl Request {
    /// A request made of these arguments.
    pub fn of<'a>(command: u16, db: Db, proto: Proto, args: impl Iterator<Item = &'a [u8]>) -> Request {
        let mut request = Request { command, db, proto, bytes: Vec::new(), spans: Vec::new() };
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

/// Who waits for a key.
pub enum Waiter {
    /// A request of one of this core's own connections.
    Own(Ticket, u32, shards::Slot, Request),
    /// A request of another core's connection.
    Ask(CoreId, Ask, Request),
    /// A hold of another command.
    Hold(Box<Hold>),
}

/// The keys of one core that are held.
#[derive(Default)]
pub struct Holds {
    keys: HashMap<DbKey, Queue>,
    joints: HashMap<JointId, Vec<DbKey>>,
    waiters: usize,
}

struct Queue {
    owner: JointId,
    waiting: VecDeque<Waiter>,
}

impl Holds {
    /// Whether nothing is held; the one question of the fast path.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many requests wait.
    pub fn waiters(&self) -> usize {
        self.waiters
    }

    /// Whether somebody holds this key.
    pub fn is_held(&self, db: Db, key: &[u8]) -> bool {
        // A lookup by borrowed parts would need a key type of its own; holds are rare and keys short.
        !self.keys.is_empty() && self.keys.contains_key(&(db, key.into()))
    }

    /// Holds all keys, or none: then the first one that somebody else holds is returned.
    pub fn hold(&mut self, joint: JointId, keys: &[(Db, Box<[u8]>)]) -> Result<(), usize> {
        if let Some(busy) = keys.iter().position(|key| self.keys.contains_key(key)) {
            return Err(busy);
        }
        for key in keys {
            self.keys.insert(key.clone(), Queue { owner: joint, waiting: VecDeque::new() });
        }
        let earlier = self.joints.insert(joint, keys.to_vec());
        assert!(earlier.is_none(), "a command holds once per core");
        Ok(())
    }

    /// Queues behind a held key.
    ///
    /// # Panics
    /// If nobody holds it: the caller has just seen that somebody does.
    pub fn wait(&mut self, db: Db, key: &[u8], waiter: Waiter) {
        self.waiters += 1;
        self.keys.get_mut(&(db, key.into())).expect("only held keys are waited for").waiting.push_back(waiter);
    }

    /// Lets go of everything a command holds. Returns who waited, by key, in order.
    pub fn release(&mut self, joint: JointId) -> Vec<(DbKey, VecDeque<Waiter>)> {
        let keys = self.joints.remove(&joint).unwrap_or_default();
        let mut released = Vec::new();
        for key in keys {
            let queue = self.keys.remove(&key).expect("a joint's keys are held");
            assert_eq!(queue.owner, joint);
            self.waiters -= queue.waiting.len();
            if !queue.waiting.is_empty() {
                released.push((key, queue.waiting));
            }
        }
        released
    }

    /// Puts waiters back to the end of a key's queue, because another command took the key first.
    pub fn wait_again(&mut self, key: &(Db, Box<[u8]>), waiters: VecDeque<Waiter>) {
        self.waiters += waiters.len();
        self.keys.get_mut(key).expect("held again").waiting.extend(waiters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(number: u64) -> JointId {
        JointId { core: CoreId(0), number }
    }

    fn keys(names: &[&str]) -> Vec<(Db, Box<[u8]>)> {
        names.iter().map(|name| (Db(0), name.as_bytes().into())).collect()
    }

    #[test]
    fn all_keys_are_held_or_none() {
        let mut holds = Holds::default();
        holds.hold(joint(1), &keys(&["a", "b"])).expect("free");
        assert_eq!(holds.hold(joint(2), &keys(&["c", "b"])), Err(1));
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
            let hold = Hold { joint: joint(number), keys: Vec::new(), wait: true, room: false, look: Look::Nothing, now: 0 };
            holds.wait(Db(0), b"a", Waiter::Hold(Box::new(hold)));
        }
        assert_eq!(holds.waiters(), 3);
        let released = holds.release(joint(1));
        let numbers: Vec<u64> =
            released[0].1.iter().map(|waiter| if let Waiter::Hold(hold) = waiter { hold.joint.number } else { 0 }).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(holds.waiters(), 0);
    }
}
