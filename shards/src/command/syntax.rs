//! The grammar in which the table writes a command's arguments, and what `COMMAND DOCS` makes of it.
//!
//! `key value [NX | XX] [EX seconds | KEEPTTL] (field value)... name:type`: words in capitals are tokens, others are values;
//! `[ ]` may be left out, `( )` holds together, `|` separates choices, `...` after something lets it repeat. A value's kind
//! follows from its name, or from what is written after the colon.

/// One argument, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// What a person would call it, in lower case.
    pub name: String,
    /// What it is.
    pub kind: ArgumentKind,
    /// The word that announces it.
    pub token: Option<&'static str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may come several times.
    pub multiple: bool,
    /// Whether its token comes again each time.
    pub multiple_token: bool,
    /// What it is made of, for [`ArgumentKind::OneOf`] and [`ArgumentKind::Block`].
    pub arguments: Vec<Argument>,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ArgumentKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentKind {
    /// As Redis spells it.
    pub const fn name(self) -> &'static str {
        match self {
            ArgumentKind::String => "string",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Double => "double",
            ArgumentKind::Key => "key",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::UnixTime => "unix-time",
            ArgumentKind::PureToken => "pure-token",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Block => "block",
        }
    }

    /// What a value is by its name.
    fn of_value(name: &str) -> ArgumentKind {
        const INTEGERS: &[&str] = &[
            "bit",
            "client-id",
            "cluster-bus-port",
            "config-epoch",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "end-slot",
            "frequency",
            "increment",
            "index",
            "index1",
            "index2",
            "maxage",
            "milliseconds",
            "min-match-len",
            "numlocal",
            "numreplicas",
            "offset",
            "port",
            "protover",
            "seconds",
            "slot",
            "start",
            "start-slot",
            "timeout",
            "ttl",
        ];
        match name {
            "key" | "key1" | "key2" => ArgumentKind::Key,
            "pattern" => ArgumentKind::Pattern,
            _ if name.starts_with("unix-time") => ArgumentKind::UnixTime,
            _ if INTEGERS.contains(&name) => ArgumentKind::Integer,
            _ => ArgumentKind::String,
        }
    }
}

/// The arguments that `syntax` describes.
///
/// # Panics
/// If `syntax` does not follow the grammar: it comes from the table, and a test reads all of it.
pub fn parse(syntax: &'static str) -> Vec<Argument> {
    let mut rest = syntax;
    let arguments = sequence(&mut rest);
    assert!(rest.is_empty(), "{syntax:?} goes on after {rest:?}");
    arguments
}

/// Arguments up to the end of the choice or group they stand in.
fn sequence(rest: &mut &'static str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    loop {
        *rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with([']', ')', '|']) {
            return arguments;
        }
        let argument = if rest.starts_with('[') {
            Argument { optional: true, ..group(rest, ']') }
        } else if rest.starts_with('(') {
            group(rest, ')')
        } else {
            word(rest)
        };
        arguments.push(repeated(argument, rest));
    }
}

/// `...` after an argument.
fn repeated(argument: Argument, rest: &mut &'static str) -> Argument {
    match rest.strip_prefix("...") {
        Some(after) => {
            *rest = after;
            Argument { multiple: true, multiple_token: argument.token.is_some(), ..argument }
        }
        None => argument,
    }
}

/// What stands in brackets: one choice of several, or what belongs together.
fn group(rest: &mut &'static str, close: char) -> Argument {
    let mut choices = Vec::new();
    loop {
        *rest = &rest[1..];
        choices.push(joined(sequence(rest)));
        assert!(!rest.is_empty(), "a bracket is not closed");
        if rest.starts_with(close) {
            *rest = &rest[1..];
            break;
        }
        assert!(rest.starts_with('|'), "the wrong bracket closes");
    }
    if choices.len() == 1 { choices.remove(0) } else { composite("choice", ArgumentKind::OneOf, choices) }
}

/// Several arguments as one. A token takes what follows it with it.
fn joined(mut arguments: Vec<Argument>) -> Argument {
    assert!(!arguments.is_empty(), "a group or choice is empty");
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    let led_by_token = arguments[0].kind == ArgumentKind::PureToken && !arguments[0].optional;
    if !led_by_token {
        return composite("group", ArgumentKind::Block, arguments);
    }
    let token = arguments.remove(0);
    let value = if arguments.len() == 1 && arguments[0].token.is_none() && !arguments[0].optional {
        arguments.remove(0)
    } else {
        composite("", ArgumentKind::Block, arguments)
    };
    let name = if matches!(value.kind, ArgumentKind::OneOf | ArgumentKind::Block) { token.name } else { value.name.clone() };
    Argument { name, token: token.token, ..value }
}

fn composite(name: &str, kind: ArgumentKind, arguments: Vec<Argument>) -> Argument {
    Argument { name: name.into(), kind, token: None, optional: false, multiple: false, multiple_token: false, arguments }
}

/// A token or a value.
fn word(rest: &mut &'static str) -> Argument {
    let mut end = rest.find([' ', '[', ']', '(', ')', '|']).unwrap_or(rest.len());
    if let Some(dots) = rest[..end].find("...") {
        end = dots;
    }
    let (word, after) = rest.split_at(end);
    *rest = after;
    if !word.contains(|letter: char| letter.is_ascii_lowercase()) {
        return Argument { token: Some(word), ..composite(&word.to_ascii_lowercase(), ArgumentKind::PureToken, Vec::new()) };
    }
    let (name, kind) = match word.rsplit_once(':') {
        Some((name, "key")) => (name, ArgumentKind::Key),
        Some((name, "integer")) => (name, ArgumentKind::Integer),
        Some((name, "double")) => (name, ArgumentKind::Double),
        Some((name, "string")) => (name, ArgumentKind::String),
        _ => (word, ArgumentKind::of_value(word)),
    };
    composite(name, kind, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::COMMANDS_BY_NUMBER;

    /// `name:kind`, a token in front, `?` for optional, `+` for multiple, parts in braces.
    fn shown(argument: &Argument) -> String {
        let token = argument.token.map(|token| format!("{token} ")).unwrap_or_default();
        let parts: Vec<String> = argument.arguments.iter().map(shown).collect();
        let parts = if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(", ")) };
        let marks = ["?", "+", "t"].iter().zip([argument.optional, argument.multiple, argument.multiple_token]);
        let marks: String = marks.filter(|(_, set)| *set).map(|(mark, _)| *mark).collect();
        format!("{token}{}:{}{parts}{marks}", argument.name, argument.kind.name())
    }

    #[track_caller]
    fn check(syntax: &'static str, expected: &str) {
        assert_eq!(parse(syntax).iter().map(shown).collect::<Vec<_>>().join("; "), expected);
    }

    #[test]
    fn arguments_are_read_from_their_description() {
        check("", "");
        check("key", "key:key");
        check("key value [NX | XX] [GET]", "key:key; value:string; choice:oneof{NX nx:pure-token, XX xx:pure-token}?; GET get:pure-token?");
        check("[EX seconds | PERSIST]", "choice:oneof{EX seconds:integer, PERSIST persist:pure-token}?");
        check("(key value)...", "group:block{key:key, value:string}+");
        check("key...", "key:key+");
        check("[ID client-id...]", "ID client-id:integer?+");
        check("[PREFIX prefix]...", "PREFIX prefix:string?+t");
        check("[SKIPME (YES | NO)]", "SKIPME skipme:oneof{YES yes:pure-token, NO no:pure-token}?");
        check("[GET encoding offset]...", "GET get:block{encoding:string, offset:integer}?+t");
        check(
            "[start [end [BYTE | BIT]]]",
            "group:block{start:integer, group:block{end:integer, choice:oneof{BYTE byte:pure-token, BIT bit:pure-token}?}?}?",
        );
        check("increment:double", "increment:double");
        check("ip:port", "ip:port:string");
    }

    #[test]
    fn the_whole_table_follows_the_grammar() {
        for command in COMMANDS_BY_NUMBER {
            let arguments = parse(command.syntax);
            // As many as must be given are as many as must be described.
            let given = command.arity.unsigned_abs() as usize - command.full_name.split('|').count();
            let required = arguments.iter().filter(|argument| !argument.optional).map(fewest).sum::<usize>();
            let open = arguments.iter().any(|argument| argument.optional || argument.multiple || most_is_open(argument));
            if command.subcommands.is_empty() && command.arity >= 0 {
                assert_eq!((required, open), (given, false), "{}", command.full_name);
            } else if command.subcommands.is_empty() {
                assert!(required <= given || command.full_name == "client|kill", "{}: {required} of {given}", command.full_name);
                assert!(open || command.full_name == "quit", "{}", command.full_name);
            }
        }
    }

    fn fewest(argument: &Argument) -> usize {
        let parts = argument.arguments.iter().filter(|part| !part.optional).map(fewest);
        let inside = match argument.kind {
            ArgumentKind::OneOf => parts.min().unwrap_or(0),
            ArgumentKind::Block => parts.sum(),
            ArgumentKind::PureToken => 0,
            _ => 1,
        };
        inside + usize::from(argument.token.is_some())
    }

    fn most_is_open(argument: &Argument) -> bool {
        argument.arguments.iter().any(|part| part.optional || part.multiple || most_is_open(part))
            || argument.kind == ArgumentKind::OneOf && argument.arguments.iter().any(|part| fewest(part) != fewest(&argument.arguments[0]))
    }
}
