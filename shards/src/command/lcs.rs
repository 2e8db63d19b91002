//! `LCS`: what two strings have in common, in order.
//!
//! The textbook's table has four bytes for every pair of positions and fills them one by one. Here a row of the table is a row
//! of bits, one for each place where the common length grows by one, and a whole word of them is found by one addition
//! (Crochemore, Iliopoulos, Pinzon and Reid, 2001). Two strings of 11,580 bytes, the longest of equal length that are compared,
//! take 4 ms and less than 1 MiB for the length, 32 ms and 16 MiB for the matches, where redis-server 7.0 takes seconds and 512 MiB.
//! The answers are those of the table, ties included.

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
    if question.len {
        // The length is the same both ways, and long rows are the quick ones.
        let (short, long) = if left.len() < right.len() { (left, right) } else { (right, left) };
        return call.reply.integer(common_len(short, long, |_| {}) as i64);
    }
    let ways = Ways::new(left, right);
    if !question.index {
        let mut common = vec![0; ways.common_len];
        let mut end = common.len();
        ways.for_each_match(left, right, |matched| {
            common[end - matched.len..end].copy_from_slice(&left[matched.left..][..matched.len]);
            end -= matched.len;
        });
        return call.reply.bulk(&common);
    }
    let mut matches = Vec::new();
    ways.for_each_match(left, right, |matched| {
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
    call.reply.integer(ways.common_len as i64);
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

/// The length of the longest common subsequence. `visit` sees the row of each position of `left`: a bit for each position of
/// `right`, clear where the common length up to there is one more than up to the position before.
fn common_len(left: &[u8], right: &[u8], mut visit: impl FnMut(&[u64])) -> usize {
    let mut row = vec![u64::MAX; right.len().div_ceil(WORD_BITS)];
    // Made for the bytes that occur, so that they are never more than the rows would be.
    let mut places = [const { None }; 256];
    for byte in left {
        next_row(&mut row, places[usize::from(*byte)].get_or_insert_with(|| places_of(*byte, right)));
        visit(&row);
    }
    row.iter().map(|word| word.count_zeros() as usize).sum()
}

const WORD_BITS: usize = u64::BITS as usize;

/// Where `byte` occurs in `text`.
fn places_of(byte: u8, text: &[u8]) -> Vec<u64> {
    let word = |text: &[u8]| text.iter().rev().fold(0, |word, found| word << 1 | u64::from(*found == byte));
    text.chunks(WORD_BITS).map(word).collect()
}

/// In each run of set bits between two steps, the first place moves the step down to itself: adding it to the run carries
/// past the run's end. Bits past the end of `right` have no place and stay set.
fn next_row(row: &mut [u64], places: &[u64]) {
    let mut carry = false;
    for (word, places) in row.iter_mut().zip(places) {
        let (sum, over) = word.overflowing_add(*word & places);
        let (sum, over_again) = sum.overflowing_add(u64::from(carry));
        carry = over || over_again;
        *word = sum | *word & !places;
    }
}

/// The way back from the ends of both strings: all rows.
struct Ways {
    common_len: usize,
    words: Vec<u64>,
    row_words: usize,
    /// More than one if rows are short, so that no more than half of all bits are unused.
    rows_per_word: usize,
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
        let (row_bits, row_words) = (right.len(), right.len().div_ceil(WORD_BITS));
        let rows_per_word = (WORD_BITS / row_bits.max(1)).max(1);
        let mut words = Vec::with_capacity(left.len().div_ceil(rows_per_word) * row_words);
        let mut rows = 0;
        let common_len = common_len(left, right, |row| {
            if let ([bits], nth @ 1..) = (row, rows % rows_per_word) {
                let (word, shift) = (words.last_mut().expect("the first row of this word"), nth * row_bits);
                *word = *word & !(u64::MAX << shift) | bits << shift;
            } else {
                words.extend_from_slice(row);
            }
            rows += 1;
        });
        Ways { common_len, words, row_words, rows_per_word, row_bits }
    }

    /// Whether, from two bytes that differ, the way back leads towards the start of `left`. It does if the common length
    /// would shrink in the other direction; in doubt it leads towards the start of `right`.
    fn up(&self, left: usize, right: usize) -> bool {
        let word = self.words[left / self.rows_per_word * self.row_words + right / WORD_BITS];
        let bit = left % self.rows_per_word * self.row_bits + right % WORD_BITS;
        word >> bit & 1 == 0
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook's table and its way back.
    fn by_table(left: &[u8], right: &[u8]) -> (usize, Vec<(usize, usize, usize)>) {
        let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
        for i in 1..=left.len() {
            for j in 1..=right.len() {
                table[i][j] =
                    if left[i - 1] == right[j - 1] { table[i - 1][j - 1] + 1 } else { usize::max(table[i - 1][j], table[i][j - 1]) };
            }
        }
        let (mut i, mut j) = (left.len(), right.len());
        let mut matches: Vec<(usize, usize, usize)> = Vec::new();
        let mut contiguous = false;
        while i > 0 && j > 0 {
            let same = left[i - 1] == right[j - 1];
            if same {
                (i, j) = (i - 1, j - 1);
                let len = if contiguous { matches.pop().expect("one is open").2 + 1 } else { 1 };
                matches.push((i, j, len));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
            contiguous = same;
        }
        (table[left.len()][right.len()], matches)
    }

    /// Few different bytes, so that there are many ways; lengths around a word's.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(b'a'..=b'c', 0..8),
            prop::collection::vec(b'a'..=b'b', 20..70),
            prop::collection::vec(b'a'..=b'd', 60..200),
        ]
    }

    proptest! {
        #[test]
        fn bits_find_what_the_table_finds(left in text(), right in text()) {
            let ways = Ways::new(&left, &right);
            let mut matches = Vec::new();
            ways.for_each_match(&left, &right, |matched| matches.push((matched.left, matched.right, matched.len)));
            prop_assert_eq!((ways.common_len, matches), by_table(&left, &right));
            prop_assert_eq!(common_len(&left, &right, |_| {}), ways.common_len);
        }

        #[test]
        fn memory_stays_below_two_bits_for_each_pair(left in 1usize..3000, right in 1usize..200) {
            let ways = Ways::new(&vec![b'x'; left], &vec![b'y'; right]);
            prop_assert!(ways.words.len() * WORD_BITS <= left * right * 2 + WORD_BITS);
        }
    }
}
