//! `LCS`: what two strings have in common, in order.
//!
//! The usual table of common lengths would take four bytes for every pair of positions. Only its last row is needed for
//! the length, and one bit for each pair to find the way back, so the largest question that is answered costs 16 MiB where
//! the table would take 512.

use super::{Call, STRING_BYTES_MAX, texts};
use crate::shard::{Kind, Shard};

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub fn lcs(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let mut values: [&[u8]; 2] = [b"", b""];
    // Both reads leave their trace before both values are looked at together.
    let keys = [1, 2].map(|index| call.key_at(shard, index));
    for key in &keys {
        shard.read(call.db, key, call.now);
    }
    for (key, value) in keys.iter().zip(&mut values) {
        match shard.peek(call.db, key, call.now) {
            None => {}
            Some(found) if found.kind == Kind::String => *value = found.value,
            Some(_) => return call.reply.error("ERR The specified keys must contain string values"),
        }
    }
    let Some(question) = Question::parse(call) else { return };
    let [left, right] = values;
    if table_bytes(left, right) > STRING_BYTES_MAX as u128 {
        return call.reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    }
    if question.len && !question.index {
        return call.reply.integer(common_len(left, right, |_| {}) as i64);
    }
    let ranges = Ways::new(left, right);
    let common_len = ranges.common_len;
    if !question.index {
        let mut common = vec![0; common_len];
        let mut end = common_len;
        ranges.for_each_match(left, right, |matched| {
            common[end - matched.len..end].copy_from_slice(&left[matched.left..][..matched.len]);
            end -= matched.len;
        });
        return call.reply.bulk(&common);
    }
    let mut matches = Vec::new();
    ranges.for_each_match(left, right, |matched| {
        if matched.len as i64 >= question.match_len_min {
            matches.push(matched);
        }
    });
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(matches.len());
    for matched in matches {
        call.reply.array(if question.with_match_len { 3 } else { 2 });
        for start in [matched.left, matched.right] {
            call.reply.array(2);
            call.reply.integer(start as i64);
            call.reply.integer((start + matched.len - 1) as i64);
        }
        if question.with_match_len {
            call.reply.integer(matched.len as i64);
        }
    }
    call.reply.bulk(b"len");
    call.reply.integer(common_len as i64);
}

/// What the textbook's table would take. Its bound is the one clients know, and it bounds the time as well.
fn table_bytes(left: &[u8], right: &[u8]) -> u128 {
    (left.len() as u128 + 1) * (right.len() as u128 + 1) * size_of::<u32>() as u128
}

#[derive(Default)]
struct Question {
    len: bool,
    index: bool,
    with_match_len: bool,
    match_len_min: i64,
}

impl Question {
    /// Answers the error and gives `None` if the options are wrong.
    fn parse(call: &mut Call<'_, '_>) -> Option<Question> {
        let mut question = Question::default();
        let mut index = 3;
        while index < call.args.len() {
            if call.arg_is(index, "IDX") {
                question.index = true;
            } else if call.arg_is(index, "LEN") {
                question.len = true;
            } else if call.arg_is(index, "WITHMATCHLEN") {
                question.with_match_len = true;
            } else if call.arg_is(index, "MINMATCHLEN") && index + 1 < call.args.len() {
                index += 1;
                question.match_len_min = call.integer_at(index)?;
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 1;
        }
        if question.index && question.len {
            call.reply.error("ERR If you want both the length and indexes, please just use IDX.");
            return None;
        }
        Some(question)
    }
}

/// The length of the longest common subsequence. Row by row of `left`, `visit_row` is told for each position of `right`
/// whether the way back leads up, towards the start of `left`, where the two bytes differ.
fn common_len(left: &[u8], right: &[u8], mut visit_row: impl FnMut(&[bool])) -> usize {
    let mut above = vec![0u32; right.len() + 1];
    let mut row = vec![0u32; right.len() + 1];
    let mut ups = vec![false; right.len()];
    for left_byte in left {
        for (index, right_byte) in right.iter().enumerate() {
            let (up, before) = (above[index + 1], row[index]);
            ups[index] = up > before;
            row[index + 1] = if left_byte == right_byte { above[index] + 1 } else { up.max(before) };
        }
        visit_row(&ups);
        std::mem::swap(&mut above, &mut row);
    }
    above[right.len()] as usize
}

/// The way back from the ends of both strings: one bit for each pair of positions, without a gap between rows.
struct Ways {
    common_len: usize,
    bits: Vec<u64>,
    row_bits: usize,
}

/// Bytes that both strings have, without a gap.
#[derive(Clone, Copy)]
struct Match {
    left: usize,
    right: usize,
    len: usize,
}

impl Ways {
    fn new(left: &[u8], right: &[u8]) -> Ways {
        let row_bits = right.len();
        let mut bits = vec![0; (row_bits * left.len()).div_ceil(64)];
        let mut position = 0;
        let common_len = common_len(left, right, |ups| {
            for up in ups {
                bits[position / 64] |= u64::from(*up) << (position % 64);
                position += 1;
            }
        });
        Ways { common_len, bits, row_bits }
    }

    fn up(&self, left: usize, right: usize) -> bool {
        let position = left * self.row_bits + right;
        self.bits[position / 64] >> (position % 64) & 1 == 1
    }

    /// From the last match to the first.
    fn for_each_match(&self, left: &[u8], right: &[u8], mut visit: impl FnMut(Match)) {
        let (mut left_end, mut right_end) = (left.len(), right.len());
        let mut open: Option<Match> = None;
        while left_end > 0 && right_end > 0 {
            if left[left_end - 1] == right[right_end - 1] {
                left_end -= 1;
                right_end -= 1;
                let len = open.map_or(1, |matched| matched.len + 1);
                open = Some(Match { left: left_end, right: right_end, len });
                continue;
            }
            open.take().into_iter().for_each(&mut visit);
            if self.up(left_end - 1, right_end - 1) {
                left_end -= 1;
            } else {
                right_end -= 1;
            }
        }
        open.into_iter().for_each(visit);
    }
}
