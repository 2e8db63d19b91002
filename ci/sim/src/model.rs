//! What clients did to a server that may crash, and what must be left of it.
//!
//! Every client owns its keys, so that what it did is one sequence. A core's log is one sequence too; so what a crash leaves of a
//! client's keys on one core is what some prefix of its writes there made of them, and the prefixes of all cores agree on every
//! write that touched more than one. How short a prefix may be is what the durability ladder promises. Writes are kept as what
//! they changed, not as what was asked: that is what a prefix of a core's log gives back, whatever was lost elsewhere.

mod effect;

use effect::{effect, timed_ms};
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
    /// Whether any key may have gone to make room.
    pub keys_go: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Keys that may be hidden because their time has come, but by a clock that no log tells of: they may show again. A key may have
    /// several such values, because which prefix is left is not always known.
    hidden: Vec<(Place, Stored)>,
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
    /// Whether any log tells of it.
    logged: bool,
    from: Option<Stored>,
    to: Option<Stored>,
}

/// One command of a client.
#[derive(Clone, Debug)]
struct Deed {
    db: u16,
    words: Vec<String>,
    /// What was promised of it; `None` also while it was not clear what.
    level: Level,
    called: Moment,
    returned: Option<Moment>,
    refused: bool,
    /// It found that its key had gone to make room.
    found_gone: bool,
    expected: Expected,
    changes: Vec<Change>,
}

/// A client and its keys.
struct Author {
    /// As the last restart showed them.
    base: BTreeMap<Place, Stored>,
    /// What it may have hidden, see [`Verdict`]. Nobody sees it before the next restart: a core's clock never goes back.
    hidden: Hidden,
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
    /// What a server promises when it starts, and by now.
    first_ladder: Ladder,
    ladder: Ladder,
    /// What an operator has asked for, and when.
    next_ladder: Option<(Ladder, Moment)>,
    /// Something else was promised in this life.
    has_changed: bool,
    /// Any key may go at any time to make room, and stays away once somebody has seen that.
    keys_go: bool,
    authors: Vec<Author>,
    core_of: fn(&str, u16) -> u16,
    cores: u16,
    /// The entry clock of every later life is at least this.
    clock_floor: u64,
    /// Deadlines that somebody has seen pass, and when.
    passed: Vec<(u64, u64)>,
}

/// What keys that cannot be seen may hold.
type Hidden = BTreeMap<Place, Vec<Stored>>;

/// Where a client's writes on one core end: how many of them are left, of those that changed something there.
struct Cut {
    /// Indices of the deeds with an effect on the core.
    deeds: Vec<usize>,
    /// What may be left, the most first.
    counts: Vec<usize>,
    /// What would be hidden then.
    hidden: Hidden,
}

/// One core's keys of a client after some of its deeds.
struct Left<'a> {
    shown: BTreeMap<Place, Option<&'a Stored>>,
    hidden: Hidden,
}

impl Model {
    /// Clients without keys, on a server with such a ladder. `core_of` says where a key lives among so many cores.
    pub fn new(ladder: Ladder, authors: usize, core_of: fn(&str, u16) -> u16) -> Model {
        let author = || Author {
            base: BTreeMap::new(),
            hidden: Hidden::new(),
            now: BTreeMap::new(),
            deeds: Vec::new(),
            answered: 0,
            read: BTreeMap::new(),
        };
        Model {
            first_ladder: ladder.clone(),
            ladder,
            next_ladder: None,
            has_changed: false,
            keys_go: false,
            authors: (0..authors).map(|_| author()).collect(),
            core_of,
            cores: 1,
            clock_floor: 0,
            passed: Vec::new(),
        }
    }

    /// A server with so many cores begins to serve.
    pub fn begin_life(&mut self, cores: u16) {
        self.cores = cores;
        self.ladder = self.first_ladder.clone();
        (self.next_ladder, self.has_changed) = (None, false);
    }

    /// Whether keys go to make room.
    pub fn let_keys_go(&mut self, keys_go: bool) {
        self.keys_go = keys_go;
    }

    /// What is promised now.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// An operator asks for another promise. Until that is answered nobody knows which one holds where.
    pub fn ask_ladder(&mut self, next: Ladder, asked: Moment) {
        for deed in self.authors.iter_mut().flat_map(|author| &mut author.deeds) {
            let is_safe = deed.returned.is_some() && deed.level == Level::Batch;
            if !is_safe && deed.level != next.level(Db(deed.db)) {
                deed.level = Level::None;
            }
        }
        self.has_changed = true;
        self.next_ladder = Some((next, asked));
    }

    /// It holds now: and what was answered before it was asked for is safe, if it is another than before.
    pub fn answer_ladder(&mut self) {
        let Some((next, asked)) = self.next_ladder.take() else { return };
        if next != self.ladder {
            let deeds = self.authors.iter_mut().flat_map(|author| &mut author.deeds);
            let logged = deeds.filter(|deed| self.first_ladder.level(Db(deed.db)) != Level::None);
            for deed in logged.filter(|deed| deed.returned.is_some_and(|returned| returned.ns <= asked.ns)) {
                deed.level = Level::Batch;
            }
        }
        self.ladder = next;
    }

    /// What is surely promised in a namespace.
    fn level(&self, db: u16) -> Level {
        let level = self.ladder.level(Db(db));
        let next = self.next_ladder.as_ref().map_or(level, |(next, _)| next.level(Db(db)));
        if next == level { level } else { Level::None }
    }

    /// Whether any log tells of a namespace.
    fn is_logged(&self, db: u16) -> bool {
        self.first_ladder.level(Db(db)) != Level::None
    }

    /// Whether a key has a value that will not expire before this clock.
    pub fn stays_until(&self, author: usize, db: u16, key: &str, clock_ms: u64) -> bool {
        let stored = self.authors[author].now.get(&(db, key.to_owned()));
        stored.is_some_and(|stored| stored.deadline.is_none_or(|deadline| deadline.earliest > clock_ms))
    }

    /// A client sends a command.
    pub fn call(&mut self, author: usize, db: u16, words: Vec<String>, called: Moment) {
        let (level, expected) = (self.level(db), Expected::Text(String::new()));
        let deed = Deed { db, words, level, called, returned: None, refused: false, found_gone: false, expected, changes: Vec::new() };
        self.authors[author].deeds.push(deed);
        let last = self.authors[author].deeds.len() - 1;
        self.play(author, last);
    }

    /// Finds out what a deed answers and changes, after all before it.
    fn play(&mut self, author: usize, index: usize) {
        let (core_of, cores, ladder) = (self.core_of, self.cores, &self.first_ladder);
        let it = &mut self.authors[author];
        let deed = &mut it.deeds[index];
        let (expected, mut after) = effect(&it.now, deed.db, &deed.words, deed.called);
        if deed.found_gone {
            after.remove(&(deed.db, deed.words[1].clone()));
        }
        let places: BTreeSet<&Place> = it.now.keys().chain(after.keys()).collect();
        deed.changes = places
            .into_iter()
            .filter(|place| it.now.get(*place) != after.get(*place))
            .map(|place| {
                let (core, logged) = (core_of(&place.1, cores), ladder.level(Db(place.0)) != Level::None);
                Change { place: place.clone(), core, logged, from: it.now.get(place).cloned(), to: after.get(place).cloned() }
            })
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
        if ["-LOADING", "-MISCONF", "-OOM", "-ERR namespaces cannot be swapped"].iter().any(|code| reply.starts_with(code)) {
            deed.refused = true;
            self.play_again(author);
            return Ok(());
        }
        if self.keys_go && matches!((deed.words[0].as_str(), reply), ("GET", "nil") | ("DEL", ":0")) {
            deed.found_gone = true;
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
                    if deed.words[0] == "GETEX" {
                        deed.refused = true;
                        self.play_again(author);
                        return Ok(());
                    }
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
        if self.keys_go && reply == "nil" {
            return Ok(());
        }
        let level = self.level(place.0);
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
        let all_hidden =
            cuts.iter().flatten().flat_map(|(cut, _)| &cut.hidden).flat_map(|(place, all)| all.iter().map(move |one| (place, one)));
        let may_show = |stored: &Stored| stored.deadline.is_some_and(|deadline| deadline.latest > clock_floor);
        let hidden = all_hidden.map(|(place, stored)| (place.clone(), stored.clone())).chain(self.unlogged(after)?);
        let hidden = hidden.filter(|(_, stored)| may_show(stored)).collect();
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
            author.hidden.clear();
            author.deeds.clear();
            author.answered = 0;
            author.read.clear();
        }
        for (place, stored) in &verdict.hidden {
            let author = &mut self.authors[usize::from(place.0 / DBS_EACH)];
            author.hidden.entry(place.clone()).or_default().push(stored.clone());
        }
        self.passed.clear();
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
            cuts.push(Cut { counts, ..cut });
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
        let here = |place: &&Place| (self.core_of)(&place.1, self.cores) == core && self.is_logged(place.0);
        let own = after.seen.keys().filter(|place| usize::from(place.0 / DBS_EACH) == author);
        let places = it.base.keys().chain(own).chain(it.deeds.iter().flat_map(|deed| deed.changes.iter().map(|change| &change.place)));
        let mut left = Left {
            shown: places.filter(here).map(|place| (place.clone(), it.base.get(place))).collect(),
            hidden: it.hidden.iter().filter(|(place, _)| here(place)).map(|(place, all)| (place.clone(), all.clone())).collect(),
        };
        let mut cut = Cut { deeds: Vec::new(), counts: Vec::new(), hidden: Hidden::new() };
        left.compare(after, &mut cut);
        for (index, deed) in it.deeds.iter().enumerate() {
            if deed.words[0] == "SWAPDB" && !deed.refused {
                left.swap_hidden();
            }
            let mut changed = false;
            for change in deed.changes.iter().filter(|change| change.core == core && change.logged) {
                left.shown.insert(change.place.clone(), change.to.as_ref());
                if deed.words[0] != "SWAPDB" {
                    left.hidden.remove(&change.place);
                }
                changed = true;
            }
            if changed {
                cut.deeds.push(index);
                left.compare(after, &mut cut);
            }
        }
        cut.counts.reverse();
        cut
    }

    /// How many of a core's deeds must be left by themselves, whatever other clients did.
    fn least(&self, it: &Author, core: u16, deeds: &[usize]) -> usize {
        let mut least = it.read.get(&core).copied().unwrap_or(0);
        for index in deeds {
            let deed = &it.deeds[*index];
            if deed.returned.is_some() && deed.level == Level::Batch {
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
        let mut left = deed.changes.iter().filter(|change| change.logged).map(|change| is_left(change.core, index));
        let Some(first) = left.next() else { return true };
        if left.any(|other| other != first) {
            return false;
        }
        if !first || deed.level != Level::Batch || !matches!(deed.words[0].as_str(), "COPY" | "RENAME") {
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
        for level in lost.iter().map(|deed| deed.level) {
            let own = lost.iter().filter(|deed| deed.level == level);
            match level {
                Level::Every { n } => {
                    let count = own.filter(|deed| deed.changes.iter().any(Change::is_one)).count();
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

    /// Looks at what no log tells of: a key holds what it held at the last restart, or what some snapshot since may have seen in it.
    /// Returns what may be hidden of it.
    fn unlogged(&self, after: &Aftermath<'_>) -> Result<Vec<(Place, Stored)>, String> {
        let mut hidden = Vec::new();
        for (author, it) in self.authors.iter().enumerate() {
            let own = after.seen.keys().filter(|place| usize::from(place.0 / DBS_EACH) == author);
            let changes = || it.deeds.iter().flat_map(|deed| &deed.changes);
            let places = it.base.keys().chain(it.hidden.keys()).chain(own).chain(changes().map(|change| &change.place));
            for place in places.filter(|place| !self.is_logged(place.0)).collect::<BTreeSet<_>>() {
                let held = changes().filter(|change| change.place == *place).map(|change| change.to.as_ref());
                let hid = it.hidden.get(place).into_iter().flatten().map(Some);
                let may: Vec<Option<&Stored>> = std::iter::once(it.base.get(place)).chain(held).chain(hid).collect();
                let seen = after.seen.get(place);
                let has_gone = after.keys_go && seen.is_none();
                if !has_gone && !may.iter().any(|stored| is_shown(*stored, seen, *after.clock_ms.end())) {
                    return Err(brief(&format!("client {author}: {place:?} in no log shows {seen:?}, what it held was {may:?}")));
                }
                if seen.is_none() {
                    hidden.extend(may.into_iter().flatten().map(|stored| (place.clone(), stored.clone())));
                }
            }
        }
        Ok(hidden)
    }

    /// How far the log has shown the clock to have come.
    fn floor_shown(&self, cuts: &[Vec<(Cut, usize)>], after: &Aftermath<'_>) -> u64 {
        let mut floor = self.clock_floor;
        for (it, cuts) in self.authors.iter().zip(cuts) {
            for (cut, _) in cuts {
                let surely_left = cut.counts[cut.counts.len() - 1];
                // Who finds that a key has gone says nothing of when it went.
                let told = cut.deeds[..surely_left].iter().map(|index| &it.deeds[*index]).filter(|deed| !deed.found_gone);
                let clocks = told.map(|deed| deed.called.clock_min);
                floor = clocks.fold(floor, u64::max);
            }
        }
        let logged = !self.has_changed && self.ladder.levels().all(|level| level == Level::Batch);
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

impl Left<'_> {
    /// If it would look as it does after this, notes so, and what would be hidden.
    fn compare(&self, after: &Aftermath<'_>, cut: &mut Cut) {
        let clock_ms = *after.clock_ms.end();
        let may_be = |place: &Place, stored: Option<&Stored>| {
            let seen = after.seen.get(place);
            let hidden = || self.hidden.get(place).into_iter().flatten().any(|stored| is_shown(Some(stored), seen, clock_ms));
            is_shown(stored, seen, clock_ms) || (stored.is_none() && hidden()) || (after.keys_go && seen.is_none())
        };
        if !self.shown.iter().all(|(place, stored)| may_be(place, *stored)) {
            return;
        }
        cut.counts.push(cut.deeds.len());
        let unseen = self.shown.iter().filter_map(|(place, stored)| Some((place, (*stored)?)));
        let hidden = self.hidden.iter().flat_map(|(place, all)| all.iter().map(move |stored| (place, stored)));
        for (place, stored) in unseen.chain(hidden).filter(|(place, _)| !after.seen.contains_key(*place)) {
            let all = cut.hidden.entry(place.clone()).or_default();
            if !all.contains(stored) {
                all.push(stored.clone());
            }
        }
    }

    /// Two databases have changed places, if there was anything in them: what is hidden may be in either.
    fn swap_hidden(&mut self) {
        for ((db, key), all) in self.hidden.clone() {
            let other = self.hidden.entry((db ^ 1, key)).or_default();
            all.into_iter().for_each(|stored| other.extend((!other.contains(&stored)).then_some(stored)));
        }
    }
}

impl Change {
    /// Whether it surely was one. A time to live that was given twice within a millisecond is not: no log tells of the second.
    fn is_one(&self) -> bool {
        let (Some(from), Some(to)) = (&self.from, &self.to) else { return true };
        match (from.deadline, to.deadline) {
            (Some(before), Some(after)) if from.value == to.value => before.latest < after.earliest || after.latest < before.earliest,
            _ => true,
        }
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

#[cfg(test)]
mod tests;
