//! A small collection before Redis 7: all bytes (4), where the last entry is (4), how many there are (2), the entries, an end mark.
//!
//! An entry says how long the one before it is, what it is itself and how long. Numbers are little-endian, lengths of strings big-endian.

use super::intset::{cut, signed};
use crate::number::Digits;

const HEAD_BYTES: usize = 10;
/// More entries than the head can say.
const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xFF;
/// The length of the entry before takes the next four bytes.
const LONG_BEFORE: u8 = 0xFE;

/// Hands each entry to `take`, numbers as text. `None` if the bytes contradict themselves or `take` finds something wrong.
pub(super) fn visit(bytes: &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let (head, mut rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    if word(0) != bytes.len() {
        return None;
    }
    let (tail, count) = (word(4), u16::from_le_bytes([head[8], head[9]]));
    let (mut seen, mut before, mut last) = (0usize, 0usize, HEAD_BYTES);
    while *rest.first()? != END {
        let from = rest.len();
        last = bytes.len() - from;
        if length_before(&mut rest)? != before {
            return None;
        }
        entry(&mut rest, take)?;
        before = from - rest.len();
        seen += 1;
    }
    (rest.len() == 1 && last == tail && (count == COUNT_UNKNOWN || usize::from(count) == seen)).then_some(())
}

fn length_before(rest: &mut &[u8]) -> Option<usize> {
    match cut(rest, 1)?[0] {
        LONG_BEFORE => Some(u32::from_le_bytes(cut(rest, 4)?.try_into().ok()?) as usize),
        length => Some(usize::from(length)),
    }
}

fn entry(rest: &mut &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let first = cut(rest, 1)?[0];
    let low = usize::from(first & 0x3F);
    let width = match first {
        0x00..=0x3F => return take(cut(rest, low)?),
        0x40..=0x7F => {
            let length = low << 8 | usize::from(cut(rest, 1)?[0]);
            return take(cut(rest, length)?);
        }
        0x80..=0xBF => {
            let length = u32::from_be_bytes(cut(rest, 4)?.try_into().ok()?) as usize;
            return take(cut(rest, length)?);
        }
        0xC0 => 2,
        0xD0 => 4,
        0xE0 => 8,
        0xF0 => 3,
        0xFE => 1,
        // Zero to twelve, in the byte itself.
        0xF1..=0xFD => return take(Digits::of_u64(u64::from(first - 0xF1)).as_bytes()),
        _ => return None,
    };
    take(Digits::of_i64(signed(cut(rest, width)?)).as_bytes())
}
