//! One change of a stream's state: which partition and database it touches, when, and what is done.
//!
//! `bytes varint | tag u8 | partition u16 | db varint | clock varint | [part] | body`, where `bytes` counts what follows it
//! and `clock` is what the entry's clock lies ahead of its frame's. A tag's low nibble says what the body is; a bit each,
//! whether a part is there and whether the next entry belongs to the same group. A group is in one frame, so that it is
//! there or not as a whole.

use super::frame::FrameHeader;
use super::{LogError, Lsn, varint};
use crate::key::Db;
use crate::wire::{Args, Span};

/// One entry, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where its keys are; [`super::PARTITION_ALL`] for every partition of the stream.
    pub partition: u16,
    /// The database it was given in.
    pub db: Db,
    /// The clock it runs with: milliseconds since 1970, never less than that of the entry before it.
    pub clock_ms: u64,
    /// Whether the next entry belongs to the same group: both happen, or neither.
    pub in_group: bool,
    /// Set if other cores have a share in the same command.
    pub part: Option<Part<'a>>,
    /// What is done.
    pub body: Body<'a>,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Runs a command again.
    Command(Words<'a>),
    /// Makes a key be this record, in the form of [`crate::Shard::export`]; or absent.
    Store {
        /// Whose.
        key: &'a [u8],
        /// Its value, deadline and all.
        record: Option<&'a [u8]>,
    },
    /// Removes a key that had to make room.
    Evict {
        /// Whose.
        key: &'a [u8],
    },
    /// Nothing but the clock.
    Tick,
}

/// What happens to a command over several cores of which some core's share is missing after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartMode {
    /// Its shares are left out, alone: nobody has seen them, because their keys were held until all were durable.
    Held,
    /// Its streams end before it.
    Cut,
}

/// One core's share of a command over several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The core that began the command.
    pub origin: u16,
    /// Its number there: with `origin` and the generation the command's name.
    pub number: u64,
    /// What becomes of it if a share is missing.
    pub mode: PartMode,
    /// Every core that has a share.
    pub participants: Cores<'a>,
}

/// Core numbers, as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores<'a> {
    bytes: &'a [u8],
}

impl<'a> Cores<'a> {
    /// Writes `cores` into `buffer`, and lends them from there.
    pub fn write(cores: impl IntoIterator<Item = u16>, buffer: &'a mut Vec<u8>) -> Cores<'a> {
        buffer.clear();
        cores.into_iter().for_each(|core| varint::put(u64::from(core), buffer));
        Cores { bytes: buffer }
    }

    /// The numbers, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || varint::take(&mut bytes).map(|core| core as u16))
    }

    fn take(bytes: &mut &'a [u8]) -> Option<Cores<'a>> {
        let count = varint::take(bytes)?;
        let start = *bytes;
        for _ in 0..count {
            u16::try_from(varint::take(bytes)?).ok()?;
        }
        Some(Cores { bytes: &start[..start.len() - bytes.len()] })
    }
}

/// A command's arguments, its name first, as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Words<'a> {
    /// Writes `args` into `buffer`, and lends them from there. For entries that [`encode_command`] cannot say.
    pub fn write(args: Args<'_>, buffer: &'a mut Vec<u8>) -> Words<'a> {
        buffer.clear();
        args.iter_from(0).for_each(|arg| put_bytes(arg, buffer));
        Words { bytes: buffer, count: args.len() }
    }

    /// How many, the name included; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a command has a name")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The arguments in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut bytes = self.bytes;
        std::iter::from_fn(move || take_bytes(&mut bytes))
    }

    /// The same as a request's arguments; their places are put into `spans`.
    pub fn spans<'s>(&self, spans: &'s mut Vec<Span>) -> Args<'s>
    where
        'a: 's,
    {
        spans.clear();
        let mut left = self.bytes;
        while let Some(word) = take_bytes(&mut left) {
            let end = self.bytes.len() - left.len();
            spans.push(Span { start: (end - word.len()) as u32, len: word.len() as u32 });
        }
        Args::new(self.bytes, spans)
    }

    fn take(bytes: &mut &'a [u8]) -> Option<Words<'a>> {
        let count = usize::try_from(varint::take(bytes)?).ok().filter(|count| *count > 0)?;
        let start = *bytes;
        for _ in 0..count {
            take_bytes(bytes)?;
        }
        let words = &start[..start.len() - bytes.len()];
        // Places of words are spans, and those have 32 bits; no request is nearly as long.
        u32::try_from(words.len()).ok()?;
        Some(Words { bytes: words, count })
    }
}

const TAG_KIND: u8 = 0x0F;
const TAG_PART: u8 = 0x10;
const TAG_GROUP: u8 = 0x20;
const KIND_COMMAND: u8 = 1;
const KIND_STORE: u8 = 2;
const KIND_EVICT: u8 = 3;
const KIND_TICK: u8 = 4;

/// Appends one entry. `clock_base_ms` is the clock of the frame that it will be in.
pub fn encode(entry: &Entry<'_>, clock_base_ms: u64, out: &mut Vec<u8>) {
    let mut tag = match entry.body {
        Body::Command(_) => KIND_COMMAND,
        Body::Store { .. } => KIND_STORE,
        Body::Evict { .. } => KIND_EVICT,
        Body::Tick => KIND_TICK,
    };
    let ahead = entry.clock_ms.wrapping_sub(clock_base_ms);
    let body_bytes = match &entry.body {
        Body::Command(words) => varint::len(words.count as u64) + words.bytes.len(),
        Body::Store { key, record } => bytes_len(key) + 1 + record.map_or(0, bytes_len),
        Body::Evict { key } => bytes_len(key),
        Body::Tick => 0,
    };
    let mut part_bytes = 0;
    if let Some(part) = &entry.part {
        tag |= TAG_PART;
        part_bytes =
            2 + varint::len(part.number) + 1 + varint::len(part.participants.iter().count() as u64) + part.participants.bytes.len();
    }
    if entry.in_group {
        tag |= TAG_GROUP;
    }
    put_head(tag, entry.partition, entry.db, ahead, part_bytes + body_bytes, out);
    if let Some(part) = &entry.part {
        out.extend_from_slice(&part.origin.to_le_bytes());
        varint::put(part.number, out);
        out.push(match part.mode {
            PartMode::Held => 1,
            PartMode::Cut => 2,
        });
        varint::put(part.participants.iter().count() as u64, out);
        out.extend_from_slice(part.participants.bytes);
    }
    match &entry.body {
        Body::Command(words) => {
            varint::put(words.count as u64, out);
            out.extend_from_slice(words.bytes);
        }
        Body::Store { key, record } => {
            put_bytes(key, out);
            out.push(record.is_some().into());
            if let Some(record) = record {
                put_bytes(record, out);
            }
        }
        Body::Evict { key } => put_bytes(key, out),
        Body::Tick => {}
    }
}

/// Appends a command that is alone: no part, no group. What [`encode`] would append, without a copy of the arguments.
#[inline]
pub fn encode_command(partition: u16, db: Db, clock_ms: u64, clock_base_ms: u64, args: Args<'_>, out: &mut Vec<u8>) {
    let body_bytes = varint::len(args.len() as u64) + args.iter_from(0).map(bytes_len).sum::<usize>();
    put_head(KIND_COMMAND, partition, db, clock_ms.wrapping_sub(clock_base_ms), body_bytes, out);
    varint::put(args.len() as u64, out);
    args.iter_from(0).for_each(|arg| put_bytes(arg, out));
}

#[inline]
fn put_head(tag: u8, partition: u16, db: Db, ahead: u64, rest_bytes: usize, out: &mut Vec<u8>) {
    let bytes = 1 + 2 + varint::len(u64::from(db.0)) + varint::len(ahead) + rest_bytes;
    out.reserve(varint::VARINT_BYTES_MAX + bytes);
    varint::put(bytes as u64, out);
    out.push(tag);
    out.extend_from_slice(&partition.to_le_bytes());
    varint::put(u64::from(db.0), out);
    varint::put(ahead, out);
}

#[inline]
fn bytes_len(bytes: &[u8]) -> usize {
    varint::len(bytes.len() as u64) + bytes.len()
}

#[inline]
fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[inline]
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = *bytes;
    let len = usize::try_from(varint::take(&mut rest)?).ok()?;
    let (taken, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[inline]
fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[inline]
fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (taken, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_le_bytes(*taken))
}

/// The entries of a frame's payload as it was before it was compressed and encrypted, each with its Lsn. Ends after the
/// first error, which says that a frame whose checksum held is not what this version writes. A payload that is still as it was
/// stored, compressed or encrypted, begins with that error.
pub fn entries<'a>(payload: &'a [u8], header: &FrameHeader) -> Entries<'a> {
    let is_open = header.flags.is_plain() || payload.len() == header.raw_bytes as usize;
    let (left, count) = if is_open { (payload, header.entry_count) } else { (&payload[..0], 1) };
    Entries { payload, left, next: header.first_lsn, count, clock_base_ms: header.clock_ms }
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    payload: &'a [u8],
    left: &'a [u8],
    next: Lsn,
    /// How many are still to come.
    count: u32,
    clock_base_ms: u64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(Lsn, Entry<'a>), LogError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let place = self.payload.len() - self.left.len();
        if self.count == 0 {
            let is_over = std::mem::take(&mut self.left).is_empty();
            return (!is_over).then(|| Err(LogError::new(place, "bytes behind the last entry of a frame")));
        }
        let Some(entry) = take_bytes(&mut self.left).and_then(|bytes| read(bytes, self.clock_base_ms)) else {
            (self.count, self.left) = (0, &[]);
            return Some(Err(LogError::new(place, "not an entry, in a frame whose checksum holds: written by a newer version?")));
        };
        let lsn = self.next;
        self.next = Lsn(lsn.0.wrapping_add(1));
        self.count -= 1;
        Some(Ok((lsn, entry)))
    }
}

/// One entry without its length; `None` if these bytes are not exactly one.
fn read(mut bytes: &[u8], clock_base_ms: u64) -> Option<Entry<'_>> {
    let bytes = &mut bytes;
    let tag = take_u8(bytes)?;
    if tag & !(TAG_KIND | TAG_PART | TAG_GROUP) != 0 {
        return None;
    }
    let partition = take_u16(bytes)?;
    let db = Db(u16::try_from(varint::take(bytes)?).ok()?);
    let clock_ms = clock_base_ms.wrapping_add(varint::take(bytes)?);
    let part = if tag & TAG_PART == 0 { None } else { Some(read_part(bytes)?) };
    let body = match tag & TAG_KIND {
        KIND_COMMAND => Body::Command(Words::take(bytes)?),
        KIND_STORE => Body::Store {
            key: take_bytes(bytes)?,
            record: match take_u8(bytes)? {
                0 => None,
                1 => Some(take_bytes(bytes)?),
                _ => return None,
            },
        },
        KIND_EVICT => Body::Evict { key: take_bytes(bytes)? },
        KIND_TICK => Body::Tick,
        _ => return None,
    };
    let entry = Entry { partition, db, clock_ms, in_group: tag & TAG_GROUP != 0, part, body };
    bytes.is_empty().then_some(entry)
}

fn read_part<'a>(bytes: &mut &'a [u8]) -> Option<Part<'a>> {
    Some(Part {
        origin: take_u16(bytes)?,
        number: varint::take(bytes)?,
        mode: match take_u8(bytes)? {
            1 => PartMode::Held,
            2 => PartMode::Cut,
            _ => return None,
        },
        participants: Cores::take(bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{FrameFlags, PARTITION_ALL};
    use proptest::prelude::*;

    /// An entry that owns what it says.
    #[derive(Clone, Debug)]
    struct Owned {
        partition: u16,
        db: u16,
        clock_ms: u64,
        in_group: bool,
        part: Option<(u16, u64, bool, Vec<u16>)>,
        body: OwnedBody,
    }

    #[derive(Clone, Debug)]
    enum OwnedBody {
        Command(Vec<Vec<u8>>),
        Store(Vec<u8>, Option<Vec<u8>>),
        Evict(Vec<u8>),
        Tick,
    }

    impl Owned {
        fn with<T>(&self, look: impl FnOnce(&Entry<'_>) -> T) -> T {
            let (mut cores, mut words) = (Vec::new(), Vec::new());
            let part = self.part.as_ref().map(|(origin, number, is_cut, participants)| Part {
                origin: *origin,
                number: *number,
                mode: if *is_cut { PartMode::Cut } else { PartMode::Held },
                participants: Cores::write(participants.iter().copied(), &mut cores),
            });
            let body = match &self.body {
                OwnedBody::Command(args) => with_args(args, |args| Body::Command(Words::write(args, &mut words))),
                OwnedBody::Store(key, record) => Body::Store { key, record: record.as_deref() },
                OwnedBody::Evict(key) => Body::Evict { key },
                OwnedBody::Tick => Body::Tick,
            };
            let Owned { partition, db, clock_ms, in_group, .. } = *self;
            look(&Entry { partition, db: Db(db), clock_ms, in_group, part, body })
        }
    }

    fn with_args<T>(args: &[Vec<u8>], look: impl FnOnce(Args<'_>) -> T) -> T {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for arg in args {
            spans.push(Span { start: bytes.len() as u32, len: arg.len() as u32 });
            bytes.extend(arg);
        }
        look(Args::new(&bytes, &spans))
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..most)
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let body = prop_oneof![
            3 => prop::collection::vec(bytes(200), 1..6).prop_map(OwnedBody::Command),
            2 => (bytes(40), prop::option::of(bytes(300))).prop_map(|(key, record)| OwnedBody::Store(key, record)),
            1 => bytes(40).prop_map(OwnedBody::Evict),
            1 => Just(OwnedBody::Tick),
        ];
        let part = prop::option::weighted(0.3, (any::<u16>(), any::<u64>(), any::<bool>(), prop::collection::vec(any::<u16>(), 0..5)));
        let partition = prop_oneof![0..256u16, Just(PARTITION_ALL)];
        let clock_ms = prop_oneof![CLOCK..CLOCK + 500, any::<u64>()];
        (partition, 0..300u16, clock_ms, any::<bool>(), part, body).prop_map(|(partition, db, clock_ms, in_group, part, body)| Owned {
            partition,
            db,
            clock_ms,
            in_group,
            part,
            body,
        })
    }

    const CLOCK: u64 = 1_700_000_000_000;

    fn header(entry_count: u32, first: u64) -> FrameHeader {
        FrameHeader {
            at: 4096,
            first_lsn: Lsn(first),
            synced_lsn: Lsn(0),
            clock_ms: CLOCK,
            entry_count,
            stored_bytes: 0,
            raw_bytes: 0,
            flags: FrameFlags::ENTRIES,
            key_number: 0,
        }
    }

    #[test]
    fn a_small_set_takes_what_the_budget_says() {
        let mut out = Vec::new();
        with_args(&[b"SET".to_vec(), vec![b'k'; 16], vec![b'v'; 64]], |args| encode_command(3, Db(0), CLOCK + 1, CLOCK, args, &mut out));
        assert_eq!(out.len(), 93);
        assert_eq!(out[..8], [92, 1, 3, 0, 0, 1, 3, 3]);
    }

    #[test]
    fn the_layout_is_for_ever() {
        let entry = Owned {
            partition: 0x0102,
            db: 200,
            clock_ms: CLOCK + 300,
            in_group: true,
            part: Some((0x0304, 5, true, vec![1, 128])),
            body: OwnedBody::Store(b"k".to_vec(), Some(b"rr".to_vec())),
        };
        let mut out = Vec::new();
        entry.with(|entry| encode(entry, CLOCK, &mut out));
        assert_eq!(
            out,
            [21, 0x32, 2, 1, 0xC8, 1, 0xAC, 2, 4, 3, 5, 2, 2, 1, 0x80, 1, 1, b'k', 1, 2, b'r', b'r'],
            "length, tag, partition, db, clock; origin, number, mode, participants; key, presence, record"
        );
    }

    #[test]
    fn a_payload_that_was_not_opened_is_refused() {
        let mut out = Vec::new();
        let body = Body::Evict { key: b"k" };
        encode(&Entry { partition: 1, db: Db(0), clock_ms: CLOCK, in_group: false, part: None, body }, CLOCK, &mut out);
        for how in [FrameFlags::LZ4, FrameFlags::ZSTD, FrameFlags::ENCRYPTED] {
            let opened = FrameHeader { flags: FrameFlags::ENTRIES.with(how), raw_bytes: out.len() as u32, ..header(1, 1) };
            assert!(entries(&out, &opened).all(|entry| entry.is_ok()));
            let stored = FrameHeader { raw_bytes: opened.raw_bytes + 9, ..opened };
            assert!(entries(&out, &stored).next().unwrap().is_err());
        }
    }

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        let mut out = Vec::new();
        with_args(&[b"GET".to_vec(), b"k".to_vec()], |args| encode_command(1, Db(0), CLOCK, CLOCK, args, &mut out));
        assert!(entries(&out, &header(1, 1)).all(|entry| entry.is_ok()));
        assert_eq!(entries(&out, &header(0, 1)).filter(|entry| entry.is_err()).count(), 1, "more than was said");
        assert_eq!(entries(&out, &header(2, 1)).filter(|entry| entry.is_err()).count(), 1, "less than was said");
        out[1] |= 0x40;
        assert!(entries(&out, &header(1, 1)).next().unwrap().is_err(), "a bit of the tag that nobody knows");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(all in prop::collection::vec(owned(), 0..12), first in 1u64..1 << 60) {
            let mut out = Vec::new();
            all.iter().for_each(|entry| entry.with(|entry| encode(entry, CLOCK, &mut out)));
            let read: Vec<_> = entries(&out, &header(all.len() as u32, first)).collect();
            prop_assert_eq!(read.len(), all.len());
            for (index, (read, owned)) in read.iter().zip(&all).enumerate() {
                let (lsn, entry) = read.as_ref().unwrap();
                prop_assert_eq!(*lsn, Lsn(first + index as u64));
                owned.with(|expected| assert_eq!(entry, expected));
                if let (Body::Command(words), OwnedBody::Command(args)) = (entry.body, &owned.body) {
                    let mut spans = Vec::new();
                    let seen = words.spans(&mut spans);
                    prop_assert!(seen.iter_from(0).eq(args.iter().map(|arg| &arg[..])) && words.iter().eq(seen.iter_from(0)));
                }
                if let (Some(part), Some((_, _, _, cores))) = (entry.part, &owned.part) {
                    prop_assert!(part.participants.iter().eq(cores.iter().copied()));
                }
            }
        }

        #[test]
        fn the_fast_way_writes_the_same(args in prop::collection::vec(bytes(300), 1..6), partition: u16, db in 0..300u16, ahead in 0u64..100_000) {
            let (mut fast, mut slow, mut words) = (Vec::new(), Vec::new(), Vec::new());
            with_args(&args, |args| {
                encode_command(partition, Db(db), CLOCK + ahead, CLOCK, args, &mut fast);
                let body = Body::Command(Words::write(args, &mut words));
                encode(&Entry { partition, db: Db(db), clock_ms: CLOCK + ahead, in_group: false, part: None, body }, CLOCK, &mut slow);
            });
            prop_assert_eq!(fast, slow);
        }

        #[test]
        fn any_bytes_are_entries_in_one_way_or_refused(bytes in bytes(60), count in 0u32..4) {
            let mut again = Vec::new();
            let all: Result<Vec<_>, _> = entries(&bytes, &header(count, 1)).collect();
            if let Ok(all) = all {
                all.iter().for_each(|(_, entry)| encode(entry, CLOCK, &mut again));
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn nothing_is_read_from_a_cut(entry in owned(), cut in 0usize..1 << 16) {
            let mut out = Vec::new();
            entry.with(|entry| encode(entry, CLOCK, &mut out));
            let cut = cut % out.len();
            prop_assert!(entries(&out[..cut], &header(1, 1)).next().unwrap().is_err());
        }
    }
}
