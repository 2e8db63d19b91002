//! What a snapshot's file says, and how a shard is walked to write one.
//!
//! A file is a run of items in blocks (see `docs/log.md`), each block whole items: for each partition a
//! [`SnapshotItem::SectionStart`], its records, a [`SnapshotItem::SectionEnd`] with their count and digest; or a
//! [`SnapshotItem::Void`], if it was begun again. The walk gives the records, whoever writes the file the rest.

mod walk;

pub use walk::Step;
pub(crate) use walk::{NOT_WALKING, Walk};

use crate::key::{Db, Key, PartitionId};
use crate::log::{Generation, LogError, Lsn, varint};
use crate::record::{MalformedRecord, Record};
use crate::scan::digest_of;
use crate::shard::{Found, Shard};

/// A record longer than this leaves in slices.
pub const RECORD_BYTES_WHOLE_MAX: usize = 1024 * 1024;

/// Length of a slice.
pub const SLICE_BYTES: usize = 256 * 1024;

/// One item of a snapshot's file, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotItem<'a> {
    /// A partition's records follow.
    SectionStart {
        /// Whose.
        partition: u16,
        /// The first entry that these records do not show yet.
        as_of: (Generation, Lsn),
        /// The entry clock then: records over by it are left out.
        clock_ms: u64,
    },
    /// A record, in the form of [`Shard::export`].
    Record {
        /// Its database.
        db: Db,
        /// All of it.
        bytes: &'a [u8],
    },
    /// A piece of a long record. Pieces follow each other in order, though other records may come between.
    Slice {
        /// Its database.
        db: Db,
        /// The record's length.
        total: u64,
        /// Where in it this piece belongs.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    },
    /// All records of a partition have come.
    SectionEnd {
        /// Whose.
        partition: u16,
        /// How many there were.
        count: u64,
        /// The exclusive or of the digests of their bytes.
        digest: u64,
    },
    /// What has come of a partition counts for nothing: it begins again.
    Void {
        /// Whose.
        partition: u16,
    },
    /// The file is complete.
    End {
        /// How many sections it has, those that count for nothing left out.
        sections: u16,
    },
}

const SECTION_START: u8 = 1;
const RECORD: u8 = 2;
const SLICE: u8 = 3;
const SECTION_END: u8 = 4;
const VOID: u8 = 5;
const END: u8 = 6;

impl<'a> SnapshotItem<'a> {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            SnapshotItem::SectionStart { partition, as_of: (generation, lsn), clock_ms } => {
                out.push(SECTION_START);
                out.extend_from_slice(&partition.to_le_bytes());
                for number in [generation.0, lsn.0, clock_ms] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            SnapshotItem::Record { db, bytes } => put_record(db, bytes, out),
            SnapshotItem::Slice { db, total, offset, bytes } => {
                out.push(SLICE);
                for number in [u64::from(db.0), total, offset, bytes.len() as u64] {
                    varint::put(number, out);
                }
                out.extend_from_slice(bytes);
            }
            SnapshotItem::SectionEnd { partition, count, digest } => {
                out.push(SECTION_END);
                out.extend_from_slice(&partition.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(&digest.to_le_bytes());
            }
            SnapshotItem::Void { partition } => {
                out.push(VOID);
                out.extend_from_slice(&partition.to_le_bytes());
            }
            SnapshotItem::End { sections } => {
                out.push(END);
                out.extend_from_slice(&sections.to_le_bytes());
            }
        }
    }

    /// Takes an item from the front of a block's payload; `None` at its end.
    ///
    /// # Errors
    /// If there is something else. Nothing is taken then.
    pub fn take(block: &mut &'a [u8]) -> Result<Option<SnapshotItem<'a>>, LogError> {
        if block.is_empty() {
            return Ok(None);
        }
        let mut left = *block;
        let item = take(&mut left).ok_or_else(|| LogError::new(0, "not an item of a snapshot, in a block whose checksum holds"))?;
        *block = left;
        Ok(Some(item))
    }

    /// The key of a record that is whole, to ask for its cache lines ahead of [`Shard::load`].
    pub fn key(&self) -> Option<&'a [u8]> {
        let SnapshotItem::Record { bytes, .. } = *self else { return None };
        Record::check(bytes).ok().map(Record::key)
    }
}

/// Appends a record as an item. What a wheel holds is left out: that is one shard's own affair.
fn put_record(db: Db, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(RECORD);
    varint::put(u64::from(db.0), out);
    varint::put(bytes.len() as u64, out);
    let from = out.len();
    out.extend_from_slice(bytes);
    crate::record::set_armed(&mut out[from..], false);
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<SnapshotItem<'a>> {
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    let db = |bytes: &mut &'a [u8]| Some(Db(u16::try_from(varint::take(bytes)?).ok()?));
    Some(match *tag {
        SECTION_START => SnapshotItem::SectionStart {
            partition: u16::from_le_bytes(fixed(bytes)?),
            as_of: (Generation(u64::from_le_bytes(fixed(bytes)?)), Lsn(u64::from_le_bytes(fixed(bytes)?))),
            clock_ms: u64::from_le_bytes(fixed(bytes)?),
        },
        RECORD => SnapshotItem::Record { db: db(bytes)?, bytes: run(bytes)? },
        SLICE => SnapshotItem::Slice { db: db(bytes)?, total: varint::take(bytes)?, offset: varint::take(bytes)?, bytes: run(bytes)? },
        SECTION_END => SnapshotItem::SectionEnd {
            partition: u16::from_le_bytes(fixed(bytes)?),
            count: u64::from_le_bytes(fixed(bytes)?),
            digest: u64::from_le_bytes(fixed(bytes)?),
        },
        VOID => SnapshotItem::Void { partition: u16::from_le_bytes(fixed(bytes)?) },
        END => SnapshotItem::End { sections: u16::from_le_bytes(fixed(bytes)?) },
        _ => return None,
    })
}

fn fixed<const BYTES: usize>(bytes: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, rest) = bytes.split_first_chunk::<BYTES>()?;
    *bytes = rest;
    Some(*taken)
}

fn run<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Puts slices together. Keeps at most one record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembly {
    db: Db,
    total: u64,
    bytes: Vec<u8>,
}

impl Assembly {
    /// The whole record that ends with this item, if one does. Items that are no records give none.
    pub(crate) fn add<'s>(&'s mut self, item: &SnapshotItem<'s>) -> Result<Option<(Db, Record<'s>)>, LogError> {
        let not_one = |MalformedRecord| LogError::new(0, "a record that is none, in a block whose checksum holds");
        match *item {
            SnapshotItem::Record { db, bytes } => Ok(Some((db, Record::check(bytes).map_err(not_one)?))),
            SnapshotItem::Slice { db, total, offset, bytes } => {
                if offset == 0 {
                    *self = Assembly { db, total, bytes: Vec::new() };
                }
                let len = self.bytes.len() as u64;
                if offset != len || (db, total) != (self.db, self.total) || bytes.is_empty() || bytes.len() as u64 > total - len {
                    return Err(LogError::new(0, "a piece of a record that does not follow the one before"));
                }
                self.bytes.extend_from_slice(bytes);
                if (self.bytes.len() as u64) < total {
                    return Ok(None);
                }
                Ok(Some((db, Record::check(&self.bytes).map_err(not_one)?)))
            }
            _ => {
                *self = Assembly::default();
                Ok(None)
            }
        }
    }

    /// Whether there are slices whose record is not whole.
    fn is_open(&self) -> bool {
        (self.bytes.len() as u64) < self.total
    }
}

/// Counts a section's records as they are read back, and says whether they are those that were written.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    assembly: Assembly,
    count: u64,
    digest: u64,
}

impl Tally {
    /// Takes the next item; at a section's end, compares. A start and a void begin again at nothing. Gives the record that
    /// became whole with this item, if one did: its database and its bytes.
    ///
    /// # Errors
    /// If a record is none, or if the section is not what its end says.
    pub fn add<'s>(&'s mut self, item: &SnapshotItem<'s>) -> Result<Option<(Db, &'s [u8])>, LogError> {
        match *item {
            SnapshotItem::Record { .. } | SnapshotItem::Slice { .. } => {}
            SnapshotItem::SectionEnd { count, digest, .. } => {
                let is_right = !self.assembly.is_open() && (count, digest) == (self.count, self.digest);
                *self = Tally::default();
                return if is_right { Ok(None) } else { Err(LogError::new(0, "a section that does not hold what its end says")) };
            }
            _ => {
                *self = Tally::default();
                return Ok(None);
            }
        }
        let whole = self.assembly.add(item)?;
        if let Some((_, record)) = whole {
            self.count += 1;
            self.digest ^= digest_of(&Found::new(record));
        }
        Ok(whole.map(|(db, record)| (db, record.bytes())))
    }
}

impl Shard {
    /// Makes room for `count` keys of a partition that are about to be loaded, so that its table need not grow step by step.
    /// Does nothing for a table that has entries.
    pub fn load_ahead(&mut self, db: Db, partition: PartitionId, count: usize) {
        if db.0 < self.db_count() {
            self.dbs[usize::from(db.0)].reserve(&mut self.heap, partition, count);
        }
    }

    /// Puts a snapshot's record into this shard, `now` being its section's clock. `key` is the record's, if it is hashed already.
    ///
    /// # Errors
    /// If it is not a record, or of a database that there is not. Nothing was put then.
    pub fn load(&mut self, db: Db, key: Option<Key<'_>>, record: &[u8], now: u64) -> Result<(), LogError> {
        let not_one = |MalformedRecord| LogError::new(0, "a record that is none, in a block whose checksum holds");
        if db.0 >= self.db_count() {
            let why = format!("a record of database {}, and there are {}: set `databases` as it was", db.0, self.db_count());
            return Err(LogError { place: 0, why: why.into() });
        }
        let key = match key {
            Some(key) => key,
            None => self.key(Record::check(record).map_err(not_one)?.key()),
        };
        self.import(db, &key, record, now).map_err(not_one)
    }

    /// Gives back what [`Shard::load_ahead`] took of a partition and nobody needs.
    pub fn loaded(&mut self, partition: PartitionId) {
        for keyspace in &mut self.dbs {
            keyspace.fit(&mut self.heap, partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item() -> impl Strategy<Value = (u8, u16, [u64; 3], Vec<u8>)> {
        (1..7u8, any::<u16>(), any::<[u64; 3]>(), prop::collection::vec(any::<u8>(), 6..300))
    }

    fn with<T>((tag, small, [a, b, c], bytes): &(u8, u16, [u64; 3], Vec<u8>), look: impl FnOnce(SnapshotItem<'_>) -> T) -> T {
        let mut bytes = bytes.clone();
        bytes[0] &= !0x40; // No record says that a wheel holds it.
        look(match tag {
            1 => SnapshotItem::SectionStart { partition: *small, as_of: (Generation(*a), Lsn(*b)), clock_ms: *c },
            2 => SnapshotItem::Record { db: Db(*small), bytes: &bytes },
            3 => SnapshotItem::Slice { db: Db(*small), total: *a, offset: *b, bytes: &bytes },
            4 => SnapshotItem::SectionEnd { partition: *small, count: *a, digest: *b },
            5 => SnapshotItem::Void { partition: *small },
            _ => SnapshotItem::End { sections: *small },
        })
    }

    #[test]
    fn the_layout_is_for_ever() {
        let mut out = Vec::new();
        SnapshotItem::SectionStart { partition: 1, as_of: (Generation(2), Lsn(3)), clock_ms: 4 }.encode(&mut out);
        SnapshotItem::Record { db: Db(200), bytes: b"\x00abc" }.encode(&mut out);
        SnapshotItem::Slice { db: Db(1), total: 300, offset: 0, bytes: b"xy" }.encode(&mut out);
        SnapshotItem::SectionEnd { partition: 1, count: 2, digest: 3 }.encode(&mut out);
        SnapshotItem::Void { partition: 7 }.encode(&mut out);
        SnapshotItem::End { sections: 9 }.encode(&mut out);
        let expected: &[u8] =
            b"\x01\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x02\xC8\x01\x04\0abc\x03\x01\xAC\x02\0\x02xy\
            \x04\x01\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x05\x07\0\x06\x09\0";
        assert_eq!(out, expected);
    }

    #[test]
    fn pieces_out_of_order_are_refused() {
        let slice = |db, total, offset, bytes| SnapshotItem::Slice { db: Db(db), total, offset, bytes };
        for second in [
            slice(0, 10, 4, b"abc"),
            slice(0, 10, 2, b"abc"),
            slice(0, 9, 3, b"abc"),
            slice(1, 10, 3, b"abc"),
            slice(0, 10, 3, b"12345678"),
            slice(0, 10, 3, b""),
        ] {
            let mut tally = Tally::default();
            tally.add(&slice(0, 10, 0, b"abc")).unwrap();
            assert!(tally.add(&second).is_err(), "{second:?}");
        }
        let mut tally = Tally::default();
        tally.add(&slice(0, 10, 0, b"abc")).unwrap();
        assert!(tally.add(&SnapshotItem::SectionEnd { partition: 0, count: 0, digest: 0 }).is_err(), "a record that is not whole");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(items in prop::collection::vec(item(), 0..10), cut in 0usize..1 << 16) {
            let mut out = Vec::new();
            items.iter().for_each(|item| with(item, |item| item.encode(&mut out)));
            let mut left = &out[..];
            for item in &items {
                let read = SnapshotItem::take(&mut left).unwrap().unwrap();
                with(item, |expected| assert_eq!(read, expected));
            }
            prop_assert_eq!(SnapshotItem::take(&mut left), Ok(None));
            if let Some(last) = items.last() {
                let mut bytes = Vec::new();
                with(last, |item| item.encode(&mut bytes));
                let mut cut = &bytes[..1 + cut % (bytes.len() - 1)];
                prop_assert!(cut.len() == bytes.len() || SnapshotItem::take(&mut cut).is_err());
            }
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let (mut left, mut tally) = (&bytes[..], Tally::default());
            while let Ok(Some(item)) = SnapshotItem::take(&mut left) {
                let _ = (item.key(), tally.add(&item).is_ok());
            }
        }
    }
}
