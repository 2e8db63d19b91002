//! Every command there is.

use super::spec::{Command, Flags, Handler, Keys, Spread};
use super::strings;

/// Every command, in alphabetical order. Its position here is a command's number for the life of the process.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: 2,
        flags: Flags::READONLY.and(Flags::FAST),
        keys: Keys::Range { first: 1, last: 1, step: 1 },
        spread: Spread::Single,
        handler: Handler::Shard(strings::get),
        summary: "Returns the value of a string key.",
        complexity: "O(1)",
        since: "1.0.0",
        group: "string",
        syntax: "key",
        subcommands: &[],
    },
    Command {
        name: "ping",
        arity: -1,
        flags: Flags::FAST,
        keys: Keys::None,
        spread: Spread::Single,
        handler: Handler::Engine,
        summary: "Answers, so that the client knows somebody is there.",
        complexity: "O(1)",
        since: "1.0.0",
        group: "connection",
        syntax: "[message]",
        subcommands: &[],
    },
    Command {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.and(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 1, step: 1 },
        spread: Spread::Single,
        handler: Handler::Shard(strings::set),
        summary: "Sets a key to a string, whatever it held.",
        complexity: "O(1)",
        since: "1.0.0",
        group: "string",
        syntax: "key value",
        subcommands: &[],
    },
];

/// The command of this name, in any case, with its position in [`COMMANDS`].
pub fn find(name: &[u8]) -> Option<(u16, &'static Command)> {
    let index = COMMANDS.iter().position(|command| command.name.as_bytes().eq_ignore_ascii_case(name))?;
    Some((index as u16, &COMMANDS[index]))
}
