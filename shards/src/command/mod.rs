//! The command table, and the commands that run on a shard.
//!
//! [`COMMANDS`] is the one place that declares a command: its name, arity, flags, key positions, categories and words of
//! documentation. `COMMAND`, access categories, routing to cores and completion all read it.

pub mod spec;
pub mod strings;
pub mod table;

pub use spec::{Command, Flags, Handler, Keys, Spread};
pub use table::{COMMANDS, find};

use crate::key::{Db, Key};
use crate::shard::Shard;
use crate::wire::{Args, Reply};

/// One request on its way through a shard.
pub struct Call<'a, 'r> {
    /// The arguments, the command's name first. Their number was checked against the arity.
    pub args: Args<'a>,
    /// The first key, already hashed for routing. Meaningless for commands without keys.
    pub key: Key<'a>,
    /// The connection's database.
    pub db: Db,
    /// The entry's clock: milliseconds since 1970.
    pub now: u64,
    /// Where the answer goes. Exactly one reply must be written.
    pub reply: Reply<'r>,
}

impl<'a> Call<'a, '_> {
    /// The key at argument `index`. Free for the first key, one hash for others.
    #[inline]
    pub fn key_at(&self, shard: &Shard, index: usize) -> Key<'a> {
        shard.key(self.args.get(index))
    }
}
