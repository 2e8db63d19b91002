//! What a start has to read: which streams, from which entry on, and what is missing of them. It knows names and what openings say, and
//! touches no file: recovery and `corewheel check` ask the same questions here.

use shards::log::{Generation, Lsn, Manifest, Opening, StreamId};
use std::collections::BTreeMap;

/// What a directory's names and openings tell of its log.
#[derive(Debug, Default)]
pub struct History {
    /// By generation, those that can be read.
    pub openings: BTreeMap<Generation, Opening>,
    /// The numbers of every stream's segments, ascending.
    pub streams: BTreeMap<StreamId, Vec<u64>>,
}

/// A stream that has to be read, and what is known of it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Whose, and when.
    pub id: StreamId,
    /// Its segments, without a gap between them; at least one.
    pub segments: Vec<u64>,
    /// The number of a segment that is missing behind those, though there are later ones.
    pub missing: Option<u64>,
    /// The first entry that has to be there.
    pub from: Lsn,
    /// The first entry that may have to be applied.
    pub replay_from: Lsn,
    /// The last entry that a snapshot was built upon.
    pub durable: Lsn,
    /// The first entry that is not there, where a later generation has decided it.
    pub decided: Option<Lsn>,
}

/// A file that must be there and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// What a generation has decided.
    Opening(Generation),
    /// A stream's segment of this number, or all of them.
    Segment {
        /// Whose.
        id: StreamId,
        /// Which.
        seq: u64,
        /// Whether there is no other of the stream.
        all: bool,
        /// The first entry that was needed.
        from: Lsn,
        /// The first entry that is not there, where a later generation has decided it.
        decided: Option<Lsn>,
    },
}

impl History {
    /// The generation that comes next, if the newest snapshot is from no later one than `snapshots` say.
    pub fn generation_next<'a>(&self, snapshots: impl IntoIterator<Item = &'a Manifest>) -> Generation {
        let all = self.openings.keys().copied().chain(self.streams.keys().map(|stream| stream.generation));
        let all = all.chain(snapshots.into_iter().map(generation_of));
        Generation(all.map(|generation| generation.0).max().unwrap_or(0) + 1)
    }

    /// What has to be read with the snapshot `base` by a start that becomes generation `next`, in the order in which it is applied:
    /// openings that are missing first, then each stream, or what is missing of it.
    pub fn needed(&self, base: Option<&Manifest>, next: Generation) -> Vec<Result<Needed, Missing>> {
        let first = base.map_or(Generation(0), generation_of);
        let unopened = (first.0 + 1..next.0).map(Generation).filter(|generation| !self.openings.contains_key(generation));
        let described = self.openings.values().flat_map(|opening| &opening.plan.ends).map(|(stream, _)| stream);
        let later = self.streams.keys().chain(described).filter(|stream| stream.generation > first);
        let mut wanted: BTreeMap<StreamId, Lsn> = later.map(|stream| (*stream, Lsn(1))).collect();
        wanted.extend(base.iter().flat_map(|base| &base.log_start).copied());
        let streams = wanted.into_iter().filter_map(|(id, from)| self.needed_of(base, id, from).transpose());
        unopened.map(|generation| Err(Missing::Opening(generation))).chain(streams).collect()
    }

    /// `None` if there never was anything in the stream.
    fn needed_of(&self, base: Option<&Manifest>, id: StreamId, from: Lsn) -> Result<Option<Needed>, Missing> {
        let decided = self.decided(id);
        let mut segments = self.streams.get(&id).cloned().unwrap_or_default();
        let missing = |all| Missing::Segment { id, seq: 0, all, from, decided };
        let Some(first) = segments.first().copied() else {
            let had_entries = from > Lsn(1) || decided.is_some_and(|end| end > Lsn(1));
            return if had_entries { Err(missing(true)) } else { Ok(None) };
        };
        if from == Lsn(1) && first != 0 {
            return Err(missing(false));
        }
        let gap = segments.windows(2).position(|pair| pair[1] != pair[0] + 1);
        let missing = gap.map(|index| segments[index] + 1);
        segments.truncate(gap.map_or(usize::MAX, |index| index + 1));
        let sections = || base.iter().flat_map(|base| &base.sections).filter(|section| section.file == id.core);
        let as_of = || sections().map(|section| section.as_of).filter(|(generation, _)| *generation == id.generation);
        let replay_from = as_of().map(|(_, lsn)| lsn).min().unwrap_or(from);
        let durable = Lsn(as_of().map(|(_, lsn)| lsn).max().unwrap_or(from).0 - 1);
        Ok(Some(Needed { id, segments, missing, from, replay_from, durable, decided }))
    }

    /// The first entry of a stream that is not there, if a later generation has decided it. A repair may have moved an end to
    /// before some damage, so the earliest counts.
    pub fn decided(&self, id: StreamId) -> Option<Lsn> {
        let later = self.openings.range(Generation(id.generation.0 + 1)..);
        later.flat_map(|(_, opening)| &opening.plan.ends).filter(|(stream, _)| *stream == id).map(|(_, end)| *end).min()
    }

    /// A stream of which every file is gone, though there was one: no core of a generation writes an entry before each has its first
    /// file. `ends` are the streams that were read, each with the first entry that is not there.
    pub fn robbed(&self, ends: impl IntoIterator<Item = (StreamId, Lsn)>) -> Option<Missing> {
        let written = ends.into_iter().filter(|(_, end)| *end > Lsn(1)).map(|(id, _)| id.generation).max()?;
        let cores = 0..self.openings.get(&written)?.core_count;
        let mut streams = cores.map(|core| StreamId { generation: written, core });
        let id = streams.find(|id| !self.streams.contains_key(id) && self.decided(*id).is_none())?;
        Some(Missing::Segment { id, seq: 0, all: true, from: Lsn(1), decided: None })
    }
}

/// The generation in which a snapshot was made.
pub fn generation_of(manifest: &Manifest) -> Generation {
    manifest.log_start.iter().map(|(stream, _)| stream.generation).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::log::{NodeId, Plan};

    fn stream(generation: u64, core: u16) -> StreamId {
        StreamId { generation: Generation(generation), core }
    }

    fn history(cores: u16, decided: &[(StreamId, u64)], streams: &[(StreamId, &[u64])]) -> History {
        let newest = streams.iter().map(|(id, _)| id.generation.0).max().unwrap_or(0);
        let opening = |generation: u64| {
            let ends = decided.iter().filter(|(id, _)| id.generation.0 + 1 == generation).map(|(id, end)| (*id, Lsn(*end))).collect();
            let plan = Plan { ends, dropped: vec![] };
            Opening { node: NodeId([0; 16]), generation: Generation(generation), core_count: cores, plan, clock_ms: 0, created_ms: 0 }
        };
        History {
            openings: (1..=newest).map(|generation| (Generation(generation), opening(generation))).collect(),
            streams: streams.iter().map(|(id, segments)| (*id, segments.to_vec())).collect(),
        }
    }

    #[test]
    fn what_lies_behind_a_gap_is_not_read_and_the_gap_is_named() {
        let history = history(1, &[], &[(stream(1, 0), &[0, 1, 3, 4])]);
        let needed = history.needed(None, Generation(2)).remove(0).unwrap();
        assert_eq!((needed.segments, needed.missing), (vec![0, 1], Some(2)));
        let begins_late = self::history(1, &[], &[(stream(1, 0), &[1, 2])]).needed(None, Generation(2)).remove(0);
        assert!(matches!(begins_late, Err(Missing::Segment { seq: 0, all: false, .. })));
    }

    #[test]
    fn a_generation_that_nobody_opened_and_a_stream_that_was_decided_are_missed() {
        let mut history = history(1, &[(stream(1, 0), 7)], &[(stream(2, 0), &[0])]);
        history.openings.remove(&Generation(1));
        let needed = history.needed(None, Generation(3));
        assert_eq!(needed[0], Err(Missing::Opening(Generation(1))));
        assert!(matches!(needed[1], Err(Missing::Segment { all: true, decided: Some(Lsn(7)), .. })));
        assert_eq!(needed[2].as_ref().unwrap().id, stream(2, 0));
    }

    #[test]
    fn a_core_without_files_beside_one_with_entries_was_robbed_of_them() {
        let history = history(2, &[(stream(1, 0), 5), (stream(1, 1), 1)], &[(stream(1, 0), &[0]), (stream(2, 0), &[0])]);
        assert_eq!(history.robbed([(stream(1, 0), Lsn(5)), (stream(2, 0), Lsn(1))]), None, "what was decided long ago was empty");
        assert!(matches!(history.robbed([(stream(2, 0), Lsn(2))]), Some(Missing::Segment { id, .. }) if id == stream(2, 1)));
    }
}
