//! Walking through keys: `SCAN` in steps, `KEYS` at once.
//!
//! A cursor is opaque to clients. Here it is the shard's own; an engine of several cores walks one core after the other and
//! puts the core's number into the cursor that it shows.

use super::{Call, texts};
use crate::collection::WrongKind;
use crate::collection::elements::Elements;
use crate::glob;
use crate::key::Db;
use crate::shard::{Cursor, Found, Kind, Shard};
use crate::slot::Slot;
use crate::wire::{Proto, Reply};

/// Most keys that one step of `SCAN` visits, whatever `COUNT` asks for, so that nobody else waits long for it.
pub const STEP_KEYS_MAX: usize = 100_000;

/// What a client wants to see of the keys that a step visits.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// `MATCH`; `None` for every key.
    pub pattern: Option<&'a [u8]>,
    /// `TYPE`.
    pub kind: KindFilter,
    /// `COUNT`: how many keys a step visits, seen or not.
    pub count: usize,
    /// No `NOVALUES`: fields of a hash are shown with their values.
    pub with_values: bool,
}

/// What is walked through: not everything can be asked of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Keys,
    Hash,
    Others,
}

/// Which kinds of value are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindFilter {
    /// Every kind.
    Any,
    /// This one.
    Only(Kind),
    /// One that does not exist: nothing is found.
    Unknown,
}

impl<'a> Filter<'a> {
    /// What `SCAN` does if nothing is said.
    pub const ALL: Filter<'static> = Filter { pattern: None, kind: KindFilter::Any, count: 10, with_values: true };

    /// The options of `SCAN` from argument `index` on. Answers the error and gives `None` if one is wrong.
    pub fn parse(call: &mut Call<'a, '_>, index: usize) -> Option<Filter<'a>> {
        Filter::parse_of(call, index, Scanned::Keys)
    }

    /// The same for a walk through the elements of one key, which have no type.
    pub(crate) fn parse_for_elements(call: &mut Call<'a, '_>, index: usize) -> Option<Filter<'a>> {
        Filter::parse_of(call, index, Scanned::Others)
    }

    pub(super) fn parse_of(call: &mut Call<'a, '_>, mut index: usize, scanned: Scanned) -> Option<Filter<'a>> {
        let mut filter = Filter::ALL;
        while index < call.args.len() {
            let valued = index + 1 < call.args.len();
            if valued && call.arg_is(index, "MATCH") {
                filter.pattern = pattern(call.args.get(index + 1));
            } else if valued && scanned == Scanned::Keys && call.arg_is(index, "TYPE") {
                filter.kind = KindFilter::named(call.args.get(index + 1));
            } else if valued && call.arg_is(index, "COUNT") {
                let count = call.integer_at(index + 1)?;
                if count < 1 {
                    call.reply.error(texts::SYNTAX);
                    return None;
                }
                filter.count = usize::try_from(count).unwrap_or(usize::MAX).min(STEP_KEYS_MAX);
            } else if call.arg_is(index, "NOVALUES") {
                if scanned != Scanned::Hash {
                    call.reply.error("ERR NOVALUES option can only be used in HSCAN");
                    return None;
                }
                filter.with_values = false;
                index -= 1; // It stands alone.
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 2;
        }
        Some(filter)
    }

    /// Whether it shows an element of one key.
    pub(crate) fn shows_element(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element))
    }

    fn shows(&self, found: &Found<'_>) -> bool {
        let kind_fits = match self.kind {
            KindFilter::Any => true,
            KindFilter::Only(kind) => found.kind == kind,
            KindFilter::Unknown => false,
        };
        kind_fits && self.shows_element(found.key)
    }
}

/// `*` means every key, the empty one included, which the pattern itself does not match.
fn pattern(text: &[u8]) -> Option<&[u8]> {
    (text != b"*").then_some(text)
}

impl KindFilter {
    fn named(name: &[u8]) -> KindFilter {
        match Kind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name)) {
            Some(kind) => KindFilter::Only(kind),
            None => KindFilter::Unknown,
        }
    }
}

/// What one step saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where to go on; zero at the end.
    pub next: Cursor,
    /// How many keys were appended.
    pub keys: usize,
}

/// Visits the next keys of this shard and appends those that the filter shows to `out`, each as one bulk reply.
pub fn scan_step(shard: &Shard, db: Db, cursor: Cursor, filter: &Filter<'_>, now: u64, out: &mut Vec<u8>) -> Step {
    // A bulk is the same in both dialects.
    let mut bulks = Reply::new(out, Proto::Resp2);
    let mut keys = 0;
    let next = shard.scan(db, cursor, filter.count, now, &mut |found| {
        if filter.shows(found) {
            bulks.bulk(found.key);
            keys += 1;
        }
    });
    Step { next, keys }
}

/// Visits every key of this shard in `slot`, and appends the first `keys_max` of them to `out`, each as one bulk reply.
/// Returns how many there are: for `CLUSTER COUNTKEYSINSLOT` and `CLUSTER GETKEYSINSLOT`, which ask seldom. O(all keys).
pub fn slot_keys(shard: &Shard, db: Db, slot: Slot, keys_max: usize, now: u64, out: &mut Vec<u8>) -> usize {
    let mut bulks = Reply::new(out, Proto::Resp2);
    let mut keys = 0;
    let mut cursor = Cursor::default();
    loop {
        cursor = shard.scan(db, cursor, STEP_KEYS_MAX, now, &mut |found| {
            if Slot::of(found.key) == slot {
                if keys < keys_max {
                    bulks.bulk(found.key);
                }
                keys += 1;
            }
        });
        if cursor == Cursor::default() {
            return keys;
        }
    }
}

/// The cursor at argument `index`. Answers the error and gives `None` if it is none.
pub fn cursor_at(call: &mut Call<'_, '_>, index: usize) -> Option<Cursor> {
    let cursor = std::str::from_utf8(call.args.get(index)).ok().and_then(|text| text.parse().ok()).map(Cursor);
    if cursor.is_none() {
        call.reply.error("ERR invalid cursor");
    }
    cursor
}

/// Answers a step of `SCAN`: the next cursor as text, then `step.keys` keys, whose bulks are `bulks`.
pub fn answer_step(reply: &mut Reply<'_>, step: Step, bulks: &[u8]) {
    reply.array(2);
    reply.bulk(step.next.0.to_string().as_bytes());
    reply.array(step.keys);
    reply.raw(bulks);
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
pub fn hscan(shard: &mut Shard, call: &mut Call<'_, '_>) {
    scan_elements(shard, call, Kind::Hash);
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
pub fn sscan(shard: &mut Shard, call: &mut Call<'_, '_>) {
    scan_elements(shard, call, Kind::Set);
}

fn scan_elements(shard: &mut Shard, call: &mut Call<'_, '_>, kind: Kind) {
    let Some(cursor) = cursor_at(call, 2) else { return };
    // As in Redis, what is wrong behind the cursor is only seen if there is something to scan.
    let view = match shard.view(call.db, &call.key, kind, call.now) {
        Ok(Some(view)) => view,
        Ok(None) => return answer_step(&mut call.reply, Step { next: Cursor::default(), keys: 0 }, b""),
        Err(WrongKind) => return call.reply.error(texts::WRONG_TYPE),
    };
    let scanned = if kind == Kind::Hash { Scanned::Hash } else { Scanned::Others };
    let Some(filter) = Filter::parse_of(call, 3, scanned) else { return };
    let shows_values = kind == Kind::Hash && filter.with_values;
    let (mut bytes, mut shown) = (Vec::new(), 0);
    let mut bulks = Reply::new(&mut bytes, Proto::Resp2);
    let next = Elements::of(view, kind).scan(cursor.0, filter.count, &mut |member, value| {
        if filter.shows_element(member) {
            bulks.bulk(member);
            if shows_values {
                bulks.bulk(value);
            }
            shown += 1 + usize::from(shows_values);
        }
    });
    answer_step(&mut call.reply, Step { next: Cursor(next), keys: shown }, &bytes);
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`: this core's part.
pub fn scan(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(cursor) = cursor_at(call, 1) else { return };
    let Some(filter) = Filter::parse(call, 2) else { return };
    let mut bulks = Vec::new();
    let step = scan_step(shard, call.db, cursor, &filter, call.now, &mut bulks);
    answer_step(&mut call.reply, step, &bulks);
}

/// `KEYS pattern`: this core's part.
pub fn keys(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let pattern = call.args.get(1);
    // A pattern without anything special is one name.
    if let Some(name) = glob::literal(pattern) {
        let present = shard.peek(call.db, &shard.key(name), call.now).is_some();
        call.reply.array(usize::from(present));
        if present {
            call.reply.bulk(name);
        }
        return;
    }
    let filter = Filter { pattern: self::pattern(pattern), count: usize::MAX, ..Filter::ALL };
    let mut bulks = Vec::new();
    let (mut cursor, mut found) = (Cursor::default(), 0);
    loop {
        let step = scan_step(shard, call.db, cursor, &filter, call.now, &mut bulks);
        (cursor, found) = (step.next, found + step.keys);
        if cursor == Cursor::default() {
            break;
        }
    }
    call.reply.array(found);
    call.reply.raw(&bulks);
}
