//! Commands on lists.

use super::{Call, texts};
use crate::collection::WrongKind;
use crate::collection::list::{EditedList, End};
use crate::key::Key;
use crate::number::Digits;
use crate::shard::{Kind, Shard};
use std::ops::Range;

/// `LPUSH key element [element ...]`
#[inline]
pub fn lpush(shard: &mut Shard, call: &mut Call<'_, '_>) {
    push(shard, call, End::Head, Absent::Start);
}

/// `RPUSH key element [element ...]`
#[inline]
pub fn rpush(shard: &mut Shard, call: &mut Call<'_, '_>) {
    push(shard, call, End::Tail, Absent::Start);
}

/// `LPUSHX key element [element ...]`
pub fn lpushx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    push(shard, call, End::Head, Absent::Leave);
}

/// `RPUSHX key element [element ...]`
pub fn rpushx(shard: &mut Shard, call: &mut Call<'_, '_>) {
    push(shard, call, End::Tail, Absent::Leave);
}

/// What to do if there is no list yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Start,
    Leave,
}

fn push(shard: &mut Shard, call: &mut Call<'_, '_>, end: End, absent: Absent) {
    let Some(mut list) = edit(shard, call, call.key) else { return };
    if list.len() == 0 && absent == Absent::Leave {
        return call.reply.integer(0);
    }
    let args = call.args;
    list.push(end, (2..args.len()).map(|index| args.get(index)));
    call.reply.integer(list.len() as i64);
    list.close();
}

/// Begins to change a list, which is empty if absent. Answers the error and gives `None` if the key holds something else.
#[inline]
fn edit<'s, 'k>(shard: &'s mut Shard, call: &mut Call<'_, '_>, key: Key<'k>) -> Option<EditedList<'s, 'k>> {
    match shard.edit_list(call.db, key, call.now) {
        Ok(list) => Some(list),
        Err(WrongKind) => {
            call.reply.error(texts::WRONG_TYPE);
            None
        }
    }
}

/// `LPOP key [count]`
#[inline]
pub fn lpop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    pop(shard, call, End::Head, "ERR wrong number of arguments for 'lpop' command");
}

/// `RPOP key [count]`
#[inline]
pub fn rpop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    pop(shard, call, End::Tail, "ERR wrong number of arguments for 'rpop' command");
}

fn pop(shard: &mut Shard, call: &mut Call<'_, '_>, end: End, wrong_arity: &str) {
    if call.args.len() > 3 {
        return call.reply.error(wrong_arity);
    }
    let count = match call.args.len() {
        2 => None,
        _ => match number_at_least(call, 2, 0, "ERR value is out of range, must be positive") {
            Some(count) => Some(count),
            None => return,
        },
    };
    let Some(mut list) = edit(shard, call, call.key) else { return };
    match (list.len(), count) {
        (0, None) => return call.reply.null(),
        (0, Some(_)) => return call.reply.null_array(),
        (_, Some(0)) => return call.reply.array(0),
        (_, None) => {}
        (len, Some(count)) => call.reply.array(count.min(len)),
    }
    list.pop(end, count.unwrap_or(1), &mut |element| call.reply.bulk(element));
    list.close();
}

/// The argument at `index` as a number of elements; answers `error` and gives `None` if it is none, or too small.
fn number_at_least(call: &mut Call<'_, '_>, index: usize, least: i64, error: &str) -> Option<usize> {
    let number = call.integer_at_or(index, error)?;
    if number < least {
        call.reply.error(error);
        return None;
    }
    Some(usize::try_from(number).unwrap_or(usize::MAX))
}

/// `LLEN key`
pub fn llen(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match shard.view(call.db, &call.key, Kind::List, call.now) {
        Ok(view) => call.reply.integer(view.map_or(0, |view| view.len()) as i64),
        Err(WrongKind) => call.reply.error(texts::WRONG_TYPE),
    }
}

/// `LINDEX key index`
pub fn lindex(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let view = match shard.view(call.db, &call.key, Kind::List, call.now) {
        Ok(Some(view)) => view,
        Ok(None) => return call.reply.null(),
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    };
    let Some(index) = call.integer_at(2) else { return };
    match position(index, view.len()) {
        Some(index) => view.visit_range(index, 1, |element| call.reply.bulk(element)),
        None => call.reply.null(),
    }
}

/// Where in a list of `len` elements `index` is, negative ones counted from the tail.
fn position(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + len as i64 } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// `LRANGE key start stop`
pub fn lrange(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(start) = call.integer_at(2) else { return };
    let Some(stop) = call.integer_at(3) else { return };
    match shard.view(call.db, &call.key, Kind::List, call.now) {
        Ok(Some(view)) => {
            let range = inside(start, stop, view.len());
            call.reply.array(range.len());
            view.visit_range(range.start, range.len(), |element| call.reply.bulk(element));
        }
        Ok(None) => call.reply.array(0),
        Err(WrongKind) => call.reply.error(texts::WRONG_TYPE),
    }
}

/// Both ends included, negative ones counted from the tail, as far as they lie inside. May be empty.
fn inside(start: i64, stop: i64, len: usize) -> Range<usize> {
    let from_head = |index: i64| if index < 0 { index + len as i64 } else { index };
    let start = usize::try_from(from_head(start).max(0)).unwrap_or(usize::MAX).min(len);
    let end = usize::try_from(from_head(stop).saturating_add(1).max(0)).unwrap_or(usize::MAX).min(len);
    if start < end { start..end } else { 0..0 }
}

/// `LSET key index element`
pub fn lset(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(mut list) = edit(shard, call, call.key) else { return };
    if list.len() == 0 {
        return call.reply.error(texts::NO_SUCH_KEY);
    }
    let Some(index) = call.integer_at(2) else { return };
    let Some(index) = position(index, list.len()) else { return call.reply.error("ERR index out of range") };
    list.set(index, call.args.get(3));
    list.close();
    call.reply.ok();
}

/// `LINSERT key BEFORE | AFTER pivot element`
pub fn linsert(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let behind = match () {
        () if call.arg_is(2, "AFTER") => 1,
        () if call.arg_is(2, "BEFORE") => 0,
        () => return call.reply.error(texts::SYNTAX),
    };
    let Some(mut list) = edit(shard, call, call.key) else { return };
    if list.len() == 0 {
        return call.reply.integer(0);
    }
    let Some(pivot) = list.position(call.args.get(3)) else { return call.reply.integer(-1) };
    list.insert(pivot + behind, call.args.get(4));
    call.reply.integer(list.len() as i64);
    list.close();
}

/// `LREM key count element`
pub fn lrem(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(count) = signed_number(call, 2) else { return };
    let Some(mut list) = edit(shard, call, call.key) else { return };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let from = if count < 0 { End::Tail } else { End::Head };
    let removed = if list.len() == 0 { 0 } else { list.remove_equal(call.args.get(3), most, from) };
    if removed > 0 {
        list.close();
    }
    call.reply.integer(removed as i64);
}

/// The argument at `index` as a number whose opposite is one as well; answers the error and gives `None` if it is none.
fn signed_number(call: &mut Call<'_, '_>, index: usize) -> Option<i64> {
    let number = call.integer_at(index)?;
    if number == i64::MIN {
        call.reply.error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
        return None;
    }
    Some(number)
}

/// `LTRIM key start stop`
pub fn ltrim(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(start) = call.integer_at(2) else { return };
    let Some(stop) = call.integer_at(3) else { return };
    let Some(mut list) = edit(shard, call, call.key) else { return };
    let keep = inside(start, stop, list.len());
    if keep.len() < list.len() {
        list.trim(keep);
        list.close();
    }
    call.reply.ok();
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub fn lpos(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(options) = PosOptions::parse(call) else { return };
    let element = call.args.get(2);
    let found = match shard.view(call.db, &call.key, Kind::List, call.now) {
        Ok(None) => Vec::new(),
        Ok(Some(view)) => {
            let (mut found, mut matches, mut seen) = (Vec::new(), 0, 0);
            view.visit_from(options.from, &mut |position, other| {
                seen += 1;
                if other == element {
                    matches += 1;
                    if matches > options.skip {
                        found.push(position);
                    }
                }
                found.len() < options.matches_max() && seen < options.len_max
            });
            found
        }
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    };
    match (options.count, found.first()) {
        (Some(_), _) => {
            call.reply.array(found.len());
            found.iter().for_each(|position| call.reply.integer(*position as i64));
        }
        (None, Some(position)) => call.reply.integer(*position as i64),
        (None, None) => call.reply.null(),
    }
}

struct PosOptions {
    from: End,
    /// Matches before the first that is wanted.
    skip: u64,
    /// How many matches are wanted, zero for all; `None` for one that is not in an array.
    count: Option<usize>,
    /// How many elements are looked at.
    len_max: usize,
}

impl PosOptions {
    /// Answers the error and gives `None` if one is wrong.
    fn parse(call: &mut Call<'_, '_>) -> Option<PosOptions> {
        let mut options = PosOptions { from: End::Head, skip: 0, count: None, len_max: usize::MAX };
        for index in (3..call.args.len()).step_by(2) {
            let is_valued = index + 1 < call.args.len();
            if is_valued && call.arg_is(index, "RANK") {
                let rank = signed_number(call, index + 1)?;
                if rank == 0 {
                    call.reply.error(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
                         start from the end of the list",
                    );
                    return None;
                }
                options.from = if rank < 0 { End::Tail } else { End::Head };
                options.skip = rank.unsigned_abs() - 1;
            } else if is_valued && call.arg_is(index, "COUNT") {
                options.count = Some(number_at_least(call, index + 1, 0, "ERR COUNT can't be negative")?);
            } else if is_valued && call.arg_is(index, "MAXLEN") {
                let len = number_at_least(call, index + 1, 0, "ERR MAXLEN can't be negative")?;
                options.len_max = if len == 0 { usize::MAX } else { len };
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
        }
        Some(options)
    }

    fn matches_max(&self) -> usize {
        match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        }
    }
}

/// `LMOVE source destination LEFT | RIGHT LEFT | RIGHT`
pub fn lmove(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(from) = end_at(call, 3) else { return };
    let Some(to) = end_at(call, 4) else { return };
    move_element(shard, call, from, to);
}

/// `RPOPLPUSH source destination`
pub fn rpoplpush(shard: &mut Shard, call: &mut Call<'_, '_>) {
    move_element(shard, call, End::Tail, End::Head);
}

/// The end that the argument at `index` names; answers the error and gives `None` if it names none.
fn end_at(call: &mut Call<'_, '_>, index: usize) -> Option<End> {
    if call.arg_is(index, "LEFT") {
        Some(End::Head)
    } else if call.arg_is(index, "RIGHT") {
        Some(End::Tail)
    } else {
        call.reply.error(texts::SYNTAX);
        None
    }
}

impl End {
    fn pop_name(self) -> &'static [u8] {
        match self {
            End::Head => b"LPOP",
            End::Tail => b"RPOP",
        }
    }

    fn push_name(self) -> &'static [u8] {
        match self {
            End::Head => b"LPUSH",
            End::Tail => b"RPUSH",
        }
    }
}

fn move_element(shard: &mut Shard, call: &mut Call<'_, '_>, from: End, to: End) {
    let (source, target) = (call.key_at(shard, 1), call.key_at(shard, 2));
    match shard.peek_view(call.db, &source, Kind::List, call.now) {
        Ok(Some(_)) => {}
        Ok(None) => return call.reply.null(),
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    }
    if shard.peek_view(call.db, &target, Kind::List, call.now).is_err() {
        return call.reply.error(texts::WRONG_TYPE);
    }
    let Some(mut list) = edit(shard, call, source) else { return };
    let mut moved = Vec::new();
    list.pop(from, 1, &mut |element| moved.extend_from_slice(element));
    if source.bytes != target.bytes {
        list.close();
        match edit(shard, call, target) {
            Some(other) => list = other,
            None => unreachable!("it was looked at, and the other one was changed"),
        }
    }
    list.push(to, std::iter::once(&moved[..]));
    list.close();
    // The two keys are mostly in different partitions, and a log has a stream for each of those.
    shard.retell(&[&[from.pop_name(), source.bytes], &[to.push_name(), target.bytes, &moved]]);
    call.reply.bulk(&moved);
}

/// `LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]`
pub fn lmpop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(keys) = number_at_least(call, 1, 1, "ERR numkeys should be greater than 0") else { return };
    let after = keys.saturating_add(2);
    if after >= call.args.len() {
        return call.reply.error(texts::SYNTAX);
    }
    let Some(end) = end_at(call, after) else { return };
    let mut count = 1;
    if call.args.len() > after + 2 && call.arg_is(after + 1, "COUNT") {
        match number_at_least(call, after + 2, 1, "ERR count should be greater than 0") {
            Some(given) => count = given,
            None => return,
        }
        if call.args.len() > after + 3 {
            return call.reply.error(texts::SYNTAX);
        }
    } else if call.args.len() > after + 1 {
        return call.reply.error(texts::SYNTAX);
    }
    for index in 2..after {
        let key = call.key_at(shard, index);
        let Some(mut list) = edit(shard, call, key) else { return };
        if list.len() > 0 {
            call.reply.array(2);
            call.reply.bulk(key.bytes);
            call.reply.array(count.min(list.len()));
            list.pop(end, count, &mut |element| call.reply.bulk(element));
            list.close();
            return shard.retell(&[&[end.pop_name(), key.bytes, Digits::of_u64(count as u64).as_bytes()]]);
        }
    }
    call.reply.null_array();
}
