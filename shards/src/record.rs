//! One key's value and its metadata, as one run of bytes.
//!
//! `head (6) | long lengths (8, if either length needs more than a byte) | deadline (6, if there is one) | key | value`
//!
//! The bytes in memory are the bytes in a log, a snapshot and on the wire to peers: little-endian, unaligned, read in
//! place. A 16 B key with a 16 B value takes 38 bytes, 44 with a deadline. Bytes of our own heap are trusted; bytes from
//! anywhere else pass [`Record::check`] first, which proves the layout and that the lengths add up.

use crate::collection::pack::Pack;
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::rend::unaligned::u32_ule;

/// What a value is. The nibble that records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes.
    String = 0,
    /// Elements in order.
    List = 1,
    /// Members, each once.
    Set = 2,
    /// Members, each once, in the order of their scores.
    SortedSet = 3,
    /// Fields with values.
    Hash = 4,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Kind; 5] = [Kind::String, Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash];
}

/// A kind, and whether the value is the number of a large collection. The nibble that records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u8);

impl Tag {
    /// A value that is in its record.
    #[inline]
    pub(crate) const fn of(kind: Kind) -> Tag {
        Tag(kind as u8)
    }

    /// A collection that is elsewhere. Means something in one shard's memory only.
    #[inline]
    pub(crate) const fn large(kind: Kind) -> Tag {
        Tag(kind as u8 | KIND_LARGE)
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::ALL[usize::from(self.0 & !KIND_LARGE)]
    }

    #[inline]
    pub(crate) fn is_large(self) -> bool {
        self.0 & KIND_LARGE != 0
    }
}

/// Milliseconds since 1970 at which a key stops existing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub u64);

impl Deadline {
    /// The last moment a record can say exactly, in the year 10889.
    pub const MAX: Deadline = Deadline((1 << 48) - 2);

    /// What every later deadline becomes: the last moment that a client can ask for.
    pub const FAR: Deadline = Deadline(i64::MAX as u64);

    /// The deadline a record will have when it is given this one.
    #[inline]
    pub(crate) fn kept(self) -> Deadline {
        if self > Deadline::MAX { Deadline::FAR } else { self }
    }
}

/// Bytes that are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRecord;

/// What every record begins with.
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct Head {
    /// Low nibble: the kind. High nibble: flags.
    kind_flags: u8,
    /// When, or how often, it was used; see `evict`.
    access: [u8; 3],
    key_bytes: u8,
    value_bytes: u8,
}

/// Follows the head when a length does not fit a byte there.
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct LongLengths {
    key_bytes: u32_ule,
    value_bytes: u32_ule,
}

const HEAD_BYTES: usize = size_of::<Head>();
const LONG_BYTES: usize = size_of::<LongLengths>();
const DEADLINE_BYTES: usize = 6;
const _: () = assert!(HEAD_BYTES == 6 && LONG_BYTES == 8 && align_of::<Head>() == 1 && align_of::<LongLengths>() == 1);

const KIND_MASK: u8 = 0x0F;
/// The value is not the collection but its number.
const KIND_LARGE: u8 = 0x08;
/// Not a record any more: a slot kept until the wheel has forgotten its handle.
const KIND_DEAD: u8 = 0x0F;
const FLAG_DEADLINE: u8 = 0x10;
const FLAG_LONG: u8 = 0x20;
/// The wheel holds one entry with this record's handle. Means something in one process' memory only.
const FLAG_ARMED: u8 = 0x40;
/// Room for optional parts to come (version, lease, label).
const FLAG_EXTENDED: u8 = 0x80;

/// The lengths that decide a record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) has_deadline: bool,
}

impl Shape {
    /// Length of the whole record.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        self.key_start() + self.key_bytes + self.value_bytes
    }

    #[inline]
    fn is_long(self) -> bool {
        self.key_bytes > 0xFF || self.value_bytes > 0xFF
    }

    #[inline]
    fn key_start(self) -> usize {
        self.deadline_start() + if self.has_deadline { DEADLINE_BYTES } else { 0 }
    }

    #[inline]
    fn deadline_start(self) -> usize {
        HEAD_BYTES + if self.is_long() { LONG_BYTES } else { 0 }
    }

    /// Whether a value of another length leaves everything before it where it is.
    pub(crate) fn keeps_layout(self, value_bytes: usize) -> bool {
        self.is_long() == Shape { value_bytes, ..self }.is_long()
    }
}

/// A record read in place. What it borrows may be longer than the record.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// Bytes that this process wrote as a record and has kept to itself since.
    #[inline]
    pub(crate) fn trusted(bytes: &'a [u8]) -> Record<'a> {
        debug_assert!(Record(bytes).extent().is_some_and(|extent| extent <= bytes.len()), "not a record of ours");
        Record(bytes)
    }

    /// Bytes from anywhere: exactly one record, of a kind we know, in the only layout its lengths allow.
    pub(crate) fn check(bytes: &'a [u8]) -> Result<Record<'a>, MalformedRecord> {
        let head = bytes.get(..HEAD_BYTES).ok_or(MalformedRecord)?;
        let head = rkyv::access::<Head, rancor::Failure>(head).map_err(|_| MalformedRecord)?;
        let Some(kind) = Kind::ALL.get(usize::from(head.kind_flags & KIND_MASK)) else { return Err(MalformedRecord) };
        if head.kind_flags & (FLAG_ARMED | FLAG_EXTENDED) != 0 {
            return Err(MalformedRecord);
        }
        let record = Record(bytes);
        if record.extent() != Some(bytes.len()) {
            return Err(MalformedRecord);
        }
        let is_long = head.kind_flags & FLAG_LONG != 0;
        let blank = head.key_bytes == 0 && head.value_bytes == 0;
        if is_long != record.shape().is_long() || (is_long && !blank) || (*kind != Kind::String && !Pack::check(*kind, record.value())) {
            return Err(MalformedRecord);
        }
        Ok(record)
    }

    /// Whole length if the parts that say so are there, without trusting anything.
    fn extent(self) -> Option<usize> {
        let flags = *self.0.first()?;
        let parts =
            HEAD_BYTES + if flags & FLAG_LONG != 0 { LONG_BYTES } else { 0 } + if flags & FLAG_DEADLINE != 0 { DEADLINE_BYTES } else { 0 };
        if self.0.len() < parts {
            return None;
        }
        let (key_bytes, value_bytes) = self.lengths();
        Some(parts + key_bytes + value_bytes)
    }

    #[inline]
    fn head(self) -> &'a Head {
        // SAFETY: a record begins with a head, which is six plain bytes in any pattern; `trusted`, `check` and `extent`
        // have seen that there are so many.
        unsafe { rkyv::access_unchecked::<Head>(self.0.get_unchecked(..HEAD_BYTES)) }
    }

    #[inline]
    fn lengths(self) -> (usize, usize) {
        let head = self.head();
        if head.kind_flags & FLAG_LONG == 0 {
            return (usize::from(head.key_bytes), usize::from(head.value_bytes));
        }
        // SAFETY: with this flag the long lengths follow the head, eight plain bytes in any pattern.
        let long = unsafe { rkyv::access_unchecked::<LongLengths>(self.0.get_unchecked(HEAD_BYTES..HEAD_BYTES + LONG_BYTES)) };
        (long.key_bytes.to_native() as usize, long.value_bytes.to_native() as usize)
    }

    #[inline]
    pub(crate) fn shape(self) -> Shape {
        let (key_bytes, value_bytes) = self.lengths();
        Shape { key_bytes, value_bytes, has_deadline: self.head().kind_flags & FLAG_DEADLINE != 0 }
    }

    /// Exactly the record's bytes.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        &self.0[..self.shape().bytes()]
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        self.tag().kind()
    }

    #[inline]
    pub(crate) fn tag(self) -> Tag {
        Tag(self.head().kind_flags & KIND_MASK)
    }

    #[inline]
    pub(crate) fn key(self) -> &'a [u8] {
        let shape = self.shape();
        let start = shape.key_start();
        // SAFETY: a record is at least as long as its shape says, see `trusted` and `check`.
        unsafe { self.0.get_unchecked(start..start + shape.key_bytes) }
    }

    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        let shape = self.shape();
        let start = shape.key_start() + shape.key_bytes;
        // SAFETY: as in `key`.
        unsafe { self.0.get_unchecked(start..start + shape.value_bytes) }
    }

    #[inline]
    pub(crate) fn deadline(self) -> Option<Deadline> {
        if self.head().kind_flags & FLAG_DEADLINE == 0 {
            return None;
        }
        let start = self.shape().deadline_start();
        let mut bytes = [0; 8];
        bytes[..DEADLINE_BYTES].copy_from_slice(&self.0[start..start + DEADLINE_BYTES]);
        let deadline = Deadline(u64::from_le_bytes(bytes));
        Some(deadline.kept())
    }

    /// Whether its time has come.
    #[inline]
    pub(crate) fn is_over(self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline.0 <= now)
    }

    #[inline]
    pub(crate) fn access(self) -> u32 {
        let [a, b, c] = self.head().access;
        u32::from_le_bytes([a, b, c, 0])
    }

    #[inline]
    pub(crate) fn is_armed(self) -> bool {
        self.head().kind_flags & FLAG_ARMED != 0
    }
}

/// Writes a record over whatever `target` held; it is not armed. `target` may be longer.
pub(crate) fn write(target: &mut [u8], tag: Tag, access: u32, deadline: Option<Deadline>, key: &[u8], value: &[u8]) {
    let value_start = write_front(target, tag, access, deadline, key, value.len());
    target[value_start..value_start + value.len()].copy_from_slice(value);
}

/// The same for all but the value. Returns where that starts.
pub(crate) fn write_front(target: &mut [u8], tag: Tag, access: u32, deadline: Option<Deadline>, key: &[u8], value_bytes: usize) -> usize {
    let shape = Shape { key_bytes: key.len(), value_bytes, has_deadline: deadline.is_some() };
    let [access_0, access_1, access_2, _] = access.to_le_bytes();
    let Tag(mut flags) = tag;
    if shape.is_long() {
        flags |= FLAG_LONG;
        target[..HEAD_BYTES].copy_from_slice(&[flags, access_0, access_1, access_2, 0, 0]);
        let (key_bytes, value_bytes) = (length_u32(key.len()), length_u32(value_bytes));
        target[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&key_bytes.to_le_bytes());
        target[HEAD_BYTES + 4..HEAD_BYTES + LONG_BYTES].copy_from_slice(&value_bytes.to_le_bytes());
    } else {
        target[..HEAD_BYTES].copy_from_slice(&[flags, access_0, access_1, access_2, key.len() as u8, value_bytes as u8]);
    }
    if let Some(deadline) = deadline {
        target[0] |= FLAG_DEADLINE;
        set_deadline(target, deadline);
    }
    let start = shape.key_start();
    target[start..start + key.len()].copy_from_slice(key);
    start + key.len()
}

/// Changes the deadline of a record that has one.
#[inline]
pub(crate) fn set_deadline(target: &mut [u8], deadline: Deadline) {
    debug_assert!(target[0] & FLAG_DEADLINE != 0);
    let start = HEAD_BYTES + if target[0] & FLAG_LONG != 0 { LONG_BYTES } else { 0 };
    target[start..start + DEADLINE_BYTES].copy_from_slice(&deadline.0.min(Deadline::MAX.0 + 1).to_le_bytes()[..DEADLINE_BYTES]);
}

/// Changes the value's length of a record whose layout stays (see [`Shape::keeps_layout`]) and returns the value.
pub(crate) fn set_value_bytes(target: &mut [u8], value_bytes: usize) -> &mut [u8] {
    if target[0] & FLAG_LONG != 0 {
        target[HEAD_BYTES + 4..HEAD_BYTES + LONG_BYTES].copy_from_slice(&length_u32(value_bytes).to_le_bytes());
    } else {
        target[5] = value_bytes as u8;
    }
    let shape = Record::trusted(target).shape();
    debug_assert_eq!(shape.value_bytes, value_bytes);
    &mut target[shape.key_start() + shape.key_bytes..shape.bytes()]
}

/// Notes a use.
#[inline]
pub(crate) fn set_access(target: &mut [u8], access: u32) {
    target[1..4].copy_from_slice(&access.to_le_bytes()[..3]);
}

/// Notes whether the wheel holds this record's handle.
#[inline]
pub(crate) fn set_armed(target: &mut [u8], armed: bool) {
    if armed {
        target[0] |= FLAG_ARMED;
    } else {
        target[0] &= !FLAG_ARMED;
    }
}

/// Marks a slot whose record is gone while the wheel still holds its handle.
#[inline]
pub(crate) fn set_dead(target: &mut [u8]) {
    target[0] = KIND_DEAD;
}

/// Whether a slot in the wheel holds a record no more.
#[inline]
pub(crate) fn is_dead(bytes: &[u8]) -> bool {
    // A large record's body is freed at once; then nothing is left to read.
    bytes.first().is_none_or(|flags| flags & KIND_MASK == KIND_DEAD)
}

fn length_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("commands refuse strings above 512 MiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(deadline: Option<u64>, key: &[u8], value: &[u8]) -> Vec<u8> {
        let shape = Shape { key_bytes: key.len(), value_bytes: value.len(), has_deadline: deadline.is_some() };
        let mut bytes = vec![0xEE; shape.bytes()];
        write(&mut bytes, Tag::of(Kind::String), 0x0012_3456, deadline.map(Deadline), key, value);
        bytes
    }

    #[test]
    fn a_small_pair_takes_what_the_budget_says() {
        assert_eq!(written(None, &[1; 16], &[2; 16]).len(), 38);
        assert_eq!(written(Some(1), &[1; 16], &[2; 16]).len(), 44);
        assert_eq!(written(None, &[1; 255], &[2; 255]).len(), 516);
        assert_eq!(written(None, &[1; 16], &[2; 256]).len(), 6 + 8 + 272);
    }

    #[test]
    fn the_layout_is_for_ever() {
        assert_eq!(written(Some(0x0605_0403_0201), b"k", b"v"), b"\x10\x56\x34\x12\x01\x01\x01\x02\x03\x04\x05\x06kv");
        let mut expected = b"\x20\x56\x34\x12\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00k".to_vec();
        expected.extend([7; 256]);
        assert_eq!(written(None, b"k", &[7; 256]), expected);
    }

    #[test]
    fn bytes_that_lie_are_refused() {
        let good = written(Some(5), b"key", b"value");
        assert!(Record::check(&good).is_ok());
        for len in 0..good.len() {
            assert!(Record::check(&good[..len]).is_err(), "cut to {len}");
        }
        for (flags, why) in [
            (0x15, "unknown kind"),
            (0x11, "not a list"),
            (0x18, "large"),
            (0x1F, "dead"),
            (0x50, "armed"),
            (0x90, "extended"),
            (0x30, "long"),
            (0x00, "no deadline"),
        ] {
            let mut bad = good.clone();
            bad[0] = flags;
            assert!(Record::check(&bad).is_err(), "{why}");
        }
        let mut long = written(None, b"k", &[7; 256]);
        assert!(Record::check(&long).is_ok());
        long[4] = 1;
        assert!(Record::check(&long).is_err(), "two places that say the length");
        let mut short = vec![0x20, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        short.extend(b"kv");
        assert!(Record::check(&short).is_err(), "long lengths that were not needed");
        let huge = [0x20, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(Record::check(&huge).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key in prop::collection::vec(any::<u8>(), 0..300), value in prop::collection::vec(any::<u8>(), 0..600),
                                   deadline in prop::option::of(prop_oneof![0..=Deadline::MAX.0, Just(Deadline::FAR.0)]), armed: bool, access in 0u32..1 << 24) {
            let mut bytes = written(deadline, &key, &value);
            set_armed(&mut bytes, armed);
            set_access(&mut bytes, access);
            bytes.push(0xAA); // Slots are longer than records.
            let record = Record::trusted(&bytes);
            prop_assert_eq!(record.key(), &key[..]);
            prop_assert_eq!(record.value(), &value[..]);
            prop_assert_eq!(record.deadline(), deadline.map(Deadline));
            prop_assert_eq!(record.is_armed(), armed);
            prop_assert_eq!(record.access(), access);
            prop_assert_eq!(record.bytes(), &bytes[..bytes.len() - 1]);
            prop_assert!(!is_dead(&bytes));
            let checked = Record::check(record.bytes()).map(|_| ());
            prop_assert_eq!(checked, if armed { Err(MalformedRecord) } else { Ok(()) });
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(record) = Record::check(&bytes) {
                prop_assert_eq!(record.bytes(), &bytes[..]);
                let _ = (record.key(), record.value(), record.deadline(), record.kind());
            }
        }
    }
}
