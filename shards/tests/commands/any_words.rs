//! Every command with words that it does not expect: one whole reply, always the same, and nothing changed by an error.

use super::script::Session;
use proptest::prelude::*;
use shards::command::{COMMANDS_BY_NUMBER, Command, Handler};

const KEYS: [&str; 4] = ["a", "b", "{a}c", ""];

/// Numbers at the edges of what is parsed, and none between what is quick and what is refused: half a gigabyte of zeros
/// proves nothing here.
const EDGES: [&str; 24] = [
    "0",
    "1",
    "-1",
    "7",
    "8",
    "64",
    "-0",
    "+1",
    "01",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "4294967296",
    "0.1",
    "1e5",
    "-1e-5000",
    "1e9223372036854775807",
    "0x1p-16445",
    "inf",
    "nan",
    "#3",
    "#-9223372036854775808",
    "#144115188075855872",
];

pub(super) fn shard_commands() -> Vec<&'static Command> {
    COMMANDS_BY_NUMBER.iter().copied().filter(|command| matches!(command.handler, Handler::Shard(_))).collect()
}

/// Words in capitals, as the command's own syntax has them, types of fields, and bytes of all kinds.
pub(super) fn word(command: &'static Command) -> BoxedStrategy<Vec<u8>> {
    let options: Vec<Vec<u8>> = command
        .syntax
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .map(|word| word.as_bytes().to_vec())
        .chain(["i8", "u63", "i64", "u1", "*", "[a-"].map(Vec::from))
        .collect();
    prop_oneof![
        3 => prop::sample::select(KEYS.as_slice()).prop_map(Vec::from),
        3 => prop::sample::select(EDGES.as_slice()).prop_map(Vec::from),
        3 => prop::sample::select(options),
        1 => (-100i64..5000).prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
    .boxed()
}

/// A request that fits the command's arity.
fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0..shard_commands().len()).prop_flat_map(|index| {
        let command = shard_commands()[index];
        let name: Vec<Vec<u8>> = command.full_name.split('|').map(Vec::from).collect();
        let least = usize::from(command.arity.unsigned_abs()) - name.len();
        let most = if command.arity < 0 { least + 6 } else { least };
        prop::collection::vec(word(command), least..=most).prop_map(move |words| name.iter().cloned().chain(words).collect())
    })
}

/// Everything a client could tell apart about the keys used here.
fn state(session: &mut Session) -> Vec<Vec<u8>> {
    let mut state = vec![session.ask(&["DBSIZE"])];
    for key in KEYS {
        state.push(session.ask(&["DUMP", key]));
        state.push(session.ask(&["PEXPIRETIME", key]));
        state.push(session.ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"]));
    }
    state
}

/// A request's reply, and the state before and after it.
fn watched(session: &mut Session, request: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<u8>, Vec<Vec<u8>>) {
    (state(session), session.ask(request), state(session))
}

/// The bytes after the reply at the start of `bytes`; `None` if there is no whole one.
fn after_reply(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
    let number = || std::str::from_utf8(&line[1..]).ok()?.parse::<i64>().ok();
    match line[0] {
        b'+' | b'-' | b',' => Some(rest),
        b':' => number().map(|_| rest),
        b'_' => line.len().eq(&1).then_some(rest),
        b'$' => match number()? {
            -1 => Some(rest),
            len => rest.get(usize::try_from(len).ok()?..)?.strip_prefix(b"\r\n"),
        },
        b'*' | b'~' | b'%' => {
            let replies = number()? * if line[0] == b'%' { 2 } else { 1 };
            (0..replies).try_fold(rest, |rest, _| after_reply(rest))
        }
        _ => None,
    }
}

#[test]
fn there_are_commands() {
    assert!(shard_commands().len() > 60);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_words_get_one_reply(requests in prop::collection::vec(request(), 1..40), resp3 in any::<bool>()) {
        let (mut session, mut again) = (Session::new(), Session::new());
        if resp3 {
            session.order("resp3");
            again.order("resp3");
        }
        for request in &requests {
            let (before, reply, after) = watched(&mut session, request);
            let shown: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word)).collect();
            prop_assert_eq!(after_reply(&reply), Some(b"".as_slice()), "{:?} got {:?}", shown, String::from_utf8_lossy(&reply));
            if reply[0] == b'-' {
                prop_assert_eq!(&before, &after, "{:?} failed half-way", shown);
            }
            prop_assert_eq!((before, reply, after), watched(&mut again, request), "{:?} is not deterministic", shown);
        }
    }
}
