//! Commands on sets.

use super::{Call, Draw, texts};
use crate::collection::WrongKind;
use crate::collection::elements::{Editor, Elements};
use crate::collection::pack::Packer;
use crate::collection::set::Algebra;
use crate::number;
use crate::shard::Shard;
use crate::wire::Reply;

/// The set under the call's key, for reading. Answers the error and gives `None` if the key holds something else.
fn read<'s>(shard: &'s mut Shard, call: &mut Call<'_, '_>) -> Option<Option<Elements<'s>>> {
    match shard.view_set(call.db, &call.key, call.now) {
        Ok(set) => Some(set),
        Err(WrongKind) => {
            call.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}

/// The same for changing.
fn edit<'s, 'k>(shard: &'s mut Shard, call: &mut Call<'k, '_>) -> Option<Editor<'s, 'k>> {
    match shard.edit_set(call.db, call.key, call.now) {
        Ok(set) => Some(set),
        Err(WrongKind) => {
            call.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}

/// `SADD key member [member ...]`
pub fn sadd(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut set) = edit(shard, call) else { return };
    let new = call.args.iter_from(2).filter(|member| set.add(member)).count();
    set.close();
    call.reply.integer(new as i64);
}

/// `SREM key member [member ...]`
pub fn srem(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut set) = edit(shard, call) else { return };
    let removed = call.args.iter_from(2).filter(|member| set.remove(member)).count();
    set.close();
    call.reply.integer(removed as i64);
}

/// `SMEMBERS key`
pub fn smembers(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(set) = read(shard, call) else { return };
    answer_all(set, &mut call.reply);
}

fn answer_all(set: Option<Elements<'_>>, reply: &mut Reply<'_>) {
    reply.set(set.map_or(0, |set| set.len()));
    if let Some(set) = set {
        set.visit(&mut |member, _| reply.bulk(member));
    }
}

/// `SISMEMBER key member`
pub fn sismember(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(set) = read(shard, call) else { return };
    let is_member = set.is_some_and(|set| set.contains(call.args.get(2)));
    call.reply.integer(i64::from(is_member));
}

/// `SMISMEMBER key member [member ...]`
pub fn smismember(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(set) = read(shard, call) else { return };
    call.reply.array(call.args.len() - 2);
    for member in call.args.iter_from(2) {
        call.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
}

/// `SCARD key`
pub fn scard(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(set) = read(shard, call) else { return };
    call.reply.integer(set.map_or(0, |set| set.len()) as i64);
}

/// `SMOVE source destination member`
pub fn smove(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let (source, target, member) = (call.key_at(shard, 1), call.key_at(shard, 2), call.args.get(3));
    let is_member = match shard.peek_set(call.db, &source, call.now) {
        // What the destination holds is not looked at then.
        Ok(None) => return call.reply.integer(0),
        Ok(Some(set)) => set.contains(member),
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    };
    if shard.peek_set(call.db, &target, call.now).is_err() {
        return call.reply.error(texts::WRONG_TYPE);
    }
    if is_member && source.bytes != target.bytes {
        if let Ok(mut set) = shard.edit_set(call.db, source, call.now) {
            set.remove(member);
            set.close();
        }
        if let Ok(mut set) = shard.edit_set(call.db, target, call.now) {
            set.add(member);
            set.close();
        }
        shard.retell(&[&[b"SREM", source.bytes, member], &[b"SADD", target.bytes, member]]);
    }
    call.reply.integer(i64::from(is_member));
}

/// `SPOP key [count]`
pub fn spop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let count = match call.args.len() {
        2 => None,
        3 => match number::parse_i64(call.args.get(2)).and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Some(count),
            None => return call.reply.error(texts::NOT_POSITIVE),
        },
        _ => return call.reply.error(texts::SYNTAX),
    };
    let len = match shard.peek_set(call.db, &call.key, call.now) {
        Ok(set) => set.map_or(0, |set| set.len()),
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    };
    match count {
        None if len == 0 => call.reply.null(),
        Some(count) if len == 0 || count == 0 => call.reply.set(0),
        None => pop(shard, call, 1, len),
        Some(count) => {
            call.reply.set(count.min(len));
            pop(shard, call, count, len);
        }
    }
}

/// Answers and removes `count` members of a set that has `len`.
fn pop(shard: &mut Shard, call: &mut Call<'_, '_>, count: usize, len: usize) {
    if count < len {
        let mut taken: Vec<Vec<u8>> = Vec::new();
        if let Ok(mut set) = shard.edit_set(call.db, call.key, call.now) {
            set.take(count, &mut |member| taken.push(member.to_vec()));
            set.close();
        }
        taken.iter().for_each(|member| call.reply.bulk(member));
        // Chance falls otherwise where this is repeated.
        let words: Vec<&[u8]> = [b"SREM", call.key.bytes].into_iter().chain(taken.iter().map(Vec::as_slice)).collect();
        return shard.retell(&[&words]);
    }
    if let Ok(Some(set)) = shard.peek_set(call.db, &call.key, call.now) {
        set.visit(&mut |member, _| call.reply.bulk(member));
    }
    shard.delete(call.db, &call.key, call.now);
    shard.retell(&[&[b"DEL", call.key.bytes]]);
}

/// `SRANDMEMBER key [count]`
pub fn srandmember(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let draw = match call.args.len() {
        2 => None,
        3 => match call.draw_at(2) {
            Some(draw) => Some(draw),
            None => return,
        },
        _ => return call.reply.error(texts::SYNTAX),
    };
    if read(shard, call).is_none() {
        return;
    }
    let mut chance = shard.chance.clone();
    let set = shard.peek_set(call.db, &call.key, call.now).ok().flatten();
    match (set, draw) {
        (None, None) => call.reply.null(),
        (None, Some(_)) => call.reply.array(0),
        (Some(set), None) => set.pick(&mut chance).into_iter().for_each(|(member, _)| call.reply.bulk(member)),
        (Some(set), Some(Draw::Different(count))) => {
            call.reply.array(count.min(set.len()));
            set.sample(count, &mut chance, &mut |member, _| call.reply.bulk(member));
        }
        (Some(set), Some(Draw::Repeated(count))) => {
            call.reply.array(count);
            (0..count).map_while(|_| set.pick(&mut chance)).for_each(|(member, _)| call.reply.bulk(member));
        }
    }
    shard.chance = chance;
}

/// `SINTER key [key ...]`
pub fn sinter(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer_combined(shard, call, Algebra::Intersection);
}

/// `SUNION key [key ...]`
pub fn sunion(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer_combined(shard, call, Algebra::Union);
}

/// `SDIFF key [key ...]`
pub fn sdiff(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer_combined(shard, call, Algebra::Difference);
}

/// `SINTERSTORE destination key [key ...]`
pub fn sinterstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store_combined(shard, call, Algebra::Intersection);
}

/// `SUNIONSTORE destination key [key ...]`
pub fn sunionstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store_combined(shard, call, Algebra::Union);
}

/// `SDIFFSTORE destination key [key ...]`
pub fn sdiffstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store_combined(shard, call, Algebra::Difference);
}

fn answer_combined(shard: &mut Shard, call: &mut Call<'_, '_>, algebra: Algebra) {
    let (mut bytes, mut members) = (Vec::new(), 0);
    let mut bulks = Reply::new(&mut bytes, call.reply.proto());
    let combined = combine(shard, call, 1..call.args.len(), algebra, &mut |member| {
        bulks.bulk(member);
        members += 1;
        true
    });
    if combined.is_some() {
        call.reply.set(members);
        call.reply.raw(&bytes);
    }
}

fn store_combined(shard: &mut Shard, call: &mut Call<'_, '_>, algebra: Algebra) {
    let mut packer = Packer::default();
    let combined = combine(shard, call, 2..call.args.len(), algebra, &mut |member| {
        packer.push(member);
        true
    });
    if combined.is_some() {
        let members = packer.len();
        let target = call.key_at(shard, 1);
        shard.put_set(call.db, &target, packer, call.now);
        call.reply.integer(members as i64);
    }
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn sintercard(shard: &mut Shard, call: &mut Call<'_, '_>) {
    const NO_KEYS: &str = "ERR numkeys should be greater than 0";
    let Some(number) = call.integer_at_or(1, NO_KEYS) else { return };
    let Some(number) = usize::try_from(number).ok().filter(|number| *number > 0) else { return call.reply.error(NO_KEYS) };
    if number > call.args.len() - 2 {
        return call.reply.error("ERR Number of keys can't be greater than number of args");
    }
    let mut limit = usize::MAX;
    for index in (2 + number..call.args.len()).step_by(2) {
        if !call.arg_is(index, "LIMIT") || index + 1 == call.args.len() {
            return call.reply.error(texts::SYNTAX);
        }
        const NEGATIVE: &str = "ERR LIMIT can't be negative";
        let Some(asked) = call.integer_at_or(index + 1, NEGATIVE) else { return };
        let Ok(asked) = usize::try_from(asked) else { return call.reply.error(NEGATIVE) };
        limit = if asked == 0 { usize::MAX } else { asked };
    }
    let mut members = 0;
    let combined = combine(shard, call, 2..2 + number, Algebra::Intersection, &mut |_| {
        members += 1;
        members < limit
    });
    if combined.is_some() {
        call.reply.integer(members as i64);
    }
}

/// Shows the members of what the sets at these arguments become. Answers the error and gives `None` if one holds something else.
fn combine(
    shard: &mut Shard,
    call: &mut Call<'_, '_>,
    keys: std::ops::Range<usize>,
    algebra: Algebra,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) -> Option<()> {
    for index in keys.clone() {
        let key = call.key_at(shard, index);
        if shard.view_set(call.db, &key, call.now).is_err() {
            call.reply.error(texts::WRONG_TYPE);
            return None;
        }
    }
    // All have been read, and are looked at side by side now.
    let shard = &*shard;
    let sets: Vec<_> = keys.map(|index| shard.peek_set(call.db, &call.key_at(shard, index), call.now).ok().flatten()).collect();
    algebra.apply(shard, &sets, visit);
    Some(())
}
