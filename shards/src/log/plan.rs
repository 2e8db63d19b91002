//! Which of what is left after a crash counts: the consistent cut through all streams.
//!
//! A command over several cores is one part in each one's stream. Where a part is missing, the others must not count
//! either: they are left out, alone if the keys were held until every part was durable, because then nobody has built on
//! them; else their streams end there. An end removes the parts behind it, so this goes on until nothing changes.

use super::{Cores, Generation, Lsn, Part, PartMode, StreamId};
use std::collections::BTreeMap;

/// A part that was found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPart {
    /// Where.
    pub stream: StreamId,
    /// Its entry; of a group, the first.
    pub lsn: Lsn,
    /// The core that began the command.
    pub origin: u16,
    /// The command's number there.
    pub number: u64,
    /// What becomes of it when others are missing.
    pub mode: PartMode,
    /// Every core that has a part.
    pub participants: Vec<u16>,
}

impl FoundPart {
    /// The part of an entry, kept beyond it.
    pub fn of(stream: StreamId, lsn: Lsn, part: &Part<'_>) -> FoundPart {
        let Part { origin, number, mode, participants } = part;
        FoundPart { stream, lsn, origin: *origin, number: *number, mode: *mode, participants: participants.iter().collect() }
    }

    /// Whether it is a further entry of the same part: those of one group stand in a row.
    pub fn is_of(&self, part: &Part<'_>) -> bool {
        (self.origin, self.number) == (part.origin, part.number)
    }
}

/// The number of a part that says where a stream goes on behind something that is in no log: a command that nobody completes, so
/// that the stream ends there unless a snapshot holds what was before. The bits below are its Lsn's.
const GAP: u64 = 1 << 63;
/// The number of one that says that there is such a snapshot.
const FILLED: u64 = 1 << 62;
/// The core that has the part which never comes.
const NOBODY: u16 = u16::MAX;

/// The part that an entry has to show a gap before it, in the stream of `core`; `buffer` is where its participants are put.
pub fn gap(core: u16, lsn: Lsn, buffer: &mut Vec<u8>) -> Part<'_> {
    Part { origin: core, number: GAP | lsn.0, mode: PartMode::Cut, participants: Cores::write([core, NOBODY], buffer) }
}

/// The part that an entry has to show that a snapshot holds what is missing, from which on nobody may be without it.
pub fn gap_filled(core: u16, lsn: Lsn, buffer: &mut Vec<u8>) -> Part<'_> {
    Part { origin: core, number: FILLED | lsn.0, mode: PartMode::Held, participants: Cores::write([core], buffer) }
}

impl FoundPart {
    /// Whether it says that something is missing before it.
    pub fn is_gap(&self) -> bool {
        self.number & GAP != 0
    }

    /// Whether it says that a snapshot holds that.
    pub fn fills_gap(&self) -> bool {
        self.number & (GAP | FILLED) == FILLED
    }
}

/// What is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Plan {
    /// The first Lsn of each stream that does not count.
    pub ends: Vec<(StreamId, Lsn)>,
    /// Parts before their stream's end that do not count: stream, origin, number.
    pub dropped: Vec<(StreamId, u16, u64)>,
}

/// A command over several cores: generation, origin, number.
type Name = (Generation, u16, u64);

impl Plan {
    /// The greatest cut, at or before `ends`, in which every command over several cores counts everywhere or nowhere.
    ///
    /// `parts` are all that were found in the logs that are kept. For streams a snapshot has taken the beginning of, use
    /// [`Plan::since`].
    pub fn of(ends: Vec<(StreamId, Lsn)>, parts: &[FoundPart]) -> Plan {
        Plan::since(&[], ends, parts)
    }

    /// The same when a snapshot holds what was before `starts`: the smallest `as_of` of each stream. A part before it has
    /// happened, whatever is missing of its command, and bears witness for the others of the same command.
    pub fn since(starts: &[(StreamId, Lsn)], ends: Vec<(StreamId, Lsn)>, parts: &[FoundPart]) -> Plan {
        let starts: BTreeMap<StreamId, Lsn> = starts.iter().copied().collect();
        let mut ends: BTreeMap<StreamId, Lsn> = ends.into_iter().collect();
        let mut commands: BTreeMap<Name, Vec<&FoundPart>> = BTreeMap::new();
        for part in parts {
            commands.entry((part.stream.generation, part.origin, part.number)).or_default().push(part);
        }
        let is_before =
            |bounds: &BTreeMap<StreamId, Lsn>, part: &FoundPart| bounds.get(&part.stream).is_some_and(|bound| part.lsn < *bound);
        while cut_once(&commands, &starts, &mut ends) {}
        let mut dropped = Vec::new();
        for (name, found) in &commands {
            if is_complete(found, &ends) {
                continue;
            }
            for part in found.iter().filter(|part| is_before(&ends, part) && !is_before(&starts, part)) {
                dropped.push((part.stream, name.1, name.2));
            }
        }
        dropped.sort_unstable();
        dropped.dedup();
        Plan { ends: ends.into_iter().collect(), dropped }
    }

    /// The first Lsn of a stream that does not count; `None` if nothing was decided about it.
    pub fn end(&self, stream: StreamId) -> Option<Lsn> {
        self.ends.iter().find(|(other, _)| *other == stream).map(|(_, end)| *end)
    }

    /// Whether a part is left out.
    pub fn drops(&self, stream: StreamId, origin: u16, number: u64) -> bool {
        self.dropped.binary_search(&(stream, origin, number)).is_ok()
    }
}

/// Ends streams before parts that cut and whose command is not complete. Whether any end moved.
fn cut_once(commands: &BTreeMap<Name, Vec<&FoundPart>>, starts: &BTreeMap<StreamId, Lsn>, ends: &mut BTreeMap<StreamId, Lsn>) -> bool {
    let mut has_moved = false;
    for found in commands.values() {
        if is_complete(found, ends) {
            continue;
        }
        for part in found.iter().filter(|part| part.mode == PartMode::Cut) {
            let start = starts.get(&part.stream).copied().unwrap_or_default();
            if let Some(end) = ends.get_mut(&part.stream).filter(|end| part.lsn >= start && part.lsn < **end) {
                *end = part.lsn;
                has_moved = true;
            }
        }
    }
    has_moved
}

/// Whether every participant's part lies before its stream's end.
fn is_complete(found: &[&FoundPart], ends: &BTreeMap<StreamId, Lsn>) -> bool {
    let counts = |core: u16| found.iter().any(|part| part.stream.core == core && ends.get(&part.stream).is_some_and(|end| part.lsn < *end));
    found.iter().all(|part| part.participants.iter().all(|core| counts(*core)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(core: u16) -> StreamId {
        StreamId { generation: Generation(1), core }
    }

    fn part(core: u16, lsn: u64, number: u64, mode: PartMode, participants: &[u16]) -> FoundPart {
        FoundPart { stream: stream(core), lsn: Lsn(lsn), origin: 0, number, mode, participants: participants.to_vec() }
    }

    fn ends(all: &[u64]) -> Vec<(StreamId, Lsn)> {
        all.iter().enumerate().map(|(core, end)| (stream(core as u16), Lsn(*end))).collect()
    }

    use PartMode::{Cut, Held};

    #[test]
    fn a_whole_command_counts() {
        let plan = Plan::of(ends(&[10, 10]), &[part(0, 4, 1, Held, &[0, 1]), part(1, 9, 1, Cut, &[0, 1])]);
        assert_eq!(plan, Plan { ends: ends(&[10, 10]), dropped: vec![] });
    }

    #[test]
    fn held_parts_go_alone() {
        let parts = [part(0, 4, 1, Held, &[0, 1, 2]), part(1, 10, 1, Held, &[0, 1, 2]), part(2, 3, 1, Held, &[0, 1, 2])];
        let plan = Plan::of(ends(&[10, 10, 10]), &parts);
        assert_eq!(plan, Plan { ends: ends(&[10, 10, 10]), dropped: vec![(stream(0), 0, 1), (stream(2), 0, 1)] });
        assert!(plan.drops(stream(0), 0, 1) && !plan.drops(stream(1), 0, 1) && !plan.drops(stream(0), 1, 1));
        assert_eq!((plan.end(stream(1)), plan.end(stream(3))), (Some(Lsn(10)), None));
    }

    #[test]
    fn cuts_bring_others_down() {
        // The second lacks its part on core 2, which ends core 1 before the first's.
        let parts = [
            part(0, 8, 1, Cut, &[0, 1]),
            part(1, 7, 1, Cut, &[0, 1]),
            part(1, 6, 2, Cut, &[1, 2]),
            part(2, 12, 2, Cut, &[1, 2]),
            part(0, 9, 3, Held, &[0]),
        ];
        let plan = Plan::of(ends(&[20, 20, 12]), &parts);
        assert_eq!(plan, Plan { ends: ends(&[8, 6, 12]), dropped: vec![] });
    }

    #[test]
    fn what_a_snapshot_holds_has_happened() {
        let parts = [part(0, 4, 1, Cut, &[0, 1]), part(0, 8, 2, Held, &[0, 1]), part(1, 3, 2, Held, &[0, 1])];
        let starts = [(stream(0), Lsn(5)), (stream(1), Lsn(5))];
        assert_eq!(Plan::since(&starts, ends(&[10, 10]), &parts), Plan { ends: ends(&[10, 10]), dropped: vec![] });
    }

    #[test]
    fn the_same_number_in_another_generation_is_another_command() {
        let mut other = part(1, 3, 1, Held, &[0, 1]);
        other.stream.generation = Generation(2);
        let mut all = ends(&[10, 10]);
        all.push((other.stream, Lsn(10)));
        let plan = Plan::of(all, &[part(0, 4, 1, Held, &[0, 1]), other.clone()]);
        assert_eq!(plan.dropped, [(stream(0), 0, 1), (other.stream, 0, 1)]);
    }

    /// Commands, each with a mode and the cores that have a part, appended to streams in this order.
    fn commands() -> impl Strategy<Value = Vec<(bool, Vec<u16>)>> {
        prop::collection::vec((any::<bool>(), prop::collection::btree_set(0..4u16, 1..4).prop_map(|set| set.into_iter().collect())), 0..20)
    }

    proptest! {
        #[test]
        fn commands_count_everywhere_or_nowhere(commands in commands(), lost in prop::array::uniform4(0u64..12)) {
            let (mut lengths, mut parts) = ([0u64; 4], Vec::new());
            for (number, (is_held, cores)) in commands.iter().enumerate() {
                for core in cores {
                    lengths[usize::from(*core)] += 1;
                    parts.push(part(*core, lengths[usize::from(*core)], number as u64, if *is_held { Held } else { Cut }, cores));
                }
            }
            let found: Vec<u64> = lengths.iter().zip(lost).map(|(len, lost)| (len + 1).saturating_sub(lost).max(1)).collect();
            let plan = Plan::of(ends(&found), &parts);
            let counts = |part: &FoundPart| part.lsn < plan.end(part.stream).unwrap() && !plan.drops(part.stream, part.origin, part.number);
            for (number, (_, cores)) in commands.iter().enumerate() {
                let counted = parts.iter().filter(|part| part.number == number as u64 && counts(part)).count();
                prop_assert!(counted == 0 || counted == cores.len(), "command {number} counts on {counted} of {}", cores.len());
            }
            for ((_, end), found) in plan.ends.iter().zip(&found) {
                prop_assert!(end.0 <= *found);
                // No more is cut than must be: a stream ends where it was torn, or before a part that cuts.
                prop_assert!(end.0 == *found || parts.iter().any(|part| part.mode == Cut && part.lsn == *end));
            }
            if lost == [0; 4] {
                prop_assert_eq!(plan, Plan { ends: ends(&found), dropped: vec![] });
            }
        }
    }
}
