//! Commands that look at a key from outside: how its value is kept, what eviction remembers of it, what it weighs.
//!
//! Looking leaves no trace. `DEBUG` and `MEMORY` belong to the engine, which asks this file for the parts about one key.

use super::{Call, texts};
use crate::collection::pack::Pack;
use crate::key::Key;
use crate::number;
use crate::rdb;
use crate::shard::{Found, Inspected, Kind, Shard, Usage};

/// Longest string that Redis keeps in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;

/// `OBJECT ENCODING key`
pub fn encoding(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let key = call.key_at(shard, 2);
    match shard.peek(call.db, &key, call.now) {
        Some(found) => call.reply.bulk(encoding_of(shard, &found).as_bytes()),
        None => call.reply.null(),
    }
}

/// What Redis would call the way it keeps such a value. Tools group keys by it; nothing here depends on it.
fn encoding_of(shard: &Shard, found: &Found<'_>) -> &'static str {
    match found.kind {
        Kind::String if number::parse_i64(found.value).is_some() => "int",
        Kind::String if found.value.len() <= EMBEDDED_BYTES_MAX => "embstr",
        Kind::String => "raw",
        Kind::List if found.is_large => "quicklist",
        Kind::SortedSet if found.is_large => "skiplist",
        Kind::Set | Kind::Hash if found.is_large => "hashtable",
        Kind::Set if shard.pack_limits.fits_int_set(&Pack::trusted(found.value)) => "intset",
        _ => "listpack",
    }
}

/// `OBJECT REFCOUNT key`: values are never shared.
pub fn refcount(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if inspect(shard, call).is_some() {
        call.reply.integer(1);
    }
}

/// `OBJECT IDLETIME key`
pub fn idletime(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match inspect(shard, call).map(|inspected| inspected.usage) {
        None => {}
        Some(Usage::IdleMs(idle_ms)) => call.reply.integer((idle_ms / 1000) as i64),
        Some(Usage::Frequency(_)) => call.reply.error(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        ),
    }
}

/// `OBJECT FREQ key`
pub fn freq(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match inspect(shard, call).map(|inspected| inspected.usage) {
        None => {}
        Some(Usage::Frequency(uses)) => call.reply.integer(i64::from(uses)),
        Some(Usage::IdleMs(_)) => call.reply.error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ),
    }
}

/// The record under the key at argument 2; answers null and gives `None` if it is absent.
fn inspect(shard: &Shard, call: &mut Call<'_, '_>) -> Option<Inspected> {
    let inspected = shard.inspect(call.db, &call.key_at(shard, 2), call.now);
    if inspected.is_none() {
        call.reply.null();
    }
    inspected
}

/// `MEMORY USAGE key [SAMPLES count]`: exact, whatever the number of samples.
pub fn memory_usage(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let mut index = 3;
    while index < call.args.len() {
        if !call.arg_is(index, "SAMPLES") || index + 1 == call.args.len() {
            return call.reply.error(texts::SYNTAX);
        }
        match call.integer_at(index + 1) {
            Some(0..) => index += 2,
            Some(_) => return call.reply.error(texts::SYNTAX),
            None => return,
        }
    }
    if let Some(inspected) = inspect(shard, call) {
        call.reply.integer(inspected.memory_bytes as i64);
    }
}

/// `DEBUG OBJECT key`. There is no address to tell: records move.
pub fn debug_object(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let key = call.key_at(shard, 2);
    match debug_line(shard, call, &key) {
        Some(line) => call.reply.status(&line),
        None => call.reply.error(texts::NO_SUCH_KEY),
    }
}

fn debug_line(shard: &Shard, call: &Call<'_, '_>, key: &Key<'_>) -> Option<String> {
    let inspected = shard.inspect(call.db, key, call.now)?;
    let found = shard.peek(call.db, key, call.now)?;
    let mut payload = Vec::new();
    shard.encode_value(call.db, key, call.now, &mut payload);
    let (encoding, serialized_bytes) = (encoding_of(shard, &found), payload.len() - rdb::FRAME_BYTES);
    let (idle_seconds, used_seconds) = match inspected.usage {
        Usage::IdleMs(idle_ms) => (idle_ms / 1000, call.now.saturating_sub(idle_ms) / 1000),
        Usage::Frequency(_) => (0, call.now / 1000),
    };
    // The clock of Redis' LRU has 24 bits.
    let lru = used_seconds & 0xFF_FFFF;
    Some(format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{serialized_bytes} lru:{lru} lru_seconds_idle:{idle_seconds}"
    ))
}
