//! Ranges of one sorted set: by place, by score, by the members' bytes.

use super::super::{Call, texts};
use crate::collection::order::Direction;
use crate::collection::sorted_set::{Point, SortedSet};
use crate::shard::Shard;
use std::ops::Range;

const SCORE_BOUND: &str = "ERR min or max is not a float";
const LEX_BOUND: &str = "ERR min or max not valid string range item";

/// What a range is given in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Place,
    Score,
    Lex,
}

/// A range that a client asked for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// From a place to another, that one included; negative ones are counted from the end.
    Places(i64, i64),
    Points([Point<'a>; 2]),
}

impl<'a> Asked<'a> {
    /// The lower bound at argument `low` and the upper one at `high`. Answers the error and gives `None` if they are none.
    fn parse(call: &mut Call<'a, '_>, by: By, low: usize, high: usize) -> Option<Asked<'a>> {
        let (min, max) = (call.args.get(low), call.args.get(high));
        match by {
            By::Place => Some(Asked::Places(call.integer_at(low)?, call.integer_at(high)?)),
            By::Score => {
                let points = score_bound(min).zip(score_bound(max)).map(|((min, above), (max, below))| {
                    let low = if above { Point::AfterScore(min) } else { Point::BeforeScore(min) };
                    let high = if below { Point::BeforeScore(max) } else { Point::AfterScore(max) };
                    Asked::Points([low, high])
                });
                if points.is_none() {
                    call.reply.error(SCORE_BOUND);
                }
                points
            }
            By::Lex => {
                let points = lex_bound(min, End::Low).zip(lex_bound(max, End::High));
                if points.is_none() {
                    call.reply.error(LEX_BOUND);
                }
                points.map(|(low, high)| Asked::Points([low, high]))
            }
        }
    }

    /// The places of those that are in it. Counted from the end if the walk goes down.
    fn places(&self, set: &SortedSet<'_>, direction: Direction) -> Range<usize> {
        let (start, end) = match self {
            Asked::Points(points) => return set.places(points),
            Asked::Places(start, end) => (*start, *end),
        };
        // A set has fewer members than there is memory.
        let len = set.len() as i64;
        let from_end = |place: i64| if place < 0 { place + len } else { place };
        let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
        if start > end {
            return 0..0;
        }
        match direction {
            Direction::Up => start as usize..end as usize + 1,
            Direction::Down => (len - 1 - end) as usize..(len - start) as usize,
        }
    }
}

/// Which end of a range a bound is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// A score, and whether it is itself left out. As Redis reads it, with `strtod`: blanks in front, or nothing at all, are fine.
fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (text, open) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    if text.is_empty() {
        return Some((0.0, open));
    }
    let number = std::str::from_utf8(text).ok()?.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    number.parse().ok().filter(|score: &f64| !score.is_nan()).map(|score| (score, open))
}

/// The point that `-`, `+`, `[member` or `(member` means.
fn lex_bound(text: &[u8], end: End) -> Option<Point<'_>> {
    match (text, end) {
        ([b'-'], _) => Some(Point::Start),
        ([b'+'], _) => Some(Point::End),
        ([b'[', member @ ..], End::Low) | ([b'(', member @ ..], End::High) => Some(Point::BeforeMember(member)),
        ([b'(', member @ ..], End::Low) | ([b'[', member @ ..], End::High) => Some(Point::AfterMember(member)),
        _ => None,
    }
}

/// What a command has settled before its options.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    direction: Option<Direction>,
    /// Where the bounds are.
    first: usize,
    stores: bool,
}

/// All that a client said.
struct Selection<'a> {
    asked: Asked<'a>,
    direction: Direction,
    offset: i64,
    /// How many at most; all if negative.
    limit: i64,
    with_scores: bool,
}

impl<'a> Selection<'a> {
    /// Answers the error and gives `None` if something is wrong.
    fn parse(call: &mut Call<'a, '_>, form: Form) -> Option<Selection<'a>> {
        let Form { mut by, mut direction, first, stores } = form;
        let (mut offset, mut limit, mut with_scores) = (0, -1, false);
        let mut index = first + 2;
        while index < call.args.len() {
            if !stores && call.arg_is(index, "WITHSCORES") {
                with_scores = true;
            } else if call.arg_is(index, "LIMIT") && index + 2 < call.args.len() {
                (offset, limit) = (call.integer_at(index + 1)?, call.integer_at(index + 2)?);
                index += 2;
            } else if direction.is_none() && call.arg_is(index, "REV") {
                direction = Some(Direction::Down);
            } else if by.is_none() && call.arg_is(index, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && call.arg_is(index, "BYSCORE") {
                by = Some(By::Score);
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 1;
        }
        let (by, direction) = (by.unwrap_or(By::Place), direction.unwrap_or(Direction::Up));
        if limit != -1 && by == By::Place {
            call.reply.error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
            return None;
        }
        if with_scores && by == By::Lex {
            call.reply.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
            return None;
        }
        // Downwards the higher bound comes first, except that places are counted from the other end.
        let swapped = direction == Direction::Down && by != By::Place;
        let (low, high) = if swapped { (first + 1, first) } else { (first, first + 1) };
        let asked = Asked::parse(call, by, low, high)?;
        Some(Selection { asked, direction, offset, limit, with_scores })
    }

    /// The places of what is selected.
    fn places(&self, set: &SortedSet<'_>) -> Range<usize> {
        let mut places = self.asked.places(set, self.direction);
        if let Asked::Places(..) = self.asked {
            return places;
        }
        // A negative offset skips everything.
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(places.len());
        let taken = usize::try_from(self.limit).unwrap_or(usize::MAX).min(places.len() - skipped);
        match self.direction {
            Direction::Up => {
                places.start += skipped;
                places.end = places.start + taken;
            }
            Direction::Down => {
                places.end -= skipped;
                places.start = places.end - taken;
            }
        }
        places
    }
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub fn zrange(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, None, None);
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub fn zrevrange(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Some(By::Place), Some(Direction::Down));
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub fn zrangebyscore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Some(By::Score), Some(Direction::Up));
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub fn zrevrangebyscore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Some(By::Score), Some(Direction::Down));
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub fn zrangebylex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Some(By::Lex), Some(Direction::Up));
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub fn zrevrangebylex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Some(By::Lex), Some(Direction::Down));
}

fn answer(shard: &mut Shard, call: &mut Call<'_, '_>, by: Option<By>, direction: Option<Direction>) {
    let Some(selection) = Selection::parse(call, Form { by, direction, first: 2, stores: false }) else { return };
    let Ok(set) = call.sorted_set(shard) else { return };
    let Some(set) = set else { return call.reply.array(0) };
    let places = selection.places(&set);
    call.begin_members(places.len(), selection.with_scores);
    set.visit(places, selection.direction, &mut |member, score| call.member(member, score, selection.with_scores));
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub fn zrangestore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(selection) = Selection::parse(call, Form { by: None, direction: None, first: 3, stores: true }) else { return };
    let (target, source) = (call.key_at(shard, 1), call.key_at(shard, 2));
    call.key = source;
    let Ok(set) = call.sorted_set(shard) else { return };
    // Copied, because the source may be what is replaced.
    let mut kept: Vec<(Vec<u8>, f64)> = Vec::new();
    if let Some(set) = set {
        set.visit(selection.places(&set), Direction::Up, &mut |member, score| kept.push((member.to_vec(), score)));
    }
    let scored: Vec<(&[u8], f64)> = kept.iter().map(|(member, score)| (&member[..], *score)).collect();
    shard.store_sorted_set(call.db, &target, &scored, call.now);
    call.reply.integer(scored.len() as i64);
}

/// `ZCOUNT key min max`
pub fn zcount(shard: &mut Shard, call: &mut Call<'_, '_>) {
    count(shard, call, By::Score);
}

/// `ZLEXCOUNT key min max`
pub fn zlexcount(shard: &mut Shard, call: &mut Call<'_, '_>) {
    count(shard, call, By::Lex);
}

fn count(shard: &mut Shard, call: &mut Call<'_, '_>, by: By) {
    let Some(asked) = Asked::parse(call, by, 2, 3) else { return };
    let Ok(set) = call.sorted_set(shard) else { return };
    call.reply.integer(set.map_or(0, |set| asked.places(&set, Direction::Up).len() as i64));
}

/// `ZREMRANGEBYRANK key start stop`
pub fn zremrangebyrank(shard: &mut Shard, call: &mut Call<'_, '_>) {
    remove(shard, call, By::Place);
}

/// `ZREMRANGEBYSCORE key min max`
pub fn zremrangebyscore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    remove(shard, call, By::Score);
}

/// `ZREMRANGEBYLEX key min max`
pub fn zremrangebylex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    remove(shard, call, By::Lex);
}

fn remove(shard: &mut Shard, call: &mut Call<'_, '_>, by: By) {
    let Some(asked) = Asked::parse(call, by, 2, 3) else { return };
    let Some(mut set) = call.open_sorted_set(shard) else { return };
    let places = asked.places(&set.view(), Direction::Up);
    let removed = places.len();
    set.remove_places(places);
    set.close();
    call.reply.integer(removed as i64);
}
