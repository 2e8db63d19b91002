//! The table: commands on the connection they come through.

use crate::command::spec::Handler::{Container, Engine};
use crate::command::spec::{Category, Command, Flags};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("auth", -2, Engine)
        .about("connection", "1.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST, Flags::NO_AUTH, Flags::ALLOW_BUSY])
        .categories(&[Category::Connection])
        .says("[username] password", "Proves who the client is."),
    Command::new("client", -2, Container)
        .about("connection", "2.4.0", "depends on the subcommand")
        .subcommands(CLIENT)
        .says("", "Looks at connections and changes them."),
    Command::new("echo", 2, Engine)
        .about("connection", "1.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Connection])
        .says("message", "Answers what it was given."),
    Command::new("hello", -1, Engine)
        .about("connection", "6.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST, Flags::NO_AUTH, Flags::ALLOW_BUSY])
        .categories(&[Category::Connection])
        .says("[protover [AUTH username password] [SETNAME clientname]]", "Agrees on the dialect, and says who is who."),
    Command::new("ping", -1, Engine)
        .about("connection", "1.0.0", "O(1)")
        .flags(&[Flags::FAST])
        .categories(&[Category::Connection])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .says("[message]", "Answers, so that the client knows somebody is there."),
    Command::new("quit", -1, Engine)
        .about("connection", "1.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST, Flags::NO_AUTH, Flags::ALLOW_BUSY])
        .categories(&[Category::Connection])
        .says("", "Closes the connection after the answer."),
    Command::new("reset", 1, Engine)
        .about("connection", "6.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE, Flags::FAST, Flags::NO_AUTH, Flags::ALLOW_BUSY])
        .categories(&[Category::Connection])
        .says("", "Puts the connection back into the state it began in."),
    Command::new("select", 2, Engine)
        .about("connection", "1.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE, Flags::FAST])
        .categories(&[Category::Connection])
        .says("index", "Changes to another database."),
];

const CLIENT: &[Command] = &[
    Command::new("client|caching", 3, Engine)
        .about("connection", "6.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("(YES | NO)", "Says whether the next command's keys are to be tracked."),
    Command::new("client|getname", 2, Engine)
        .about("connection", "2.6.9", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Answers the name of this connection."),
    Command::new("client|getredir", 2, Engine)
        .about("connection", "6.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Answers which connection gets this one's invalidations."),
    Command::new("client|help", 2, Engine)
        .about("connection", "5.0.0", "O(1)")
        .flags(&[Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Lists these subcommands."),
    Command::new("client|id", 2, Engine)
        .about("connection", "5.0.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Answers the number of this connection."),
    Command::new("client|info", 2, Engine)
        .about("connection", "6.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output"])
        .says("", "Describes this connection."),
    Command::new("client|kill", -3, Engine)
        .about("connection", "2.4.0", "O(n) in the connections")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says(
            "(ip:port | ([ID client-id] | [TYPE (NORMAL | MASTER | SLAVE | REPLICA | PUBSUB)] | [USER username] | \
             [ADDR ip:port] | [LADDR ip:port] | [SKIPME (YES | NO)] | [MAXAGE maxage])...)",
            "Closes the connections that match.",
        ),
    Command::new("client|list", -2, Engine)
        .about("connection", "2.4.0", "O(n) in the connections")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["nondeterministic_output"])
        .says("[TYPE (NORMAL | MASTER | REPLICA | PUBSUB)] [ID client-id...]", "Describes all connections, one a line."),
    Command::new("client|maint_notifications", -3, Engine)
        .about("connection", "8.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("(ON | OFF) [parameter value]...", "Accepted from clients that ask for news of maintenance; there is none to give."),
    Command::new("client|no-evict", 3, Engine)
        .about("connection", "7.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("(ON | OFF)", "Keeps this connection when memory for connections runs out."),
    Command::new("client|no-touch", 3, Engine)
        .about("connection", "7.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("(ON | OFF)", "Says whether this connection's reads count as use of a key."),
    Command::new("client|pause", -3, Engine)
        .about("connection", "3.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("timeout [WRITE | ALL]", "Lets commands wait for some milliseconds."),
    Command::new("client|reply", 3, Engine)
        .about("connection", "3.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("(ON | OFF | SKIP)", "Says whether this connection wants answers."),
    Command::new("client|setinfo", 4, Engine)
        .about("connection", "7.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("(LIB-NAME libname | LIB-VER libver)", "Notes which client library is at the other end."),
    Command::new("client|setname", 3, Engine)
        .about("connection", "2.6.9", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .says("connection-name", "Names this connection."),
    Command::new("client|tracking", -3, Engine)
        .about("connection", "6.0.0", "O(1), and O(n) in the prefixes")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says(
            "(ON | OFF) [REDIRECT client-id] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
            "Turns news about changed keys on or off, for caches on the client's side.",
        ),
    Command::new("client|trackinginfo", 2, Engine)
        .about("connection", "6.2.0", "O(1)")
        .flags(&[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Tells what this connection tracks."),
    Command::new("client|unblock", -3, Engine)
        .about("connection", "5.0.0", "O(1)")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("client-id [TIMEOUT | ERROR]", "Ends another connection's waiting."),
    Command::new("client|unpause", 2, Engine)
        .about("connection", "6.2.0", "O(n) in the waiting connections")
        .flags(&[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE])
        .categories(&[Category::Connection])
        .says("", "Ends a pause."),
];
