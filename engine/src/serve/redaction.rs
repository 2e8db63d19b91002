//! What is shown of a request to whoever watches: everything but secrets, and of long arguments their beginning.

use shards::command::COMMANDS_BY_NUMBER;
use shards::wire::Args;
use std::borrow::Cow;

/// Bytes shown of one argument.
const ARG_BYTES_MAX: usize = 16 * 1024;
/// Arguments shown of one request.
const ARGS_MAX: usize = 1024;

const HIDDEN: &[u8] = b"(redacted)";

/// The arguments of a request as they may be shown.
pub(super) fn shown<'a>(command: u16, args: Args<'a>) -> Vec<Cow<'a, [u8]>> {
    let name = COMMANDS_BY_NUMBER[usize::from(command)].full_name;
    let kept = args.len().min(ARGS_MAX);
    let mut words: Vec<Cow<'a, [u8]>> =
        (0..kept).map(|index| if is_secret(name, args, index) { Cow::Borrowed(HIDDEN) } else { shortened(args.get(index)) }).collect();
    if kept < args.len() {
        words.push(Cow::Owned(format!("... ({} more arguments)", args.len() - kept).into_bytes()));
    }
    words
}

fn is_secret(name: &str, args: Args<'_>, index: usize) -> bool {
    let is = |index: usize, word: &str| args.get(index).eq_ignore_ascii_case(word.as_bytes());
    match name {
        "auth" => index > 0,
        // The two words behind AUTH.
        "hello" => (1..=2).any(|back| index >= 2 + back && is(index - back, "auth")),
        "config|set" => {
            index >= 3 && index % 2 == 1 && ["requirepass", "masterauth", "masteruser"].iter().any(|secret| is(index - 1, secret))
        }
        _ => false,
    }
}

fn shortened(arg: &[u8]) -> Cow<'_, [u8]> {
    if arg.len() <= ARG_BYTES_MAX {
        return Cow::Borrowed(arg);
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    Cow::Owned(short)
}

/// An argument in quotes, with everything that is not plain text escaped.
pub(super) fn quote(arg: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in arg {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::Request;
    use shards::Db;
    use shards::command::{Resolved, resolve};
    use shards::wire::Proto;

    #[track_caller]
    fn check(words: &str, expected: &str) {
        let request = Request::of(0, Db(0), Proto::Resp2, words.split(' ').map(str::as_bytes));
        let Resolved::Command(command) = resolve(request.args()) else { panic!("{words} is no command") };
        let shown: Vec<String> = shown(command, request.args()).iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn secrets_are_never_shown() {
        check("AUTH pw", "AUTH (redacted)");
        check("auth user pw", "auth (redacted) (redacted)");
        check("HELLO 3 AUTH default pw SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x");
        check("hello 3 setname auth auth u p", "hello 3 setname auth (redacted) (redacted) (redacted)");
        check("CONFIG SET requirepass pw timeout 5", "CONFIG SET requirepass (redacted) timeout 5");
        check("config set timeout 5 RequirePass pw", "config set timeout 5 RequirePass (redacted)");
        check("SET auth requirepass", "SET auth requirepass");
    }

    #[test]
    fn arguments_are_quoted_as_redis_does() {
        let mut out = Vec::new();
        quote(b"a\"\\\r\n\t\x07\x08\x00\xff ~", &mut out);
        assert_eq!(out, br#""a\"\\\r\n\t\a\b\x00\xff ~""#);
    }
}
