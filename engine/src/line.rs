//! Lines through the streams of all cores that no command over several cores crosses: what a crash takes back ends at the last of them.
//!
//! Where a period is the strongest promise, keys are not held until every part of a command is durable, and a crash that leaves only
//! some of the parts ends the streams there. What came behind goes with them, and with it parts of other commands, whose streams then
//! end earlier still: without a line nothing bounds how far back that goes (see `docs/decisions`, lines through all streams).
//!
//! Core 0 draws a line when somebody asks: it lets all cores finish the commands whose parts they are having made and begin no others
//! ([`LineStep::Pause`], [`LineStep::Quiet`]); then every core notes where its stream stands ([`LineStep::Draw`]), goes on, and says
//! when it is durable up to there ([`LineStep::Durable`]). When all have, it is safe, and so is all before it ([`LineStep::Safe`]).
//! The pause is two messages each way between cores, once in three eighths of the period at most, and only while there are such
//! commands. Nothing else waits for it.

use crate::core::{Core, Stop};
use crate::durability::Level;
use crate::hold::Work;
use crate::journal::PartTag;
use crate::parcel::{Item, Ticket};
use crate::peers::Way;
use crate::placement::CoreId;
use netio::{Kernel, MonotonicNs};
use shards::log::{Lsn, PartMode};

/// What cores say to each other about a line, by its number. The first three go to core 0 and come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStep {
    /// To core 0: something here needs a line.
    Want,
    /// Begin no work that would cross it.
    Pause(u64),
    /// To core 0: none is under way here.
    Quiet(u64),
    /// It is here; go on.
    Draw(u64),
    /// To core 0: this core's stream is durable up to it.
    Durable(u64),
    /// Every stream is.
    Safe(u64),
}

/// Lines, as one core knows them.
#[derive(Default)]
pub(crate) struct Lines {
    /// The last that this core has drawn, and the last that is safe.
    drawn: u64,
    safe: u64,
    /// One is about to be drawn: no work begins that would cross it.
    paused: bool,
    /// This core has nothing under way that would.
    quiet: bool,
    /// How far the log must be durable before this core says so of the line it has drawn.
    mark: Option<Lsn>,
    /// Core 0 was asked for one.
    asked: bool,
    /// Commands of this core whose parts are being made, and would be cut.
    settling: usize,
    /// Their work, where it waits for the line. No more than there are commands over several cores.
    deferred: Vec<(u64, Vec<Work>)>,
    /// The line that makes safe all that this core's commands have done.
    needed: u64,
    /// Replies that wait for a line. One for a connection at most.
    behind: Vec<(u64, Ticket, Vec<u8>)>,
    /// Core 0's: the line that is not safe yet.
    drawing: Option<Drawing>,
}

/// A line on its way, at core 0.
#[derive(Clone, Copy)]
struct Drawing {
    number: u64,
    /// Cores that have nothing under way, and then those that are durable up to it.
    quiet: u16,
    durable: u16,
}

impl Lines {
    /// The last line that was drawn here: it is before what is begun now.
    pub(crate) fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Whether a line waits for work that other cores do for each other.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether one is on its way, as far as this core knows.
    fn is_under_way(&self) -> bool {
        self.asked || self.paused || self.drawn > self.safe
    }
}

impl<K: Kernel> Core<K> {
    /// Work whose parts would be cut begins now, unless a line is to be drawn first: then it is done behind that. `None` if it waits.
    pub(crate) fn begin_cut(&mut self, number: u64, works: Vec<Work>) -> Option<Vec<Work>> {
        let lines = &mut self.lines;
        if lines.paused {
            lines.deferred.push((number, works));
            return None;
        }
        lines.settling += 1;
        Some(works)
    }

    /// All parts have been made of work that could be cut.
    pub(crate) fn end_cut(&mut self) {
        let lines = &mut self.lines;
        lines.settling -= 1;
        lines.needed = lines.drawn + 1;
        self.tell_quiet();
    }

    /// Lets a reply wait for the line behind what has been done.
    pub(crate) fn reply_behind_line(&mut self, ticket: Ticket, reply: Vec<u8>) {
        self.lines.behind.push((self.lines.drawn + 1, ticket, reply));
    }

    /// A part comes: if the core that sends it has drawn a line before, so must this one.
    pub(crate) fn draw_before(&mut self, part: &PartTag) {
        if part.mode == PartMode::Cut {
            self.draw(part.line);
            assert_eq!(self.lines.drawn, part.line, "a line is drawn when nothing under way crosses it");
        }
    }

    /// Whether nothing that this core began or took part in could be cut any more.
    pub(crate) fn lines_are_settled(&self) -> bool {
        let lines = &self.lines;
        lines.safe >= lines.needed && lines.behind.is_empty() && !self.executor.journal.has_open_cut()
    }

    /// Says what is durable by now, and asks for a line if it is time.
    pub(crate) fn look_at_lines(&mut self) {
        if self.lines.mark.is_some_and(|mark| mark <= self.executor.journal.synced()) {
            self.lines.mark = None;
            self.tell_first(LineStep::Durable(self.lines.drawn));
        }
        if self.line_due().is_some_and(|at| at <= self.now.monotonic) {
            self.lines.asked = true;
            self.tell_first(LineStep::Want);
        }
    }

    /// When this core needs a line that nobody has begun. `None` if it needs none.
    pub(crate) fn line_due(&self) -> Option<MonotonicNs> {
        if self.lines.is_under_way() || self.lines_are_settled() {
            return None;
        }
        let journal = &self.executor.journal;
        let waits = !self.lines.behind.is_empty() || self.parking.wanted() > journal.safe();
        if waits || self.stop != Stop::Running {
            return Some(MonotonicNs(0));
        }
        journal.line_due()
    }

    /// A step of a line.
    pub(crate) fn take_line(&mut self, step: LineStep) {
        match step {
            LineStep::Want => self.begin_line(),
            LineStep::Pause(number) => {
                // A core that was faster may have brought this one past it.
                if self.lines.drawn < number {
                    self.lines.paused = true;
                    self.tell_quiet();
                }
            }
            LineStep::Quiet(number) => {
                let drawing = self.lines.drawing.as_mut().filter(|drawing| drawing.number == number).expect("it is being drawn");
                drawing.quiet += 1;
                if drawing.quiet == self.placement.core_count() {
                    self.tell_all(LineStep::Draw(number));
                }
            }
            LineStep::Draw(number) => self.draw(number),
            LineStep::Durable(number) => {
                let drawing = self.lines.drawing.as_mut().filter(|drawing| drawing.number == number).expect("it is being drawn");
                drawing.durable += 1;
                if drawing.durable == self.placement.core_count() {
                    self.lines.drawing = None;
                    self.tell_all(LineStep::Safe(number));
                }
            }
            LineStep::Safe(number) => self.pass_line(number),
        }
    }

    /// Core 0: begins a line, if none is on its way. Whoever asked for another asks again when that one is safe.
    fn begin_line(&mut self) {
        if self.lines.drawing.is_some() {
            return;
        }
        let number = self.lines.drawn + 1;
        self.lines.drawing = Some(Drawing { number, quiet: 0, durable: 0 });
        self.tell_all(LineStep::Pause(number));
    }

    fn tell_quiet(&mut self) {
        let lines = &mut self.lines;
        if lines.paused && !lines.quiet && lines.settling == 0 {
            lines.quiet = true;
            let number = lines.drawn + 1;
            self.tell_first(LineStep::Quiet(number));
        }
    }

    /// Draws a line here, unless that was done, and goes on with what waited for it.
    fn draw(&mut self, number: u64) {
        let lines = &mut self.lines;
        if lines.drawn >= number {
            return;
        }
        assert!(lines.quiet && lines.drawn + 1 == number, "a line is drawn when all cores are quiet");
        (lines.drawn, lines.paused, lines.quiet) = (number, false, false);
        lines.mark = self.executor.journal.draw_line();
        match lines.mark {
            // What makes it durable is worth a sync of its own: others wait for it.
            Some(mark) => self.parking.want(mark),
            None => self.tell_first(LineStep::Durable(number)),
        }
        for (joint, works) in std::mem::take(&mut self.lines.deferred) {
            self.settle_parts(joint, works);
        }
    }

    /// No crash takes back anything that is before this line.
    fn pass_line(&mut self, number: u64) {
        (self.lines.safe, self.lines.asked) = (number, false);
        self.executor.journal.pass_line();
        let (over, behind) = std::mem::take(&mut self.lines.behind).into_iter().partition(|(line, ..)| *line <= number);
        self.lines.behind = behind;
        for (_, ticket, reply) in over {
            self.finish_reply(ticket, &reply);
        }
        self.release_parked();
    }

    fn tell_first(&mut self, step: LineStep) {
        self.put(CoreId(0), Way::Answer, Item::Line(step));
    }

    fn tell_all(&mut self, step: LineStep) {
        for core in self.placement.cores() {
            self.put(core, Way::Answer, Item::Line(step));
        }
    }
}

/// How long after an entry that a crash could cut at a line should be drawn, in nanoseconds: early enough that two syncs which take a
/// quarter of the period each do not make anybody wait.
pub(crate) fn line_after_ns(levels: impl Iterator<Item = Level>) -> u64 {
    let periods = levels.filter_map(|level| if let Level::Periodic { ms } = level { Some(u64::from(ms) * 375_000) } else { None });
    // Where no period is promised any more, whoever waits asks for it.
    periods.min().unwrap_or(0)
}
