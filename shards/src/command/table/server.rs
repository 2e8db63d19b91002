//! The table: commands on the server.

use crate::command::spec::Handler::{Container, Engine, Shard};
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};
use crate::command::{dump, keys, object};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("acl", -2, Container)
        .about("server", "6.0.0", "depends on the subcommand")
        .subcommands(ACL)
        .says("", "Tells what users may do; there is one, who may do everything."),
    Command::new("bgrewriteaof", 1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING])
        .says("", "Refused: there is no log to rewrite."),
    Command::new("bgsave", -1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING])
        .says("[SCHEDULE]", "Refused: there is nowhere to save to."),
    Command::new("command", -1, Engine)
        .about("server", "2.8.13", "O(n) in the commands")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .subcommands(COMMAND)
        .says("", "Describes every command."),
    Command::new("config", -2, Container)
        .about("server", "2.0.0", "depends on the subcommand")
        .subcommands(CONFIG)
        .says("", "Reads and changes settings."),
    Command::new("dbsize", 1, Shard(keys::dbsize))
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Keyspace])
        .spread(Spread::Everywhere)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .says("", "Counts the keys of the database."),
    Command::new("debug", -2, Engine)
        .about("server", "1.0.0", "depends on the subcommand")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("subcommand [arg...]", "For tests: sleeps, looks inside, breaks things on purpose."),
    Command::new("flushall", -1, Shard(keys::flushall))
        .about("server", "1.0.0", "O(1), memory is given back later")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .spread(Spread::Everywhere)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .says("[ASYNC | SYNC]", "Empties every database."),
    Command::new("flushdb", -1, Shard(keys::flushdb))
        .about("server", "1.0.0", "O(1), memory is given back later")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .spread(Spread::Everywhere)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .says("[ASYNC | SYNC]", "Empties the database."),
    Command::new("info", -1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Dangerous])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .says("[section...]", "Tells how the server is doing."),
    Command::new("lastsave", 1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Admin, Category::Dangerous])
        .tips(&["nondeterministic_output"])
        .says("", "Tells when data was last saved; the start, as nothing ever is."),
    Command::new("latency", -2, Container)
        .about("server", "2.8.13", "depends on the subcommand")
        .subcommands(LATENCY)
        .says("", "Looks into slow moments."),
    Command::new("lolwut", -1, Engine)
        .about("server", "5.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .says("[VERSION version]", "Draws the cores at work."),
    Command::new("memory", -2, Container)
        .about("server", "4.0.0", "depends on the subcommand")
        .subcommands(MEMORY)
        .says("", "Tells where memory goes."),
    Command::new("module", -2, Container)
        .about("server", "4.0.0", "depends on the subcommand")
        .subcommands(MODULE)
        .says("", "About modules, of which this server has none."),
    Command::new("monitor", 1, Engine)
        .about("server", "1.0.0", "O(1) for each command seen")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("", "Shows every command as it arrives."),
    Command::new("psync", 3, Engine)
        .about("server", "2.8.0", "O(n) in all keys, or in what was missed")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_MULTI, Flags::NO_ASYNC_LOADING])
        .says(
            "replicationid offset:integer",
            "Makes the client a replica: it is sent what it missed, or all keys, and then what is written.",
        ),
    Command::new("replconf", -1, Engine)
        .about("server", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::ALLOW_BUSY])
        .says("[option value]...", "What a replica says of itself, and how far it is."),
    Command::new("replicaof", 3, Engine)
        .about("server", "5.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("(host port | NO ONE)", "Follows nobody: NO ONE is accepted, a leader is refused; `corewheel import` brings its data."),
    Command::new("restore-asking", -4, Shard(dump::restore))
        .about("server", "3.0.0", "O(n) in the size of the value")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::ASKING])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .says(
            "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
            "RESTORE for a slot that is on its way to this node.",
        ),
    Command::new("role", 1, Engine)
        .about("server", "2.8.12", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Admin, Category::Dangerous])
        .says("", "Tells whether this server leads or follows, and whom."),
    Command::new("save", 1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING, Flags::NO_MULTI])
        .says("", "Refused: there is nowhere to save to."),
    Command::new("shutdown", -1, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::ALLOW_BUSY, Flags::NO_MULTI])
        .says("[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", "Stops the server in good order."),
    Command::new("slaveof", 3, Engine)
        .about("server", "1.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("(host port | NO ONE)", "The old name of REPLICAOF."),
    Command::new("slowlog", -2, Container)
        .about("server", "2.2.12", "depends on the subcommand")
        .subcommands(SLOWLOG)
        .says("", "Looks at the commands that took long."),
    Command::new("swapdb", 3, Shard(keys::swapdb))
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Keyspace, Category::Dangerous])
        .spread(Spread::Everywhere)
        .says("index1 index2", "Exchanges two databases."),
    Command::new("sync", 1, Engine)
        .about("server", "1.0.0", "O(n) in all keys")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_MULTI, Flags::NO_ASYNC_LOADING])
        .says("", "Sends all keys as one RDB file, and then what is written."),
    Command::new("time", 1, Engine)
        .about("server", "2.6.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .tips(&["nondeterministic_output"])
        .says("", "Tells the server's time: seconds and microseconds."),
];

const ACL: &[Command] = &[
    Command::new("acl|cat", -2, Engine)
        .about("server", "6.0.0", "O(n) in the commands")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("[category]", "Lists the categories of commands, or the commands of one."),
    Command::new("acl|genpass", -2, Engine)
        .about("server", "6.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("[bits]", "Makes up a password."),
    Command::new("acl|getuser", 3, Engine)
        .about("server", "6.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("username", "Tells what a user may do."),
    Command::new("acl|help", 2, Engine)
        .about("server", "6.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("acl|list", 2, Engine)
        .about("server", "6.0.0", "O(n) in the users")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("", "Lists the users' rules, passwords left out."),
    Command::new("acl|log", -2, Engine)
        .about("server", "6.0.0", "O(n) in the entries")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("[count | RESET]", "Lists what users were refused."),
    Command::new("acl|users", 2, Engine)
        .about("server", "6.0.0", "O(n) in the users")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("", "Lists the users."),
    Command::new("acl|whoami", 2, Engine)
        .about("server", "6.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("", "Tells which user this connection is."),
];

const COMMAND: &[Command] = &[
    Command::new("command|count", 2, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Tells how many commands there are."),
    Command::new("command|docs", -2, Engine)
        .about("server", "7.0.0", "O(n) in the commands named")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .says("[command-name...]", "Explains commands."),
    Command::new("command|getkeys", -3, Engine)
        .about("server", "2.8.13", "O(n) in the arguments")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("command [arg...]", "Picks the keys out of a command."),
    Command::new("command|getkeysandflags", -3, Engine)
        .about("server", "7.0.0", "O(n) in the arguments")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("command [arg...]", "Picks the keys out of a command and tells what happens to each."),
    Command::new("command|help", 2, Engine)
        .about("server", "5.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Lists these subcommands."),
    Command::new("command|info", -2, Engine)
        .about("server", "2.8.13", "O(n) in the commands named")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .says("[command-name...]", "Describes commands: arguments, flags, keys, categories."),
    Command::new("command|list", -2, Engine)
        .about("server", "7.0.0", "O(n) in the commands")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output_order"])
        .says("[FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]", "Lists the names of commands."),
];

const CONFIG: &[Command] = &[
    Command::new("config|get", -3, Engine)
        .about("server", "2.0.0", "O(n) in the settings")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .says("parameter...", "Reads the settings that match."),
    Command::new("config|help", 2, Engine)
        .about("server", "5.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("config|resetstat", 2, Engine)
        .about("server", "2.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("", "Starts all statistics over."),
    Command::new("config|rewrite", 2, Engine)
        .about("server", "2.8.0", "O(n) in the settings")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("", "Writes the settings now in force to the configuration file."),
    Command::new("config|set", -4, Engine)
        .about("server", "2.0.0", "O(n) in the settings named")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("(parameter value)...", "Changes settings, all of them or none."),
];

const LATENCY: &[Command] = &[
    Command::new("latency|doctor", 2, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .says("", "Says in words what was slow and what may help."),
    Command::new("latency|graph", 3, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .says("event", "Draws the recent slow moments of one kind."),
    Command::new("latency|help", 2, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("latency|histogram", -2, Engine)
        .about("server", "7.0.0", "O(n) in the commands named")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .says("[command...]", "Tells how long commands took, as cumulative counts."),
    Command::new("latency|history", 3, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .says("event", "Lists the recent slow moments of one kind."),
    Command::new("latency|latest", 2, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .says("", "Lists the last slow moment of every kind."),
    Command::new("latency|reset", -2, Engine)
        .about("server", "2.8.13", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .says("[event...]", "Forgets slow moments."),
];

const MEMORY: &[Command] = &[
    Command::new("memory|doctor", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .says("", "Says in words what is odd about the memory in use."),
    Command::new("memory|help", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("memory|malloc-stats", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .says("", "Prints what the allocator knows of itself."),
    Command::new("memory|purge", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .says("", "Asks the allocator to give pages back to the system."),
    Command::new("memory|stats", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .says("", "Tells how much memory each part of the server uses."),
    Command::new("memory|usage", -3, Shard(object::memory_usage))
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::READONLY])
        .key(2, &[KeyAccess::RO])
        .says("key [SAMPLES count]", "Tells how many bytes a key takes, everything counted."),
];

const MODULE: &[Command] = &[
    Command::new("module|help", 2, Engine)
        .about("server", "5.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("module|list", 2, Engine)
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT])
        .tips(&["nondeterministic_output_order"])
        .says("", "Lists the modules: none."),
    Command::new("module|load", -3, Engine)
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING])
        .says("path [arg...]", "Refused: this server loads no modules."),
    Command::new("module|loadex", -3, Engine)
        .about("server", "7.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING])
        .says("path [CONFIG name value]... [ARGS arg...]", "Refused: this server loads no modules."),
    Command::new("module|unload", 3, Engine)
        .about("server", "4.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::NO_ASYNC_LOADING])
        .says("name", "Refused: this server loads no modules."),
];

const SLOWLOG: &[Command] = &[
    Command::new("slowlog|get", -2, Engine)
        .about("server", "2.2.12", "O(n) in the entries returned")
        .flags(&[Flags::ADMIN, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .says("[count]", "Lists the newest slow commands."),
    Command::new("slowlog|help", 2, Engine)
        .about("server", "6.2.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("slowlog|len", 2, Engine)
        .about("server", "2.2.12", "O(1)")
        .flags(&[Flags::ADMIN, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .says("", "Counts the slow commands on record."),
    Command::new("slowlog|reset", 2, Engine)
        .about("server", "2.2.12", "O(n) in the entries")
        .flags(&[Flags::ADMIN, Flags::LOADING, Flags::STALE])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("", "Forgets the slow commands."),
];
