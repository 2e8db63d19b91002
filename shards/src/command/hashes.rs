//! Commands on hashes.

use super::{Call, Draw, texts};
use crate::collection::WrongKind;
use crate::collection::elements::{Editor, Elements};
use crate::long_double::LongDouble;
use crate::number::{self, Digits};
use crate::shard::Shard;
use crate::wire::{Proto, Reply};

/// The hash under the call's key, for reading. Answers the error and gives `None` if the key holds something else.
fn read<'s>(shard: &'s mut Shard, call: &mut Call<'_, '_>) -> Option<Option<Elements<'s>>> {
    match shard.view_hash(call.db, &call.key, call.now) {
        Ok(hash) => Some(hash),
        Err(WrongKind) => {
            call.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}

/// The same for changing.
fn edit<'s, 'k>(shard: &'s mut Shard, call: &mut Call<'k, '_>) -> Option<Editor<'s, 'k>> {
    match shard.edit_hash(call.db, call.key, call.now) {
        Ok(hash) => Some(hash),
        Err(WrongKind) => {
            call.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}

/// `HSET key field value [field value ...]`
pub fn hset(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if let Some(new) = set_pairs(shard, call, "ERR wrong number of arguments for 'hset' command") {
        call.reply.integer(new);
    }
}

/// `HMSET key field value [field value ...]`
pub fn hmset(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if set_pairs(shard, call, "ERR wrong number of arguments for 'hmset' command").is_some() {
        call.reply.ok();
    }
}

/// How many fields are new. Answers the error and gives `None` if there is one.
fn set_pairs(shard: &mut Shard, call: &mut Call<'_, '_>, arity_error: &str) -> Option<i64> {
    if !call.args.len().is_multiple_of(2) {
        call.reply.error(arity_error);
        return None;
    }
    let mut hash = edit(shard, call)?;
    let mut new = 0;
    for index in (2..call.args.len()).step_by(2) {
        new += i64::from(hash.set(call.args.get(index), call.args.get(index + 1)));
    }
    hash.close();
    Some(new)
}

/// `HSETNX key field value`
pub fn hsetnx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut hash) = edit(shard, call) else { return };
    let is_new = hash.get(call.args.get(2)).is_none();
    if is_new {
        hash.set(call.args.get(2), call.args.get(3));
        hash.close();
    }
    call.reply.integer(i64::from(is_new));
}

/// `HGET key field`
pub fn hget(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    answer_value(hash.and_then(|hash| hash.get(call.args.get(2))), &mut call.reply);
}

/// `HMGET key field [field ...]`
pub fn hmget(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    call.reply.array(call.args.len() - 2);
    for field in call.args.iter_from(2) {
        answer_value(hash.and_then(|hash| hash.get(field)), &mut call.reply);
    }
}

fn answer_value(value: Option<&[u8]>, reply: &mut Reply<'_>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

/// `HGETALL key`
pub fn hgetall(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    call.reply.map(hash.map_or(0, |hash| hash.len()));
    if let Some(hash) = hash {
        hash.visit(&mut |field, value| {
            call.reply.bulk(field);
            call.reply.bulk(value);
        });
    }
}

/// `HKEYS key`
pub fn hkeys(shard: &mut Shard, call: &mut Call<'_, '_>) {
    list(shard, call, |field, _| field);
}

/// `HVALS key`
pub fn hvals(shard: &mut Shard, call: &mut Call<'_, '_>) {
    list(shard, call, |_, value| value);
}

fn list(shard: &mut Shard, call: &mut Call<'_, '_>, part: for<'p> fn(&'p [u8], &'p [u8]) -> &'p [u8]) {
    let Some(hash) = read(shard, call) else { return };
    call.reply.array(hash.map_or(0, |hash| hash.len()));
    if let Some(hash) = hash {
        hash.visit(&mut |field, value| call.reply.bulk(part(field, value)));
    }
}

/// `HLEN key`
pub fn hlen(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    call.reply.integer(hash.map_or(0, |hash| hash.len()) as i64);
}

/// `HEXISTS key field`
pub fn hexists(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    let exists = hash.is_some_and(|hash| hash.contains(call.args.get(2)));
    call.reply.integer(i64::from(exists));
}

/// `HSTRLEN key field`
pub fn hstrlen(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(hash) = read(shard, call) else { return };
    let value = hash.and_then(|hash| hash.get(call.args.get(2)));
    call.reply.integer(value.map_or(0, <[u8]>::len) as i64);
}

/// `HDEL key field [field ...]`
pub fn hdel(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut hash) = edit(shard, call) else { return };
    let removed = call.args.iter_from(2).filter(|field| hash.remove(field)).count();
    hash.close();
    call.reply.integer(removed as i64);
}

/// `HINCRBY key field increment`
pub fn hincrby(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(increment) = call.integer_at(3) else { return };
    let Some(mut hash) = edit(shard, call) else { return };
    let field = call.args.get(2);
    let Some(current) = hash.get(field).map_or(Some(0), number::parse_i64) else {
        return call.reply.error("ERR hash value is not an integer");
    };
    let Some(sum) = current.checked_add(increment) else {
        return call.reply.error("ERR increment or decrement would overflow");
    };
    hash.set(field, Digits::of_i64(sum).as_bytes());
    hash.close();
    call.reply.integer(sum);
}

/// `HINCRBYFLOAT key field increment`
pub fn hincrbyfloat(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(increment) = LongDouble::parse(call.args.get(3)) else { return call.reply.error(texts::NOT_FLOAT) };
    if !increment.is_finite() {
        return call.reply.error("ERR value is NaN or Infinity");
    }
    let Some(mut hash) = edit(shard, call) else { return };
    let field = call.args.get(2);
    let Some(current) = hash.get(field).map_or(Some(LongDouble::ZERO), LongDouble::parse) else {
        return call.reply.error("ERR hash value is not a float");
    };
    let Some(sum) = current.sum(increment) else {
        return call.reply.error("ERR increment would produce NaN or Infinity");
    };
    let text = sum.to_string();
    hash.set(field, text.as_bytes());
    hash.close();
    // Redis adds in the format of its own machine.
    shard.retell(&[&[b"HSET", call.key.bytes, field, text.as_bytes()]]);
    call.reply.bulk(text.as_bytes());
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub fn hrandfield(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if call.args.len() == 2 {
        return answer_any(shard, call);
    }
    let Some(draw) = call.draw_at(2) else { return };
    let with_values = call.args.len() == 4 && call.arg_is(3, "WITHVALUES");
    if call.args.len() > 3 && !with_values {
        return call.reply.error(texts::SYNTAX);
    }
    // Twice the count must be a count as well.
    if with_values && matches!(draw, Draw::Different(count) if count > i64::MAX as usize / 2) {
        return call.reply.error("ERR value is out of range");
    }
    if read(shard, call).is_none() {
        return;
    }
    let mut chance = shard.chance.clone();
    let hash = shard.peek_hash(call.db, &call.key, call.now);
    match (hash, draw) {
        (None, _) => call.reply.array(0),
        (Some(hash), Draw::Different(count)) => {
            pairs_header(count.min(hash.len()), with_values, &mut call.reply);
            hash.sample(count, &mut chance, &mut |field, value| answer_pair(field, value, with_values, &mut call.reply));
        }
        (Some(hash), Draw::Repeated(count)) => {
            pairs_header(count, with_values, &mut call.reply);
            for (field, value) in (0..count).map_while(|_| hash.pick(&mut chance)) {
                answer_pair(field, value, with_values, &mut call.reply);
            }
        }
    }
    shard.chance = chance;
}

/// `HRANDFIELD key`
fn answer_any(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if read(shard, call).is_none() {
        return;
    }
    let mut chance = shard.chance.clone();
    let picked = shard.peek_hash(call.db, &call.key, call.now).and_then(|hash| hash.pick(&mut chance));
    answer_value(picked.map(|(field, _)| field), &mut call.reply);
    shard.chance = chance;
}

/// Fields with values are pairs of their own in RESP3, and in turns in RESP2.
fn pairs_header(count: usize, with_values: bool, reply: &mut Reply<'_>) {
    reply.array(if with_values && reply.proto() == Proto::Resp2 { count * 2 } else { count });
}

fn answer_pair(field: &[u8], value: &[u8], with_values: bool, reply: &mut Reply<'_>) {
    if with_values && reply.proto() == Proto::Resp3 {
        reply.array(2);
    }
    reply.bulk(field);
    if with_values {
        reply.bulk(value);
    }
}
