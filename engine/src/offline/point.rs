//! A point in a log to which a directory is restored.

use super::moment;
use shards::log::{Generation, Lsn, StreamId};

/// One entry's name, `generation.core.lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryName {
    pub(super) stream: StreamId,
    pub(super) lsn: Lsn,
}

impl EntryName {
    pub(super) fn parse(text: &str) -> Result<EntryName, String> {
        let unusable = || format!("`{text}` names no entry: give GENERATION.CORE.LSN, such as 3.0.1742");
        let mut numbers = text.split('.');
        let mut next = || numbers.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let (generation, core, lsn) = (next(), next(), next());
        let (Some(generation), Some(core), Some(lsn)) = (generation, core, lsn) else { return Err(unusable()) };
        let stream =
            StreamId { generation: Generation(generation.parse().map_err(|_| unusable())?), core: core.parse().map_err(|_| unusable())? };
        let name = EntryName { stream, lsn: Lsn(lsn.parse().map_err(|_| unusable())?) };
        if numbers.next().is_some() || stream.generation == Generation(0) || name.lsn == Lsn(0) { Err(unusable()) } else { Ok(name) }
    }
}

/// Which entries count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Those with a later clock do not.
    pub(super) clock_ms: u64,
    /// Nor those of its stream behind this one.
    pub(super) last: Option<EntryName>,
}

impl Point {
    /// Whether an entry lies behind it.
    pub(super) fn is_before(&self, stream: StreamId, lsn: Lsn, clock_ms: u64) -> bool {
        clock_ms > self.clock_ms || self.last.is_some_and(|last| last.stream == stream && lsn > last.lsn)
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that there is.
    Everything,
    /// Everything until a moment.
    Time(u64),
    /// Everything until an entry, which counts.
    Entry(EntryName),
}

impl Wanted {
    pub(super) fn of(time: Option<&str>, entry: Option<&str>) -> Result<Wanted, String> {
        match (time, entry) {
            (Some(time), _) => moment::parse(time).map(Wanted::Time),
            (None, Some(entry)) => EntryName::parse(entry).map(Wanted::Entry),
            (None, None) => Ok(Wanted::Everything),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_named_by_three_numbers() {
        let name = EntryName { stream: StreamId { generation: Generation(3), core: 0 }, lsn: Lsn(1742) };
        assert_eq!(EntryName::parse("3.0.1742"), Ok(name));
        for text in ["", "3", "3.0", "3.0.0", "0.0.1", "3.0.1.2", "3.70000.1", "3.-1.1", "+3.0.1", "3..1", "a.b.c"] {
            assert!(EntryName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn behind_a_point_is_what_is_later_or_follows_its_entry() {
        let last = EntryName::parse("3.1.10").unwrap();
        let other = StreamId { generation: Generation(3), core: 0 };
        let time = Point { clock_ms: 100, last: None };
        assert_eq!([99, 100, 101].map(|clock| time.is_before(other, Lsn(1), clock)), [false, false, true]);
        let entry = Point { clock_ms: 100, last: Some(last) };
        assert_eq!([9, 10, 11].map(|lsn| entry.is_before(last.stream, Lsn(lsn), 100)), [false, false, true]);
        assert_eq!([9, 10, 11].map(|lsn| entry.is_before(other, Lsn(lsn), 100)), [false; 3]);
    }
}
