//! Commands on sorted sets: single members, and what becomes of them.
//!
//! Ranges of one are in `range`, taking from the ends in `pop`, several together in `algebra`, walks in `walk`.

pub mod algebra;
pub mod pop;
pub mod range;
pub mod walk;

use super::{Call, texts};
use crate::collection::sorted_set::{SortedSet, SortedSetEdit};
use crate::number;
use crate::shard::{Kind, Shard};
use crate::wire::Proto;

/// The sum of two infinities.
const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

impl<'a> Call<'a, '_> {
    /// The sorted set under the call's key. `Err` if the key holds something else, which has been answered; `None` inside if there
    /// is no such key.
    pub(super) fn sorted_set<'s>(&mut self, shard: &'s mut Shard) -> Result<Option<SortedSet<'s>>, ()> {
        match shard.view(self.db, &self.key, Kind::SortedSet, self.now) {
            Ok(view) => Ok(view.map(SortedSet::of)),
            Err(_) => {
                self.reply.error(texts::WRONG_TYPE);
                Err(())
            }
        }
    }

    /// The same for changing it. `None` if the key holds something else, which has been answered.
    fn open_sorted_set<'s>(&mut self, shard: &'s mut Shard) -> Option<SortedSetEdit<'s, 'a>> {
        let opened = SortedSetEdit::open(shard, self.db, &self.key, self.now).ok();
        if opened.is_none() {
            self.reply.error(texts::WRONG_TYPE);
        }
        opened
    }

    /// The header of so many members, with their scores or without: pairs are arrays of their own only in RESP3.
    fn begin_members(&mut self, count: usize, with_scores: bool) {
        let flat = with_scores && self.reply.proto() == Proto::Resp2;
        self.reply.array(if flat { count * 2 } else { count });
    }

    /// One of them.
    fn member(&mut self, member: &[u8], score: f64, with_scores: bool) {
        if !with_scores {
            return self.reply.bulk(member);
        }
        if self.reply.proto() == Proto::Resp3 {
            self.reply.array(2);
        }
        self.reply.bulk(member);
        self.reply.double(score);
    }
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub fn zadd(shard: &mut Shard, call: &mut Call<'_, '_>) {
    add(shard, call, false);
}

/// `ZINCRBY key increment member`: as in Redis it takes the options of `ZADD`, for which it has no room.
pub fn zincrby(shard: &mut Shard, call: &mut Call<'_, '_>) {
    add(shard, call, true);
}

/// What a client said before the first score.
#[derive(Default)]
pub(super) struct AddOptions {
    pub(super) only_new: bool,
    pub(super) only_there: bool,
    only_greater: bool,
    only_less: bool,
    pub(super) count_changed: bool,
    increment: bool,
}

impl AddOptions {
    /// The options, and where the first score is. Answers the error and gives `None` if they contradict each other or the number of
    /// arguments behind them.
    fn parse(call: &mut Call<'_, '_>, increment: bool) -> Option<(AddOptions, usize)> {
        let mut options = AddOptions { increment, ..AddOptions::default() };
        let mut index = 2;
        while index < call.args.len() {
            let word = call.args.get(index);
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let option = match () {
                () if is("NX") => &mut options.only_new,
                () if is("XX") => &mut options.only_there,
                () if is("GT") => &mut options.only_greater,
                () if is("LT") => &mut options.only_less,
                () if is("CH") => &mut options.count_changed,
                () if is("INCR") => &mut options.increment,
                () => break,
            };
            *option = true;
            index += 1;
        }
        let words = call.args.len() - index;
        let contradictory = [options.only_new, options.only_greater, options.only_less].into_iter().filter(|set| *set).count() > 1;
        let wrong = if words == 0 || words % 2 == 1 {
            texts::SYNTAX
        } else if options.only_new && options.only_there {
            "ERR XX and NX options at the same time are not compatible"
        } else if contradictory {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if options.increment && words > 2 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Some((options, index));
        };
        call.reply.error(wrong);
        None
    }

    /// The score that a member is to have; `None` if it stays as it is. `Err` if that is no number.
    fn score(&self, before: Option<f64>, given: f64) -> Result<Option<f64>, ()> {
        let Some(before) = before else { return Ok((!self.only_there).then_some(given)) };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increment { before + given } else { given };
        if score.is_nan() {
            return Err(());
        }
        let refused = (self.only_less && score >= before) || (self.only_greater && score <= before);
        Ok((!refused).then_some(score))
    }
}

fn add(shard: &mut Shard, call: &mut Call<'_, '_>, increment: bool) {
    let Some((options, first)) = AddOptions::parse(call, increment) else { return };
    let mut scored = Vec::with_capacity((call.args.len() - first) / 2);
    for index in (first..call.args.len()).step_by(2) {
        let Some(score) = call.fraction_at(index, texts::NOT_FLOAT) else { return };
        scored.push((score, call.args.get(index + 1)));
    }
    put_scored(shard, call, &options, &scored);
}

/// Puts members into the sorted set under the call's key, and answers as `ZADD` does. An increment has one member.
pub(super) fn put_scored(shard: &mut Shard, call: &mut Call<'_, '_>, options: &AddOptions, scored: &[(f64, &[u8])]) {
    let Some(mut set) = call.open_sorted_set(shard) else { return };
    let (mut added, mut changed, mut last) = (0, 0, None);
    for (score, member) in scored {
        let before = set.view().score(member);
        // Only an increment can fail, and that is alone: nothing has changed yet.
        let Ok(score) = options.score(before, *score) else { return call.reply.error(NOT_A_NUMBER) };
        if let Some(score) = score
            && before != Some(score)
        {
            set.set(member, score);
            added += i64::from(before.is_none());
            changed += 1;
        }
        last = score;
    }
    set.close();
    match last {
        Some(score) if options.increment => call.reply.double(score),
        None if options.increment => call.reply.null(),
        _ => call.reply.integer(if options.count_changed { changed } else { added }),
    }
}

/// `ZREM key member [member ...]`
pub fn zrem(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut set) = call.open_sorted_set(shard) else { return };
    let removed = call.args.iter_from(2).filter(|member| set.remove(member)).count();
    set.close();
    call.reply.integer(removed as i64);
}

/// `ZCARD key`
pub fn zcard(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    call.reply.integer(set.map_or(0, |set| set.len() as i64));
}

/// `ZSCORE key member`
pub fn zscore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    match set.and_then(|set| set.score(call.args.get(2))) {
        Some(score) => call.reply.double(score),
        None => call.reply.null(),
    }
}

/// `ZMSCORE key member [member ...]`
pub fn zmscore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    call.reply.array(call.args.len() - 2);
    for member in call.args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.reply.double(score),
            None => call.reply.null(),
        }
    }
}

/// `ZRANK key member [WITHSCORE]`
pub fn zrank(shard: &mut Shard, call: &mut Call<'_, '_>) {
    rank(shard, call, "zrank");
}

/// `ZREVRANK key member [WITHSCORE]`
pub fn zrevrank(shard: &mut Shard, call: &mut Call<'_, '_>) {
    rank(shard, call, "zrevrank");
}

fn rank(shard: &mut Shard, call: &mut Call<'_, '_>, command: &str) {
    let with_score = call.args.len() > 3;
    if call.args.len() > 4 {
        return call.reply.error(&format!("ERR wrong number of arguments for '{command}' command"));
    }
    if with_score && !call.arg_is(3, "WITHSCORE") {
        return call.reply.error(texts::SYNTAX);
    }
    let Ok(set) = call.sorted_set(shard) else { return };
    let found = set.and_then(|set| set.find(call.args.get(2)).map(|found| (set.len(), found)));
    let Some((len, (place, score))) = found else {
        return if with_score { call.reply.null_array() } else { call.reply.null() };
    };
    if with_score {
        call.reply.array(2);
    }
    call.reply.integer(if command == "zrank" { place } else { len - 1 - place } as i64);
    if with_score {
        call.reply.double(score);
    }
}

/// The text of a score, as a member's neighbour in `ZSCAN`.
fn score_text(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    number::write_f64(&mut text, score);
    text
}
