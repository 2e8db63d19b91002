//! What clients did to a server that may crash, and what must be left of it.
//!
//! Every client owns its keys, so that what it did is one sequence. A core's log is one sequence too; so what a crash leaves of a
//! client's keys on one core is what some prefix of its writes there made of them, and the prefixes of all cores agree on every
//! write that touched more than one. How short a prefix may be is what the durability ladder promises. Writes are kept as what
//! they changed, not as what was asked: that is what a prefix of a core's log gives back, whatever was lost elsewhere.

use crate::history;
use engine::durability::{Ladder, Level};
use shards::Db;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Databases of each client: it may exchange the two.
pub const DBS_EACH: u16 = 2;

/// A database and a key in it.
pub type Place = (u16, String);

/// When something expires, by the entry clock: not before the one, not after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// No clock below this hides it.
    pub earliest: u64,
    /// Every clock from here on hides it.
    pub latest: u64,
}

/// A value and when it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    value: String,
    deadline: Option<Deadline>,
}

/// What a restarted server shows of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub value: String,
    /// When it goes, by the entry clock.
    pub deadline: Option<u64>,
}

/// A moment of the simulation, and what the entry clock of any core can say at it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Simulated nanoseconds.
    pub ns: u64,
    /// No core's clock is behind this.
    pub clock_min: u64,
    /// No core's clock is ahead of this.
    pub clock_max: u64,
}

/// What a crash left.
pub struct Aftermath<'a> {
    /// When it happened.
    pub crashed: Moment,
    /// The entry clocks by which the keys were looked at, of all cores.
    pub clock_ms: RangeInclusive<u64>,
    /// Everything visible.
    pub seen: &'a BTreeMap<Place, Seen>,
    /// Whether syncs took long, so that only the ladder's bound on what is open holds, not the one on its age.
    pub syncs_late: bool,
    /// Whether the machine lives on, and with it what was written, synced or not.
    pub page_cache: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Keys that are hidden because their time has come, but by a clock that no log tells of: they may show again.
    hidden: Vec<(usize, Place, Stored)>,
    /// Writes that are lost and may be.
    pub lost: u64,
    /// The entry clock of every later life is at least this.
    pub clock_floor: u64,
}

/// What a reply may be.
#[derive(Clone, Debug)]
enum Expected {
    Text(String),
    /// The value, or nothing once it may have expired.
    Timed(Stored),
    /// One key, or none once it may have expired.
    Removed(Deadline),
}

/// A key that a write changed, the core it lives on, and what is there since.
#[derive(Clone, Debug)]
struct Change {
    place: Place,
    core: u16,
    to: Option<Stored>,
}

/// One command of a client.
#[derive(Clone, Debug)]
struct Deed {
    db: u16,
    words: Vec<String>,
    called: Moment,
    returned: Option<Moment>,
    refused: bool,
    expected: Expected,
    changes: Vec<Change>,
}

/// A client and its keys.
struct Author {
    /// As the last restart showed them.
    base: BTreeMap<Place, Stored>,
    /// After all deeds since.
    now: BTreeMap<Place, Stored>,
    deeds: Vec<Deed>,
    answered: usize,
    /// Per core, how many deeds' effects there somebody has seen.
    read: BTreeMap<u16, usize>,
}

/// How long after an expiry that was seen the log must know of it, in nanoseconds: the clock is logged every 100 ms.
const TICK_NS: u64 = 250_000_000;

/// How old an entry may be that a killed process has not yet written, in nanoseconds: 10 ms, and what a write takes.
const WRITTEN_NS: u64 = 15_000_000;

/// All clients and their keys.
pub struct Model {
    ladder: Ladder,
    authors: Vec<Author>,
    core_of: fn(&str, u16) -> u16,
    cores: u16,
    /// The entry clock of every later life is at least this.
    clock_floor: u64,
    /// Deadlines that somebody has seen pass, and when.
    passed: Vec<(u64, u64)>,
}

/// Where a client's writes on one core end: how many of them are left, of those that changed something there.
struct Cut {
    /// Indices of the deeds with an effect on the core.
    deeds: Vec<usize>,
    /// What may be left, the most first.
    counts: Vec<usize>,
}

impl Model {
    /// Clients without keys, on a server with such a ladder. `core_of` says where a key lives among so many cores.
    pub fn new(ladder: Ladder, authors: usize, core_of: fn(&str, u16) -> u16) -> Model {
        let author = || Author { base: BTreeMap::new(), now: BTreeMap::new(), deeds: Vec::new(), answered: 0, read: BTreeMap::new() };
        Model { ladder, authors: (0..authors).map(|_| author()).collect(), core_of, cores: 1, clock_floor: 0, passed: Vec::new() }
    }

    /// A server with so many cores begins to serve.
    pub fn begin_life(&mut self, cores: u16) {
        self.cores = cores;
    }

    /// Whether a key has a value that will not expire before this clock.
    pub fn stays_until(&self, author: usize, db: u16, key: &str, clock_ms: u64) -> bool {
        let stored = self.authors[author].now.get(&(db, key.to_owned()));
        stored.is_some_and(|stored| stored.deadline.is_none_or(|deadline| deadline.earliest > clock_ms))
    }

    /// A client sends a command.
    pub fn call(&mut self, author: usize, db: u16, words: Vec<String>, called: Moment) {
        let deed = Deed { db, words, called, returned: None, refused: false, expected: Expected::Text(String::new()), changes: Vec::new() };
        self.authors[author].deeds.push(deed);
        let last = self.authors[author].deeds.len() - 1;
        self.play(author, last);
    }

    /// Finds out what a deed answers and changes, after all before it.
    fn play(&mut self, author: usize, index: usize) {
        let (core_of, cores) = (self.core_of, self.cores);
        let it = &mut self.authors[author];
        let deed = &mut it.deeds[index];
        let (expected, after) = effect(&it.now, deed.db, &deed.words, deed.called);
        let places: BTreeSet<&Place> = it.now.keys().chain(after.keys()).collect();
        deed.changes = places
            .into_iter()
            .filter(|place| it.now.get(*place) != after.get(*place))
            .map(|place| Change { place: place.clone(), core: core_of(&place.1, cores), to: after.get(place).cloned() })
            .collect();
        deed.expected = expected;
        it.now = after;
    }

    /// A client gets the reply to its oldest open command. `Err` if no reply like this was possible.
    pub fn answer(&mut self, author: usize, reply: &str, returned: Moment) -> Result<(), String> {
        let it = &mut self.authors[author];
        let index = it.answered;
        it.answered += 1;
        let deed = it.deeds.get_mut(index).ok_or("a reply to nothing")?;
        deed.returned = Some(returned);
        if ["-LOADING", "-MISCONF", "-OOM"].iter().any(|code| reply.starts_with(code)) {
            deed.refused = true;
            self.play_again(author);
            return Ok(());
        }
        let said =
            |deed: &Deed| Err(brief(&format!("client {author}: {} was answered with {reply}, expected {:?}", deed.brief(), deed.expected)));
        match &deed.expected {
            Expected::Removed(deadline) if reply == ":0" && deadline.earliest <= returned.clock_max => {
                // It had expired, and nothing was removed: no log tells of it.
                self.passed.push((returned.ns, deadline.earliest));
                deed.refused = true;
                self.play_again(author);
                return Ok(());
            }
            Expected::Removed(deadline) if reply == ":1" && deadline.latest > deed.called.clock_min => {}
            Expected::Removed(_) => return said(deed),
            Expected::Text(text) if text == reply => {}
            Expected::Text(_) => return said(deed),
            Expected::Timed(stored) => {
                let deadline = stored.deadline.expect("it is timed");
                if reply == "nil" && deadline.earliest <= returned.clock_max {
                    self.passed.push((returned.ns, deadline.earliest));
                } else if reply != format!("\"{}\"", stored.value) || deadline.latest <= deed.called.clock_min {
                    return said(deed);
                }
            }
        }
        let ms = timed_ms(&deed.words);
        if let Some(ms) = ms {
            // Now it is known until when it was run.
            let latest = returned.clock_max + ms;
            let changed = deed.changes.iter_mut().filter_map(|change| change.to.as_mut());
            for stored in changed.chain(it.now.values_mut()) {
                if let Some(deadline) = &mut stored.deadline
                    && deadline.earliest == deed.called.clock_min + ms
                    && deadline.latest == u64::MAX
                {
                    deadline.latest = latest;
                }
            }
        }
        Ok(())
    }

    /// A deed turned out to have been refused: those after it happened without it.
    fn play_again(&mut self, author: usize) {
        self.authors[author].now = self.authors[author].base.clone();
        for index in 0..self.authors[author].deeds.len() {
            if self.authors[author].deeds[index].refused {
                self.authors[author].deeds[index].changes.clear();
            } else {
                self.play(author, index);
            }
        }
    }

    /// Somebody else read a key. `Err` if its owner never wrote that.
    pub fn read(&mut self, author: usize, place: &Place, reply: &str, at: Moment) -> Result<(), String> {
        let level = self.ladder.level(Db(place.0));
        let it = &mut self.authors[author];
        let fits = |stored: Option<&Stored>| match stored {
            Some(stored) if reply == "nil" => stored.deadline.is_some_and(|deadline| deadline.earliest <= at.clock_max),
            Some(stored) => reply == format!("\"{}\"", stored.value),
            None => reply == "nil",
        };
        if fits(it.base.get(place)) {
            return Ok(());
        }
        for (index, deed) in it.deeds.iter().enumerate() {
            let Some(change) = deed.changes.iter().find(|change| change.place == *place) else { continue };
            if fits(change.to.as_ref()) {
                if level == Level::Batch {
                    let seen = it.read.entry(change.core).or_default();
                    *seen = (*seen).max(index + 1);
                }
                return Ok(());
            }
        }
        Err(format!("{place:?} was read as {reply}, which client {author} never wrote"))
    }

    /// Compares what is there with what may be there. Returns how many writes are lost, and how far the log has shown the clock to be.
    pub fn judge(&self, after: &Aftermath<'_>) -> Result<Verdict, String> {
        let mut cuts: Vec<Vec<(Cut, usize)>> = Vec::new();
        for author in 0..self.authors.len() {
            cuts.push(self.cuts(author, after)?);
        }
        let lost = self.check_order(&cuts, after)?;
        let clock_floor = self.floor_shown(&cuts, after);
        let clock_ms = *after.clock_ms.start();
        if clock_ms < clock_floor {
            return Err(format!("the entry clock went back to {clock_ms}, {} ms too far", clock_floor - clock_ms));
        }
        let hidden = (0..self.authors.len()).flat_map(|author| self.hidden(author, &cuts[author], clock_floor, after)).collect();
        Ok(Verdict { lost, clock_floor, hidden })
    }

    /// Goes on from what a crash left, once it was judged.
    pub fn go_on(&mut self, verdict: &Verdict, after: &Aftermath<'_>) {
        self.clock_floor = verdict.clock_floor;
        for (index, author) in self.authors.iter_mut().enumerate() {
            let own = after.seen.iter().filter(|((db, _), _)| usize::from(*db / DBS_EACH) == index);
            let stored =
                |seen: &Seen| Stored { value: seen.value.clone(), deadline: seen.deadline.map(|ms| Deadline { earliest: ms, latest: ms }) };
            author.base = own.map(|(place, seen)| (place.clone(), stored(seen))).collect();
            author.now = author.base.clone();
            author.deeds.clear();
            author.answered = 0;
            author.read.clear();
        }
        for (author, place, stored) in &verdict.hidden {
            self.authors[*author].base.insert(place.clone(), stored.clone());
            self.authors[*author].now.insert(place.clone(), stored.clone());
        }
        self.passed.clear();
    }

    /// What is left of one client's keys and cannot be seen, though the log does not prove that its time has come.
    fn hidden(&self, author: usize, cuts: &[(Cut, usize)], clock_floor: u64, after: &Aftermath<'_>) -> Vec<(usize, Place, Stored)> {
        let it = &self.authors[author];
        let mut left = it.base.clone();
        for (core, (cut, count)) in cuts.iter().enumerate() {
            for index in &cut.deeds[..*count] {
                for change in it.deeds[*index].changes.iter().filter(|change| usize::from(change.core) == core) {
                    match &change.to {
                        Some(stored) => left.insert(change.place.clone(), stored.clone()),
                        None => left.remove(&change.place),
                    };
                }
            }
        }
        let is_hidden = |(place, stored): &(Place, Stored)| {
            !after.seen.contains_key(place) && stored.deadline.is_some_and(|deadline| deadline.latest > clock_floor)
        };
        let maybe = |stored: Stored| Stored { deadline: stored.deadline.map(|deadline| Deadline { earliest: 0, ..deadline }), ..stored };
        left.into_iter().filter(is_hidden).map(|(place, stored)| (author, place, maybe(stored))).collect()
    }

    /// Where one client's writes end on every core, with how many are left there.
    fn cuts(&self, author: usize, after: &Aftermath<'_>) -> Result<Vec<(Cut, usize)>, String> {
        let it = &self.authors[author];
        let mut cuts = Vec::new();
        for core in 0..self.cores {
            let cut = self.cut(author, core, after);
            let least = self.least(it, core, &cut.deeds);
            let counts: Vec<usize> = cut.counts.iter().copied().filter(|count| *count >= least).collect();
            if counts.is_empty() {
                let why = match cut.counts.first() {
                    Some(most) => format!("only {most} writes are left"),
                    None => "what is left is no prefix".to_owned(),
                };
                return Err(format!("client {author}, core {core}: {why}, {least} must be; {}", self.story(author, core, after)));
            }
            cuts.push(Cut { deeds: cut.deeds, counts });
        }
        let mut chosen = Vec::new();
        if self.choose(it, &cuts, &mut chosen) {
            return Ok(cuts.into_iter().zip(chosen).collect());
        }
        let ends: Vec<&Vec<usize>> = cuts.iter().map(|cut| &cut.counts).collect();
        let stories: Vec<String> = (0..self.cores).map(|core| self.story(author, core, after)).collect();
        Err(format!("client {author}: a write over several cores is left on some only; left per core: {ends:?}; {}", stories.join("; ")))
    }

    /// The prefixes that would look on one core as it looks.
    fn cut(&self, author: usize, core: u16, after: &Aftermath<'_>) -> Cut {
        let it = &self.authors[author];
        let mut state: BTreeMap<&Place, Option<&Stored>> = BTreeMap::new();
        let own = after.seen.keys().filter(|place| usize::from(place.0 / DBS_EACH) == author);
        let places = it.base.keys().chain(own).chain(it.deeds.iter().flat_map(|deed| deed.changes.iter().map(|change| &change.place)));
        for place in places.filter(|place| (self.core_of)(&place.1, self.cores) == core) {
            state.insert(place, it.base.get(place));
        }
        let fits = |state: &BTreeMap<&Place, Option<&Stored>>| {
            state.iter().all(|(place, stored)| is_shown(*stored, after.seen.get(*place), *after.clock_ms.end()))
        };
        let (mut deeds, mut counts) = (Vec::new(), Vec::new());
        counts.extend(fits(&state).then_some(0));
        for (index, deed) in it.deeds.iter().enumerate() {
            let mut changed = false;
            for change in deed.changes.iter().filter(|change| change.core == core) {
                state.insert(&change.place, change.to.as_ref());
                changed = true;
            }
            if changed {
                deeds.push(index);
                counts.extend(fits(&state).then_some(deeds.len()));
            }
        }
        counts.reverse();
        Cut { deeds, counts }
    }

    /// How many of a core's deeds must be left by themselves, whatever other clients did.
    fn least(&self, it: &Author, core: u16, deeds: &[usize]) -> usize {
        let mut least = it.read.get(&core).copied().unwrap_or(0);
        for index in deeds {
            let deed = &it.deeds[*index];
            if deed.returned.is_some() && self.ladder.level(Db(deed.db)) == Level::Batch {
                least = least.max(index + 1);
            }
        }
        deeds.iter().filter(|index| **index < least).count()
    }

    /// Chooses one of each core's counts such that all agree on the deeds of several cores.
    fn choose(&self, it: &Author, cuts: &[Cut], chosen: &mut Vec<usize>) -> bool {
        let core = chosen.len();
        if core == cuts.len() {
            return (0..it.deeds.len()).all(|index| self.agrees(it, cuts, chosen, index));
        }
        for count in &cuts[core].counts {
            chosen.push(*count);
            if self.choose(it, cuts, chosen) {
                return true;
            }
            chosen.pop();
        }
        false
    }

    /// Whether a deed is left on all of its cores or on none, and whatever it read where it is.
    fn agrees(&self, it: &Author, cuts: &[Cut], chosen: &[usize], index: usize) -> bool {
        let deed = &it.deeds[index];
        let is_left = |core: u16, index: usize| {
            let core = usize::from(core);
            cuts[core].deeds.partition_point(|other| *other < index) < chosen[core]
        };
        let mut left = deed.changes.iter().map(|change| is_left(change.core, index));
        let Some(first) = left.next() else { return true };
        if left.any(|other| other != first) {
            return false;
        }
        if !first || self.ladder.level(Db(deed.db)) != Level::Batch || !matches!(deed.words[0].as_str(), "COPY" | "RENAME") {
            return true;
        }
        // A copy that is left proves that what it copied had been safe.
        let source = (deed.db, deed.words[1].clone());
        let changes = |before: &usize| it.deeds[*before].changes.iter().any(|change| change.place == source);
        (0..index).rev().find(changes).is_none_or(|before| is_left((self.core_of)(&source.1, self.cores), before))
    }

    /// Whether what is left of all clients is a prefix of each core's log, no shorter than the weaker levels promise. Returns how
    /// many writes were lost.
    fn check_order(&self, cuts: &[Vec<(Cut, usize)>], after: &Aftermath<'_>) -> Result<u64, String> {
        let mut lost_count = 0;
        for core in 0..self.cores {
            let (mut lost, mut left): (Vec<&Deed>, Vec<&Deed>) = (Vec::new(), Vec::new());
            for (it, cuts) in self.authors.iter().zip(cuts) {
                let (cut, _) = &cuts[usize::from(core)];
                let (most, least) = (cut.counts[0], cut.counts[cut.counts.len() - 1]);
                lost.extend(cut.deeds[most..].iter().map(|index| &it.deeds[*index]));
                left.extend(cut.deeds[..least].iter().map(|index| &it.deeds[*index]));
            }
            lost_count += lost.len() as u64;
            lost.retain(|deed| deed.returned.is_some());
            let ended = |deed: &Deed| deed.returned.map_or(u64::MAX, |moment| moment.ns);
            let first_lost = lost.iter().copied().min_by_key(|deed| ended(deed));
            let last_left = left.iter().copied().max_by_key(|deed| deed.called.ns);
            if let (Some(first), Some(last)) = (first_lost, last_left)
                && ended(first) < last.called.ns
            {
                return Err(format!("core {core}: {} is lost, {} is left, which came after it", first.brief(), last.brief()));
            }
            self.check_weak(core, &lost, after).map_err(|why| {
                let stories: Vec<String> = (0..self.authors.len()).map(|author| self.story(author, core, after)).collect();
                format!("{why}; {}", stories.join("\n"))
            })?;
        }
        Ok(lost_count)
    }

    /// Whether no more was lost of one core's acknowledged writes than their level allows.
    fn check_weak(&self, core: u16, lost: &[&Deed], after: &Aftermath<'_>) -> Result<(), String> {
        let answered = lost.iter().filter_map(|deed| deed.returned).map(|moment| moment.ns).min();
        if let Some(first) = answered.filter(|first| after.page_cache && first + WRITTEN_NS < after.crashed.ns) {
            let age_ms = (after.crashed.ns - first) / 1_000_000;
            return Err(format!("core {core}: a write acknowledged {age_ms} ms ago was not even written: {:?}", words(lost)));
        }
        for level in self.ladder.levels() {
            let own = lost.iter().filter(|deed| self.ladder.level(Db(deed.db)) == level);
            match level {
                Level::Every { n } => {
                    let count = own.count();
                    if count >= n as usize {
                        return Err(format!("core {core}: {count} acknowledged writes are lost at {level}: {:?}", words(lost)));
                    }
                }
                Level::Periodic { ms } => {
                    let bound_ns = u64::from(ms) * 1_000_000;
                    let ended: Vec<u64> = own.clone().filter_map(|deed| deed.returned.map(|moment| moment.ns)).collect();
                    let called = own.map(|deed| deed.called.ns).max().unwrap_or(0);
                    let Some(first) = ended.into_iter().min() else { continue };
                    let open_until = if after.syncs_late { called } else { after.crashed.ns };
                    if first + bound_ns < open_until {
                        let age_ms = (open_until - first) / 1_000_000;
                        return Err(format!("core {core}: a write acknowledged {age_ms} ms ago is lost at {level}: {:?}", words(lost)));
                    }
                }
                Level::None | Level::Batch => {}
            }
        }
        Ok(())
    }

    /// How far the log has shown the clock to have come.
    fn floor_shown(&self, cuts: &[Vec<(Cut, usize)>], after: &Aftermath<'_>) -> u64 {
        let mut floor = self.clock_floor;
        for (it, cuts) in self.authors.iter().zip(cuts) {
            for (cut, _) in cuts {
                let surely_left = cut.counts[cut.counts.len() - 1];
                let clocks = cut.deeds[..surely_left].iter().map(|index| it.deeds[*index].called.clock_min);
                floor = clocks.fold(floor, u64::max);
            }
        }
        let logged = self.ladder.levels().all(|level| level == Level::Batch);
        let long_ago = self.passed.iter().filter(|(seen_ns, _)| logged && after.crashed.ns.saturating_sub(*seen_ns) > TICK_NS);
        long_ago.fold(floor, |floor, (_, deadline)| floor.max(*deadline))
    }

    /// What happened to one client's keys on one core, and what is left, for people.
    fn story(&self, author: usize, core: u16, after: &Aftermath<'_>) -> String {
        let it = &self.authors[author];
        let mut lines = vec![format!("core {core} showed:")];
        let here = |place: &Place| (self.core_of)(&place.1, self.cores) == core;
        let show = |stored: &Stored| match stored.deadline {
            Some(deadline) => format!("\"{}\" until {}..{}", stored.value, deadline.earliest, deadline.latest),
            None => format!("\"{}\"", stored.value),
        };
        let at = |place: &Place| format!("{}/{}", place.0, place.1);
        lines.extend(it.base.iter().filter(|(place, _)| here(place)).map(|(place, stored)| format!("{} = {}", at(place), show(stored))));
        lines.push("then".to_owned());
        for (index, deed) in it.deeds.iter().enumerate() {
            let changes: Vec<String> = (deed.changes.iter())
                .filter(|change| change.core == core)
                .map(|change| format!("{} = {}", at(&change.place), change.to.as_ref().map_or_else(|| "nothing".to_owned(), show)))
                .collect();
            if !changes.is_empty() {
                let ms = |ns: u64| after.crashed.ns.abs_diff(ns) / 1_000_000;
                let said = match deed.returned {
                    Some(returned) => format!("{} to {} ms before the crash", ms(deed.called.ns), ms(returned.ns)),
                    None => format!("{} ms before the crash, not acknowledged", ms(deed.called.ns)),
                };
                lines.push(format!("#{index} {}, {said}: {}", deed.words.join(" "), changes.join(", ")));
            }
        }
        lines.push(format!("and after the restart, at {:?}:", after.clock_ms));
        let own = after.seen.iter().filter(|(place, _)| usize::from(place.0 / DBS_EACH) == author && here(place));
        lines.extend(own.map(|(place, seen)| match seen.deadline {
            Some(deadline) => format!("{} = \"{}\" until {deadline}", at(place), seen.value),
            None => format!("{} = \"{}\"", at(place), seen.value),
        }));
        brief(&lines.join("\n    "))
    }
}

impl Deed {
    fn brief(&self) -> String {
        brief(&self.words.join(" "))
    }
}

fn words(deeds: &[&Deed]) -> Vec<String> {
    deeds.iter().map(|deed| deed.brief()).collect()
}

/// Long values end in a run of one letter, which says nothing.
fn brief(text: &str) -> String {
    let mut brief = text.to_owned();
    while let Some(at) = brief.find("xxxx") {
        let run = brief[at..].find(|letter| letter != 'x').map_or(brief.len(), |end| at + end);
        brief.replace_range(at..run, "…");
    }
    brief
}

/// Whether a key that should be so may look so, by a clock.
fn is_shown(stored: Option<&Stored>, seen: Option<&Seen>, clock_ms: u64) -> bool {
    match (stored, seen) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(stored), None) => stored.deadline.is_some_and(|deadline| deadline.earliest <= clock_ms),
        (Some(stored), Some(seen)) => {
            let timed = match (stored.deadline, seen.deadline) {
                (None, None) => true,
                (Some(may), Some(is)) => (may.earliest..=may.latest).contains(&is),
                _ => false,
            };
            timed && stored.value == seen.value
        }
    }
}

/// The time to live that a command gives.
fn timed_ms(words: &[String]) -> Option<u64> {
    let at = words.iter().position(|word| word == "PX")?;
    words.get(at + 1)?.parse().ok()
}

/// What a command answers, and what is there after it.
fn effect(before: &BTreeMap<Place, Stored>, db: u16, words: &[String], called: Moment) -> (Expected, BTreeMap<Place, Stored>) {
    let mut after = before.clone();
    let line: Vec<&str> = words.iter().map(String::as_str).collect();
    let at = |key: &str| (db, key.to_owned());
    let deadline = timed_ms(words).map(|ms| Deadline { earliest: called.clock_min + ms, latest: u64::MAX });
    let expected = match line.as_slice() {
        ["SET", key, value, "PX", _] => {
            after.insert(at(key), Stored { value: (*value).to_owned(), deadline });
            Expected::Text("+OK".to_owned())
        }
        ["GETEX", key, rest @ ..] => {
            // Only asked for keys that are surely there.
            let stored = after.get_mut(&at(key)).expect("a key that is there");
            stored.deadline = if rest == ["PERSIST"] { None } else { deadline };
            Expected::Text(format!("\"{}\"", stored.value))
        }
        ["GET", key] => match before.get(&at(key)) {
            Some(stored) if stored.deadline.is_some() => Expected::Timed(stored.clone()),
            stored => Expected::Text(stored.map_or_else(|| "nil".to_owned(), |stored| format!("\"{}\"", stored.value))),
        },
        ["DEL", key] if before.get(&at(key)).is_some_and(|stored| stored.deadline.is_some()) => {
            let deadline = after.remove(&at(key)).and_then(|stored| stored.deadline);
            Expected::Removed(deadline.expect("just seen"))
        }
        ["SWAPDB", ..] => {
            after = before.iter().map(|((of, key), stored)| ((of ^ 1, key.clone()), stored.clone())).collect();
            Expected::Text("+OK".to_owned())
        }
        _ => {
            let mut plain: history::State = before.iter().map(|(place, stored)| (place.clone(), stored.value.clone())).collect();
            let reply = history::apply(&mut plain, db, words);
            let kept = |place: &Place, value: &String| before.get(place).filter(|stored| stored.value == *value).and_then(|s| s.deadline);
            after = plain.into_iter().map(|(place, value)| (place.clone(), Stored { deadline: kept(&place, &value), value })).collect();
            Expected::Text(reply)
        }
    };
    (expected, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys `a` to `m` live on core 0, the others on core 1.
    fn core_of(key: &str, cores: u16) -> u16 {
        u16::from(cores > 1 && key > "m")
    }

    fn moment(ns: u64) -> Moment {
        Moment { ns, clock_min: ns / 1_000_000, clock_max: ns / 1_000_000 }
    }

    /// A client that gives these commands one after the other, each a millisecond long; those with a `?` get no reply.
    fn model(ladder: &str, lines: &[&str]) -> Model {
        let mut model = Model::new(ladder.parse().expect("a ladder"), 1, core_of);
        model.begin_life(2);
        for (index, line) in lines.iter().enumerate() {
            let start_ns = index as u64 * 1_000_000;
            let words = line.trim_end_matches(" ?").split(' ').map(str::to_owned).collect();
            model.call(0, 0, words, moment(start_ns));
            if !line.ends_with('?') {
                let reply = match &model.authors[0].deeds[index].expected {
                    Expected::Text(text) => text.clone(),
                    other => panic!("{other:?}"),
                };
                model.answer(0, &reply, moment(start_ns + 500_000)).expect("the expected reply");
            }
        }
        model
    }

    /// Why this may not be left at this moment, or how much was lost.
    fn judged(model: &Model, left: &[(&str, &str)], crashed_ns: u64, clock_ms: u64) -> Result<u64, String> {
        let seen = |value: &str| match value.split_once(" until ") {
            Some((value, ms)) => Seen { value: value.to_owned(), deadline: Some(ms.parse().expect("a deadline")) },
            None => Seen { value: value.to_owned(), deadline: None },
        };
        let seen = left.iter().map(|(key, value)| ((0, (*key).to_owned()), seen(value))).collect();
        let clock_ms = clock_ms..=clock_ms;
        let after = Aftermath { crashed: moment(crashed_ns), clock_ms, seen: &seen, syncs_late: false, page_cache: false };
        model.judge(&after).map(|verdict| verdict.lost)
    }

    #[track_caller]
    fn refused(model: &Model, left: &[(&str, &str)], expected: &str) {
        let why = judged(model, left, 50_000_000, 50).expect_err("this may not be left");
        assert!(why.contains(expected), "{why}");
    }

    #[test]
    fn at_batch_only_what_was_not_acknowledged_may_be_lost() {
        let it = model("batch", &["SET a 1", "SET a 2", "SET z 3", "SET a 4 ?"]);
        assert_eq!(judged(&it, &[("a", "2"), ("z", "3")], 50_000_000, 50), Ok(1));
        assert_eq!(judged(&it, &[("a", "4"), ("z", "3")], 50_000_000, 50), Ok(0));
        refused(&it, &[("a", "1"), ("z", "3")], "must be");
        refused(&it, &[("a", "2")], "must be");
        refused(&it, &[("a", "5"), ("z", "3")], "no prefix");
        refused(&it, &[("a", "2"), ("z", "3"), ("b", "9")], "no prefix");
    }

    #[test]
    fn a_write_over_two_cores_is_left_whole_or_not_at_all() {
        let it = model("batch", &["SET a 1", "MSET a 2 z 2 ?"]);
        assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(2));
        assert_eq!(judged(&it, &[("a", "2"), ("z", "2")], 50_000_000, 50), Ok(0));
        refused(&it, &[("a", "1"), ("z", "2")], "on some only");
        let weak = model("periodic:1000", &["SET a 1", "RENAME a z"]);
        assert_eq!(judged(&weak, &[("a", "1")], 50_000_000, 50), Ok(2));
        refused(&weak, &[("a", "1"), ("z", "1")], "on some only");
    }

    #[test]
    fn a_copy_that_is_left_proves_its_source() {
        let it = model("batch", &["SET a 1 ?", "COPY a z ?"]);
        assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(1));
        refused(&it, &[("z", "1")], "on some only");
    }

    #[test]
    fn weaker_levels_lose_a_bounded_end() {
        let it = model("every:2", &["SET a 1", "SET a 2", "SET a 3", "SET z 1"]);
        assert_eq!(judged(&it, &[("a", "2"), ("z", "1")], 50_000_000, 50), Ok(1));
        refused(&it, &[("a", "1"), ("z", "1")], "2 acknowledged writes are lost");
        let it = model("periodic:10", &["SET a 1", "SET a 2"]);
        assert_eq!(judged(&it, &[("a", "1")], 9_000_000, 9), Ok(1));
        refused(&it, &[("a", "1")], "ms ago is lost");
    }

    #[test]
    fn what_is_left_of_two_clients_is_one_prefix() {
        let mut it = Model::new("periodic:1000".parse().expect("a ladder"), 2, core_of);
        for (author, key, ns) in [(0, "a", 0), (1, "b", 2_000_000)] {
            it.call(author, author as u16 * DBS_EACH, vec!["SET".into(), key.into(), "1".into()], moment(ns));
            it.answer(author, "+OK", moment(ns + 1_000_000)).expect("as expected");
        }
        let seen = BTreeMap::from([((2, "b".to_owned()), Seen { value: "1".into(), deadline: None })]);
        let after = Aftermath { crashed: moment(9_000_000), clock_ms: 9..=9, seen: &seen, syncs_late: false, page_cache: false };
        assert!(it.judge(&after).expect_err("a hole").contains("came after it"));
    }

    #[test]
    fn what_somebody_read_must_be_left() {
        let mut it = model("batch", &["SET a 1", "SET a 2 ?", "SET a 3 ?"]);
        assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(2));
        it.read(0, &(0, "a".to_owned()), "\"2\"", moment(3_000_000)).expect("it was written");
        refused(&it, &[("a", "1")], "must be");
        assert_eq!(judged(&it, &[("a", "2")], 50_000_000, 50), Ok(1));
        assert!(it.read(0, &(0, "a".to_owned()), "\"7\"", moment(3_000_000)).is_err());
    }

    #[test]
    fn nothing_expired_comes_back() {
        let it = model("batch", &["SET a 1 PX 10", "SET z 2"]);
        assert_eq!(judged(&it, &[("a", "1 until 10"), ("z", "2")], 5_000_000, 5), Ok(0));
        assert_eq!(judged(&it, &[("z", "2")], 20_000_000, 20), Ok(0));
        assert!(judged(&it, &[("z", "2")], 5_000_000, 5).is_err(), "it is gone too early");
        assert!(judged(&it, &[("a", "1 until 12"), ("z", "2")], 5_000_000, 5).is_err(), "another deadline");
        assert!(judged(&it, &[("a", "1 until 10"), ("z", "2")], 5_000_000, 0).expect_err("the clock went back").contains("clock"));
    }

    #[test]
    fn a_refused_command_changed_nothing() {
        let mut it = Model::new(Ladder::of(Level::Batch), 1, core_of);
        for value in ["1", "2"] {
            it.call(0, 0, vec!["APPEND".into(), "a".into(), value.into()], moment(0));
        }
        it.answer(0, "-MISCONF the disk is full", moment(1)).expect("refused");
        it.answer(0, ":1", moment(2)).expect("the first was not there");
        assert_eq!(judged(&it, &[("a", "2")], 50_000_000, 50), Ok(0));
    }
}
