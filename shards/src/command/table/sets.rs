//! The table: commands on sets.

use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};
use crate::command::{scan, sets};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("sadd", -3, Shard(sets::sadd))
        .about("set", "1.0.0", "O(n) in the members added")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key member...", "Adds members to a set; starts a set if there is none."),
    Command::new("scard", 2, Shard(sets::scard))
        .about("set", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO])
        .says("key", "Counts the members of a set."),
    Command::new("sdiff", -2, Shard(sets::sdiff))
        .about("set", "1.0.0", "O(n) in the members of all sets")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .keys(1, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .tips(&["nondeterministic_output_order"])
        .says("key...", "Lists what is in the first of several sets and in no other."),
    Command::new("sdiffstore", -3, Shard(sets::sdiffstore))
        .about("set", "1.0.0", "O(n) in the members of all sets")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .keys(2, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("destination:key key...", "Puts what is in the first of several sets and in no other under another key."),
    Command::new("sinter", -2, Shard(sets::sinter))
        .about("set", "1.0.0", "O(n*m) in the members of the smallest set and the sets")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .keys(1, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .tips(&["nondeterministic_output_order"])
        .says("key...", "Lists what is in all of several sets."),
    Command::new("sintercard", -3, Shard(sets::sintercard))
        .about("set", "7.0.0", "O(n*m) in the members of the smallest set and the sets")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .counted(1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("numkeys:integer key... [LIMIT limit:integer]", "Counts what is in all of several sets, up to a limit if asked."),
    Command::new("sinterstore", -3, Shard(sets::sinterstore))
        .about("set", "1.0.0", "O(n*m) in the members of the smallest set and the sets")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .keys(2, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("destination:key key...", "Puts what is in all of several sets under another key."),
    Command::new("sismember", 3, Shard(sets::sismember))
        .about("set", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO])
        .says("key member", "Tells whether a set has a member."),
    Command::new("smembers", 2, Shard(sets::smembers))
        .about("set", "1.0.0", "O(n) in the members of the set")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output_order"])
        .says("key", "Lists all members of a set."),
    Command::new("smismember", -3, Shard(sets::smismember))
        .about("set", "6.2.0", "O(n) in the members asked for")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member...", "Tells of several members whether a set has them."),
    Command::new("smove", 4, Shard(sets::smove))
        .about("set", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .key(2, &[KeyAccess::RW, KeyAccess::Insert])
        .spread(Spread::Borrow)
        .says("source:key destination:key member", "Moves a member from one set to another."),
    Command::new("spop", -2, Shard(sets::spop))
        .about("set", "1.0.0", "O(n) in the members returned")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .tips(&["nondeterministic_output"])
        .says("key [count]", "Removes members of a set picked by chance, and answers them."),
    Command::new("srandmember", -2, Shard(sets::srandmember))
        .about("set", "1.0.0", "O(n) in the members returned")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key [count]", "Answers members of a set picked by chance."),
    Command::new("srem", -3, Shard(sets::srem))
        .about("set", "1.0.0", "O(n) in the members removed")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key member...", "Removes members of a set; the key goes with the last one."),
    Command::new("sscan", -3, Shard(scan::sscan))
        .about("set", "2.8.0", "O(1) for each step, O(n) for all of the set")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key cursor [MATCH pattern] [COUNT count]", "Walks through the members of a set in steps."),
    Command::new("sunion", -2, Shard(sets::sunion))
        .about("set", "1.0.0", "O(n) in the members of all sets")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Set])
        .keys(1, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .tips(&["nondeterministic_output_order"])
        .says("key...", "Lists what is in any of several sets."),
    Command::new("sunionstore", -3, Shard(sets::sunionstore))
        .about("set", "1.0.0", "O(n) in the members of all sets")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Set])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .keys(2, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("destination:key key...", "Puts what is in any of several sets under another key."),
];
