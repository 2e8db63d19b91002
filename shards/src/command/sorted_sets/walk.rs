//! Members in no order: some by chance, or all of them step by step.

use super::super::{Call, scan, texts};
use super::score_text;
use crate::collection::sorted_set::SortedSet;
use crate::shard::{Kind, Shard};
use crate::wire::{Proto, Reply};
use std::collections::BTreeSet;

/// Most repetitions that `ZRANDMEMBER` gives: a reply beyond it could never be sent.
const REPEATED_MAX: u64 = i32::MAX as u64;

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub fn zrandmember(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if call.args.len() == 2 {
        return one(shard, call);
    }
    let Some(count) = call.integer_at(2) else { return };
    if count == i64::MIN {
        return call.reply.error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    }
    let with_scores = call.args.len() == 4 && call.arg_is(3, "WITHSCORES");
    if call.args.len() > 3 && !with_scores {
        return call.reply.error(texts::SYNTAX);
    }
    if (with_scores && count.unsigned_abs() > i64::MAX as u64 / 2) || (count < 0 && count.unsigned_abs() > REPEATED_MAX) {
        return call.reply.error("ERR value is out of range");
    }
    let Ok(set) = call.sorted_set(shard) else { return };
    let len = set.map_or(0, |set| set.len());
    if count == 0 || len == 0 {
        return call.reply.array(0);
    }
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 && wanted >= len {
        call.begin_members(len, with_scores);
        return set.into_iter().for_each(|set| set.visit_all(&mut |member, score| call.member(member, score, with_scores)));
    }
    let places = if count < 0 { (0..wanted).map(|_| shard.chance.below(len)).collect() } else { different(shard, len, wanted) };
    let Ok(Some(view)) = shard.peek_view(call.db, &call.key, Kind::SortedSet, call.now) else { return call.reply.array(0) };
    let set = SortedSet::of(view);
    call.begin_members(places.len(), with_scores);
    for place in places {
        let (member, score) = set.at(place);
        call.member(member, score, with_scores);
    }
}

fn one(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    let Some(len) = set.map(|set| set.len()) else { return call.reply.null() };
    let place = shard.chance.below(len);
    match shard.peek_view(call.db, &call.key, Kind::SortedSet, call.now) {
        Ok(Some(view)) => call.reply.bulk(SortedSet::of(view).at(place).0),
        _ => call.reply.null(),
    }
}

/// So many different places of `len`, each choice as likely as any other (Floyd's algorithm).
fn different(shard: &mut Shard, len: usize, wanted: usize) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    for last in len - wanted..len {
        let place = shard.chance.below(last + 1);
        chosen.insert(if chosen.contains(&place) { last } else { place });
    }
    chosen.into_iter().collect()
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`
pub fn zscan(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(cursor) = scan::cursor_at(call, 2) else { return };
    let Ok(set) = call.sorted_set(shard) else { return };
    let mut bulks = Vec::new();
    let mut step = scan::Step { next: Default::default(), keys: 0 };
    let Some(set) = set else { return scan::answer_step(&mut call.reply, step, &bulks) };
    let Some(filter) = scan::Filter::parse_for_elements(call, 3) else { return };
    // A bulk is the same in both dialects.
    let mut reply = Reply::new(&mut bulks, Proto::Resp2);
    let (mut seen, mut shown) = (0, 0);
    let mut show = |member: &[u8], score: f64| {
        seen += 1;
        if filter.shows_element(member) {
            reply.bulk(member);
            reply.bulk(&score_text(score));
            shown += 2;
        }
        seen
    };
    match set {
        SortedSet::Packed(_) => set.visit_all(&mut |member, score| {
            show(member, score);
        }),
        SortedSet::Large(ranked, heap) => {
            // One that no step has given is past the end.
            let mut next = u32::try_from(cursor.0).ok();
            let mut seen = 0;
            while let Some(from) = next
                && seen < filter.count
            {
                next = ranked.scan(heap, from, &mut |member, score| seen = show(member, score));
            }
            step.next.0 = next.map_or(0, u64::from);
        }
    }
    step.keys = shown;
    scan::answer_step(&mut call.reply, step, &bulks);
}
