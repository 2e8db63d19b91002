//! Commands on strings.

use super::expire::{TimeForm, deadline_at};
use super::{Call, STRING_BYTES_MAX, texts};
use crate::shard::{Deadline, Expiry, Kind, Shard};

/// `GET key`
#[inline]
pub fn get(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match shard.read(call.db, &call.key, call.now) {
        Some(found) if found.kind == Kind::String => call.reply.bulk(found.value),
        Some(_) => call.reply.error(texts::WRONG_TYPE),
        None => call.reply.null(),
    }
}

/// `SET key value [NX | XX | IFEQ other | IFNE other] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
#[inline]
pub fn set(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if call.args.len() != 3 {
        return set_with_options(shard, call);
    }
    shard.put(call.db, &call.key, Kind::String, call.args.get(2), Expiry::Never, call.now);
    call.reply.ok();
}

#[cold]
#[inline(never)]
fn set_with_options(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(options) = SetOptions::parse(call, 3, Grammar::Set) else { return call.reply.error(texts::SYNTAX) };
    let Some(lifetime) = options.lifetime.resolve(call, "set") else { return };
    if options.get {
        // The old value is the answer, whether or not the new one is put.
        match shard.read(call.db, &call.key, call.now) {
            None => call.reply.null(),
            Some(found) => match call.string(&found) {
                Some(value) => call.reply.bulk(value),
                None => return,
            },
        }
    }
    let found = shard.peek(call.db, &call.key, call.now);
    let met = match options.condition {
        Condition::Always => true,
        Condition::Absent => found.is_none(),
        Condition::Present => found.is_some(),
        Condition::Equal(_) if found.is_none() => false,
        Condition::Unequal(_) if found.is_none() => true,
        Condition::Equal(other) | Condition::Unequal(other) => {
            let Some(value) = found.and_then(|found| call.string(&found)) else { return };
            (value == other) == matches!(options.condition, Condition::Equal(_))
        }
    };
    if met {
        put(shard, call, call.args.get(2), lifetime);
    }
    match (options.get, met) {
        (true, _) => {}
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
}

/// Puts a string under the call's key. A value whose time is already past is as good as deleted.
fn put(shard: &mut Shard, call: &Call<'_, '_>, value: &[u8], expiry: Expiry) {
    match expiry {
        Expiry::At(deadline) if deadline.0 <= call.now => {
            shard.delete(call.db, &call.key, call.now);
        }
        _ => shard.put(call.db, &call.key, Kind::String, value, expiry, call.now),
    }
}

/// What must hold of the value that is there, for a new one to replace it.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Always,
    Absent,
    Present,
    Equal(&'a [u8]),
    /// Or absent.
    Unequal(&'a [u8]),
}

/// What a client said of a value's time, before its number was read.
#[derive(Clone, Copy)]
enum Lifetime {
    Unsaid,
    Keep,
    Persist,
    Until { form: TimeForm, index: usize },
}

impl Lifetime {
    /// Reads the number. Answers the error and gives `None` if it is none.
    fn resolve(self, call: &mut Call<'_, '_>, command: &str) -> Option<Expiry> {
        match self {
            Lifetime::Unsaid | Lifetime::Persist => Some(Expiry::Never),
            Lifetime::Keep => Some(Expiry::Keep),
            Lifetime::Until { form, index } => deadline_at(call, index, form, command).map(Expiry::At),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grammar {
    Set,
    Getex,
}

struct SetOptions<'a> {
    condition: Condition<'a>,
    get: bool,
    lifetime: Lifetime,
}

impl<'a> SetOptions<'a> {
    /// `None` for anything that is not in the grammar. As in Redis an option may be repeated, and the last one counts, but
    /// two that contradict each other are refused.
    fn parse(call: &Call<'a, '_>, from: usize, grammar: Grammar) -> Option<SetOptions<'a>> {
        let mut options = SetOptions { condition: Condition::Always, get: false, lifetime: Lifetime::Unsaid };
        let setting = grammar == Grammar::Set;
        let mut index = from;
        while index < call.args.len() {
            let next = (index + 1 < call.args.len()).then(|| call.args.get(index + 1));
            if let Some(form) = TimeForm::of_option(call.args.get(index)) {
                next?;
                match options.lifetime {
                    Lifetime::Unsaid => {}
                    Lifetime::Until { form: earlier, .. } if earlier == form => {}
                    _ => return None,
                }
                index += 1;
                options.lifetime = Lifetime::Until { form, index };
            } else if setting && call.arg_is(index, "KEEPTTL") && matches!(options.lifetime, Lifetime::Unsaid | Lifetime::Keep) {
                options.lifetime = Lifetime::Keep;
            } else if !setting && call.arg_is(index, "PERSIST") && matches!(options.lifetime, Lifetime::Unsaid | Lifetime::Persist) {
                options.lifetime = Lifetime::Persist;
            } else if setting && call.arg_is(index, "GET") {
                options.get = true;
            } else if setting && call.arg_is(index, "NX") && matches!(options.condition, Condition::Always | Condition::Absent) {
                options.condition = Condition::Absent;
            } else if setting && call.arg_is(index, "XX") && matches!(options.condition, Condition::Always | Condition::Present) {
                options.condition = Condition::Present;
            } else if setting && call.arg_is(index, "IFEQ") && matches!(options.condition, Condition::Always) {
                options.condition = Condition::Equal(next?);
                index += 1;
            } else if setting && call.arg_is(index, "IFNE") && matches!(options.condition, Condition::Always) {
                options.condition = Condition::Unequal(next?);
                index += 1;
            } else {
                return None;
            }
            index += 1;
        }
        Some(options)
    }
}

/// `SETNX key value`
pub fn setnx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let absent = shard.peek(call.db, &call.key, call.now).is_none();
    if absent {
        put(shard, call, call.args.get(2), Expiry::Never);
    }
    call.reply.integer(i64::from(absent));
}

/// `SETEX key seconds value`
pub fn setex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_timed(shard, call, TimeForm::Ex, "setex");
}

/// `PSETEX key milliseconds value`
pub fn psetex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_timed(shard, call, TimeForm::Px, "psetex");
}

fn set_timed(shard: &mut Shard, call: &mut Call<'_, '_>, form: TimeForm, command: &str) {
    let Some(deadline) = deadline_at(call, 2, form, command) else { return };
    put(shard, call, call.args.get(3), Expiry::At(deadline));
    call.reply.ok();
}

/// `GETSET key value`
pub fn getset(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if answer_value(shard, call) {
        put(shard, call, call.args.get(2), Expiry::Never);
    }
}

/// `GETDEL key`
pub fn getdel(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if answer_value(shard, call) {
        shard.delete(call.db, &call.key, call.now);
    }
}

/// Answers as `GET` does. `false` if the answer was an error, so that nothing may change.
fn answer_value(shard: &mut Shard, call: &mut Call<'_, '_>) -> bool {
    match shard.read(call.db, &call.key, call.now) {
        None => call.reply.null(),
        Some(found) => match call.string(&found) {
            Some(value) => call.reply.bulk(value),
            None => return false,
        },
    }
    true
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub fn getex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(options) = SetOptions::parse(call, 2, Grammar::Getex) else { return call.reply.error(texts::SYNTAX) };
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.null() };
    let Some(value) = call.string(&found) else { return };
    let Some(expiry) = options.lifetime.resolve(call, "getex") else { return };
    call.reply.bulk(value);
    match (options.lifetime, expiry) {
        (Lifetime::Unsaid, _) => {}
        (_, Expiry::At(deadline)) if deadline.0 <= call.now => {
            shard.delete(call.db, &call.key, call.now);
        }
        (_, expiry) => {
            let deadline = match expiry {
                Expiry::At(Deadline(ms)) => Some(Deadline(ms)),
                Expiry::Never | Expiry::Keep => None,
            };
            shard.set_deadline(call.db, &call.key, deadline, call.now);
        }
    }
}

/// `DELIFEQ key value`: Valkey's compare and delete, the safe way to give back a lock.
pub fn delifeq(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(found) = shard.peek(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    let Some(value) = call.string(&found) else { return };
    let equal = value == call.args.get(2);
    if equal {
        shard.delete(call.db, &call.key, call.now);
    }
    call.reply.integer(i64::from(equal));
}

/// `DELEX key [IFEQ value | IFNE value]`: the same in Redis 8's spelling.
pub fn delex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let wanted_equal = match call.args.len() {
        2 => {
            let deleted = shard.delete(call.db, &call.key, call.now);
            return call.reply.integer(i64::from(deleted));
        }
        4 if call.arg_is(2, "IFEQ") => true,
        4 if call.arg_is(2, "IFNE") => false,
        4 => return call.reply.error("ERR Invalid condition. Use IFEQ or IFNE"),
        _ => return call.reply.error("ERR wrong number of arguments for 'delex' command"),
    };
    let Some(found) = shard.peek(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    if found.kind != Kind::String {
        return call.reply.error("ERR Key should be of string type if conditions are specified");
    }
    let met = (found.value == call.args.get(3)) == wanted_equal;
    if met {
        shard.delete(call.db, &call.key, call.now);
    }
    call.reply.integer(i64::from(met));
}

/// `STRLEN key`
pub fn strlen(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    let Some(value) = call.string(&found) else { return };
    call.reply.integer(value.len() as i64);
}

/// `GETRANGE key start end`, and `SUBSTR`, its old name.
pub fn getrange(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(start) = call.integer_at(2) else { return };
    let Some(end) = call.integer_at(3) else { return };
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.bulk(b"") };
    let Some(value) = call.string(&found) else { return };
    // Two positions counted from the end in the wrong order are empty even where clamping would make them meet.
    if start < 0 && end < 0 && start > end {
        return call.reply.bulk(b"");
    }
    call.reply.bulk(clamped_range(start, end, value.len()).map_or(b"", |range| &value[range]));
}

/// Both ends included, negative ones counted from the end, as far as they lie inside. `None` if that is nothing.
pub(super) fn clamped_range(start: i64, end: i64, len: usize) -> Option<std::ops::Range<usize>> {
    let len = len as i64;
    let from_left = |position: i64| if position < 0 { (len + position).max(0) } else { position };
    let (start, end) = (from_left(start), from_left(end).min(len - 1));
    (start <= end).then(|| start as usize..end as usize + 1)
}

/// `SETRANGE key offset value`
pub fn setrange(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(offset) = call.integer_at(2) else { return };
    if offset < 0 {
        return call.reply.error("ERR offset is out of range");
    }
    let piece = call.args.get(3);
    let Some(len) = string_len(shard, call) else { return };
    if piece.is_empty() {
        return call.reply.integer(len as i64);
    }
    let Some(end) = sum_within_max(offset as u64, piece.len()) else { return call.reply.error(texts::TOO_LONG) };
    let value = shard.resize(call.db, &call.key, len.max(end), call.now);
    value[end - piece.len()..end].copy_from_slice(piece);
    call.reply.integer(len.max(end) as i64);
}

/// `APPEND key value`
pub fn append(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let piece = call.args.get(2);
    let Some(len) = string_len(shard, call) else { return };
    let Some(end) = sum_within_max(len as u64, piece.len()) else { return call.reply.error(texts::TOO_LONG) };
    shard.resize(call.db, &call.key, end, call.now)[len..].copy_from_slice(piece);
    call.reply.integer(end as i64);
}

/// The length of a string, zero if absent. Answers the error and gives `None` if it is something else.
pub(super) fn string_len(shard: &Shard, call: &mut Call<'_, '_>) -> Option<usize> {
    match shard.peek(call.db, &call.key, call.now) {
        None => Some(0),
        Some(found) => call.string(&found).map(<[u8]>::len),
    }
}

fn sum_within_max(offset: u64, len: usize) -> Option<usize> {
    offset.checked_add(len as u64).filter(|end| *end <= STRING_BYTES_MAX as u64).map(|end| end as usize)
}

/// `MGET key [key ...]`
pub fn mget(shard: &mut Shard, call: &mut Call<'_, '_>) {
    call.reply.array(call.args.len() - 1);
    for index in 1..call.args.len() {
        let key = call.key_at(shard, index);
        match shard.read(call.db, &key, call.now) {
            Some(found) if found.kind == Kind::String => call.reply.bulk(found.value),
            _ => call.reply.null(),
        }
    }
}

/// `MSET key value [key value ...]`
pub fn mset(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if call.args.len().is_multiple_of(2) {
        return call.reply.error("ERR wrong number of arguments for 'mset' command");
    }
    put_pairs(shard, call);
    call.reply.ok();
}

/// `MSETNX key value [key value ...]`: all or nothing.
pub fn msetnx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if call.args.len().is_multiple_of(2) {
        return call.reply.error("ERR wrong number of arguments for 'msetnx' command");
    }
    for index in (1..call.args.len()).step_by(2) {
        if shard.peek(call.db, &call.key_at(shard, index), call.now).is_some() {
            return call.reply.integer(0);
        }
    }
    put_pairs(shard, call);
    call.reply.integer(1);
}

fn put_pairs(shard: &mut Shard, call: &Call<'_, '_>) {
    for index in (1..call.args.len()).step_by(2) {
        let key = call.key_at(shard, index);
        shard.put(call.db, &key, Kind::String, call.args.get(index + 1), Expiry::Never, call.now);
    }
}
