//! Plays a script against an empty shard.
//!
//! One case a line: `REQUEST => REPLY`. Words of a request may be quoted, with the escapes of an inline command. A reply is
//! its bytes, line ends written as `|` except for the last. `@ +MS` moves the clock, `@ resp3` changes the dialect,
//! `# ` begins a comment.

use shards::command::{COMMANDS_BY_NUMBER, Call, Handler, Resolved, keys_of, resolve};
use shards::shard::Deadline;
use shards::wire::{Args, Proto, Reply, Span};
use shards::{Db, KeySeed, Shard, ShardConfig};

/// When scripts begin: 2033-05-18T03:33:20Z.
const NOW_MS: u64 = 2_000_000_000_000;

/// A shard, and what a connection would remember.
pub(super) struct Session {
    shard: Shard,
    db: Db,
    now: u64,
    proto: Proto,
}

/// Every reply must be as the script has it. All lines that are not are told at once.
pub(super) fn check(script: &str) {
    let mut session = Session::new();
    let mut wrong = String::new();
    let mut cases = 0;
    for (index, line) in script.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(order) = line.strip_prefix("@ ") {
            session.order(order);
            continue;
        }
        let (request, wanted) = line.split_once(" => ").unwrap_or_else(|| panic!("line {}: no ` => `", index + 1));
        let reply = shown(&session.ask(&words(request)));
        cases += 1;
        if reply != wanted {
            wrong += &format!("line {}: {request}\n  wanted {wanted}\n  got    {reply}\n", index + 1);
        }
    }
    assert!(cases > 0, "a script without cases");
    assert!(wrong.is_empty(), "\n{wrong}");
}

impl Session {
    /// With an empty shard.
    pub(super) fn new() -> Session {
        let shard = Shard::new(ShardConfig { key_seed: KeySeed::new(7), chance_seed: 7, db_count: 16 });
        Session { shard, db: Db(0), now: NOW_MS, proto: Proto::Resp2 }
    }

    pub(super) fn order(&mut self, order: &str) {
        match order {
            "resp3" => self.proto = Proto::Resp3,
            "resp2" => self.proto = Proto::Resp2,
            _ => self.now += order.strip_prefix('+').and_then(|ms| ms.parse::<u64>().ok()).expect("an order"),
        }
    }

    /// What commands do not show.
    pub(super) fn with_shard<T>(&self, look: impl FnOnce(&Shard, u64) -> T) -> T {
        look(&self.shard, self.now)
    }

    /// The same to do what happens between commands.
    pub(super) fn with_shard_mut<T>(&mut self, work: impl FnOnce(&mut Shard, u64) -> T) -> T {
        work(&mut self.shard, self.now)
    }

    /// Lets the shard do what it has put off.
    pub(super) fn tick_until_idle(&mut self) {
        while self.shard.tick(self.now, 1000) > 0 || self.shard.backlog() > 0 || self.shard.next_deadline() == Some(Deadline(0)) {}
    }

    /// One request to its reply's bytes, by the table, as the engine does it for one core.
    pub(super) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let spans: Vec<Span> = words
            .iter()
            .map(|word| {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(word.as_ref());
                Span { start, len: word.as_ref().len() as u32 }
            })
            .collect();
        let args = Args::new(&bytes, &spans);
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, self.proto);
        if args.get(0).eq_ignore_ascii_case(b"select") {
            self.db = Db(String::from_utf8_lossy(args.get(1)).parse().expect("a number"));
            reply.ok();
            return out;
        }
        let command = match resolve(args) {
            Resolved::Command(number) => COMMANDS_BY_NUMBER[usize::from(number)],
            refused => {
                refused.refuse(args, &mut reply);
                return out;
            }
        };
        let Handler::Shard(handler) = command.handler else { panic!("{} does not run on a shard", command.full_name) };
        let first_key = keys_of(command, args).next().map_or(b"".as_slice(), |index| args.get(index));
        let key = self.shard.key(first_key);
        handler(&mut self.shard, &mut Call { args, key, db: self.db, now: self.now, reply });
        out
    }
}

/// The words of a line; `"..."` may hold blanks and escapes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.bytes().peekable();
    loop {
        while rest.next_if_eq(&b' ').is_some() {}
        let mut word = Vec::new();
        match rest.peek() {
            None => return words,
            Some(b'"') => {
                rest.next();
                loop {
                    match rest.next().expect("a closing quote") {
                        b'"' => break,
                        b'\\' => word.push(match rest.next().expect("an escape") {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            b'x' => {
                                let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
                                u8::from_str_radix(std::str::from_utf8(&digits).expect("digits"), 16).expect("digits")
                            }
                            other => other,
                        }),
                        other => word.push(other),
                    }
                }
            }
            Some(_) => {
                while let Some(byte) = rest.next_if(|byte| *byte != b' ') {
                    word.push(byte);
                }
            }
        }
        words.push(word);
    }
}

/// Line ends as `|`, what cannot be printed as escapes.
fn shown(reply: &[u8]) -> String {
    let mut text = String::new();
    let reply = reply.strip_suffix(b"\r\n").expect("a reply ends its last line");
    let mut rest = reply.iter().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\r' if rest.next_if_eq(&&b'\n').is_some() => text.push('|'),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text
}
