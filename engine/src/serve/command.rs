//! `COMMAND` and every `HELP`: the table tells of itself.

use crate::core::Core;
use crate::hold::Request;
use netio::{ConnId, Kernel};
use shards::command::{introspect, table};
use shards::wire::{Args, Reply};

macro_rules! told_by_the_table {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        pub(super) fn $name<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
            let tell: fn(Args<'_>, &mut Reply<'_>) = introspect::$name;
            tell(request.args(), &mut Reply::new(out, request.proto));
        })*
    };
}

told_by_the_table! {
    /// `COMMAND`
    command;
    /// `COMMAND COUNT`
    count;
    /// `COMMAND INFO`
    info;
    /// `COMMAND DOCS`
    docs;
    /// `COMMAND LIST`
    list;
    /// `COMMAND GETKEYS`
    getkeys;
    /// `COMMAND GETKEYSANDFLAGS`
    getkeysandflags;
}

/// `HELP` of any command that has subcommands.
pub(super) fn help<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let container = table::container_of(request.command).expect("only subcommands are called HELP");
    introspect::help(container, &mut Reply::new(out, request.proto));
}
