//! A small collection: its elements one after the other, in the value of its record.
//!
//! `count (varint) | element | element ...`, each element `length (varint) | bytes`; members of a sorted set are followed by
//! their score, eight bytes. The same bytes, whatever their number, are the form in which a large collection leaves its shard:
//! in a log, a snapshot, on the way to another core.
//!
//! | kind | elements |
//! | --- | --- |
//! | list | in order |
//! | set | in any order, each once |
//! | sorted set | by score, then by bytes, each member once |
//! | hash | field, value, field, value; each field once. The count is that of the pairs |

use crate::log::varint;
use crate::record::Kind;

/// Bytes of a score: a double, little-endian, never "not a number".
pub(crate) const SCORE_BYTES: usize = 8;

/// Elements read in place. Bytes of our own heap; [`Pack::check`] looks at all others first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pack<'a> {
    count: usize,
    elements: &'a [u8],
}

impl<'a> Pack<'a> {
    /// Bytes that [`Packer`] made.
    #[inline]
    pub(crate) fn trusted(bytes: &'a [u8]) -> Pack<'a> {
        let mut elements = bytes;
        let count = varint::take(&mut elements).expect("a pack begins with its count") as usize;
        Pack { count, elements }
    }

    /// So many elements that a [`Packer`] made, without the count in front.
    #[inline]
    pub(crate) fn of(count: usize, elements: &'a [u8]) -> Pack<'a> {
        Pack { count, elements }
    }

    /// Whether `bytes` are a collection of this kind, whole and in the one form it has. O(n log n).
    pub(crate) fn check(kind: Kind, bytes: &[u8]) -> bool {
        Pack::try_check(kind, bytes).is_some()
    }

    fn try_check(kind: Kind, bytes: &[u8]) -> Option<()> {
        let mut rest = bytes;
        let count = usize::try_from(varint::take(&mut rest)?).ok()?;
        // Each element takes a byte at least, so that a count that lies reserves nothing.
        if count == 0 || count > rest.len() {
            return None;
        }
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut last: Option<(f64, &[u8])> = None;
        for _ in 0..count {
            let element = take_element(&mut rest)?;
            match kind {
                Kind::String => return None,
                Kind::List => continue,
                Kind::Set => {}
                Kind::Hash => {
                    take_element(&mut rest)?;
                }
                Kind::SortedSet => {
                    let score = take_score(&mut rest)?;
                    if score.is_nan() || last.is_some_and(|(before, member)| (before, member) >= (score, element)) {
                        return None;
                    }
                    last = Some((score, element));
                }
            }
            seen.push(element);
        }
        seen.sort_unstable();
        let is_unique = seen.windows(2).all(|pair| pair[0] != pair[1]);
        (rest.is_empty() && is_unique).then_some(())
    }

    /// How many elements; pairs of a hash.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The elements' bytes, without the count in front.
    #[inline]
    pub(crate) fn elements(&self) -> &'a [u8] {
        self.elements
    }

    /// The elements of a list or a set; fields and values of a hash in turns.
    #[inline]
    pub(crate) fn iter(&self) -> Elements<'a> {
        Elements(self.elements)
    }

    /// Fields and their values.
    #[inline]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut rest = self.elements;
        std::iter::from_fn(move || Some((take_element(&mut rest)?, take_element(&mut rest)?)))
    }

    /// Members and their scores, in order.
    #[inline]
    pub(crate) fn scored(&self) -> impl Iterator<Item = (&'a [u8], f64)> + Clone + use<'a> {
        let mut rest = self.elements;
        std::iter::from_fn(move || Some((take_element(&mut rest)?, take_score(&mut rest)?)))
    }
}

/// See [`Pack::iter`].
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl Elements<'_> {
    /// Bytes of those still to come.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        take_element(&mut self.0)
    }
}

/// Takes an element from the front of packed ones.
#[inline]
pub(crate) fn take_element<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut after = *rest;
    let length = match after {
        // Most are short, and their length is one byte.
        [length @ ..0x80, following @ ..] => {
            after = following;
            usize::from(*length)
        }
        _ => usize::try_from(varint::take(&mut after)?).ok()?,
    };
    let (element, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(element)
}

#[inline]
fn take_score(rest: &mut &[u8]) -> Option<f64> {
    let (score, after) = rest.split_first_chunk::<SCORE_BYTES>()?;
    *rest = after;
    Some(f64::from_le_bytes(*score))
}

/// Makes the bytes of a collection, element by element.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    count: usize,
    elements: Vec<u8>,
}

impl Packer {
    /// Appends an element of a list or a set.
    #[inline]
    pub(crate) fn push(&mut self, element: &[u8]) {
        self.count += 1;
        self.put(element);
    }

    /// Appends a field and its value.
    #[inline]
    pub(crate) fn push_pair(&mut self, field: &[u8], value: &[u8]) {
        self.count += 1;
        self.put(field);
        self.put(value);
    }

    /// Appends a member and its score: the caller keeps the order.
    #[inline]
    pub(crate) fn push_scored(&mut self, member: &[u8], score: f64) {
        self.count += 1;
        self.put(member);
        self.elements.extend_from_slice(&score.to_le_bytes());
    }

    /// How many elements so far; pairs of a hash.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The value of a record.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(varint::len(self.count as u64) + self.elements.len());
        varint::put(self.count as u64, &mut bytes);
        bytes.extend_from_slice(&self.elements);
        bytes
    }

    #[inline]
    fn put(&mut self, element: &[u8]) {
        varint::put(element.len() as u64, &mut self.elements);
        self.elements.extend_from_slice(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_is_for_ever() {
        let mut packer = Packer::default();
        packer.push(b"a");
        packer.push(b"");
        assert_eq!(packer.finish(), b"\x02\x01a\x00");
        let mut packer = Packer::default();
        packer.push_pair(b"f", b"value");
        assert_eq!(packer.finish(), b"\x01\x01f\x05value");
        let mut packer = Packer::default();
        packer.push_scored(b"m", 1.5);
        assert_eq!(packer.finish(), b"\x01\x01m\0\0\0\0\0\0\xF8\x3F");
    }

    #[test]
    fn bytes_that_lie_are_refused() {
        let good: [(Kind, &[u8]); 4] = [
            (Kind::List, b"\x02\x01a\x01a"),
            (Kind::Set, b"\x02\x01b\x01a"),
            (Kind::Hash, b"\x02\x01b\x00\x01a\x01x"),
            (Kind::SortedSet, b"\x02\x01a\0\0\0\0\0\0\0\0\x01b\0\0\0\0\0\0\0\0"),
        ];
        for (kind, bytes) in good {
            assert!(Pack::check(kind, bytes), "{kind:?}");
            assert!((0..bytes.len()).all(|length| !Pack::check(kind, &bytes[..length])), "cut {kind:?}");
            assert!(!Pack::check(kind, &[bytes, b"\0"].concat()), "{kind:?} and more");
        }
        let bad: [(Kind, &[u8], &str); 7] = [
            (Kind::List, b"\x00", "nothing"),
            (Kind::List, b"\xFF\xFF\xFF\xFF\x0F\x01a", "a count that lies"),
            (Kind::Set, b"\x02\x01a\x01a", "a member twice"),
            (Kind::Hash, b"\x02\x01a\x00\x01a\x01x", "a field twice"),
            (Kind::SortedSet, b"\x02\x01b\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0", "members out of order"),
            (Kind::SortedSet, b"\x02\x01a\0\0\0\0\0\0\xF0\x3F\x01b\0\0\0\0\0\0\0\0", "scores out of order"),
            (Kind::SortedSet, b"\x01\x01a\0\0\0\0\0\0\xF8\x7F", "not a number"),
        ];
        for (kind, bytes, why) in bad {
            assert!(!Pack::check(kind, bytes), "{why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read(elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40)) {
            let mut packer = Packer::default();
            elements.iter().for_each(|element| packer.push(element));
            let bytes = packer.finish();
            prop_assert!(Pack::check(Kind::List, &bytes));
            let pack = Pack::trusted(&bytes);
            prop_assert_eq!(pack.len(), elements.len());
            prop_assert!(pack.iter().eq(elements.iter().map(|element| &element[..])));
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for kind in [Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash] {
                if Pack::check(kind, &bytes) {
                    let pack = Pack::trusted(&bytes);
                    let _ = (pack.iter().count(), pack.pairs().count(), pack.scored().count());
                }
            }
        }
    }
}
