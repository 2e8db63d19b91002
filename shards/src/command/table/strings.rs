//! The table: commands on strings.

use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};
use crate::command::{counters, lcs, strings};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("append", 3, Shard(strings::append))
        .about("string", "2.0.0", "O(1), amortised over growth")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key value", "Adds bytes to the end of a string; starts one if there is none."),
    Command::new("decr", 2, Shard(counters::decr))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key", "Takes one from a whole number; a missing key counts as 0."),
    Command::new("decrby", 3, Shard(counters::decrby))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key decrement", "Takes a whole number from a whole number; a missing key counts as 0."),
    Command::new("delex", -2, Shard(strings::delex))
        .about("string", "8.4.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key [IFEQ match-value | IFNE match-value]", "Removes a key on a condition on its value."),
    Command::new("delifeq", 3, Shard(strings::delifeq))
        .about("string", "9.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key value", "Removes a key only if it holds exactly this string: the safe way to give a lock back."),
    Command::new("get", 2, Shard(strings::get))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key", "Reads a string."),
    Command::new("getdel", 2, Shard(strings::getdel))
        .about("string", "6.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .says("key", "Reads a string and removes its key."),
    Command::new("getex", -2, Shard(strings::getex))
        .about("string", "6.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
            "Reads a string and moves its deadline in the same step.",
        ),
    Command::new("getrange", 4, Shard(strings::getrange))
        .about("string", "2.4.0", "O(n) in the bytes returned")
        .flags(&[Flags::READONLY])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key start end", "Reads the part of a string between two positions, the last one included."),
    Command::new("getset", 3, Shard(strings::getset))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key value", "Puts a new string and answers the old one. SET with GET does the same."),
    Command::new("incr", 2, Shard(counters::incr))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key", "Adds one to a whole number; a missing key counts as 0."),
    Command::new("incrby", 3, Shard(counters::incrby))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key increment", "Adds a whole number to a whole number; a missing key counts as 0."),
    Command::new("incrbyfloat", 3, Shard(counters::incrbyfloat))
        .about("string", "2.6.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key increment:double", "Adds a fraction to a number; a missing key counts as 0."),
    Command::new("lcs", -3, Shard(lcs::lcs))
        .about("string", "7.0.0", "O(n*m) in the lengths of both strings")
        .flags(&[Flags::READONLY])
        .categories(&[Category::String])
        .keys(1, 1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
            "Finds the longest sequence of bytes that both strings hold in the same order.",
        ),
    Command::new("mget", -2, Shard(strings::mget))
        .about("string", "1.0.0", "O(n) in the keys")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::String])
        .keys(1, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Gather)
        .tips(&["request_policy:multi_shard"])
        .says("key...", "Reads several strings at one moment; what is missing, or no string, is nil."),
    Command::new("mset", -3, Shard(strings::mset))
        .about("string", "1.0.1", "O(n) in the keys")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .keys(1, -1, 2, &[KeyAccess::OW, KeyAccess::Update])
        .spread(Spread::Each)
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .says("(key value)...", "Puts several strings at one moment."),
    Command::new("msetnx", -3, Shard(strings::msetnx))
        .about("string", "1.0.1", "O(n) in the keys")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .keys(1, -1, 2, &[KeyAccess::OW, KeyAccess::Insert])
        .spread(Spread::Borrow)
        .says("(key value)...", "Puts several strings, or none if any of the keys exists."),
    Command::new("psetex", 4, Shard(strings::psetex))
        .about("string", "2.6.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .says("key milliseconds value", "Puts a string that lives for some milliseconds."),
    Command::new("set", -3, Shard(strings::set))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update, KeyAccess::VariableFlags])
        .says(
            "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds \
             | PXAT unix-time-milliseconds | KEEPTTL]",
            "Puts a string, whatever the key held; on a condition and with a deadline if asked.",
        ),
    Command::new("setex", 4, Shard(strings::setex))
        .about("string", "2.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .says("key seconds value", "Puts a string that lives for some seconds."),
    Command::new("setnx", 3, Shard(strings::setnx))
        .about("string", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::OW, KeyAccess::Insert])
        .says("key value", "Puts a string only if its key is free."),
    Command::new("setrange", 4, Shard(strings::setrange))
        .about("string", "2.2.0", "O(n) in the bytes written")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key offset value", "Overwrites a string from a position on; zeros fill a gap."),
    Command::new("strlen", 2, Shard(strings::strlen))
        .about("string", "2.2.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RO])
        .says("key", "Tells how many bytes a string has."),
    Command::new("substr", 4, Shard(strings::getrange))
        .about("string", "1.0.0", "O(n) in the bytes returned")
        .flags(&[Flags::READONLY])
        .categories(&[Category::String])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key start end", "The old name of GETRANGE."),
];
