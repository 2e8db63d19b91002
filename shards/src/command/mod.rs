//! The command table, and the commands that run on a shard.
//!
//! [`COMMANDS`] is the one place that declares a command: its name, arity, flags, key positions, categories and words of
//! documentation. `COMMAND`, access categories, routing to cores and completion all read it.
//!
//! Every handler depends on nothing but the state, the arguments and the entry's `now`, writes exactly one reply, and
//! checks everything it could refuse before it changes anything.

pub mod bits;
pub mod counters;
pub mod dump;
pub mod expire;
pub mod geo;
pub mod hashes;
pub mod introspect;
pub mod keys;
pub mod lcs;
pub mod lists;
pub mod object;
pub mod scan;
pub mod sets;
pub mod sorted_sets;
pub mod spec;
pub mod strings;
pub mod syntax;
pub mod table;
pub mod texts;

pub use spec::{Category, Command, Flags, Handler, Keys, Spread};
pub use table::{COMMAND_COUNT, COMMANDS, COMMANDS_BY_NUMBER, KeyIndices, Resolved, find, keys_of, resolve};

use crate::key::{Db, Key};
use crate::number;
use crate::shard::{Found, Kind, Shard};
use crate::wire::{Args, Reply};

/// Longest string a command may build, Redis' `proto-max-bulk-len`: what fits a reply and a request alike.
pub const STRING_BYTES_MAX: usize = crate::wire::Limits::OPEN.bulk_bytes_max;

/// Most elements that are drawn with repetitions: a negative count asks for more than there is, and nothing else would end it.
pub const REPEATED_DRAWS_MAX: usize = 1 << 24;

/// How a command draws elements by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// So many different ones, or all.
    Different(usize),
    /// So many, each one of all.
    Repeated(usize),
}

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
        let bytes = self.args.get(index);
        if std::ptr::eq(bytes, self.key.bytes) { self.key } else { shard.key(bytes) }
    }

    /// Whether the argument at `index` is this word, in any case.
    #[inline]
    pub fn arg_is(&self, index: usize, word: &str) -> bool {
        self.args.get(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The argument at `index` as a whole number; answers the error and gives `None` if it is none.
    pub fn integer_at(&mut self, index: usize) -> Option<i64> {
        self.integer_at_or(index, texts::NOT_INTEGER)
    }

    /// [`Call::integer_at`] for commands that word the error in their own way.
    pub fn integer_at_or(&mut self, index: usize, error: &str) -> Option<i64> {
        let number = number::parse_i64(self.args.get(index));
        if number.is_none() {
            self.reply.error(error);
        }
        number
    }

    /// [`Call::integer_at`] for numbers that must fit 32 bits. Without words of its own for the error, a command has
    /// others for a number that is only too large.
    pub fn small_integer_at(&mut self, index: usize, error: Option<&str>) -> Option<i32> {
        let number = self.integer_at_or(index, error.unwrap_or(texts::NOT_INTEGER))?;
        let small = i32::try_from(number).ok();
        if small.is_none() {
            self.reply.error(error.unwrap_or("ERR value is out of range, value must between -2147483648 and 2147483647"));
        }
        small
    }

    /// How many random elements the argument at `index` asks for; answers the error and gives `None` if it is no such count.
    pub fn draw_at(&mut self, index: usize) -> Option<Draw> {
        let count = self.integer_at(index)?;
        match (usize::try_from(count), usize::try_from(count.unsigned_abs())) {
            (Ok(count), _) => Some(Draw::Different(count)),
            (Err(_), Ok(count)) if count <= REPEATED_DRAWS_MAX => Some(Draw::Repeated(count)),
            (Err(_), _) if count == i64::MIN => {
                self.reply.error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
                None
            }
            (Err(_), _) => {
                self.reply.error("ERR value is out of range");
                None
            }
        }
    }

    /// [`Call::integer_at_or`] for numbers from `least` on.
    pub fn integer_from_at(&mut self, index: usize, least: i64, error: &str) -> Option<i64> {
        let number = self.integer_at_or(index, error)?;
        if number < least {
            self.reply.error(error);
            return None;
        }
        Some(number)
    }

    /// The argument at `index` as a fraction; answers the error and gives `None` if it is none.
    pub fn fraction_at(&mut self, index: usize, error: &str) -> Option<f64> {
        let number = number::parse_f64(self.args.get(index));
        if number.is_none() {
            self.reply.error(error);
        }
        number
    }

    /// The database whose number is the argument at `index`; answers the error and gives `None` if there is none.
    pub fn db_at(&mut self, shard: &Shard, index: usize) -> Option<Db> {
        let db = Call::db_of(shard, self.small_integer_at(index, None)?);
        if db.is_none() {
            self.reply.error(texts::DB_OUT_OF_RANGE);
        }
        db
    }

    /// The database of this number, if there is one.
    pub fn db_of(shard: &Shard, number: i32) -> Option<Db> {
        u16::try_from(number).ok().filter(|number| *number < shard.db_count()).map(Db)
    }

    /// The value of a record that must be a string; answers the error and gives `None` if it is something else.
    #[inline]
    pub fn string<'s>(&mut self, found: &Found<'s>) -> Option<&'s [u8]> {
        if found.kind == Kind::String {
            Some(found.value)
        } else {
            self.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}
