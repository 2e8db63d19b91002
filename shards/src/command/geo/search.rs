//! Searches around a place, answered or kept under another key.

use super::super::{Call, texts};
use super::grid::{Cell, Place, Shape};
use crate::collection::order::Direction;
use crate::collection::sorted_set::{Point, SortedSet};
use crate::shard::{Kind, Shard};
use std::cmp::Ordering;

/// Members of a cell that are looked at before asking whether there are enough.
const PIECE_PLACES: usize = 512;

/// Which of the commands it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `GEOSEARCH`
    Search,
    /// `GEOSEARCHSTORE`
    SearchStore,
    /// `GEORADIUS`, which may store, or not.
    Radius { may_store: bool },
    /// `GEORADIUSBYMEMBER`
    RadiusByMember { may_store: bool },
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true })
    }
}

/// All that a client said.
#[derive(Default)]
struct Query {
    /// Around what; also absent if the key is.
    center: Option<Place>,
    from_member: bool,
    from_place: bool,
    shape: Option<Shape>,
    /// Metres of the unit that distances are given in.
    unit: f64,
    with_distance: bool,
    with_cell: bool,
    with_place: bool,
    nearest_first: Option<bool>,
    /// Zero for all.
    count: usize,
    any: bool,
    /// The argument that names the key to store to.
    stored: Option<usize>,
    store_distances: bool,
}

impl Query {
    /// Answers the error and gives `None` if something is wrong.
    fn parse(call: &mut Call<'_, '_>, form: Form, set: Option<SortedSet<'_>>) -> Option<Query> {
        let mut query = Query { unit: 1.0, ..Query::default() };
        let mut index = query.parse_front(call, form, set)?;
        while index < call.args.len() {
            let left = call.args.len() - index - 1;
            let is = |word: &str| call.arg_is(index, word);
            if is("WITHDIST") {
                query.with_distance = true;
            } else if is("WITHHASH") {
                query.with_cell = true;
            } else if is("WITHCOORD") {
                query.with_place = true;
            } else if is("ANY") {
                query.any = true;
            } else if is("ASC") || is("DESC") {
                query.nearest_first = Some(is("ASC"));
            } else if is("COUNT") && left >= 1 {
                index += 1;
                query.count = count_at(call, index)?;
            } else if form.may_store() && left >= 1 && (is("STORE") || is("STOREDIST")) {
                query.store_distances = is("STOREDIST");
                index += 1;
                query.stored = Some(index);
            } else if form == Form::SearchStore && is("STOREDIST") {
                query.store_distances = true;
            } else if form.is_search() {
                index += query.parse_shape(call, index, left, set)?;
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 1;
        }
        query.check(call, form)?;
        Some(query)
    }

    /// What stands before the options, and where those begin.
    fn parse_front(&mut self, call: &mut Call<'_, '_>, form: Form, set: Option<SortedSet<'_>>) -> Option<usize> {
        match form {
            Form::Search => Some(2),
            Form::SearchStore => {
                self.stored = Some(1);
                Some(3)
            }
            Form::Radius { .. } => {
                self.center = Some(call.place_at(2)?);
                self.parse_radius(call, 4)?;
                Some(6)
            }
            Form::RadiusByMember { .. } => {
                // Of a key that is not there nothing more is read.
                if set.is_some() {
                    self.center = Some(member_at(call, 2, set)?);
                    self.parse_radius(call, 3)?;
                }
                Some(5)
            }
        }
    }

    /// Around what, or how far: how many arguments behind the one at `index` belong to it.
    fn parse_shape(&mut self, call: &mut Call<'_, '_>, index: usize, left: usize, set: Option<SortedSet<'_>>) -> Option<usize> {
        let is_circle = matches!(self.shape, Some(Shape::Circle { .. }));
        let is_box = matches!(self.shape, Some(Shape::Box { .. }));
        if call.arg_is(index, "FROMMEMBER") && left >= 1 && !self.from_place {
            if set.is_some() {
                self.center = Some(member_at(call, index + 1, set)?);
            }
            self.from_member = true;
            Some(1)
        } else if call.arg_is(index, "FROMLONLAT") && left >= 2 && !self.from_member {
            self.center = Some(call.place_at(index + 1)?);
            self.from_place = true;
            Some(2)
        } else if call.arg_is(index, "BYRADIUS") && left >= 2 && !is_box {
            self.parse_radius(call, index + 1)?;
            Some(2)
        } else if call.arg_is(index, "BYBOX") && left >= 3 && !is_circle {
            let width = call.fraction_at(index + 1, "ERR need numeric width")?;
            let height = call.fraction_at(index + 2, "ERR need numeric height")?;
            if width < 0.0 || height < 0.0 {
                call.reply.error("ERR height or width cannot be negative");
                return None;
            }
            self.unit = call.unit_at(index + 3)?;
            self.shape = Some(Shape::Box { width: width * self.unit, height: height * self.unit });
            Some(3)
        } else {
            call.reply.error(texts::SYNTAX);
            None
        }
    }

    fn parse_radius(&mut self, call: &mut Call<'_, '_>, index: usize) -> Option<()> {
        let radius = call.fraction_at(index, "ERR need numeric radius")?;
        if radius < 0.0 {
            call.reply.error("ERR radius cannot be negative");
            return None;
        }
        self.unit = call.unit_at(index + 1)?;
        self.shape = Some(Shape::Circle { radius: radius * self.unit });
        Some(())
    }

    /// What does not go together.
    fn check(&self, call: &mut Call<'_, '_>, form: Form) -> Option<()> {
        let name = || String::from_utf8_lossy(call.args.get(0)).into_owned();
        let wrong = if self.stored.is_some() && (self.with_distance || self.with_cell || self.with_place) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        } else if form.is_search() && !self.from_member && !self.from_place {
            format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", name())
        } else if form.is_search() && self.shape.is_none() {
            format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", name())
        } else if self.any && self.count == 0 {
            "ERR the ANY argument requires COUNT argument".to_string()
        } else {
            return Some(());
        };
        call.reply.error_bytes(wrong.as_bytes());
        None
    }

    /// What is inside, in the order that was asked for.
    fn find<'s>(&self, set: &SortedSet<'s>) -> Vec<Hit<'s>> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else { return Vec::new() };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut hits: Vec<Hit<'s>> = Vec::new();
        let mut last = None;
        for (index, cell) in shape.cells(center).into_iter().enumerate() {
            // On a coarse grid neighbours that follow each other can be one. The first cell is compared with none, as in Redis.
            if last == Some(cell) || hits.len() >= enough {
                continue;
            }
            last = (index > 0).then_some(cell);
            let (low, high) = cell.scores();
            let mut places = set.places(&[Point::BeforeScore(low), Point::BeforeScore(high)]);
            while !places.is_empty() && hits.len() < enough {
                let piece = places.start..places.end.min(places.start + PIECE_PLACES);
                places.start = piece.end;
                set.visit(piece, Direction::Up, &mut |member, score| {
                    let place = Cell::of_score(score).place();
                    if hits.len() < enough
                        && let Some(distance) = shape.distance(center, place)
                    {
                        hits.push(Hit { member, score, place, distance });
                    }
                });
            }
        }
        // The nearest so many are meant, unless any are good enough.
        match self.nearest_first.or((self.count > 0 && !self.any).then_some(true)) {
            Some(true) => hits.sort_by(Hit::nearer),
            Some(false) => hits.sort_by(|left, right| right.nearer(left)),
            None => {}
        }
        if self.count > 0 {
            hits.truncate(self.count);
        }
        hits
    }
}

/// A member that is inside.
struct Hit<'s> {
    member: &'s [u8],
    score: f64,
    place: Place,
    distance: f64,
}

impl Hit<'_> {
    fn nearer(&self, other: &Hit<'_>) -> Ordering {
        self.distance.partial_cmp(&other.distance).unwrap_or(Ordering::Equal)
    }
}

/// Where a member is.
fn member_at(call: &mut Call<'_, '_>, index: usize, set: Option<SortedSet<'_>>) -> Option<Place> {
    let score = set.and_then(|set| set.score(call.args.get(index)));
    if score.is_none() {
        call.reply.error("ERR could not decode requested zset member");
    }
    score.map(|score| Cell::of_score(score).place())
}

fn count_at(call: &mut Call<'_, '_>, index: usize) -> Option<usize> {
    let count = call.integer_at(index)?;
    if count <= 0 {
        call.reply.error("ERR COUNT must be > 0");
        return None;
    }
    Some(usize::try_from(count).unwrap_or(usize::MAX))
}

/// `GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit [ASC | DESC]
/// [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
pub fn geosearch(shard: &mut Shard, call: &mut Call<'_, '_>) {
    search(shard, call, Form::Search);
}

/// `GEOSEARCHSTORE destination source`, the rest as in `GEOSEARCH`, `[STOREDIST]`
pub fn geosearchstore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    call.key = call.key_at(shard, 2);
    search(shard, call, Form::SearchStore);
}

/// `GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key |
/// STOREDIST key]`
pub fn georadius(shard: &mut Shard, call: &mut Call<'_, '_>) {
    search(shard, call, Form::Radius { may_store: true });
}

/// `GEORADIUS_RO`: the same without storing.
pub fn georadius_ro(shard: &mut Shard, call: &mut Call<'_, '_>) {
    search(shard, call, Form::Radius { may_store: false });
}

/// `GEORADIUSBYMEMBER key member radius unit`, the rest as in `GEORADIUS`
pub fn georadiusbymember(shard: &mut Shard, call: &mut Call<'_, '_>) {
    search(shard, call, Form::RadiusByMember { may_store: true });
}

/// `GEORADIUSBYMEMBER_RO`: the same without storing.
pub fn georadiusbymember_ro(shard: &mut Shard, call: &mut Call<'_, '_>) {
    search(shard, call, Form::RadiusByMember { may_store: false });
}

fn search(shard: &mut Shard, call: &mut Call<'_, '_>, form: Form) {
    if call.sorted_set(shard).is_err() {
        return;
    }
    let set = shard.peek_view(call.db, &call.key, Kind::SortedSet, call.now).ok().flatten().map(SortedSet::of);
    let Some(query) = Query::parse(call, form, set) else { return };
    let hits = set.map(|set| query.find(&set)).unwrap_or_default();
    match query.stored {
        None => answer(call, &query, &hits),
        Some(index) => {
            let kept = |hit: &Hit<'_>| if query.store_distances { hit.distance / query.unit } else { hit.score };
            let mut kept: Vec<(f64, Vec<u8>)> = hits.iter().map(|hit| (kept(hit), hit.member.to_vec())).collect();
            kept.sort_by(|left, right| left.partial_cmp(right).unwrap_or(Ordering::Equal));
            // A cell that was searched twice shows its members twice.
            kept.dedup_by(|later, kept| later.1 == kept.1);
            let scored: Vec<(&[u8], f64)> = kept.iter().map(|(score, member)| (&member[..], *score)).collect();
            let target = call.key_at(shard, index);
            shard.store_sorted_set(call.db, &target, &scored, call.now);
            call.reply.integer(scored.len() as i64);
        }
    }
}

fn answer(call: &mut Call<'_, '_>, query: &Query, hits: &[Hit<'_>]) {
    let notes = [query.with_distance, query.with_cell, query.with_place].into_iter().filter(|with| *with).count();
    call.reply.array(hits.len());
    for hit in hits {
        if notes > 0 {
            call.reply.array(notes + 1);
        }
        call.reply.bulk(hit.member);
        if query.with_distance {
            call.distance(hit.distance / query.unit);
        }
        if query.with_cell {
            call.reply.integer(hit.score as i64);
        }
        if query.with_place {
            call.coordinates(hit.place);
        }
    }
}
