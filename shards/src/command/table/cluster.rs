//! The table: commands that cluster clients send.

use crate::command::spec::Handler::{Container, Engine};
use crate::command::spec::{Category, Command, Flags};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("asking", 1, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::FAST])
        .categories(&[Category::Connection])
        .says("", "Lets the next command in although its slot is still on its way here."),
    Command::new("cluster", -2, Container)
        .about("cluster", "3.0.0", "depends on the subcommand")
        .subcommands(CLUSTER)
        .says("", "Tells which node has which slot."),
    Command::new("readonly", 1, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Connection])
        .says("", "Lets this connection read from a replica."),
    Command::new("readwrite", 1, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Connection])
        .says("", "Ends READONLY."),
];

const CLUSTER: &[Command] = &[
    Command::new("cluster|addslots", -3, Engine)
        .about("cluster", "3.0.0", "O(n) in the slots")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("slot...", "Gives slots to this node."),
    Command::new("cluster|addslotsrange", -4, Engine)
        .about("cluster", "7.0.0", "O(n) in the slots")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("(start-slot end-slot)...", "Gives ranges of slots to this node."),
    Command::new("cluster|bumpepoch", 2, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .tips(&["nondeterministic_output"])
        .says("", "Raises this node's configuration epoch."),
    Command::new("cluster|count-failure-reports", 3, Engine)
        .about("cluster", "3.0.0", "O(n) in the reports")
        .flags(&[Flags::ADMIN, Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("node-id", "Counts who reports a node as failed."),
    Command::new("cluster|countkeysinslot", 3, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::STALE])
        .says("slot", "Counts the keys of a slot."),
    Command::new("cluster|delslots", -3, Engine)
        .about("cluster", "3.0.0", "O(n) in the slots")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("slot...", "Takes slots away from this node."),
    Command::new("cluster|delslotsrange", -4, Engine)
        .about("cluster", "7.0.0", "O(n) in the slots")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("(start-slot end-slot)...", "Takes ranges of slots away from this node."),
    Command::new("cluster|failover", -2, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("[FORCE | TAKEOVER]", "Makes a replica take its leader's place."),
    Command::new("cluster|flushslots", 2, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("", "Takes all slots away from this node."),
    Command::new("cluster|forget", 3, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("node-id", "Removes a node from the cluster."),
    Command::new("cluster|getkeysinslot", 4, Engine)
        .about("cluster", "3.0.0", "O(n) in the keys returned")
        .flags(&[Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("slot count", "Lists some keys of a slot."),
    Command::new("cluster|help", 2, Engine)
        .about("cluster", "5.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .says("", "Lists these subcommands."),
    Command::new("cluster|info", 2, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Tells how the cluster is doing."),
    Command::new("cluster|keyslot", 3, Engine)
        .about("cluster", "3.0.0", "O(n) in the bytes of the key")
        .flags(&[Flags::STALE])
        .says("key:string", "Tells which slot a key is in."),
    Command::new("cluster|links", 2, Engine)
        .about("cluster", "7.0.0", "O(n) in the nodes")
        .flags(&[Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Describes the connections between nodes."),
    Command::new("cluster|meet", -4, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("ip port [cluster-bus-port]", "Makes this node join another."),
    Command::new("cluster|myid", 2, Engine).about("cluster", "3.0.0", "O(1)").flags(&[Flags::STALE]).says("", "Answers this node's name."),
    Command::new("cluster|myshardid", 2, Engine)
        .about("cluster", "7.2.0", "O(1)")
        .flags(&[Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Answers the name of this node's shard."),
    Command::new("cluster|nodes", 2, Engine)
        .about("cluster", "3.0.0", "O(n) in the nodes")
        .flags(&[Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Describes all nodes, one a line."),
    Command::new("cluster|replicas", 3, Engine)
        .about("cluster", "5.0.0", "O(n) in the replicas")
        .flags(&[Flags::ADMIN, Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("node-id", "Lists the replicas of a node."),
    Command::new("cluster|replicate", 3, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("node-id", "Makes this node a replica of another."),
    Command::new("cluster|reset", -2, Engine)
        .about("cluster", "3.0.0", "O(n) in the nodes")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::STALE])
        .says("[HARD | SOFT]", "Makes this node forget the cluster."),
    Command::new("cluster|saveconfig", 2, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("", "Writes the cluster's map to disk."),
    Command::new("cluster|set-config-epoch", 3, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("config-epoch", "Sets the configuration epoch of a new node."),
    Command::new("cluster|setslot", -4, Engine)
        .about("cluster", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::STALE, Flags::NO_ASYNC_LOADING])
        .says("slot (IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE)", "Says where a slot is, or is going."),
    Command::new("cluster|shards", 2, Engine)
        .about("cluster", "7.0.0", "O(n) in the nodes")
        .flags(&[Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Tells which nodes have which slots, by shard."),
    Command::new("cluster|slaves", 3, Engine)
        .about("cluster", "3.0.0", "O(n) in the replicas")
        .flags(&[Flags::ADMIN, Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("node-id", "The old name of CLUSTER REPLICAS."),
    Command::new("cluster|slots", 2, Engine)
        .about("cluster", "3.0.0", "O(n) in the nodes")
        .flags(&[Flags::LOADING, Flags::STALE])
        .tips(&["nondeterministic_output"])
        .says("", "Tells which nodes have which slots, by range."),
];
