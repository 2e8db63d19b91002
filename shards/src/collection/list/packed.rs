//! Changes of a list that is packed in its record.

use super::End;
use crate::collection::pack::Pack;
use crate::log::varint;
use std::ops::Range;

/// The bytes of a list's record, being changed.
pub(super) struct PackedList {
    bytes: Vec<u8>,
    len: usize,
    /// Bytes of the count in front of the elements.
    head_bytes: usize,
}

impl PackedList {
    /// Of a record's value, or an empty list.
    pub(super) fn of(bytes: Option<Vec<u8>>) -> PackedList {
        let bytes = bytes.unwrap_or_else(|| vec![0]);
        let len = Pack::trusted(&bytes).len();
        PackedList { head_bytes: varint::len(len as u64), bytes, len }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What its record is to hold.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its elements.
    #[inline]
    pub(super) fn pack(&self) -> Pack<'_> {
        Pack::trusted(&self.bytes)
    }

    /// Adds elements at one end, one after the other.
    pub(super) fn push<'e>(&mut self, end: End, elements: impl Iterator<Item = &'e [u8]> + Clone) {
        let (count, more) = elements.clone().fold((0, 0), |(count, bytes), element| (count + 1, bytes + packed_bytes(element.len())));
        let at = self.splice(if end == End::Head { 0..0 } else { self.len..self.len }, count, more);
        let mut rest = &mut self.bytes[at..at + more];
        for element in elements {
            let bytes = packed_bytes(element.len());
            let (target, after) = match end {
                End::Tail => rest.split_at_mut(bytes),
                // Each is pushed in front of the one before.
                End::Head => {
                    let (after, target) = rest.split_at_mut(rest.len() - bytes);
                    (target, after)
                }
            };
            write(target, element);
            rest = after;
        }
    }

    /// Replaces `cut` elements from `index` on by another.
    pub(super) fn replace(&mut self, index: usize, cut: usize, element: &[u8]) {
        let bytes = packed_bytes(element.len());
        let at = self.splice(index..index + cut, 1, bytes);
        write(&mut self.bytes[at..at + bytes], element);
    }

    /// Removes elements at one end, after showing them from that end on.
    pub(super) fn pop(&mut self, end: End, count: usize, show: &mut dyn FnMut(&[u8])) {
        let count = count.min(self.len);
        let popped = match end {
            End::Head => 0..count,
            End::Tail => self.len - count..self.len,
        };
        let elements = self.pack().iter().skip(popped.start).take(count);
        match end {
            End::Tail if count > 1 => elements.collect::<Vec<_>>().into_iter().rev().for_each(show),
            _ => elements.for_each(show),
        }
        self.splice(popped, 0, 0);
    }

    /// Removes elements that are these bytes, no more than `most`, those nearest to one end. How many there were.
    pub(super) fn remove_equal(&mut self, element: &[u8], most: usize, from: End) -> usize {
        let there = self.pack().iter().filter(|other| *other == element).count();
        let going = there.min(most);
        if going == 0 {
            return 0;
        }
        let skip = if from == End::Head { 0 } else { there - going };
        let (mut kept, mut seen) = (Vec::with_capacity(self.bytes.len()), 0);
        varint::put((self.len - going) as u64, &mut kept);
        self.head_bytes = kept.len();
        for other in self.pack().iter() {
            let is_equal = other == element;
            seen += usize::from(is_equal);
            if !is_equal || seen <= skip || seen > skip + going {
                varint::put(other.len() as u64, &mut kept);
                kept.extend_from_slice(other);
            }
        }
        self.bytes = kept;
        self.len -= going;
        going
    }

    /// Keeps only the elements of these positions.
    pub(super) fn trim(&mut self, keep: Range<usize>) {
        self.splice(keep.end..self.len, 0, 0);
        self.splice(0..keep.start, 0, 0);
    }

    /// Makes room for `count` elements of so many bytes where those of `cut` were. Where in the bytes.
    fn splice(&mut self, cut: Range<usize>, count: usize, room_bytes: usize) -> usize {
        let at = self.offset(cut.start);
        let end = if cut.is_empty() { at } else { self.offset(cut.end) };
        self.len = self.len - cut.len() + count;
        let head_bytes = varint::len(self.len as u64);
        // The count, what is before the cut, the room, what is behind it: each moves as far as what is before it grows.
        let from = at - self.head_bytes + head_bytes;
        let (behind, behind_to) = (end..self.bytes.len(), from + room_bytes);
        let bytes = behind_to + behind.len();
        self.bytes.resize(bytes.max(self.bytes.len()), 0);
        // The pieces move apart or together; the one that would be written over goes first.
        if behind_to >= end {
            self.bytes.copy_within(behind, behind_to);
            self.bytes.copy_within(self.head_bytes..at, head_bytes);
        } else {
            self.bytes.copy_within(self.head_bytes..at, head_bytes);
            self.bytes.copy_within(behind, behind_to);
        }
        self.bytes.truncate(bytes);
        write_varint(&mut self.bytes[..head_bytes], self.len);
        self.head_bytes = head_bytes;
        from
    }

    /// Where in the bytes the element of this number begins.
    fn offset(&self, index: usize) -> usize {
        if index == self.len {
            return self.bytes.len();
        }
        let mut elements = self.pack().iter();
        for _ in 0..index {
            elements.next();
        }
        self.bytes.len() - elements.bytes()
    }
}

/// Bytes that an element takes in a pack.
#[inline]
pub(super) fn packed_bytes(element_bytes: usize) -> usize {
    varint::len(element_bytes as u64) + element_bytes
}

/// Writes an element in just the bytes that it takes.
fn write(target: &mut [u8], element: &[u8]) {
    let frame = target.len() - element.len();
    write_varint(&mut target[..frame], element.len());
    target[frame..].copy_from_slice(element);
}

/// Writes a number in just the bytes that it takes.
fn write_varint(target: &mut [u8], mut number: usize) {
    let last = target.len() - 1;
    for (index, byte) in target.iter_mut().enumerate() {
        // Seven bits in each byte, the lowest first; the top bit says that more follow.
        *byte = (number & 0x7F) as u8 | if index < last { 0x80 } else { 0 };
        number >>= 7;
    }
}
