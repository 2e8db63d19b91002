//! Every command there is, and how it is found by its name.
//!
//! Built by the compiler: nothing is computed or locked at start. A command's number is its place in [`COMMANDS_BY_NUMBER`],
//! the same for the life of the process, so that counts per command are a plain array.

mod bits;
mod cluster;
mod connection;
mod geo;
mod hashes;
mod keys;
mod lists;
mod server;
mod sets;
mod sorted_sets;
mod strings;

use super::spec::{Command, Handler, Keys};
use crate::number;
use crate::wire::{Args, Reply};

/// Every group's commands.
const GROUPS: &[&[Command]] = &[
    bits::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    geo::COMMANDS,
    hashes::COMMANDS,
    keys::COMMANDS,
    lists::COMMANDS,
    server::COMMANDS,
    sets::COMMANDS,
    sorted_sets::COMMANDS,
    strings::COMMANDS,
];

/// How many commands there are, subcommands not counted.
const TOP_COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

/// How many commands there are, subcommands included.
pub const COMMAND_COUNT: usize = {
    let (mut count, mut index) = (0, 0);
    while index < TOP_COUNT {
        count += 1 + COMMANDS_ORDERED[index].subcommands.len();
        index += 1;
    }
    count
};
const _: () = assert!(COMMAND_COUNT < u16::MAX as usize);

static COMMANDS_ORDERED: [Command; TOP_COUNT] = {
    let mut all = [Command::new("", 0, Handler::Container); TOP_COUNT];
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut index = 0;
        while index < GROUPS[group].len() {
            // Insertion, in alphabetical order.
            let command = GROUPS[group][index];
            let mut place = count;
            while place > 0 && is_before(command.name, all[place - 1].name) {
                all[place] = all[place - 1];
                place -= 1;
            }
            all[place] = command;
            count += 1;
            index += 1;
        }
        group += 1;
    }
    all
};

/// Every command, in alphabetical order. Its position here is its number; subcommands are numbered after all commands.
pub static COMMANDS: &[Command] = &COMMANDS_ORDERED;

/// Every command and subcommand by its number.
pub static COMMANDS_BY_NUMBER: [&Command; COMMAND_COUNT] = {
    let mut all = [&COMMANDS_ORDERED[0]; COMMAND_COUNT];
    let (mut number, mut index) = (TOP_COUNT, 0);
    while index < TOP_COUNT {
        all[index] = &COMMANDS_ORDERED[index];
        let subcommands = COMMANDS_ORDERED[index].subcommands;
        let mut sub = 0;
        while sub < subcommands.len() {
            all[number] = &subcommands[sub];
            number += 1;
            sub += 1;
        }
        index += 1;
    }
    all
};

/// The number of each command's first subcommand.
static FIRST_SUBCOMMAND: [u16; TOP_COUNT] = {
    let mut all = [0; TOP_COUNT];
    let (mut number, mut index) = (TOP_COUNT, 0);
    while index < TOP_COUNT {
        all[index] = number as u16;
        number += COMMANDS_ORDERED[index].subcommands.len();
        index += 1;
    }
    all
};

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The command of this number, with as many arguments as it takes.
    Command(u16),
    /// No command has this name.
    UnknownCommand,
    /// The command of this number has no such subcommand.
    UnknownSubcommand {
        /// Its number.
        container: u16,
    },
    /// The command of this number does not take so many arguments.
    WrongArity {
        /// Its number.
        command: u16,
    },
}

/// What `args` ask for. For a container that is given something, the subcommand.
#[inline]
pub fn resolve(args: Args<'_>) -> Resolved {
    let Some((number, command)) = find(args.get(0)) else { return Resolved::UnknownCommand };
    if !command.subcommands.is_empty() && args.len() > 1 {
        return resolve_subcommand(number, command, args);
    }
    if command.takes(args.len()) { Resolved::Command(number) } else { Resolved::WrongArity { command: number } }
}

fn resolve_subcommand(container: u16, command: &Command, args: Args<'_>) -> Resolved {
    let Some((number, subcommand)) = find_subcommand(container, command, args.get(1)) else {
        return Resolved::UnknownSubcommand { container };
    };
    if subcommand.takes(args.len()) { Resolved::Command(number) } else { Resolved::WrongArity { command: number } }
}

impl Resolved {
    /// Answers why this cannot run, in the words that clients look for. Writes nothing for [`Resolved::Command`].
    #[cold]
    pub fn refuse(self, args: Args<'_>, reply: &mut Reply<'_>) {
        /// More of a name, or of all arguments together, is not repeated.
        const ECHO_BYTES_MAX: usize = 128;
        let mut text = b"ERR ".to_vec();
        match self {
            Resolved::Command(_) => return,
            Resolved::UnknownCommand => {
                text.extend_from_slice(b"unknown command '");
                text.extend_from_slice(head(args.get(0), ECHO_BYTES_MAX));
                text.extend_from_slice(b"', with args beginning with: ");
                let from = text.len();
                for arg in args.iter_from(1) {
                    let said = text.len() - from;
                    if said >= ECHO_BYTES_MAX {
                        break;
                    }
                    text.push(b'\'');
                    text.extend_from_slice(head(arg, ECHO_BYTES_MAX - said));
                    text.extend_from_slice(b"' ");
                }
            }
            Resolved::UnknownSubcommand { container } => {
                text.extend_from_slice(b"unknown subcommand '");
                text.extend_from_slice(head(args.get(1), ECHO_BYTES_MAX));
                text.extend_from_slice(b"'. Try ");
                text.extend_from_slice(COMMANDS_BY_NUMBER[usize::from(container)].name.to_ascii_uppercase().as_bytes());
                text.extend_from_slice(b" HELP.");
            }
            Resolved::WrongArity { command } => {
                text.extend_from_slice(b"wrong number of arguments for '");
                text.extend_from_slice(COMMANDS_BY_NUMBER[usize::from(command)].full_name.as_bytes());
                text.extend_from_slice(b"' command");
            }
        }
        reply.error_bytes(&text);
    }
}

/// What C would print of an argument: up to its first NUL, and no more than `bytes_max`.
fn head(arg: &[u8], bytes_max: usize) -> &[u8] {
    let end = memchr::memchr(0, arg).unwrap_or(arg.len());
    &arg[..end.min(bytes_max)]
}

/// The command of this name, in any case, with its number.
#[inline]
pub fn find(name: &[u8]) -> Option<(u16, &'static Command)> {
    let Some(folded) = Folded::new(name) else { return find_long(name) };
    let mut place = folded.place();
    loop {
        let number = PLACES[place % PLACES.len()];
        if number == EMPTY {
            return None;
        }
        if FOLDED[usize::from(number)] == folded {
            return Some((number, &COMMANDS_ORDERED[usize::from(number)]));
        }
        place += 1;
    }
}

#[cold]
fn find_long(name: &[u8]) -> Option<(u16, &'static Command)> {
    if name.len() <= Folded::BYTES_MAX {
        return None;
    }
    let index = COMMANDS.iter().position(|command| command.name.as_bytes().eq_ignore_ascii_case(name))?;
    Some((index as u16, &COMMANDS[index]))
}

/// The subcommand of this name, in any case, with its number.
pub fn find_subcommand(container: u16, command: &Command, name: &[u8]) -> Option<(u16, &'static Command)> {
    let index = command.subcommands.iter().position(|subcommand| subcommand.name.as_bytes().eq_ignore_ascii_case(name))?;
    let number = FIRST_SUBCOMMAND[usize::from(container)] + index as u16;
    Some((number, COMMANDS_BY_NUMBER[usize::from(number)]))
}

/// The command that `client`, `client|list` or `CLIENT|LIST` names, with its number.
pub fn find_full(name: &[u8]) -> Option<(u16, &'static Command)> {
    let Some(bar) = memchr::memchr(b'|', name) else { return find(name) };
    let (container, command) = find(&name[..bar])?;
    find_subcommand(container, command, &name[bar + 1..])
}

/// The container of a subcommand's number; `None` for a command.
pub fn container_of(number: u16) -> Option<u16> {
    if usize::from(number) < TOP_COUNT {
        return None;
    }
    // The last command whose subcommands begin at or before it; those without subcommands share the next one's beginning.
    let after = FIRST_SUBCOMMAND.partition_point(|first| *first <= number);
    FIRST_SUBCOMMAND[..after].iter().rposition(|first| *first <= number).map(|index| index as u16)
}

/// The indices of a request's keys among its arguments, in order. None past the end of the request.
#[inline]
pub fn keys_of(command: &Command, args: Args<'_>) -> KeyIndices {
    let len = args.len();
    match command.keys {
        Keys::None => KeyIndices { ahead: None, next: 0, end: 0, step: 1 },
        Keys::Range { first, last, step } => {
            let end = if last < 0 { (len + 1).saturating_sub(usize::from(last.unsigned_abs())) } else { (last as usize + 1).min(len) };
            KeyIndices { ahead: None, next: first as usize, end, step: step as usize }
        }
        Keys::Counted { count } => counted_keys(args, count as usize),
        Keys::Announced { first, words, from } => {
            let is_word = |index: &usize| words.iter().any(|word| args.get(*index).eq_ignore_ascii_case(word.as_bytes()));
            let word = (from as usize..len.saturating_sub(1)).rfind(is_word);
            let (next, end) = word.map_or((0, 0), |word| (word + 1, word + 2));
            KeyIndices { ahead: Some(first as usize).filter(|first| *first < len), next, end, step: 1 }
        }
        Keys::StoredCounted { stored, count } => {
            KeyIndices { ahead: Some(stored as usize).filter(|stored| *stored < len), ..counted_keys(args, count as usize) }
        }
    }
}

/// As many as the argument at `at` says.
fn counted_keys(args: Args<'_>, at: usize) -> KeyIndices {
    let counted = if at < args.len() { number::parse_u64(args.get(at)).unwrap_or(0) } else { 0 };
    let end = usize::try_from(counted).unwrap_or(usize::MAX).saturating_add(at + 1).min(args.len());
    KeyIndices { ahead: None, next: at + 1, end, step: 1 }
}

/// Positions of keys; see [`keys_of`].
#[derive(Clone, Debug)]
pub struct KeyIndices {
    /// One that does not stand with the others.
    ahead: Option<usize>,
    next: usize,
    end: usize,
    step: usize,
}

impl Iterator for KeyIndices {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if let Some(index) = self.ahead.take() {
            return Some(index);
        }
        let index = self.next;
        if index >= self.end {
            return None;
        }
        self.next = index + self.step;
        Some(index)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::from(self.ahead.is_some()) + self.end.saturating_sub(self.next).div_ceil(self.step);
        (count, Some(count))
    }
}

impl ExactSizeIterator for KeyIndices {}

/// A name of up to 16 bytes in two words, in lower case. Equal for equal names and for no others: words that overlap
/// determine a name of known length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Folded {
    /// The first eight bytes; the first four and the last four of shorter names; first, middle and last of the shortest.
    head: u64,
    /// The last eight bytes of names that have eight.
    tail: u64,
    len: usize,
}

impl Folded {
    const BYTES_MAX: usize = 16;

    #[inline]
    const fn new(name: &[u8]) -> Option<Folded> {
        let len = name.len();
        let (head, tail) = if let (8..=Folded::BYTES_MAX, Some(head), Some(tail)) = (len, name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (4..=7, Some(head), Some(tail)) = (len, name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (u32::from_le_bytes(*head) as u64 | (u32::from_le_bytes(*tail) as u64) << 32, 0)
        } else if let 1..=3 = len {
            (name[0] as u64 | (name[len / 2] as u64) << 8 | (name[len - 1] as u64) << 16, 0)
        } else {
            return None;
        };
        Some(Folded { head: fold(head), tail: fold(tail), len })
    }

    #[inline]
    const fn place(&self) -> usize {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        ((self.head ^ self.tail.rotate_left(29)).wrapping_mul(MIX) >> 50) as usize
    }
}

/// Eight bytes to lower case at once.
#[inline]
const fn fold(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EACH);
    // The top bit of each byte tells whether it reached `A`, and whether it passed `Z`.
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let past_z = low + (0x80 - b'Z' as u64 - 1) * EACH;
    let upper = from_a & !past_z & !word & (0x80 * EACH);
    word | upper >> 2
}

static FOLDED: [Folded; TOP_COUNT] = {
    let mut all = [Folded { head: 0, tail: 0, len: 0 }; TOP_COUNT];
    let mut index = 0;
    while index < TOP_COUNT {
        if let Some(folded) = Folded::new(COMMANDS_ORDERED[index].name.as_bytes()) {
            all[index] = folded;
        }
        index += 1;
    }
    all
};

const EMPTY: u16 = u16::MAX;

/// Numbers by the hash of their names, open addressing; sparse, so that most are found at the first look.
static PLACES: [u16; 2048] = {
    let mut places = [EMPTY; 2048];
    let mut index = 0;
    while index < TOP_COUNT {
        if let Some(folded) = Folded::new(COMMANDS_ORDERED[index].name.as_bytes()) {
            let mut place = folded.place() % places.len();
            while places[place] != EMPTY {
                place = (place + 1) % places.len();
            }
            places[place] = index as u16;
        }
        index += 1;
    }
    places
};
const _: () = assert!(TOP_COUNT * 4 <= PLACES.len(), "a sparse table keeps looks short");

const fn is_before(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() {
        if left[index] != right[index] {
            return left[index] < right[index];
        }
        index += 1;
    }
    left.len() < right.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::{Category, Flags, Handler, Spread};
    use crate::wire::{Limits, Parsed, Proto, parse, split_words};

    fn with_args<T>(line: &str, look: impl FnOnce(Args<'_>) -> T) -> T {
        let words = split_words(line.as_bytes()).unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in &words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let mut spans = Vec::new();
        assert_eq!(parse(&request, &Limits::OPEN, &mut spans), Parsed::Request { bytes: request.len() });
        look(Args::new(&request, &spans))
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let shown = with_args(line, |args| match resolve(args) {
            Resolved::Command(number) => {
                let command = COMMANDS_BY_NUMBER[usize::from(number)];
                let keys: Vec<String> = keys_of(command, args).map(|index| String::from_utf8_lossy(args.get(index)).into()).collect();
                format!("{} {}", command.full_name, keys.join(","))
            }
            refused => {
                let mut out = Vec::new();
                refused.refuse(args, &mut Reply::new(&mut out, Proto::Resp2));
                String::from_utf8_lossy(&out).trim_end_matches("\r\n").to_string()
            }
        });
        assert_eq!(shown.trim_end_matches(' '), expected.trim_end_matches(' '), "{line}");
    }

    #[test]
    fn requests_become_commands_and_keys() {
        check("GET a", "get a");
        check("gEt a", "get a");
        check("MGET a b c", "mget a,b,c");
        check("mset a 1 b 2", "mset a,b");
        check("mset a 1 b", "mset a,b");
        check("copy a b", "copy a,b");
        check("RENAME a b", "rename a,b");
        check("zunion 2 a b c", "zunion a,b");
        check("zunionstore d 2 a b weights 1 2", "zunionstore d,a,b");
        check("zunionstore d 9 a", "zunionstore d,a");
        check("zunionstore d x a", "zunionstore d");
        check("zmpop 1 a min", "zmpop a");
        check("georadius a 1 2 3 m", "georadius a");
        check("georadius a 1 2 3 m asc store b", "georadius a,b");
        check("georadius a 1 2 3 m store b storedist c", "georadius a,c");
        check("georadius a 1 2 3 m store", "georadius a");
        check("PING", "ping");
        check("LMOVE a b LEFT RIGHT", "lmove a,b");
        check("LMPOP 2 a b LEFT", "lmpop a,b");
        check("CLIENT LIST", "client|list");
        check("client setinfo LIB-NAME x", "client|setinfo");
        check("command", "command");
        check("command count", "command|count");
        check("CONFIG GET maxmemory", "config|get");
        check("SINTERSTORE d a b", "sinterstore d,a,b");
        check("SINTERCARD 2 a b LIMIT 1", "sintercard a,b");
        check("SINTERCARD 9 a b", "sintercard a,b");
        check("SINTERCARD x a b", "sintercard ");
    }

    #[test]
    fn refusals_in_the_words_clients_look_for() {
        check("foo", "-ERR unknown command 'foo', with args beginning with: ");
        check("Foo a b", "-ERR unknown command 'Foo', with args beginning with: 'a' 'b' ");
        check("\"a\\r\\nb\" c", "-ERR unknown command 'a  b', with args beginning with: 'c' ");
        let long = "x".repeat(200);
        check(&long, &format!("-ERR unknown command '{}', with args beginning with: ", &long[..128]));
        check(&format!("foo {long} y"), &format!("-ERR unknown command 'foo', with args beginning with: '{}' ", &long[..128]));
        check(
            &format!("foo {} {long} y", &long[..100]),
            &format!("-ERR unknown command 'foo', with args beginning with: '{}' '{}' ", &long[..100], &long[..25]),
        );
        check("get", "-ERR wrong number of arguments for 'get' command");
        check("get a b", "-ERR wrong number of arguments for 'get' command");
        check("set a", "-ERR wrong number of arguments for 'set' command");
        check("client", "-ERR wrong number of arguments for 'client' command");
        check("client setname", "-ERR wrong number of arguments for 'client|setname' command");
        check("client Foo x", "-ERR unknown subcommand 'Foo'. Try CLIENT HELP.");
        check("\"\" a", "-ERR unknown command '', with args beginning with: 'a' ");
    }

    #[test]
    fn every_command_is_found_by_its_name_and_number() {
        for (index, command) in COMMANDS.iter().enumerate() {
            for name in [command.name.to_string(), command.name.to_uppercase()] {
                let (number, found) = find(name.as_bytes()).unwrap();
                assert_eq!((usize::from(number), found.name), (index, command.name));
                assert!(std::ptr::eq(COMMANDS_BY_NUMBER[index], found));
            }
            assert_eq!(container_of(index as u16), None);
            for subcommand in command.subcommands {
                let (number, found) = find_full(subcommand.full_name.as_bytes()).unwrap();
                assert!(std::ptr::eq(found, subcommand) && std::ptr::eq(COMMANDS_BY_NUMBER[usize::from(number)], subcommand));
                assert_eq!(container_of(number), Some(index as u16), "{}", subcommand.full_name);
                assert_eq!(subcommand.full_name, format!("{}|{}", command.name, subcommand.name));
            }
        }
        assert_eq!(COMMANDS_BY_NUMBER.len(), COMMAND_COUNT);
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name), "in order, none twice");
    }

    #[test]
    fn names_that_are_almost_right_are_not_found() {
        for command in COMMANDS {
            let name = command.name.as_bytes();
            for index in 0..name.len() {
                for bit in 0..8 {
                    let mut other = name.to_vec();
                    other[index] ^= 1 << bit;
                    let found = find(&other).map(|(_, found)| found.name.as_bytes());
                    assert!(found.is_none_or(|found| found.eq_ignore_ascii_case(&other)), "{}", other.escape_ascii());
                }
                assert!(find(&name[..index]).is_none_or(|(_, found)| found.name.as_bytes() == &name[..index]));
            }
            for last in [0, b' ', b'a', 0xff] {
                let longer = [name, &[last]].concat();
                assert!(find(&longer).is_none_or(|(_, found)| found.name.as_bytes() == longer));
            }
        }
        // Of periodic names several lengths have the same words.
        for name in ["", "infoinfo", "a", "\0", "get\0", "setset", "00000000000000000000"] {
            assert!(find(name.as_bytes()).is_none(), "{name:?}");
        }
    }

    #[test]
    fn the_table_does_not_contradict_itself() {
        for command in COMMANDS_BY_NUMBER {
            let name = command.full_name;
            assert!(command.arity != 0, "{name}");
            assert!(!command.summary.is_empty() && command.summary.ends_with('.'), "{name}");
            assert!(!command.complexity.is_empty() && !command.since.is_empty() && !command.group.is_empty(), "{name}");
            assert!(!(command.flags.has(Flags::WRITE) && command.flags.has(Flags::READONLY)), "{name}");
            assert_eq!(matches!(command.keys, Keys::None), command.key_specs[0].is_none(), "{name}");
            assert_eq!(
                command.spread == Spread::Everywhere,
                command.keys == Keys::None && matches!(command.handler, Handler::Shard(_)),
                "{name}"
            );
            if matches!(command.handler, Handler::Container) {
                assert!(!command.subcommands.is_empty(), "{name}");
                assert!(command.subcommands.iter().any(|subcommand| subcommand.name == "help"), "{name}");
            }
            if matches!(command.spread, Spread::Sum | Spread::Gather | Spread::Each | Spread::Borrow) {
                match command.keys {
                    Keys::Range { first, last, step } => assert!(last < 0 || last >= first + step, "{name} has one key only"),
                    Keys::Counted { .. } | Keys::StoredCounted { .. } | Keys::Announced { .. } => {
                        assert_eq!(command.spread, Spread::Borrow, "{name}")
                    }
                    Keys::None => panic!("{name} spreads nothing"),
                }
            }
            let categories = command.categories_all();
            assert!(categories.has(Category::Fast) != categories.has(Category::Slow), "{name}");
        }
    }
}
