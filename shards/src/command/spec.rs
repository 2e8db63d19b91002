//! What the table says of a command.
//!
//! Everything here is a constant: a command is declared once, checked by the compiler and by the tests of the table, and
//! read by everybody who must know it: routing, limits, access categories, `COMMAND`, completion.

use super::Call;
use crate::shard::Shard;
use std::ops::BitOr;

/// One command, or one subcommand.
#[derive(Clone, Copy)]
pub struct Command {
    /// In lower case; for a subcommand without its container's name.
    pub name: &'static str,
    /// In lower case, with the container's name for a subcommand: `client|list`.
    pub full_name: &'static str,
    /// Exact number of arguments, the name (and the subcommand's) included; negative for "at least".
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// The same in the words of `COMMAND INFO`: one for each kind of access, in order.
    pub key_specs: [Option<KeySpec>; KEY_SPECS_MAX],
    /// What happens when its keys live on several cores.
    pub spread: Spread,
    /// Who runs it.
    pub handler: Handler,
    /// Access categories beyond those that follow from the flags; see [`Command::categories`].
    pub categories_own: Categories,
    /// Advice for routing clients, as Redis documents it: `request_policy:all_shards`, `nondeterministic_output`.
    pub tips: &'static [&'static str],
    /// One sentence for people, in our own words.
    pub summary: &'static str,
    /// How its cost grows.
    pub complexity: &'static str,
    /// The version of Redis whose behaviour it has.
    pub since: &'static str,
    /// The group in `COMMAND DOCS`: `string`, `list`, `generic`, `connection`, `server`, `bitmap`, `cluster`.
    pub group: &'static str,
    /// Its arguments as a person would write them, in the grammar of [`super::syntax`]: `key value [NX | XX] [GET]`.
    pub syntax: &'static str,
    /// Subcommands, empty for most.
    pub subcommands: &'static [Command],
}

/// `SORT` has most: what it sorts, what it looks up, where it stores.
pub const KEY_SPECS_MAX: usize = 3;

impl Command {
    /// A command without properties, keys or words; the methods below add them. A subcommand is named `container|name`.
    pub const fn new(full_name: &'static str, arity: i16, handler: Handler) -> Command {
        Command {
            name: after_bar(full_name),
            full_name,
            arity,
            flags: Flags(0),
            keys: Keys::None,
            key_specs: [None; KEY_SPECS_MAX],
            spread: Spread::Single,
            handler,
            categories_own: Categories(0),
            tips: &[],
            summary: "",
            complexity: "",
            since: "",
            group: "",
            syntax: "",
            subcommands: &[],
        }
    }

    /// Its group, the version it appeared in, and its cost.
    pub const fn about(self, group: &'static str, since: &'static str, complexity: &'static str) -> Command {
        Command { group, since, complexity, ..self }
    }

    /// Its properties.
    pub const fn flags(self, flags: &[Flags]) -> Command {
        let mut all = Flags(0);
        let mut index = 0;
        while index < flags.len() {
            all = all.and(flags[index]);
            index += 1;
        }
        Command { flags: all, ..self }
    }

    /// Its access categories, except those that follow from the flags.
    pub const fn categories(self, categories: &[Category]) -> Command {
        Command { categories_own: Categories::of(categories), ..self }
    }

    /// One key, at argument `first`.
    pub const fn key(self, first: i8, access: &[KeyAccess]) -> Command {
        self.keys(first, 0, 1, access)
    }

    /// Keys from argument `first` on, every `step`-th. `last` is counted from `first`, or from the end if negative.
    pub const fn keys(self, first: i8, last: i8, step: i8, access: &[KeyAccess]) -> Command {
        let mut bits = 0;
        let mut index = 0;
        while index < access.len() {
            bits |= 1 << access[index] as u16;
            index += 1;
        }
        let mut command = self;
        let mut count = 0;
        while command.key_specs[count].is_some() {
            count += 1;
        }
        command.key_specs[count] = Some(KeySpec { first, last, step, is_counted: false, keyword: None, access: KeyAccesses(bits) });
        let last = if last < 0 { last } else { first + last };
        // Several specifications in a row make one range: `COPY source destination`.
        command.keys = match command.keys {
            Keys::Range { first, .. } => Keys::Range { first, last, step },
            _ => Keys::Range { first, last, step },
        };
        command
    }

    /// As many keys as argument `count` says, from the next one on. After [`Command::flags`]: one more
    /// follows from it. After a key of its own, which is what `ZUNIONSTORE` stores to.
    pub const fn counted(self, count: i8, access: &[KeyAccess]) -> Command {
        let stored = self.keys;
        let mut command = self.keys(count, 0, 1, access);
        let mut index = command.key_specs.len();
        while command.key_specs[index - 1].is_none() {
            index -= 1;
        }
        if let Some(spec) = &mut command.key_specs[index - 1] {
            spec.is_counted = true;
        }
        command.flags = command.flags.and(Flags::MOVABLE_KEYS);
        command.keys = match stored {
            Keys::Range { first, .. } => Keys::StoredCounted { stored: first, count },
            _ => Keys::Counted { count },
        };
        command
    }

    /// One more key behind either of two words, which may stand from argument `from` on. For a command with one other key.
    pub const fn announced(self, words: &'static [&'static str; 2], from: i8, access: &[KeyAccess]) -> Command {
        let stored = self.keys;
        let mut command = self.keys(from, 0, 1, access).keys(from, 0, 1, access);
        let mut index = 0;
        while index < words.len() {
            if let Some(spec) = &mut command.key_specs[index + 1] {
                spec.keyword = Some(words[index]);
            }
            index += 1;
        }
        command.keys = match stored {
            Keys::Range { first, .. } => Keys::Announced { first, words, from },
            _ => panic!("announced keys follow one at a place of its own"),
        };
        command
    }

    /// What to do when its keys live on several cores.
    pub const fn spread(self, spread: Spread) -> Command {
        Command { spread, ..self }
    }

    /// Advice for routing clients.
    pub const fn tips(self, tips: &'static [&'static str]) -> Command {
        Command { tips, ..self }
    }

    /// The commands it contains.
    pub const fn subcommands(self, subcommands: &'static [Command]) -> Command {
        Command { subcommands, ..self }
    }

    /// Its arguments and its meaning, for people.
    pub const fn says(self, syntax: &'static str, summary: &'static str) -> Command {
        Command { syntax, summary, ..self }
    }

    /// Whether a request of so many arguments can be one.
    #[inline]
    pub const fn takes(&self, args_len: usize) -> bool {
        if self.arity >= 0 { args_len == self.arity as usize } else { args_len >= self.arity.unsigned_abs() as usize }
    }

    /// Every access category it is in: its own, and those that Redis derives from the flags.
    pub const fn categories_all(&self) -> Categories {
        let mut all = self.categories_own;
        if self.flags.has(Flags::WRITE) {
            all = all.with(Category::Write);
        }
        // A script that only reads is no more a read than one that writes is a write.
        if self.flags.has(Flags::READONLY) && !all.has(Category::Scripting) {
            all = all.with(Category::Read);
        }
        if self.flags.has(Flags::ADMIN) {
            all = all.with(Category::Admin).with(Category::Dangerous);
        }
        if self.flags.has(Flags::PUBSUB) {
            all = all.with(Category::Pubsub);
        }
        if self.flags.has(Flags::BLOCKING) {
            all = all.with(Category::Blocking);
        }
        all.with(if self.flags.has(Flags::FAST) { Category::Fast } else { Category::Slow })
    }
}

const fn after_bar(full_name: &'static str) -> &'static str {
    let bytes = full_name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'|' {
            return full_name.split_at(index + 1).1;
        }
        index += 1;
    }
    full_name
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
    /// One, and the one that follows the last of some words, if any of them stands there.
    Announced {
        /// Index of the one.
        first: i8,
        /// The words, in any case.
        words: &'static [&'static str; 2],
        /// Where they may begin.
        from: i8,
    },
    /// One, and as many as the argument at `count` says follow that.
    StoredCounted {
        /// Index of the one.
        stored: i8,
        /// Index of the count.
        count: i8,
    },
}

/// Keys that are accessed in the same way, as `COMMAND INFO` describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Index of the first key.
    pub first: i8,
    /// The last key, counted from the first, or from the end if negative.
    pub last: i8,
    /// Distance between two keys.
    pub step: i8,
    /// Whether `first` is not the first key but says how many follow it.
    pub is_counted: bool,
    /// The word that stands in front of it, from argument `first` on: then `first` is not the key's place.
    pub keyword: Option<&'static str>,
    /// What is done to them.
    pub access: KeyAccesses,
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// The value is read and neither changed nor removed.
    RO,
    /// The value is read and written.
    RW,
    /// The value is written without being read.
    OW,
    /// The key is removed without being read.
    RM,
    /// What the client's user stored is returned, copied or acted on.
    Access,
    /// What the user stored may be changed.
    Update,
    /// Something may be added, nothing changed or removed.
    Insert,
    /// Something may be removed.
    Delete,
    /// Looks like a key and is none, but must be routed like one.
    NotKey,
    /// Not all keys can be found by these rules.
    Incomplete,
    /// Depends on the arguments.
    VariableFlags,
}

impl KeyAccess {
    /// All of them, in the order in which Redis lists them.
    pub const ALL: [KeyAccess; 11] = {
        use KeyAccess::*;
        [RO, RW, OW, RM, Access, Update, Insert, Delete, NotKey, Incomplete, VariableFlags]
    };

    /// As Redis spells it.
    pub const fn name(self) -> &'static str {
        match self {
            KeyAccess::RO => "RO",
            KeyAccess::RW => "RW",
            KeyAccess::OW => "OW",
            KeyAccess::RM => "RM",
            KeyAccess::Access => "access",
            KeyAccess::Update => "update",
            KeyAccess::Insert => "insert",
            KeyAccess::Delete => "delete",
            KeyAccess::NotKey => "not_key",
            KeyAccess::Incomplete => "incomplete",
            KeyAccess::VariableFlags => "variable_flags",
        }
    }
}

/// A set of [`KeyAccess`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyAccesses(u16);

impl KeyAccesses {
    /// Whether `access` is in it.
    pub const fn has(self, access: KeyAccess) -> bool {
        self.0 & (1 << access as u16) != 0
    }

    /// Those in it, in the order in which Redis lists them.
    pub fn iter(self) -> impl Iterator<Item = KeyAccess> + Clone {
        KeyAccess::ALL.into_iter().filter(move |access| self.has(*access))
    }
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
    /// Every core is asked, whatever the arguments (`DBSIZE`, `KEYS`, `FLUSHALL`); the engine knows how to join the answers. Those
    /// that write hold every core meanwhile.
    Everywhere,
}

/// A named set of commands, the unit in which access is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation: they are Redis' own")]
pub enum Category {
    Keyspace,
    Read,
    Write,
    Set,
    Sortedset,
    List,
    Hash,
    String,
    Bitmap,
    Hyperloglog,
    Geo,
    Stream,
    Pubsub,
    Admin,
    Fast,
    Slow,
    Blocking,
    Dangerous,
    Connection,
    Transaction,
    Scripting,
}

impl Category {
    /// All of them, in the order in which Redis lists them.
    pub const ALL: [Category; 21] = {
        use Category::*;
        [
            Keyspace,
            Read,
            Write,
            Set,
            Sortedset,
            List,
            Hash,
            String,
            Bitmap,
            Hyperloglog,
            Geo,
            Stream,
            Pubsub,
            Admin,
            Fast,
            Slow,
            Blocking,
            Dangerous,
            Connection,
            Transaction,
            Scripting,
        ]
    };

    /// As it is written after the `@`.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Keyspace => "keyspace",
            Category::Read => "read",
            Category::Write => "write",
            Category::Set => "set",
            Category::Sortedset => "sortedset",
            Category::List => "list",
            Category::Hash => "hash",
            Category::String => "string",
            Category::Bitmap => "bitmap",
            Category::Hyperloglog => "hyperloglog",
            Category::Geo => "geo",
            Category::Stream => "stream",
            Category::Pubsub => "pubsub",
            Category::Admin => "admin",
            Category::Fast => "fast",
            Category::Slow => "slow",
            Category::Blocking => "blocking",
            Category::Dangerous => "dangerous",
            Category::Connection => "connection",
            Category::Transaction => "transaction",
            Category::Scripting => "scripting",
        }
    }

    /// The category of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Category> {
        Category::ALL.into_iter().find(|category| category.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A set of [`Category`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(u32);

impl Categories {
    /// These.
    pub const fn of(categories: &[Category]) -> Categories {
        let mut all = Categories(0);
        let mut index = 0;
        while index < categories.len() {
            all = all.with(categories[index]);
            index += 1;
        }
        all
    }

    /// And this one.
    pub const fn with(self, category: Category) -> Categories {
        Categories(self.0 | 1 << category as u32)
    }

    /// Whether `category` is in it.
    pub const fn has(self, category: Category) -> bool {
        self.0 & (1 << category as u32) != 0
    }

    /// Those in it, in the order in which Redis lists them.
    pub fn iter(self) -> impl Iterator<Item = Category> + Clone {
        Category::ALL.into_iter().filter(move |category| self.has(*category))
    }
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
    /// Part of publish/subscribe.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not allowed inside scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May wait for other clients.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Answered while data is still being loaded.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Answered by a replica that lost its leader.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown to `MONITOR`, because it may hold secrets.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not kept in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Let in to a slot that is still on its way here.
    pub const ASKING: Flags = Flags(1 << 11);
    /// Constant or logarithmic cost.
    pub const FAST: Flags = Flags(1 << 12);
    /// Answered before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 13);
    /// Changes nothing itself but may cause something that does.
    pub const MAY_REPLICATE: Flags = Flags(1 << 14);
    /// Takes keys but does not insist on any.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 15);
    /// Has keys that its key specifications alone do not find.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 16);
    /// Answered while a script runs too long.
    pub const ALLOW_BUSY: Flags = Flags(1 << 17);
    /// Refused while a replica loads its leader's data aside.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 18);
    /// Not allowed inside a transaction.
    pub const NO_MULTI: Flags = Flags(1 << 19);
    /// Touches keys that no argument names.
    pub const TOUCHES_ARBITRARY_KEYS: Flags = Flags(1 << 20);

    /// What Redis calls them in `COMMAND INFO`, in its order there. Two are not shown.
    pub const NAMES: &'static [(Flags, &'static str)] = &[
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::ASKING, "asking"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLE_KEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
    ];

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together; `|` for constants.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Flags::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.and(other)
    }
}
