//! Commands on keys, whatever they hold.

use super::{Call, texts};
use crate::key::{Db, Key};
use crate::shard::{Kind, Shard};

/// `DEL key [key ...]`, and `UNLINK`, which is the same here: a shard never frees much at once.
pub fn del(shard: &mut Shard, call: &mut Call<'_, '_>) {
    count_keys(shard, call, |shard, db, key, now| shard.delete(db, key, now));
}

/// `EXISTS key [key ...]`: a key named twice counts twice.
pub fn exists(shard: &mut Shard, call: &mut Call<'_, '_>) {
    count_keys(shard, call, |shard, db, key, now| shard.read(db, key, now).is_some());
}

/// `TOUCH key [key ...]`
pub fn touch(shard: &mut Shard, call: &mut Call<'_, '_>) {
    count_keys(shard, call, |shard, db, key, now| shard.touch(db, key, now));
}

fn count_keys(shard: &mut Shard, call: &mut Call<'_, '_>, mut counts: impl FnMut(&mut Shard, Db, &Key<'_>, u64) -> bool) {
    let mut count = 0;
    for index in 1..call.args.len() {
        let key = call.key_at(shard, index);
        count += i64::from(counts(shard, call.db, &key, call.now));
    }
    call.reply.integer(count);
}

/// `TYPE key`
pub fn r#type(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let name = shard.peek(call.db, &call.key, call.now).map_or("none", |found| found.kind.name());
    call.reply.status(name);
}

impl Kind {
    /// As `TYPE` says it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "zset",
            Kind::Hash => "hash",
        }
    }
}

/// `RENAME key newkey`
pub fn rename(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if rename_key(shard, call, Existing::Replace).is_some() {
        call.reply.ok();
    }
}

/// `RENAMENX key newkey`
pub fn renamenx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if let Some(renamed) = rename_key(shard, call, Existing::Respect) {
        call.reply.integer(i64::from(renamed));
    }
}

/// What to do with a key that is in the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Respect,
}

/// Whether the key has its new name now; `None` if there was no such key, which has been answered. A key renamed to itself
/// stays, and counts as one that is in its own way.
fn rename_key(shard: &mut Shard, call: &mut Call<'_, '_>, existing: Existing) -> Option<bool> {
    let (db, now) = (call.db, call.now);
    let (source, target) = (call.key_at(shard, 1), call.key_at(shard, 2));
    if shard.peek(db, &source, now).is_none() {
        call.reply.error(texts::NO_SUCH_KEY);
        return None;
    }
    if source.bytes == target.bytes {
        return Some(false);
    }
    if existing == Existing::Respect && shard.peek(db, &target, now).is_some() {
        return Some(false);
    }
    carry(shard, (db, &source), (db, &target), now);
    shard.delete(db, &source, now);
    Some(true)
}

/// Puts a copy of a live record, deadline and all, in another place.
fn carry(shard: &mut Shard, source: (Db, &Key<'_>), target: (Db, &Key<'_>), now: u64) {
    let record = shard.export(source.0, source.1, now).expect("the caller has just seen it");
    shard.import(target.0, target.1, &record, now).expect("it comes from the same shard");
}

/// `COPY source destination [DB destination-db] [REPLACE]`
pub fn copy(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let mut target_db = call.db;
    let mut existing = Existing::Respect;
    let mut index = 3;
    while index < call.args.len() {
        if call.arg_is(index, "REPLACE") {
            existing = Existing::Replace;
        } else if call.arg_is(index, "DB") && index + 1 < call.args.len() {
            index += 1;
            match call.db_at(shard, index) {
                Some(db) => target_db = db,
                None => return,
            }
        } else {
            return call.reply.error(texts::SYNTAX);
        }
        index += 1;
    }
    let (source, target) = (call.key_at(shard, 1), call.key_at(shard, 2));
    if call.db == target_db && source.bytes == target.bytes {
        return call.reply.error(texts::SAME_OBJECT);
    }
    let absent = shard.peek(call.db, &source, call.now).is_none();
    if absent || (existing == Existing::Respect && shard.peek(target_db, &target, call.now).is_some()) {
        return call.reply.integer(0);
    }
    carry(shard, (call.db, &source), (target_db, &target), call.now);
    call.reply.integer(1);
}

/// `MOVE key db`
pub fn r#move(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(target_db) = call.db_at(shard, 2) else { return };
    if target_db == call.db {
        return call.reply.error(texts::SAME_OBJECT);
    }
    let absent = shard.peek(call.db, &call.key, call.now).is_none();
    if absent || shard.peek(target_db, &call.key, call.now).is_some() {
        return call.reply.integer(0);
    }
    carry(shard, (call.db, &call.key), (target_db, &call.key), call.now);
    shard.delete(call.db, &call.key, call.now);
    call.reply.integer(1);
}

/// `RANDOMKEY`
pub fn randomkey(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match shard.random_key(call.db, call.now) {
        Some(key) => call.reply.bulk(&key),
        None => call.reply.null(),
    }
}

/// `DBSIZE`: this core's part.
pub fn dbsize(shard: &mut Shard, call: &mut Call<'_, '_>) {
    call.reply.integer(shard.len(call.db) as i64);
}

/// `FLUSHDB [ASYNC | SYNC]`: this core's part.
pub fn flushdb(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if flush_syntax_ok(call) {
        shard.clear(call.db);
        call.reply.ok();
    }
}

/// `FLUSHALL [ASYNC | SYNC]`: this core's part.
pub fn flushall(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if flush_syntax_ok(call) {
        for db in 0..shard.db_count() {
            shard.clear(Db(db));
        }
        call.reply.ok();
    }
}

/// Both ways of flushing are the same here. Answers the error if it is neither.
fn flush_syntax_ok(call: &mut Call<'_, '_>) -> bool {
    let ok = match call.args.len() {
        1 => true,
        2 => call.arg_is(1, "ASYNC") || call.arg_is(1, "SYNC"),
        _ => false,
    };
    if !ok {
        call.reply.error(texts::SYNTAX);
    }
    ok
}

/// `SWAPDB index1 index2`: this core's part.
pub fn swapdb(shard: &mut Shard, call: &mut Call<'_, '_>) {
    // Both must be numbers before either may be out of range.
    let Some(first) = call.small_integer_at(1, Some("ERR invalid first DB index")) else { return };
    let Some(second) = call.small_integer_at(2, Some("ERR invalid second DB index")) else { return };
    match (Call::db_of(shard, first), Call::db_of(shard, second)) {
        (Some(first), Some(second)) => {
            shard.swap(first, second);
            call.reply.ok();
        }
        _ => call.reply.error(texts::DB_OUT_OF_RANGE),
    }
}
