//! `COMMAND` and its subcommands, and every container's `HELP`: the table, told to clients in Redis' reply structure.
//!
//! Pure functions of the table and the arguments. Cluster clients route by what is said here, terminals complete by it.

use super::spec::{Command, Flags, Handler, KeyAccess, KeySpec, Keys};
use super::syntax::{self, Argument, ArgumentKind};
use super::table::{self, COMMANDS, COMMANDS_BY_NUMBER};
use super::{Category, keys_of};
use crate::glob;
use crate::wire::{Args, Reply};

/// `COMMAND`, and `COMMAND INFO` without names.
pub fn command(_: Args<'_>, reply: &mut Reply<'_>) {
    reply.array(COMMANDS.len());
    for command in COMMANDS {
        write_info(command, reply);
    }
}

/// `COMMAND COUNT`
pub fn count(_: Args<'_>, reply: &mut Reply<'_>) {
    reply.integer(COMMANDS.len() as i64);
}

/// `COMMAND INFO [name ...]`
pub fn info(args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 2 {
        return command(args, reply);
    }
    reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        match table::find_full(name) {
            Some((_, command)) => write_info(command, reply),
            None => reply.null(),
        }
    }
}

/// `COMMAND DOCS [name ...]`
pub fn docs(args: Args<'_>, reply: &mut Reply<'_>) {
    if args.len() == 2 {
        reply.map(COMMANDS.len());
        for command in COMMANDS {
            write_docs(command, reply);
        }
        return;
    }
    let found = || args.iter_from(2).filter_map(table::find_full);
    reply.map(found().count());
    for (_, command) in found() {
        write_docs(command, reply);
    }
}

/// `COMMAND LIST [FILTERBY (MODULE name | ACLCAT category | PATTERN pattern)]`
pub fn list(args: Args<'_>, reply: &mut Reply<'_>) {
    let is = |index: usize, word: &str| args.get(index).eq_ignore_ascii_case(word.as_bytes());
    let listed: Vec<&Command> = match args.len() {
        2 => COMMANDS.iter().collect(),
        5 if is(2, "filterby") && is(3, "module") => Vec::new(),
        5 if is(2, "filterby") && is(3, "aclcat") => {
            let category = Category::named(args.get(4));
            with_subcommands().filter(|command| category.is_some_and(|category| command.categories_all().has(category))).collect()
        }
        5 if is(2, "filterby") && is(3, "pattern") => {
            with_subcommands().filter(|command| glob::matches_in_any_case(args.get(4), command.full_name.as_bytes())).collect()
        }
        _ => return reply.error_static("ERR syntax error"),
    };
    reply.array(listed.len());
    for command in listed {
        reply.bulk(command.full_name.as_bytes());
    }
}

fn with_subcommands() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands))
}

/// `COMMAND GETKEYS command [argument ...]`
pub fn getkeys(args: Args<'_>, reply: &mut Reply<'_>) {
    write_keys(args, reply, false);
}

/// `COMMAND GETKEYSANDFLAGS command [argument ...]`
pub fn getkeysandflags(args: Args<'_>, reply: &mut Reply<'_>) {
    write_keys(args, reply, true);
}

fn write_keys(args: Args<'_>, reply: &mut Reply<'_>, with_access: bool) {
    let asked = args.skip(2);
    let Some(command) = named_by(asked) else { return reply.error_static("ERR Invalid command specified") };
    if command.keys == Keys::None {
        return reply.error_static("ERR The command has no key arguments");
    }
    if !command.takes(asked.len()) {
        return reply.error_static("ERR Invalid number of arguments specified for command");
    }
    let keys = keys_of(command, asked);
    if keys.len() == 0 && !command.flags.has(Flags::NO_MANDATORY_KEYS) {
        return reply.error_static("ERR Invalid arguments specified for command");
    }
    reply.array(keys.len());
    for index in keys {
        if with_access {
            reply.array(2);
        }
        reply.bulk(asked.get(index));
        if with_access {
            let access = access_at(command, asked, index);
            write_access(&access, reply);
        }
    }
}

/// The command or subcommand that a request names, whatever its arguments.
fn named_by(args: Args<'_>) -> Option<&'static Command> {
    let (number, command) = table::find(args.get(0))?;
    if command.subcommands.is_empty() || args.len() == 1 {
        return Some(command);
    }
    table::find_subcommand(number, command, args.get(1)).map(|(_, subcommand)| subcommand)
}

/// What is done to the key at `index`. Two commands do different things depending on their arguments.
fn access_at(command: &Command, args: Args<'_>, index: usize) -> Vec<KeyAccess> {
    use KeyAccess::{Access, OW, RO, RW, Update};
    let any_is =
        |words: &[&str], from: usize| args.iter_from(from).any(|arg| words.iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes())));
    match command.name {
        "set" if any_is(&["get"], 3) => vec![RW, Access, Update],
        "set" => vec![OW, Update],
        "bitfield" if any_is(&["set", "incrby"], 2) => vec![RW, Access, Update],
        "bitfield" => vec![RO, Access],
        _ => {
            let mut specs = command.key_specs.iter().flatten();
            let covering = specs.rfind(|spec| spec.first as usize <= index);
            covering.map(|spec| spec.access.iter().collect()).unwrap_or_default()
        }
    }
}

/// `HELP` of the container of this number: its subcommands, their arguments and what they are for.
pub fn help(container: u16, reply: &mut Reply<'_>) {
    let container = COMMANDS_BY_NUMBER[usize::from(container)];
    let others = || container.subcommands.iter().filter(|subcommand| subcommand.name != "help");
    let itself_runs = !matches!(container.handler, Handler::Container);
    reply.array(1 + 2 * (others().count() + 1 + usize::from(itself_runs)));
    reply.status(&format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container.name.to_ascii_uppercase()));
    if itself_runs {
        reply.status("(no subcommand)");
        reply.status(&format!("    {}", container.summary));
    }
    for subcommand in others() {
        reply.status(format!("{} {}", subcommand.name.to_ascii_uppercase(), subcommand.syntax).trim_end());
        reply.status(&format!("    {}", subcommand.summary));
    }
    reply.status("HELP");
    reply.status("    Prints this help.");
}

/// The ten fields of `COMMAND INFO`.
fn write_info(command: &Command, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(command.full_name.as_bytes());
    reply.integer(i64::from(command.arity));
    reply.set(command.flags.names().count());
    for name in command.flags.names() {
        reply.status(name);
    }
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::StoredCounted { stored: first, .. } | Keys::Announced { first, .. } => (first, first, 1),
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
    };
    for position in [first, last, step] {
        reply.integer(i64::from(position));
    }
    let categories = command.categories_all();
    reply.set(categories.iter().count());
    for category in categories.iter() {
        reply.status(&format!("@{}", category.name()));
    }
    reply.set(command.tips.len());
    for tip in command.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(command.key_specs.iter().flatten().count());
    for spec in command.key_specs.iter().flatten() {
        write_key_spec(spec, reply);
    }
    if command.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(command.subcommands.len());
    for subcommand in command.subcommands {
        write_info(subcommand, reply);
    }
}

fn write_key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    write_access(&spec.access.iter().collect::<Vec<_>>(), reply);
    reply.bulk(b"begin_search");
    match spec.keyword {
        Some(keyword) => write_keyword(keyword, spec.first, reply),
        None => write_search("index", &[("index", spec.first)], reply),
    }
    reply.bulk(b"find_keys");
    if spec.is_counted {
        write_search("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", spec.step)], reply);
    } else {
        write_search("range", &[("lastkey", spec.last), ("keystep", spec.step), ("limit", 0)], reply);
    }
}

fn write_keyword(keyword: &str, from: i8, reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"keyword");
    reply.bulk(b"spec");
    reply.map(2);
    reply.bulk(b"keyword");
    reply.bulk(keyword.as_bytes());
    reply.bulk(b"startfrom");
    reply.integer(i64::from(from));
}

fn write_search(kind: &str, fields: &[(&str, i8)], reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(*value));
    }
}

fn write_access(access: &[KeyAccess], reply: &mut Reply<'_>) {
    reply.set(access.len());
    for one in access {
        reply.status(one.name());
    }
}

/// A name and its map in `COMMAND DOCS`.
fn write_docs(command: &Command, reply: &mut Reply<'_>) {
    let arguments = syntax::parse(command.syntax);
    reply.bulk(command.full_name.as_bytes());
    reply.map(4 + usize::from(!arguments.is_empty()) + usize::from(!command.subcommands.is_empty()));
    for (name, text) in
        [("summary", command.summary), ("since", command.since), ("group", command.group), ("complexity", command.complexity)]
    {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        let mut keys_named = 0;
        write_arguments(&arguments, command.key_specs.iter().flatten().count(), &mut keys_named, reply);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in command.subcommands {
            write_docs(subcommand, reply);
        }
    }
}

/// `keys_named` counts the keys described so far: each takes the next key specification, the last one takes the rest.
fn write_arguments(arguments: &[Argument], specs: usize, keys_named: &mut usize, reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        let composite = matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block);
        let key_spec = (argument.kind == ArgumentKind::Key && specs > 0).then(|| {
            *keys_named += 1;
            (*keys_named).min(specs) - 1
        });
        let flags: Vec<&str> =
            [("optional", argument.optional), ("multiple", argument.multiple), ("multiple_token", argument.multiple_token)]
                .into_iter()
                .filter_map(|(name, set)| set.then_some(name))
                .collect();
        reply.map(3 + usize::from(key_spec.is_some()) + usize::from(argument.token.is_some()) + usize::from(!flags.is_empty()));
        let mut text = |name: &str, value: &str| {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        };
        text("name", &argument.name);
        text("type", argument.kind.name());
        if !composite {
            text("display_text", &argument.name);
        }
        if let Some(key_spec) = key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer(key_spec as i64);
        }
        if let Some(token) = argument.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            for flag in flags {
                reply.status(flag);
            }
        }
        if composite {
            reply.bulk(b"arguments");
            write_arguments(&argument.arguments, specs, keys_named, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Resolved, resolve};
    use crate::wire::{Limits, Parsed, Proto, parse, split_words};

    /// What a command answers, line ends shown as `|`.
    fn answer(line: &str, proto: Proto) -> String {
        let words = split_words(line.as_bytes()).unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in &words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let mut spans = Vec::new();
        assert_eq!(parse(&request, &Limits::OPEN, &mut spans), Parsed::Request { bytes: request.len() });
        let args = Args::new(&request, &spans);
        let Resolved::Command(number) = resolve(args) else { panic!("{line} is no command") };
        let mut out = Vec::new();
        let reply = &mut Reply::new(&mut out, proto);
        match COMMANDS_BY_NUMBER[usize::from(number)].full_name {
            "command" => command(args, reply),
            "command|count" => count(args, reply),
            "command|info" => info(args, reply),
            "command|docs" => docs(args, reply),
            "command|list" => list(args, reply),
            "command|getkeys" => getkeys(args, reply),
            "command|getkeysandflags" => getkeysandflags(args, reply),
            _ => help(table::container_of(number).unwrap(), reply),
        }
        assert_eq!(replies_in(&out), (1, out.len()), "{line} answers one whole reply");
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    /// How many whole replies `bytes` hold, and where the last one ends.
    fn replies_in(bytes: &[u8]) -> (usize, usize) {
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            at = reply_end(bytes, at);
            count += 1;
        }
        (count, at)
    }

    fn reply_end(bytes: &[u8], at: usize) -> usize {
        let line_end = at + memchr::memchr(b'\n', &bytes[at..]).expect("a reply begins with a line") + 1;
        let number = || std::str::from_utf8(&bytes[at + 1..line_end - 2]).unwrap().parse::<i64>().unwrap().max(0) as usize;
        match bytes[at] {
            b'$' if bytes[at + 1] == b'-' => line_end,
            b'$' => line_end + number() + 2,
            b'*' | b'~' => (0..number()).fold(line_end, |at, _| reply_end(bytes, at)),
            b'%' => (0..2 * number()).fold(line_end, |at, _| reply_end(bytes, at)),
            _ => line_end,
        }
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(answer(line, Proto::Resp2), expected, "{line}");
    }

    #[test]
    fn info_has_redis_structure() {
        let key_spec = "*6|$5|flags|*2|+RO|+access|$12|begin_search|*4|$4|type|$5|index|$4|spec|*2|$5|index|:1|\
            $9|find_keys|*4|$4|type|$5|range|$4|spec|*6|$7|lastkey|:0|$7|keystep|:1|$5|limit|:0|";
        check(
            "COMMAND INFO get nosuch",
            &format!("*2|*10|$3|get|:2|*2|+readonly|+fast|:1|:1|:1|*3|+@read|+@string|+@fast|*0|*1|{key_spec}*0|$-1|"),
        );
        assert!(answer("COMMAND INFO get", Proto::Resp3).starts_with("*1|*10|$3|get|:2|~2|+readonly|+fast|:1|:1|:1|~3|+@read|"));
        assert!(answer("COMMAND INFO client|list", Proto::Resp2).starts_with("*1|*10|$11|client|list|:-2|*4|+admin|+noscript|"));
        assert!(answer("COMMAND INFO bitop", Proto::Resp2).contains("|:2|:-1|:1|"));
        let counted = answer("COMMAND INFO sintercard", Proto::Resp2);
        assert!(counted.starts_with("*1|*10|$10|sintercard|:-3|*2|+readonly|+movablekeys|:0|:0|:0|"), "{counted}");
        assert!(counted.ends_with("|$4|type|$6|keynum|$4|spec|*6|$9|keynumidx|:0|$8|firstkey|:1|$7|keystep|:1|*0|"), "{counted}");
        assert_eq!(answer("COMMAND", Proto::Resp2), answer("COMMAND INFO", Proto::Resp2));
        assert!(answer("COMMAND", Proto::Resp3).starts_with(&format!("*{}|*10|", COMMANDS.len())));
        check("COMMAND COUNT", &format!(":{}|", COMMANDS.len()));
    }

    #[test]
    fn docs_have_redis_structure() {
        let told = answer("COMMAND DOCS set nosuch", Proto::Resp3);
        assert!(told.starts_with("%1|$3|set|%5|$7|summary|$"), "{told}");
        assert!(told.contains("|$9|arguments|*5|%4|$4|name|$3|key|$4|type|$3|key|$12|display_text|$3|key|$14|key_spec_index|:0|%3|"));
        assert!(told.contains("%5|$4|name|$3|get|$4|type|$10|pure-token|$12|display_text|$3|get|$5|token|$3|GET|$5|flags|~1|+optional|"));
        check("COMMAND DOCS nosuch", "*0|");
        for proto in [Proto::Resp2, Proto::Resp3] {
            let all = answer("COMMAND DOCS", proto);
            assert!(COMMANDS_BY_NUMBER.iter().all(|command| all.contains(&format!("|{}|", command.full_name))));
        }
    }

    #[test]
    fn lists_by_category_and_pattern() {
        check("COMMAND LIST FILTERBY ACLCAT bitmap", "*7|$8|bitcount|$8|bitfield|$11|bitfield_ro|$5|bitop|$6|bitpos|$6|getbit|$6|setbit|");
        check("COMMAND LIST FILTERBY PATTERN *KEYSINSLOT", "*2|$23|cluster|countkeysinslot|$21|cluster|getkeysinslot|");
        check("COMMAND LIST FILTERBY ACLCAT nosuch", "*0|");
        check("COMMAND LIST FILTERBY MODULE nosuch", "*0|");
        for wrong in ["COMMAND LIST x", "COMMAND LIST FILTERBY MODULE", "COMMAND LIST FILTERBY x y", "COMMAND LIST a b c d"] {
            check(wrong, "-ERR syntax error|");
        }
    }

    #[test]
    fn keys_of_a_request() {
        check("COMMAND GETKEYS mset a 1 b 2", "*2|$1|a|$1|b|");
        check("COMMAND GETKEYS bitop and d a b", "*3|$1|d|$1|a|$1|b|");
        check("COMMAND GETKEYS object encoding a", "*1|$1|a|");
        check("COMMAND GETKEYS nosuch a", "-ERR Invalid command specified|");
        check("COMMAND GETKEYS client nosuch", "-ERR Invalid command specified|");
        check("COMMAND GETKEYS client list", "-ERR The command has no key arguments|");
        check("COMMAND GETKEYS mset a", "-ERR Invalid number of arguments specified for command|");
        check("COMMAND GETKEYSANDFLAGS set a b", "*1|*2|$1|a|*2|+OW|+update|");
        check("COMMAND GETKEYSANDFLAGS set a b GET", "*1|*2|$1|a|*3|+RW|+access|+update|");
        check("COMMAND GETKEYSANDFLAGS bitfield a GET u8 0", "*1|*2|$1|a|*2|+RO|+access|");
        check("COMMAND GETKEYSANDFLAGS bitfield a SET u8 0 1", "*1|*2|$1|a|*3|+RW|+access|+update|");
        check("COMMAND GETKEYSANDFLAGS copy a b", "*2|*2|$1|a|*2|+RO|+access|*2|$1|b|*2|+OW|+update|");
    }

    #[test]
    fn every_container_helps() {
        for container in COMMANDS.iter().filter(|command| !command.subcommands.is_empty()) {
            let told = answer(&format!("{} HELP", container.name), Proto::Resp2);
            let first = format!("+{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|", container.name.to_uppercase());
            assert!(told.contains(&first) && told.ends_with("+HELP|+    Prints this help.|"), "{told}");
            for subcommand in container.subcommands {
                assert!(told.contains(&format!("|+{}", subcommand.name.to_uppercase())));
            }
        }
    }
}
