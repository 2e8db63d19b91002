//! The whole numbers of a small set: how many bytes each takes, how many there are, and they themselves in order. All little-endian.

use crate::number::Digits;

/// Hands each member to `take` as text. `None` if the bytes contradict themselves or `take` finds something wrong.
pub(super) fn visit(bytes: &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let (width, rest) = bytes.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let width = match u32::from_le_bytes(*width) {
        width @ (2 | 4 | 8) => width as usize,
        _ => return None,
    };
    if (u32::from_le_bytes(*count) as usize).checked_mul(width)? != rest.len() {
        return None;
    }
    let mut last = None;
    for number in rest.chunks_exact(width) {
        let number = signed(number);
        if last.is_some_and(|last| last >= number) {
            return None;
        }
        last = Some(number);
        take(Digits::of_i64(number).as_bytes())?;
    }
    Some(())
}

/// A number of up to eight bytes, lowest first; its last bit is its sign.
pub(super) fn signed(bytes: &[u8]) -> i64 {
    let magnitude = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let unused = 64 - 8 * bytes.len() as u32;
    // The shift to the left drops what is above, the one to the right spreads the sign.
    ((magnitude << unused) as i64) >> unused
}

/// Takes the next `length` bytes.
pub(super) fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
