//! Bytes nobody in their right mind would send, to everything that reads bytes from outside.
//!
//! Each target starts from well-formed inputs and damages, joins and repeats them; inputs that make it do something new
//! are kept and damaged further. A fixed number of inputs by default, always the same ones; for so many seconds each if
//! `COREWHEEL_FUZZ_SECONDS` says so, from another seed if `COREWHEEL_FUZZ_SEED` does. An input that breaks a promise is
//! printed with its seed: make it a case of the unit tests.

use shards::command::{COMMANDS_BY_NUMBER, Call, Handler, Resolved, introspect, keys_of, resolve, table};
use shards::rdb::{self, Decoded, Entry, Item, ReadError, Reader, Value};
use shards::wire::{Args, Limits, Malformed, Parsed, Partial, Proto, Reply, Span, parse, split_words};
use shards::{Db, KeySeed, Shard, ShardConfig, glob};
use std::collections::HashSet;
use std::time::{Duration, Instant};

#[test]
fn requests_are_the_same_however_they_are_cut() {
    let corpus: &[&[u8]] = &[
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        b"*1\r\n$4\r\nPING\r\n\r\n*0\r\n*-1\r\nPING\r\n",
        b"*2\r\n$4\r\nECHO\r\n$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n",
        b"set a \"b\\x41\\n\" 'c\\'d'\r\nget a\n",
        b"*1000000\r\n$500000000\r\n",
        b"*11\r\n$16385\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"*2\r\n$3\r\nGET\r\n+OK\r\n",
    ];
    let tokens: &[&[u8]] =
        &[b"\r\n", b"\n", b"*", b"$", b"*3\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"2147483648", b"-", b"\"", b"'", b"\\x", b"\0"];
    fuzz("requests", 20_000, corpus, tokens, |input, chance| {
        let limits = if chance.one_in(3) { Limits::UNAUTHENTICATED } else { Limits { line_bytes_max: 512, ..Limits::OPEN } };
        let whole = Connection::receive(input, &limits, &mut || usize::MAX);
        let pieces = Connection::receive(input, &limits, &mut || 1 + chance.below(40));
        assert_eq!(whole, pieces, "cut into pieces it is something else");
        feature(&(whole.requests.len().min(8), whole.refused.map(|refused| std::mem::discriminant(&refused)), whole.unfinished.min(3)))
    });
}

#[test]
fn inline_words_survive_the_array_form() {
    let corpus: &[&[u8]] = &[
        b"set a b\r\n",
        b"set \"a b\" 'c d'\r\n",
        b"\"\\x00\\xff\\n\\r\\t\\b\\a\\\\\\\"\"\n",
        b"'it\\'s'\n",
        b"   \r\n",
        b"a\"b\"\n",
        b"\"a\"b\n",
    ];
    let tokens: &[&[u8]] = &[b"\"", b"'", b"\\", b"\\x", b"\\x4", b" ", b"\t", b"\r\n", b"\0", b"$3"];
    fuzz("inline", 20_000, corpus, tokens, |input, _| {
        let mut spans = Vec::new();
        let line = &input[..input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len())];
        let words = split_words(line.strip_suffix(b"\r").unwrap_or(line));
        match parse(input, &Limits::OPEN, &mut spans) {
            Parsed::Inline { bytes, request } => {
                assert_eq!(bytes, line.len() + 1);
                let len = request.len();
                assert_eq!(parse(&request, &Limits::OPEN, &mut spans), Parsed::Request { bytes: len });
                let said: Vec<Vec<u8>> = Args::new(&request, &spans).iter_from(0).map(<[u8]>::to_vec).collect();
                assert_eq!(Some(&said), words.as_ref());
                feature(&(said.len().min(20), said.iter().map(Vec::len).max().unwrap_or(0).min(9)))
            }
            Parsed::Malformed(Malformed::Quotes) => {
                assert_eq!(words, None);
                feature(&"quotes")
            }
            other => feature(&std::mem::discriminant(&other)),
        }
    });
}

#[test]
fn patterns_end_in_bounded_time() {
    let corpus: &[&[u8]] =
        &[b"a*b*c\naXbYc", b"[a-c]?[^x]\nbzz", b"\\*\\[\n*[", b"[\na", b"a*a*a*a*a*b\naaaaaaaaaaaaaaaa", b"[]-a]\n]", b"*\nabc"];
    let tokens: &[&[u8]] = &[b"*", b"?", b"[", b"]", b"[^", b"-", b"\\", b"\n", b"a", b"aaaaaaaa", b"\xff", b"\x80"];
    fuzz("glob", 20_000, corpus, tokens, |input, _| {
        let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (pattern, text) = (&input[..split], &input[(split + 1).min(input.len())..]);
        let matched = glob::matches(pattern, text);
        let matched_in_any_case = glob::matches_in_any_case(pattern, text);
        if let Some(literal) = glob::literal(pattern) {
            assert_eq!(matched, literal == text);
            assert_eq!(matched_in_any_case, literal.eq_ignore_ascii_case(text));
        }
        // A star more on either side takes nothing away.
        if matched && !text.is_empty() && !pattern.contains(&b'\\') && !pattern.contains(&b'[') {
            assert!(glob::matches(&[b"*", pattern, b"*"].concat(), text));
        }
        feature(&(matched, matched_in_any_case, pattern.len().min(12), text.len().min(4)))
    });
}

#[test]
fn payloads_are_read_or_refused() {
    let mut strings: Vec<Vec<u8>> = Vec::new();
    for value in [&b""[..], b"a", b"12", b"-30000", b"2000000000", b"hello world", &b"abc".repeat(100), &b"x".repeat(20_000)] {
        let mut payload = Vec::new();
        rdb::encode_string(value, &mut payload);
        strings.push(payload[..payload.len() - 10].to_vec());
    }
    let mut corpus: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    corpus.extend::<[&[u8]; 12]>([
        b"\x01\x02\x01a\xc0\x05",
        b"\x02\x02\x01a\xc0\x05",
        b"\x03\x02\x01a\x031.5\x01b\xfe",
        b"\x04\x01\x01f\x01v",
        b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x3f",
        b"\x09\x08\x01\x01f\x01\x01v\0\xff",
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0",
        b"\x0c\x1f\x1f\0\0\0\x19\0\0\0\x06\0\0\x01a\x03\xf2\x02\x01b\x03\x031.5\x05\xf4\x02\x03inf\xff",
        b"\x0e\x02\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf2\xff\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01b\xff",
        b"\x12\x02\x01\x01a\x02\x0d\x0d\0\0\0\x02\0\x81c\x02\x81d\x02\xff",
        b"\x11\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff",
        b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff",
    ]);
    let tokens: &[&[u8]] = &[
        b"\x00",
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xc3",
        b"\x80\xff\xff\xff\xff",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3f",
        b"\x7f\xff",
        b"\xe0\xff\x00",
    ];
    fuzz("rdb", 20_000, &corpus, tokens, |body, chance| {
        // As it is, which all but always fails for its checksum; then with a good one.
        let _ = rdb::decode(body);
        let version: u16 = *chance.pick(&[6, 9, 10, 11, 12, 80, 13]);
        let mut payload = [body, &version.to_le_bytes()].concat();
        let checksum = rdb::crc64(&payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        match rdb::decode(&payload) {
            Ok(Decoded::String(value)) => {
                assert!(value.len() <= 20 + body.len() * 132, "{} bytes out of {}", value.len(), body.len());
                let mut again = Vec::new();
                rdb::encode_string(&value, &mut again);
                assert_eq!(rdb::decode(&again), Ok(Decoded::String(value.clone())));
                feature(&(body.get(1).map(|byte| byte >> 4), value.len().ilog2_or_zero()))
            }
            Ok(decoded) => {
                let collection = decoded.collection().expect("no string");
                let mut again = Vec::new();
                collection.encode(&mut again);
                assert_eq!(rdb::decode(&again).as_ref(), Ok(&decoded));
                feature(&(body.first(), collection.kind(), collection.len().ilog2_or_zero()))
            }
            Err(refused) => feature(&(refused.text(), body.first(), body.get(1).map(|byte| byte >> 4))),
        }
    });
}

#[test]
fn rdb_files_are_read_or_refused() {
    let every_kind = include_bytes!("dumps/redis-7.0.15.rdb");
    let corpus: &[&[u8]] = &[
        every_kind,
        b"VALKEY080\xfe\x03\x00\x01k\x01v\x16\x01h\x01\x01f\x01v........\xff\0\0\0\0\0\0\0\0",
        b"REDIS0009\x07\x01m\x05\x01\x05\x05\x03abc\x00\xff\0\0\0\0\0\0\0\0",
    ];
    let tokens: &[&[u8]] = &[
        b"\x00\x01k",
        b"\xc0",
        b"\xc3\x05\x40\x80",
        b"\x80\xff\xff\xff\xff",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xfc........",
        b"\xfe\x05",
        b"\x15\x01s",
        b"\xff\0\0\0\0\0\0\0\0",
    ];
    fuzz("rdb files", 20_000, corpus, tokens, |input, _| {
        let Ok(mut reader) = Reader::begin(input) else { return 0 };
        let mut items = 0usize;
        loop {
            let at = reader.position().at;
            assert!(at <= input.len() as u64);
            match reader.next() {
                Ok(Item::End) => return feature(&(1, items.ilog2_or_zero())),
                Ok(Item::Key(Entry { value: Value::String(value), .. })) => assert!(value.len() <= 20 + input.len() * 132),
                Ok(_) => {}
                Err(ReadError::Damaged { what, .. }) => return feature(&(2, what)),
                Err(other) => return feature(&(3, std::mem::discriminant(&other), items.ilog2_or_zero())),
            }
            assert!(reader.position().at > at, "an item takes bytes, so that reading ends");
            items += 1;
        }
    });
}

#[test]
fn commands_answer_once_whatever_they_are_told() {
    // Numbers large enough to be refused, or small enough to cost little.
    const WORDS: &[&[u8]] = &[
        b"",
        b"0",
        b"1",
        b"-1",
        b"2",
        b"7",
        b"10",
        b"100",
        b"64000",
        b"3.14",
        b"-1e3",
        b"1e5000",
        b"nan",
        b"inf",
        b"a",
        b"b",
        b"{t}a",
        b"{t}b",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775808",
        b"4294967296",
        b"2000000001000",
        b"1999999999",
        b"01",
        b"*",
        b"a*",
        b"[",
        b"NX",
        b"XX",
        b"GT",
        b"LT",
        b"GET",
        b"EX",
        b"PX",
        b"EXAT",
        b"PXAT",
        b"KEEPTTL",
        b"PERSIST",
        b"IFEQ",
        b"IFNE",
        b"REPLACE",
        b"ABSTTL",
        b"IDLETIME",
        b"FREQ",
        b"DB",
        b"MATCH",
        b"COUNT",
        b"TYPE",
        b"string",
        b"BYTE",
        b"BIT",
        b"AND",
        b"OR",
        b"XOR",
        b"NOT",
        b"LEN",
        b"IDX",
        b"MINMATCHLEN",
        b"WITHMATCHLEN",
        b"OVERFLOW",
        b"WRAP",
        b"SAT",
        b"FAIL",
        b"SET",
        b"INCRBY",
        b"u8",
        b"i64",
        b"u64",
        b"u63",
        b"#1",
        b"#100",
        b"i0",
        b"ASYNC",
        b"SYNC",
        b"SAMPLES",
        b"HELP",
        b"FILTERBY",
        b"ACLCAT",
        b"PATTERN",
        b"\xff\x00\r\n",
        b"foobar",
        b"\x00\x03abc\x09\x00\x93\xa1\x18\xb8\xd9\xfe\x1c\x9d",
    ];
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(7), chance_seed: 7, db_count: 3 });
    let mut now = 2_000_000_000_000;
    let (mut request, mut spans) = (Vec::new(), Vec::new());
    fuzz("commands", 30_000, &[b"123", b"abcdefgh"], &[], |input, chance| {
        let command = *chance.pick(&COMMANDS_BY_NUMBER);
        request.clear();
        spans.clear();
        let mut word = |bytes: &[u8]| {
            spans.push(Span { start: request.len() as u32, len: bytes.len() as u32 });
            request.extend_from_slice(bytes);
        };
        command.full_name.split('|').for_each(|part| word(part.as_bytes()));
        let least = usize::from(command.arity.unsigned_abs());
        let given = command.full_name.split('|').count();
        let more = if command.arity < 0 { chance.below(8) } else { 0 };
        for _ in given..least + more {
            if chance.one_in(12) { word(input) } else { word(chance.pick::<&[u8]>(WORDS)) }
        }
        let args = Args::new(&request, &spans);
        now += chance.below(3) as u64;
        let mut out = Vec::new();
        let proto = if chance.one_in(2) { Proto::Resp2 } else { Proto::Resp3 };
        let mut reply = Reply::new(&mut out, proto);
        let number = match resolve(args) {
            Resolved::Command(number) => number,
            refused => {
                assert!(!command.subcommands.is_empty(), "{} is not itself", command.full_name);
                refused.refuse(args, &mut reply);
                assert_eq!(reply_end(&out, 0), Some(out.len()));
                return feature(&"refused");
            }
        };
        let command = COMMANDS_BY_NUMBER[usize::from(number)];
        assert!(keys_of(command, args).all(|index| index < args.len()));
        match (command.handler, command.full_name) {
            (Handler::Shard(handler), _) => {
                let first = keys_of(command, args).next().map_or(&b""[..], |index| args.get(index));
                let key = shard.key(first);
                handler(&mut shard, &mut Call { args, key, db: Db(chance.below(3) as u16), now, reply });
            }
            (_, "command|list") => introspect::list(args, &mut reply),
            (_, "command|docs") => introspect::docs(args, &mut reply),
            (_, "command|info") => introspect::info(args, &mut reply),
            (_, "command|getkeys") => introspect::getkeys(args, &mut reply),
            (_, "command|getkeysandflags") => introspect::getkeysandflags(args, &mut reply),
            (_, name) if name.ends_with("|help") => introspect::help(table::container_of(number).expect("a subcommand"), &mut reply),
            _ => return feature(&number),
        }
        assert_eq!(reply_end(&out, 0), Some(out.len()), "{}: one whole reply, not {:?}", command.full_name, out.escape_ascii().to_string());
        if chance.one_in(50) {
            shard.tick(now, 100);
        }
        feature(&(number, out.first(), args.len()))
    });
}

/// Where the reply at `at` ends.
fn reply_end(bytes: &[u8], at: usize) -> Option<usize> {
    let line_end = at + bytes.get(at..)?.iter().position(|byte| *byte == b'\n')? + 1;
    let text = std::str::from_utf8(bytes.get(at + 1..line_end - 2)?);
    let number = || text.ok()?.parse::<i64>().ok();
    match bytes[at] {
        b'+' | b'-' | b'_' | b'#' | b',' | b'(' => Some(line_end),
        b':' => number().map(|_| line_end),
        b'$' | b'=' => match usize::try_from(number()?) {
            Ok(len) => bytes.get(line_end..line_end + len + 2)?.ends_with(b"\r\n").then_some(line_end + len + 2),
            Err(_) => Some(line_end),
        },
        b'*' | b'~' | b'>' => (0..number()?.max(0)).try_fold(line_end, |at, _| reply_end(bytes, at)),
        b'%' => (0..2 * number()?).try_fold(line_end, |at, _| reply_end(bytes, at)),
        _ => None,
    }
}

/// What a stream of bytes was understood as.
#[derive(Debug, PartialEq, Eq)]
struct Understood {
    requests: Vec<Vec<Vec<u8>>>,
    refused: Option<Malformed>,
    unfinished: usize,
}

/// A connection as the engine has it: all that arrives is parsed, and only an unfinished request is kept.
struct Connection;

impl Connection {
    fn receive(stream: &[u8], limits: &Limits, piece_bytes: &mut dyn FnMut() -> usize) -> Understood {
        let mut understood = Understood { requests: Vec::new(), refused: None, unfinished: 0 };
        let mut partial: Option<Partial> = None;
        let (mut begin, mut arrived) = (0, 0);
        while arrived < stream.len() {
            arrived = arrived.saturating_add(piece_bytes()).min(stream.len());
            while begin < arrived {
                let buffer = &stream[begin..arrived];
                let mut spans = Vec::new();
                let parsed = match &mut partial {
                    Some(partial) => {
                        let parsed = partial.advance(buffer, limits);
                        spans.clone_from(&partial.spans);
                        assert!(partial.missing_bytes_min(buffer) > 0);
                        parsed
                    }
                    None => parse(buffer, limits, &mut spans),
                };
                assert!(spans.capacity() <= buffer.len() + 8, "more was reserved than arrived");
                match parsed {
                    Parsed::Request { bytes } => {
                        assert!(bytes <= buffer.len() && !spans.is_empty());
                        understood.requests.push(Args::new(&buffer[..bytes], &spans).iter_from(0).map(<[u8]>::to_vec).collect());
                        begin += bytes;
                        partial = None;
                    }
                    Parsed::Inline { bytes, request } => {
                        assert!(bytes <= buffer.len());
                        understood.requests.push(vec![request]);
                        begin += bytes;
                        partial = None;
                    }
                    Parsed::Nothing { bytes } => {
                        assert!((1..=buffer.len()).contains(&bytes));
                        begin += bytes;
                        partial = None;
                    }
                    Parsed::Incomplete => {
                        partial.get_or_insert_default();
                        break;
                    }
                    Parsed::Malformed(refused) => {
                        understood.refused = Some(refused);
                        return understood;
                    }
                }
            }
        }
        understood.unfinished = stream.len() - begin;
        understood
    }
}

/// Runs `target` on damaged inputs. It answers what kind of thing happened; inputs that made something new happen are kept.
fn fuzz(name: &str, inputs: u64, corpus: &[&[u8]], tokens: &[&[u8]], mut target: impl FnMut(&[u8], &mut Chance) -> u64) {
    const KEPT_MAX: usize = 2_000;
    const INPUT_BYTES_MAX: usize = 64 * 1024;
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is no number")));
    let seed = setting("COREWHEEL_FUZZ_SEED").unwrap_or(1);
    let until = setting("COREWHEEL_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut chance = Chance(seed);
    let mut kept: Vec<Vec<u8>> = corpus.iter().map(|input| input.to_vec()).collect();
    let mut seen = HashSet::new();
    let mut count = 0;
    loop {
        let mut input = chance.pick(&kept).clone();
        // The well-formed inputs first, as they are.
        if count < kept.len() as u64 {
            input.clone_from(&kept[count as usize]);
        } else {
            for _ in 0..1 + chance.below(6) {
                damage(&mut input, &kept, tokens, &mut chance);
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        let teller = Teller { name, seed, count, input: &input };
        let feature = target(&input, &mut chance);
        std::mem::forget(teller);
        if seen.insert(feature) && kept.len() < KEPT_MAX {
            kept.push(input);
        }
        count += 1;
        if until.map_or(count >= inputs, |until| count % 64 == 0 && Instant::now() >= until) {
            break;
        }
    }
    println!("fuzz {name}: {count} inputs from seed {seed}, {} kinds of outcome", seen.len());
}

/// Tells the input if the target panics: dropped only then.
struct Teller<'a> {
    name: &'a str,
    seed: u64,
    count: u64,
    input: &'a [u8],
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        eprintln!("fuzz {}: seed {}, input {}: b\"{}\"", self.name, self.seed, self.count, self.input.escape_ascii());
    }
}

fn damage(input: &mut Vec<u8>, kept: &[Vec<u8>], tokens: &[&[u8]], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    let to = at + chance.below((input.len() - at + 1).min(64));
    match chance.below(9) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = *chance.pick(&[0, b'\r', b'\n', b'0', b'9', b'-', b'$', b'*', 0x7f, 0x80, 0xff]),
        2 => drop(input.drain(at..to)),
        3 => {
            let copy = input[at..to].to_vec();
            let place = chance.below(input.len() + 1);
            input.splice(place..place, copy);
        }
        4 => input.truncate(at),
        5 if !tokens.is_empty() => drop(input.splice(at..at, chance.pick(tokens).iter().copied())),
        6 => {
            let other = chance.pick(kept);
            let from = chance.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => {
            // Another number in place of one.
            if let Some(digit) = input[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) {
                let end = input[digit..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |len| digit + len);
                let numbers: &[&[u8]] =
                    &[b"0", b"1", b"-1", b"2", b"10", b"11", b"16", b"16384", b"99999", b"1048577", b"2147483647", b"99999999999999999999"];
                input.splice(digit..end, chance.pick(numbers).iter().copied());
            }
        }
        _ => {
            let byte = chance.next() as u8;
            input.insert(at, byte);
        }
    }
}

fn feature(what: &impl std::hash::Hash) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

trait Log2 {
    fn ilog2_or_zero(self) -> u32;
}

impl Log2 for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

/// SplitMix64: the same for ever from one seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }
}
