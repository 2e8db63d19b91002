//! What the table says of a command.

use super::Call;
use crate::shard::Shard;
use std::ops::BitOr;

/// One command, or one subcommand.
pub struct Command {
    /// In lower case; for a subcommand without its container's name.
    pub name: &'static str,
    /// Exact number of arguments, the name included; negative for "at least".
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// What happens when its keys live on several cores.
    pub spread: Spread,
    /// Who runs it.
    pub handler: Handler,
    /// One sentence for people, in our own words.
    pub summary: &'static str,
    /// How its cost grows.
    pub complexity: &'static str,
    /// The version of Redis whose behaviour it has.
    pub since: &'static str,
    /// The group in `COMMAND DOCS`: `string`, `generic`, `connection`, `server`, `bitmap`, `cluster`.
    pub group: &'static str,
    /// Its arguments as a person would write them: `key value [NX | XX] [GET]`.
    pub syntax: &'static str,
    /// Subcommands, empty for most.
    pub subcommands: &'static [Command],
}

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Handler {
    /// The shard that owns its keys.
    Shard(fn(&mut Shard, &mut Call<'_, '_>)),
    /// The core where it arrived, which knows connections, configuration and the other cores.
    Engine,
    /// Nobody: a container of subcommands.
    Container,
}

/// Where a command's keys are among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// From `first` to `last` (negative: counted from the end), every `step`-th.
    Range {
        /// Index of the first key; the name is 0.
        first: i8,
        /// Index of the last key.
        last: i8,
        /// Distance between two keys.
        step: i8,
    },
    /// The argument at `count` says how many follow it.
    Counted {
        /// Index of the count.
        count: i8,
    },
}

/// What to do when a command's keys live on several cores. The keys are always held together while it runs, so that
/// nobody sees it half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// It has one key, or none.
    Single,
    /// Each core does its keys, the integer replies are added up (`DEL`, `EXISTS`).
    Sum,
    /// Each core does its keys, the elements are put back in order (`MGET`).
    Gather,
    /// Each core does its keys, all answer `OK` (`MSET`).
    Each,
    /// The records are brought to one core, the command runs there, changed records are sent back (`RENAME`, `BITOP`).
    Borrow,
    /// Every core is asked, whatever the arguments (`DBSIZE`, `KEYS`, `FLUSHALL`); the engine knows how to join the answers.
    Everywhere,
}

/// Properties of a command, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Changes data: refused where writing is not allowed.
    pub const WRITE: Flags = Flags(1 << 0);
    /// Only reads.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need memory: refused when there is none.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Answered while data is still being loaded.
    pub const LOADING: Flags = Flags(1 << 4);
    /// Answered by a replica that lost its leader.
    pub const STALE: Flags = Flags(1 << 5);
    /// Constant or logarithmic cost.
    pub const FAST: Flags = Flags(1 << 6);
    /// Answered before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 7);
    /// Not shown to `MONITOR`, because it may hold secrets.
    pub const SKIP_MONITOR: Flags = Flags(1 << 8);
    /// Not kept in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 9);
    /// Not allowed inside scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 10);
    /// May wait for other clients.
    pub const BLOCKING: Flags = Flags(1 << 11);
    /// Part of publish/subscribe.
    pub const PUBSUB: Flags = Flags(1 << 12);
    /// Dangerous in production by its cost or effect.
    pub const DANGEROUS: Flags = Flags(1 << 13);
    /// Replaces keys without reading them, so that a missing one costs nothing.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 14);
    /// Its answer has no defined order.
    pub const UNORDERED: Flags = Flags(1 << 15);
    /// Its answer differs each time.
    pub const RANDOM: Flags = Flags(1 << 16);

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together; `|` for constants.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.and(other)
    }
}
