//! The table: commands on keys, whatever they hold.

use crate::command::spec::Handler::{Container, Engine, Shard};
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};
use crate::command::{dump, expire, keys, object, scan};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("copy", -3, Shard(keys::copy))
        .about("generic", "6.2.0", "O(n) in the size of the value")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .key(2, &[KeyAccess::OW, KeyAccess::Update])
        .spread(Spread::Borrow)
        .says("source:key destination:key [DB destination-db] [REPLACE]", "Copies a value and its deadline to another key."),
    Command::new("del", -2, Shard(keys::del))
        .about("generic", "1.0.0", "O(n) in the keys")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Keyspace])
        .keys(1, -1, 1, &[KeyAccess::RM, KeyAccess::Delete])
        .spread(Spread::Sum)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .says("key...", "Removes keys."),
    Command::new("dump", 2, Shard(dump::dump))
        .about("generic", "2.6.0", "O(n) in the size of the value")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key", "Answers a value as bytes that RESTORE takes, here and on Redis."),
    Command::new("exists", -2, Shard(keys::exists))
        .about("generic", "1.0.0", "O(n) in the keys")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .keys(1, -1, 1, &[KeyAccess::RO])
        .spread(Spread::Sum)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .says("key...", "Counts how many of the keys exist; one named twice counts twice."),
    Command::new("expire", -3, Shard(expire::expire))
        .about("generic", "1.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key seconds [NX | XX | GT | LT]", "Lets a key live for some seconds."),
    Command::new("expireat", -3, Shard(expire::expireat))
        .about("generic", "1.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key unix-time-seconds [NX | XX | GT | LT]", "Lets a key live until a second of Unix time."),
    Command::new("expiretime", 2, Shard(expire::expiretime))
        .about("generic", "7.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key", "Tells the second of Unix time until which a key lives."),
    Command::new("keys", 2, Shard(scan::keys))
        .about("generic", "1.0.0", "O(n) in all keys of the database")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .spread(Spread::Everywhere)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .says("pattern", "Lists every key that matches a pattern, at once."),
    Command::new("move", 3, Shard(keys::r#move))
        .about("generic", "1.0.0", "O(n) in the size of the value")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key db", "Moves a key to another database."),
    Command::new("object", -2, Container)
        .about("generic", "2.2.3", "depends on the subcommand")
        .subcommands(OBJECT)
        .says("", "Looks inside a value."),
    Command::new("persist", 2, Shard(expire::persist))
        .about("generic", "2.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key", "Takes a key's deadline away."),
    Command::new("pexpire", -3, Shard(expire::pexpire))
        .about("generic", "2.6.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key milliseconds [NX | XX | GT | LT]", "Lets a key live for some milliseconds."),
    Command::new("pexpireat", -3, Shard(expire::pexpireat))
        .about("generic", "2.6.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key unix-time-milliseconds [NX | XX | GT | LT]", "Lets a key live until a millisecond of Unix time."),
    Command::new("pexpiretime", 2, Shard(expire::pexpiretime))
        .about("generic", "7.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key", "Tells the millisecond of Unix time until which a key lives."),
    Command::new("pttl", 2, Shard(expire::pttl))
        .about("generic", "2.6.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells for how many milliseconds a key still lives."),
    Command::new("randomkey", 1, Shard(keys::randomkey))
        .about("generic", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::TOUCHES_ARBITRARY_KEYS])
        .categories(&[Category::Keyspace])
        .spread(Spread::Everywhere)
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"])
        .says("", "Picks a key by chance."),
    Command::new("rename", 3, Shard(keys::rename))
        .about("generic", "1.0.0", "O(1) on one core, O(n) in the size of the value between cores")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .key(2, &[KeyAccess::OW, KeyAccess::Update])
        .spread(Spread::Borrow)
        .says("key newkey:key", "Gives a key another name, replacing whatever had it."),
    Command::new("renamenx", 3, Shard(keys::renamenx))
        .about("generic", "1.0.0", "O(1) on one core, O(n) in the size of the value between cores")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .key(2, &[KeyAccess::OW, KeyAccess::Insert])
        .spread(Spread::Borrow)
        .says("key newkey:key", "Gives a key another name if that name is free."),
    Command::new("restore", -4, Shard(dump::restore))
        .about("generic", "2.6.0", "O(n) in the size of the value")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .says(
            "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
            "Makes a key from what DUMP answered, here or on Redis.",
        ),
    Command::new("scan", -2, Shard(scan::scan))
        .about("generic", "2.8.0", "O(1) a step, O(n) for a whole scan")
        .flags(&[Flags::READONLY, Flags::TOUCHES_ARBITRARY_KEYS])
        .categories(&[Category::Keyspace])
        .spread(Spread::Everywhere)
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
        .says("cursor [MATCH pattern] [COUNT count] [TYPE type]", "Walks through all keys, some at a time."),
    Command::new("touch", -2, Shard(keys::touch))
        .about("generic", "3.2.1", "O(n) in the keys")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .keys(1, -1, 1, &[KeyAccess::RO])
        .spread(Spread::Sum)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .says("key...", "Marks keys as just used and counts those that exist."),
    Command::new("ttl", 2, Shard(expire::ttl))
        .about("generic", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells for how many seconds a key still lives."),
    Command::new("type", 2, Shard(keys::r#type))
        .about("generic", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .key(1, &[KeyAccess::RO])
        .says("key", "Tells what kind of value a key holds."),
    Command::new("unlink", -2, Shard(keys::del))
        .about("generic", "4.0.0", "O(n) in the keys, memory is given back later")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace])
        .keys(1, -1, 1, &[KeyAccess::RM, KeyAccess::Delete])
        .spread(Spread::Sum)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .says("key...", "Removes keys at once and frees their memory in the background."),
    Command::new("wait", 3, Engine)
        .about("generic", "3.0.0", "O(1)")
        .flags(&[Flags::BLOCKING])
        .categories(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .says("numreplicas timeout", "Waits until so many replicas have everything this client wrote."),
    Command::new("waitaof", 4, Engine)
        .about("generic", "7.2.0", "O(1)")
        .flags(&[Flags::BLOCKING])
        .categories(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .says("numlocal numreplicas timeout", "Waits until everything this client wrote is safe on disk, here and on so many replicas."),
];

const OBJECT: &[Command] = &[
    Command::new("object|encoding", 3, Shard(object::encoding))
        .about("generic", "2.2.3", "O(1)")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace])
        .key(2, &[KeyAccess::RO])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells how Redis would keep such a value."),
    Command::new("object|freq", 3, Shard(object::freq))
        .about("generic", "4.0.0", "O(1)")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace])
        .key(2, &[KeyAccess::RO])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells how often a key is used, on a logarithmic scale."),
    Command::new("object|help", 2, Engine)
        .about("generic", "6.2.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Keyspace])
        .says("", "Lists these subcommands."),
    Command::new("object|idletime", 3, Shard(object::idletime))
        .about("generic", "2.2.3", "O(1)")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace])
        .key(2, &[KeyAccess::RO])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells how many seconds ago a key was last used."),
    Command::new("object|refcount", 3, Shard(object::refcount))
        .about("generic", "2.2.3", "O(1)")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Keyspace])
        .key(2, &[KeyAccess::RO])
        .tips(&["nondeterministic_output"])
        .says("key", "Tells how many keys share a value: always one."),
];
