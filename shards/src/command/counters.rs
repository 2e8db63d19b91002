//! Commands that count: strings read as numbers.

use super::{Call, texts};
use crate::long_double::LongDouble;
use crate::number::{self, Digits};
use crate::shard::Shard;

/// `INCR key`
pub fn incr(shard: &mut Shard, call: &mut Call<'_, '_>) {
    add(shard, call, 1);
}

/// `DECR key`
pub fn decr(shard: &mut Shard, call: &mut Call<'_, '_>) {
    add(shard, call, -1);
}

/// `INCRBY key increment`
pub fn incrby(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(increment) = call.integer_at(2) else { return };
    add(shard, call, increment);
}

/// `DECRBY key decrement`
pub fn decrby(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(decrement) = call.integer_at(2) else { return };
    match decrement.checked_neg() {
        Some(increment) => add(shard, call, increment),
        None => call.reply.error("ERR decrement would overflow"),
    }
}

/// An absent key counts from zero; a key keeps its deadline.
fn add(shard: &mut Shard, call: &mut Call<'_, '_>, increment: i64) {
    let current = match shard.peek(call.db, &call.key, call.now) {
        None => 0,
        Some(found) => {
            let Some(value) = call.string(&found) else { return };
            match number::parse_i64(value) {
                Some(number) => number,
                None => return call.reply.error(texts::NOT_INTEGER),
            }
        }
    };
    let Some(sum) = current.checked_add(increment) else {
        return call.reply.error("ERR increment or decrement would overflow");
    };
    let digits = Digits::of_i64(sum);
    let text = digits.as_bytes();
    shard.resize(call.db, &call.key, text.len(), call.now).copy_from_slice(text);
    call.reply.integer(sum);
}

/// `INCRBYFLOAT key increment`
pub fn incrbyfloat(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let current = match shard.peek(call.db, &call.key, call.now) {
        None => Some(LongDouble::ZERO),
        Some(found) => {
            let Some(value) = call.string(&found) else { return };
            LongDouble::parse(value)
        }
    };
    let (Some(current), Some(increment)) = (current, LongDouble::parse(call.args.get(2))) else {
        return call.reply.error(texts::NOT_FLOAT);
    };
    let Some(sum) = current.sum(increment) else {
        return call.reply.error("ERR increment would produce NaN or Infinity");
    };
    let text = sum.to_string();
    shard.resize(call.db, &call.key, text.len(), call.now).copy_from_slice(text.as_bytes());
    call.reply.bulk(text.as_bytes());
}
