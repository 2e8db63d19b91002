//! What a server would find in a directory, and what it would do.

use super::home::{Fault, Home};
use super::survey::{State, Survey, survey};
use engine::options::human_bytes;
use shards::log::{Lsn, Manifest, Plan, StreamId};
use std::fmt::Write;

/// How a directory is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Every byte that means something is as it was written.
    Clean,
    /// A crash left a write that nobody was promised; the next start leaves it out.
    Torn,
    /// Something that was safe cannot be read.
    Damaged,
}

/// A directory that was looked through.
pub(super) struct Examined<'a> {
    pub(super) home: &'a Home,
    /// What a server would read.
    pub(super) view: View,
    /// What only an older snapshot would need.
    older: Vec<Survey>,
    older_faults: Vec<Fault>,
}

/// What a server reads from one snapshot on, or from the beginning.
pub(super) struct View {
    pub(super) surveys: Vec<Survey>,
    /// What is wrong beside the streams themselves.
    pub(super) faults: Vec<Fault>,
}

impl View {
    pub(super) fn of(home: &Home, base: Option<&Manifest>) -> View {
        let (needed, mut faults) = home.needed(base);
        let surveys: Vec<Survey> = needed.iter().map(|needed| survey(home, needed)).collect();
        let robbed = home.history.robbed(surveys.iter().map(|survey| (survey.id(), survey.end)));
        faults.extend(robbed.map(|missing| home.fault_of(missing)));
        View { surveys, faults }
    }

    /// Where the streams end together.
    pub(super) fn plan(&self) -> Plan {
        let starts: Vec<(StreamId, Lsn)> = self.surveys.iter().map(|survey| (survey.id(), survey.needed.replay_from)).collect();
        let ends = self.surveys.iter().map(|survey| (survey.id(), survey.end)).collect();
        let parts: Vec<_> = self.surveys.iter().flat_map(|survey| survey.parts.iter().cloned()).collect();
        Plan::since(&starts, ends, &parts)
    }

    fn all_faults(&self, home: &Home) -> Vec<Fault> {
        self.faults.iter().cloned().chain(self.surveys.iter().filter_map(|survey| survey.fault(home))).collect()
    }
}

/// Reads everything.
pub(super) fn examine(home: &Home) -> Examined<'_> {
    let view = View::of(home, home.snapshots.first());
    let (mut older, mut older_faults) = (Vec::new(), Vec::new());
    for base in home.snapshots.iter().skip(1) {
        let (needed, faults) = home.needed(Some(base));
        let is_known = |survey: &Survey, id, from| survey.id() == id && survey.needed.from <= from;
        let fresh = needed.iter().filter(|needed| !view.surveys.iter().any(|survey| is_known(survey, needed.id, needed.from)));
        older.extend(fresh.map(|needed| survey(home, needed)));
        older_faults.extend(faults.into_iter().filter(|fault| !view.faults.contains(fault)));
    }
    Examined { home, view, older, older_faults }
}

impl Examined<'_> {
    /// Why a server would not start.
    pub(super) fn refusals(&self) -> Vec<Fault> {
        self.home.faults.iter().cloned().chain(self.view.all_faults(self.home)).collect()
    }

    /// What is damaged, though a server starts without it.
    fn spares(&self) -> Vec<Fault> {
        let streams = self.older.iter().filter_map(|survey| survey.fault(self.home));
        let mut spares: Vec<Fault> = self.home.snapshot_faults.iter().chain(&self.older_faults).cloned().chain(streams).collect();
        let refusals = self.refusals();
        spares.retain(|fault| !refusals.contains(fault));
        spares
    }

    pub(super) fn verdict(&self) -> Verdict {
        if !self.refusals().is_empty() || !self.spares().is_empty() {
            return Verdict::Damaged;
        }
        let is_torn = self.view.surveys.iter().any(|survey| matches!(survey.state, State::Torn { .. }));
        if is_torn { Verdict::Torn } else { Verdict::Clean }
    }

    /// A line for each file that was read, then what it comes to.
    pub(super) fn report(&self) -> String {
        let mut out = String::new();
        for manifest in &self.home.snapshots {
            let records: u64 = manifest.sections.iter().map(|section| section.count).sum();
            let bytes: u64 = manifest.files.iter().map(|(_, bytes)| bytes).sum();
            let path = self.home.directory.snapshot(manifest.id);
            let _ = writeln!(out, "{}: {records} records, {}: whole", path.display(), human_bytes(bytes));
        }
        for generation in self.home.history.openings.keys() {
            let _ = writeln!(out, "{}: whole", self.home.directory.opening(*generation).display());
        }
        for survey in self.view.surveys.iter().chain(&self.older) {
            self.report_stream(survey, &mut out);
        }
        self.report_plan(&mut out);
        for fault in self.spares() {
            let _ = writeln!(out, "{fault}\n  A server starts without it.");
        }
        let refusals = self.refusals();
        for fault in &refusals {
            let _ = writeln!(out, "{fault}");
        }
        let root = self.home.directory.root().display();
        let _ = match (self.verdict(), refusals.is_empty()) {
            (Verdict::Clean, _) => writeln!(out, "clean: every byte that means something is as it was written"),
            (Verdict::Torn, _) => {
                writeln!(out, "torn: the next start leaves out what nobody was promised; the bytes may also be rot of the very last write")
            }
            (Verdict::Damaged, true) => writeln!(out, "damaged: a server starts, but one more fault may be one too many; make a snapshot"),
            (Verdict::Damaged, false) => {
                writeln!(out, "damaged: a server does not start. Copy {root} first, then see `corewheel repair --help`")
            }
        };
        out
    }

    fn report_stream(&self, survey: &Survey, out: &mut String) {
        for segment in &survey.segments {
            let path = self.home.directory.segment(survey.id(), segment.seq);
            let _ = write!(out, "{}: ", path.display());
            let _ = match segment.first {
                Some(first) => write!(out, "{} entries from {} on", segment.entries, first.0),
                None => write!(out, "no entries"),
            };
            let _ = match &survey.state {
                State::Torn { segment: torn, at, bytes } if *torn == segment.seq => {
                    writeln!(out, "; torn: {bytes} bytes from byte {at} on, behind entry {}, that nobody was promised", survey.end.0 - 1)
                }
                State::Lost { segment: lost, at, .. } if *lost == segment.seq => writeln!(out, "; damaged at byte {at}"),
                _ => writeln!(out),
            };
        }
        if let Some((seq, number)) = survey.locked {
            let path = self.home.directory.segment(survey.id(), seq);
            let _ = writeln!(
                out,
                "{}: encrypted with key {number}, which was not given: checksums were checked, and nothing more",
                path.display()
            );
        }
        if survey.stray_bytes > 0 {
            let _ = writeln!(out, "{}: {} bytes of rot where nothing is missing", survey.id(), survey.stray_bytes);
        }
    }

    /// What a crash took of commands over several cores.
    fn report_plan(&self, out: &mut String) {
        let plan = self.view.plan();
        for survey in &self.view.surveys {
            if let Some(end) = plan.end(survey.id()).filter(|end| *end < survey.end) {
                let last = survey.end.0 - 1;
                let _ = writeln!(out, "{}: entries {} to {last} follow a command that another core has lost", survey.id(), end.0);
            }
        }
        let known = |part: &&(StreamId, u16, u64)| self.home.history.openings.values().any(|opening| opening.plan.dropped.contains(part));
        let dropped = plan.dropped.iter().filter(|part| !known(part)).count();
        if dropped > 0 {
            let _ = writeln!(out, "{dropped} shares of commands that not every core has; nobody was told of them");
        }
    }
}
