//! The table: commands on hashes.

use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess};
use crate::command::{hashes, scan};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("hdel", -3, Shard(hashes::hdel))
        .about("hash", "2.0.0", "O(n) in the fields removed")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key field...", "Removes fields of a hash; the key goes with the last one."),
    Command::new("hexists", 3, Shard(hashes::hexists))
        .about("hash", "2.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO])
        .says("key field", "Tells whether a hash has a field."),
    Command::new("hget", 3, Shard(hashes::hget))
        .about("hash", "2.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key field", "Reads the value of a field of a hash."),
    Command::new("hgetall", 2, Shard(hashes::hgetall))
        .about("hash", "2.0.0", "O(n) in the fields of the hash")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output_order"])
        .says("key", "Lists all fields of a hash and their values."),
    Command::new("hincrby", 4, Shard(hashes::hincrby))
        .about("hash", "2.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key field increment", "Adds a whole number to the value of a field of a hash; a missing one counts as 0."),
    Command::new("hincrbyfloat", 4, Shard(hashes::hincrbyfloat))
        .about("hash", "2.6.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key field increment:double", "Adds a fraction to the value of a field of a hash; a missing one counts as 0."),
    Command::new("hkeys", 2, Shard(hashes::hkeys))
        .about("hash", "2.0.0", "O(n) in the fields of the hash")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output_order"])
        .says("key", "Lists all fields of a hash."),
    Command::new("hlen", 2, Shard(hashes::hlen))
        .about("hash", "2.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO])
        .says("key", "Counts the fields of a hash."),
    Command::new("hmget", -3, Shard(hashes::hmget))
        .about("hash", "2.0.0", "O(n) in the fields")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key field...", "Reads the values of several fields of a hash; what is missing is nil."),
    Command::new("hmset", -4, Shard(hashes::hmset))
        .about("hash", "2.0.0", "O(n) in the pairs")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key (field value)...", "The old name of HSET, which answers OK."),
    Command::new("hrandfield", -2, Shard(hashes::hrandfield))
        .about("hash", "6.2.0", "O(n) in the fields returned")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key [count [WITHVALUES]]", "Answers fields of a hash picked by chance."),
    Command::new("hscan", -3, Shard(scan::hscan))
        .about("hash", "2.8.0", "O(1) for each step, O(n) for all of the hash")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key cursor [MATCH pattern] [COUNT count] [NOVALUES]", "Walks through the fields of a hash in steps."),
    Command::new("hset", -4, Shard(hashes::hset))
        .about("hash", "2.0.0", "O(n) in the pairs")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key (field value)...", "Gives fields of a hash values; starts a hash if there is none."),
    Command::new("hsetnx", 4, Shard(hashes::hsetnx))
        .about("hash", "2.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key field value", "Gives a field of a hash a value only if it has none."),
    Command::new("hstrlen", 3, Shard(hashes::hstrlen))
        .about("hash", "3.2.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO])
        .says("key field", "Tells how many bytes the value of a field of a hash has."),
    Command::new("hvals", 2, Shard(hashes::hvals))
        .about("hash", "2.0.0", "O(n) in the fields of the hash")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Hash])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output_order"])
        .says("key", "Lists the values of all fields of a hash."),
];
