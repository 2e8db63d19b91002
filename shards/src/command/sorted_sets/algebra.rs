//! Several sorted sets together: what is in any of them, in all of them, in the first alone. Sets take part with a score of 1
//! for every member.

use super::super::{Call, texts};
use crate::collection::sorted_set::SortedSet;
use crate::collection::{Large, View};
use crate::shard::{Kind, Shard};
use std::cmp::Ordering;

/// What to make of several inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What to make of several scores of one member.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// Infinities of both signs come to nothing.
    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(left + right),
            Aggregate::Min => left.min(right),
            Aggregate::Max => left.max(right),
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One input. What is not there has no members.
#[derive(Clone, Copy)]
enum Source<'a> {
    Nothing,
    Scored(SortedSet<'a>),
    Plain(View<'a>),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Source::Nothing => 0,
            Source::Scored(set) => set.len(),
            Source::Plain(view) => view.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        let has = match self {
            Source::Nothing => false,
            Source::Scored(set) => return set.score(member),
            Source::Plain(View::Packed(pack)) => pack.iter().any(|other| other == member),
            Source::Plain(View::Large(Large::Set(members), heap)) => members.get(heap, member).is_some(),
            Source::Plain(View::Large(..)) => unreachable!("the record says that it is a set"),
        };
        has.then_some(1.0)
    }

    fn visit(&self, visit: &mut dyn FnMut(&[u8], f64)) {
        match self {
            Source::Nothing => {}
            Source::Scored(set) => set.visit_all(&mut |member, score| visit(member, score)),
            Source::Plain(view) => view.visit(&mut |member| visit(member, 1.0)),
        }
    }
}

/// Members with their scores, copied out of where they were.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where a member begins and ends, and its score.
    scored: Vec<(usize, usize, f64)>,
}

impl Gathered {
    fn push(&mut self, member: &[u8], score: f64) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(member);
        self.scored.push((start, self.bytes.len(), score));
    }

    /// Lets each member be there once: its scores are put together in the order in which they came.
    fn unite(&mut self, aggregate: Aggregate) {
        let bytes = &self.bytes;
        self.scored.sort_by(|left, right| bytes[left.0..left.1].cmp(&bytes[right.0..right.1]));
        self.scored.dedup_by(|later, kept| {
            let same = bytes[later.0..later.1] == bytes[kept.0..kept.1];
            if same {
                kept.2 = aggregate.of(kept.2, later.2);
            }
            same
        });
    }

    /// By score, then by bytes.
    fn in_order(&self) -> Vec<(&[u8], f64)> {
        let mut scored: Vec<(&[u8], f64)> = self.scored.iter().map(|(start, end, score)| (&self.bytes[*start..*end], *score)).collect();
        scored.sort_unstable_by(|(member, score), (other, bound)| {
            score.partial_cmp(bound).unwrap_or(Ordering::Equal).then_with(|| member.cmp(other))
        });
        scored
    }
}

/// What a command takes beside its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// `WITHSCORES`.
    Answer,
    Store,
    /// `LIMIT`.
    Count,
}

/// Everything behind the keys.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Zero for none.
    limit: usize,
}

impl Options {
    /// Answers the error and gives `None` if something is wrong.
    fn parse(call: &mut Call<'_, '_>, operation: Operation, purpose: Purpose, keys: usize, mut index: usize) -> Option<Options> {
        let mut options = Options { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let combines = operation != Operation::Difference && purpose != Purpose::Count;
        while index < call.args.len() {
            let left = call.args.len() - index;
            if combines && left > keys && call.arg_is(index, "WEIGHTS") {
                for at in 0..keys {
                    options.weights[at] = call.fraction_at(index + 1 + at, "ERR weight value is not a float")?;
                }
                index += keys;
            } else if combines && left >= 2 && call.arg_is(index, "AGGREGATE") {
                index += 1;
                let all = [("SUM", Aggregate::Sum), ("MIN", Aggregate::Min), ("MAX", Aggregate::Max)];
                let Some((_, aggregate)) = all.into_iter().find(|(name, _)| call.arg_is(index, name)) else {
                    call.reply.error(texts::SYNTAX);
                    return None;
                };
                options.aggregate = aggregate;
            } else if purpose == Purpose::Answer && call.arg_is(index, "WITHSCORES") {
                options.with_scores = true;
            } else if purpose == Purpose::Count && left >= 2 && call.arg_is(index, "LIMIT") {
                index += 1;
                let limit = call.integer_from_at(index, 0, "ERR LIMIT can't be negative")?;
                options.limit = usize::try_from(limit).unwrap_or(usize::MAX);
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 1;
        }
        Some(options)
    }
}

/// What an input's key must hold, if it is there.
fn input_kind(shard: &mut Shard, call: &mut Call<'_, '_>, index: usize) -> Result<Option<Kind>, ()> {
    let key = call.key_at(shard, index);
    match shard.read(call.db, &key, call.now).map(|found| found.kind) {
        Some(Kind::SortedSet | Kind::Set) | None => {}
        Some(_) => {
            call.reply.error(texts::WRONG_TYPE);
            return Err(());
        }
    }
    Ok(shard.peek(call.db, &key, call.now).map(|found| found.kind))
}

fn source<'s>(shard: &'s Shard, call: &Call<'_, '_>, index: usize, kind: Option<Kind>) -> Source<'s> {
    let key = call.key_at(shard, index);
    let view = kind.and_then(|kind| shard.peek_view(call.db, &key, kind, call.now).ok().flatten());
    match (kind, view) {
        (Some(Kind::SortedSet), Some(view)) => Source::Scored(SortedSet::of(view)),
        (_, Some(view)) => Source::Plain(view),
        (_, None) => Source::Nothing,
    }
}

/// All inputs combined, and what was said about them. `None` if something was wrong, which has been answered. The number of keys is
/// argument `count`.
fn combine(
    shard: &mut Shard,
    call: &mut Call<'_, '_>,
    count: usize,
    operation: Operation,
    purpose: Purpose,
) -> Option<(Gathered, Options)> {
    let keys = call.integer_at(count)?;
    let Some(keys) = usize::try_from(keys).ok().filter(|keys| *keys > 0) else {
        let name = String::from_utf8_lossy(call.args.get(0)).to_ascii_lowercase();
        call.reply.error(&format!("ERR at least 1 input key is needed for '{name}' command"));
        return None;
    };
    if keys > call.args.len() - count - 1 {
        call.reply.error(texts::SYNTAX);
        return None;
    }
    let first = count + 1;
    let mut kinds = Vec::with_capacity(keys);
    for index in first..first + keys {
        kinds.push(input_kind(shard, call, index).ok()?);
    }
    let options = Options::parse(call, operation, purpose, keys, first + keys)?;
    let sources = kinds.into_iter().enumerate().map(|(at, kind)| (source(shard, call, first + at, kind), options.weights[at]));
    let mut sources: Vec<(Source<'_>, f64)> = sources.collect();
    if operation != Operation::Difference {
        // The smallest first: it decides how much is to do.
        sources.sort_by_key(|(source, _)| source.len());
    }
    let gathered = match operation {
        Operation::Union => union(&sources, options.aggregate),
        Operation::Intersection => intersection(&sources, options.aggregate, options.limit),
        Operation::Difference => difference(&sources),
    };
    Some((gathered, options))
}

fn union(sources: &[(Source<'_>, f64)], aggregate: Aggregate) -> Gathered {
    let mut gathered = Gathered::default();
    for (source, weight) in sources {
        source.visit(&mut |member, score| gathered.push(member, number_or_zero(score * weight)));
    }
    gathered.unite(aggregate);
    gathered
}

fn intersection(sources: &[(Source<'_>, f64)], aggregate: Aggregate, limit: usize) -> Gathered {
    let mut gathered = Gathered::default();
    let Some(((smallest, weight), others)) = sources.split_first() else { return gathered };
    smallest.visit(&mut |member, score| {
        if limit > 0 && gathered.scored.len() >= limit {
            return;
        }
        let start = number_or_zero(score * weight);
        let score = others.iter().try_fold(start, |sum, (other, weight)| Some(aggregate.of(sum, other.score(member)? * weight)));
        if let Some(score) = score {
            gathered.push(member, score);
        }
    });
    gathered
}

fn difference(sources: &[(Source<'_>, f64)]) -> Gathered {
    let mut gathered = Gathered::default();
    let Some(((first, _), others)) = sources.split_first() else { return gathered };
    first.visit(&mut |member, score| {
        if others.iter().all(|(other, _)| other.score(member).is_none()) {
            gathered.push(member, score);
        }
    });
    gathered
}

fn answer(shard: &mut Shard, call: &mut Call<'_, '_>, operation: Operation) {
    let Some((gathered, options)) = combine(shard, call, 1, operation, Purpose::Answer) else { return };
    let scored = gathered.in_order();
    call.begin_members(scored.len(), options.with_scores);
    for (member, score) in scored {
        call.member(member, score, options.with_scores);
    }
}

fn store(shard: &mut Shard, call: &mut Call<'_, '_>, operation: Operation) {
    let Some((gathered, _)) = combine(shard, call, 2, operation, Purpose::Store) else { return };
    let scored = gathered.in_order();
    let target = call.key_at(shard, 1);
    shard.store_sorted_set(call.db, &target, &scored, call.now);
    call.reply.integer(scored.len() as i64);
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]`
pub fn zunion(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Operation::Union);
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]`
pub fn zinter(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Operation::Intersection);
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub fn zdiff(shard: &mut Shard, call: &mut Call<'_, '_>) {
    answer(shard, call, Operation::Difference);
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]`
pub fn zunionstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store(shard, call, Operation::Union);
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | MAX]`
pub fn zinterstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store(shard, call, Operation::Intersection);
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub fn zdiffstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    store(shard, call, Operation::Difference);
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub fn zintercard(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some((gathered, _)) = combine(shard, call, 1, Operation::Intersection, Purpose::Count) else { return };
    call.reply.integer(gathered.scored.len() as i64);
}
