//! The table: commands on the bits of a string.

use crate::command::bits;
use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("bitcount", -2, Shard(bits::bitcount))
        .about("bitmap", "2.6.0", "O(n) in the bytes looked at")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key [start end [BYTE | BIT]]", "Counts the ones in a string or in a part of it."),
    Command::new("bitfield", -2, Shard(bits::bitfield))
        .about("bitmap", "3.2.0", "O(1) for each operation")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RW, KeyAccess::Update, KeyAccess::Access, KeyAccess::VariableFlags])
        .says(
            "key [GET encoding offset | [OVERFLOW (WRAP | SAT | FAIL)] (SET encoding offset value:integer \
             | INCRBY encoding offset increment)]...",
            "Reads and writes whole numbers of any width inside a string.",
        ),
    Command::new("bitfield_ro", -2, Shard(bits::bitfield_ro))
        .about("bitmap", "6.0.0", "O(1) for each operation")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key [GET encoding offset]...", "Reads whole numbers of any width inside a string."),
    Command::new("bitop", -4, Shard(bits::bitop))
        .about("bitmap", "2.6.0", "O(n) in the longest string")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Bitmap])
        .key(2, &[KeyAccess::OW, KeyAccess::Update])
        .keys(3, -1, 1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("(AND | OR | XOR | NOT) destkey:key key...", "Combines strings bit by bit into another one."),
    Command::new("bitpos", -3, Shard(bits::bitpos))
        .about("bitmap", "2.8.7", "O(n) in the bytes looked at")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key bit [start [end [BYTE | BIT]]]", "Finds the first one or the first zero of a string."),
    Command::new("getbit", 3, Shard(bits::getbit))
        .about("bitmap", "2.2.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key offset", "Reads one bit of a string."),
    Command::new("setbit", 4, Shard(bits::setbit))
        .about("bitmap", "2.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Bitmap])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key offset value:integer", "Writes one bit of a string and answers what it was."),
];
