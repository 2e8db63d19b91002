//! A small hash of Redis 2.6 and before: how many fields, then fields and values, each behind its length, and an end mark.
//!
//! A value's length is followed by how many unused bytes stand behind the value.

use super::intset::cut;

/// A length of more takes the next four bytes, lowest first. As a count: more fields than a byte can say.
const LONG: u8 = 0xFE;
const END: u8 = 0xFF;

/// Hands fields and values to `take` in turns. `None` if the bytes contradict themselves or `take` finds something wrong.
pub(super) fn visit(bytes: &[u8], take: &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let (count, mut rest) = bytes.split_first()?;
    let mut seen = 0usize;
    while *rest.first()? != END {
        let field_bytes = length(&mut rest)?;
        take(cut(&mut rest, field_bytes)?)?;
        let value_bytes = length(&mut rest)?;
        let unused = cut(&mut rest, 1)?[0];
        take(cut(&mut rest, value_bytes)?)?;
        cut(&mut rest, usize::from(unused))?;
        seen += 1;
    }
    (rest.len() == 1 && (*count >= LONG || usize::from(*count) == seen)).then_some(())
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    match cut(rest, 1)?[0] {
        END => None,
        LONG => Some(u32::from_le_bytes(cut(rest, 4)?.try_into().ok()?) as usize),
        length => Some(usize::from(length)),
    }
}
