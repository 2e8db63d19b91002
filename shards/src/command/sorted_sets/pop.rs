//! Taking members from the ends of a sorted set.

use super::super::{Call, texts};
use crate::collection::order::Direction;
use crate::collection::sorted_set::SortedSetEdit;
use crate::number::Digits;
use crate::shard::{Kind, Shard};
use crate::wire::Proto;
use std::ops::Range;

/// The places of so many members at one end: the lowest going up, the highest going down.
fn end(len: usize, direction: Direction, count: i64) -> Range<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(len);
    match direction {
        Direction::Up => 0..count,
        Direction::Down => len - count..len,
    }
}

/// `ZPOPMIN key [count]`
pub fn zpopmin(shard: &mut Shard, call: &mut Call<'_, '_>) {
    pop(shard, call, Direction::Up);
}

/// `ZPOPMAX key [count]`
pub fn zpopmax(shard: &mut Shard, call: &mut Call<'_, '_>) {
    pop(shard, call, Direction::Down);
}

fn pop(shard: &mut Shard, call: &mut Call<'_, '_>, direction: Direction) {
    if call.args.len() > 3 {
        return call.reply.error(texts::SYNTAX);
    }
    let counted = call.args.len() == 3;
    let Some(count) = (if counted { call.integer_from_at(2, 0, texts::NOT_POSITIVE) } else { Some(1) }) else { return };
    let Some(set) = call.open_sorted_set(shard) else { return };
    let places = end(set.view().len(), direction, count);
    // One pair that nobody counted is never an array of its own.
    let nested = counted && call.reply.proto() == Proto::Resp3;
    call.reply.array(if nested { places.len() } else { places.len() * 2 });
    take(call, set, places, direction, nested);
}

/// Answers the members at some places and removes them.
fn take(call: &mut Call<'_, '_>, mut set: SortedSetEdit<'_, '_>, places: Range<usize>, direction: Direction, nested: bool) {
    set.view().visit(places.clone(), direction, &mut |member, score| {
        if nested {
            call.reply.array(2);
        }
        call.reply.bulk(member);
        call.reply.double(score);
    });
    set.remove_places(places);
    set.close();
}

/// `ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]`
pub fn zmpop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(keys) = call.integer_from_at(1, 1, "ERR numkeys should be greater than 0") else { return };
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    let Some((direction, mut index)) = keys.checked_add(2).filter(|index| *index < call.args.len()).and_then(|index| {
        let direction = if call.arg_is(index, "MIN") { Some(Direction::Up) } else { call.arg_is(index, "MAX").then_some(Direction::Down) };
        Some((direction?, index + 1))
    }) else {
        return call.reply.error(texts::SYNTAX);
    };
    let mut count = None;
    while index < call.args.len() {
        if count.is_some() || !call.arg_is(index, "COUNT") || index + 1 >= call.args.len() {
            return call.reply.error(texts::SYNTAX);
        }
        count = call.integer_from_at(index + 1, 1, "ERR count should be greater than 0");
        if count.is_none() {
            return;
        }
        index += 2;
    }
    for index in 2..2 + keys {
        let key = call.key_at(shard, index);
        match shard.peek_view(call.db, &key, Kind::SortedSet, call.now) {
            Ok(None) => continue,
            Ok(Some(_)) => call.key = key,
            Err(_) => return call.reply.error(texts::WRONG_TYPE),
        }
        let Some(set) = call.open_sorted_set(shard) else { return };
        let places = end(set.view().len(), direction, count.unwrap_or(1));
        call.reply.array(2);
        call.reply.bulk(key.bytes);
        call.reply.array(places.len());
        let count = Digits::of_u64(places.len() as u64);
        take(call, set, places, direction, true);
        let name: &[u8] = if direction == Direction::Up { b"ZPOPMIN" } else { b"ZPOPMAX" };
        return shard.retell(&[&[name, key.bytes, count.as_bytes()]]);
    }
    call.reply.null_array();
}
