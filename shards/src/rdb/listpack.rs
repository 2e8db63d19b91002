//! A small collection since Redis 7: all bytes (4), how many entries (2), the entries, an end mark.
//!
//! An entry says what it is and how long, and behind it how long it was, for who reads backwards. Numbers are little-endian.

use super::intset::{cut, signed};
use crate::number::Digits;

const HEAD_BYTES: usize = 6;
/// More entries than the head can say.
const COUNT_UNKNOWN: u16 = u16::MAX;
const END: u8 = 0xFF;

/// Hands each entry to `take`, numbers as text. `None` if the bytes contradict themselves or `take` finds something wrong.
pub(super) fn visit(bytes: &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let (head, mut rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [total @ .., count_low, count_high] = head;
    if u32::from_le_bytes(*total) as usize != bytes.len() {
        return None;
    }
    let count = u16::from_le_bytes([*count_low, *count_high]);
    let mut seen = 0usize;
    while *rest.first()? != END {
        let before = rest.len();
        entry(&mut rest, take)?;
        let length = before - rest.len();
        skip_back_length(&mut rest, length)?;
        seen += 1;
    }
    (rest.len() == 1 && (count == COUNT_UNKNOWN || usize::from(count) == seen)).then_some(())
}

fn entry(rest: &mut &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    let low = |bits: u32| usize::from(first & ((1 << bits) - 1));
    let length = match first {
        0x00..=0x7F => return take(Digits::of_u64(u64::from(*first)).as_bytes()),
        0x80..=0xBF => low(6),
        0xC0..=0xDF => {
            let number = low(5) << 8 | usize::from(cut(rest, 1)?[0]);
            // Thirteen bits with a sign.
            let number = number as i64 - if number >= 1 << 12 { 1 << 13 } else { 0 };
            return take(Digits::of_i64(number).as_bytes());
        }
        0xE0..=0xEF => low(4) << 8 | usize::from(cut(rest, 1)?[0]),
        0xF0 => u32::from_le_bytes(cut(rest, 4)?.try_into().ok()?) as usize,
        0xF1..=0xF4 => {
            let width = [2, 3, 4, 8][usize::from(first - 0xF1)];
            return take(Digits::of_i64(signed(cut(rest, width)?)).as_bytes());
        }
        _ => return None,
    };
    take(cut(rest, length)?)
}

/// What stands behind an entry of so many bytes: its length, seven bits a byte, highest first; all but the first are marked.
fn skip_back_length(rest: &mut &[u8], length: usize) -> Option<()> {
    // The borders are Redis': they are one below what the bits could hold.
    let width = match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let said = cut(rest, width)?;
    let is_marked = said.iter().enumerate().all(|(index, byte)| (byte & 0x80 != 0) == (index > 0));
    let number = said.iter().fold(0u64, |number, byte| number << 7 | u64::from(byte & 0x7F));
    (is_marked && number == length as u64).then_some(())
}
