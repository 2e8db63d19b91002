//! Commands on strings read as rows of bits. Bit 0 is the highest bit of the first byte.
//!
//! Long strings are worked on in words and wider, never bit by bit.

use super::strings::{clamped_range, string_len};
use super::{Call, STRING_BYTES_MAX, texts};
use crate::number;
use crate::shard::{Expiry, Kind, Shard};

/// `SETBIT key offset value`
pub fn setbit(shard: &mut Shard, call: &mut Call<'_, '_>) {
    const NOT_BIT: &str = "ERR bit is not an integer or out of range";
    let Some(offset) = bit_offset(call.args.get(2)) else { return call.reply.error(texts::BIT_OFFSET) };
    let on = match call.integer_at_or(3, NOT_BIT) {
        Some(0) => false,
        Some(1) => true,
        Some(_) => return call.reply.error(NOT_BIT),
        None => return,
    };
    let Some(len) = string_len(shard, call) else { return };
    let (byte_index, mask) = (offset / 8, 0x80 >> (offset % 8));
    let byte = &mut shard.resize(call.db, &call.key, len.max(byte_index + 1), call.now)[byte_index];
    let was_on = *byte & mask != 0;
    *byte = if on { *byte | mask } else { *byte & !mask };
    call.reply.integer(i64::from(was_on));
}

/// `GETBIT key offset`
pub fn getbit(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(offset) = bit_offset(call.args.get(2)) else { return call.reply.error(texts::BIT_OFFSET) };
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    let Some(value) = call.string(&found) else { return };
    let byte = value.get(offset / 8).copied().unwrap_or(0);
    call.reply.integer(i64::from(byte >> (7 - offset % 8) & 1));
}

/// The position of a bit in the longest string there may be.
fn bit_offset(text: &[u8]) -> Option<usize> {
    let offset = usize::try_from(number::parse_i64(text)?).ok()?;
    (offset / 8 < STRING_BYTES_MAX).then_some(offset)
}

/// Whether a range counts bytes or bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

/// The unit named at `index`, bytes if nothing is. Answers the error and gives `None` if it is neither.
fn unit_at(call: &mut Call<'_, '_>, index: usize) -> Option<Unit> {
    if index >= call.args.len() || call.arg_is(index, "BYTE") {
        return Some(Unit::Byte);
    }
    if call.arg_is(index, "BIT") {
        return Some(Unit::Bit);
    }
    call.reply.error(texts::SYNTAX);
    None
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub fn bitcount(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let (start, end, unit) = match call.args.len() {
        2 => (0, -1, Unit::Byte),
        4 | 5 => {
            let Some(start) = call.integer_at(2) else { return };
            let Some(end) = call.integer_at(3) else { return };
            let Some(unit) = unit_at(call, 4) else { return };
            (start, end, unit)
        }
        _ => return call.reply.error(texts::SYNTAX),
    };
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    let Some(value) = call.string(&found) else { return };
    if start < 0 && end < 0 && start > end {
        return call.reply.integer(0);
    }
    let count = match unit {
        Unit::Byte => clamped_range(start, end, value.len()).map_or(0, |bytes| ones(&value[bytes])),
        Unit::Bit => clamped_range(start, end, value.len() * 8).map_or(0, |bits| {
            let bytes = &value[bits.start / 8..bits.end.div_ceil(8)];
            let before = bytes[0] & !(0xFF >> (bits.start % 8));
            let after = bytes[bytes.len() - 1] & (0xFF >> ((bits.end - 1) % 8)) >> 1;
            ones(bytes) - u64::from(before.count_ones() + after.count_ones())
        }),
    };
    call.reply.integer(count as i64);
}

/// How many bits are set.
fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub fn bitpos(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let wanted = match call.integer_at(2) {
        Some(0) => false,
        Some(1) => true,
        Some(_) => return call.reply.error("ERR The bit argument must be 1 or 0."),
        None => return,
    };
    if call.args.len() > 6 {
        return call.reply.error(texts::SYNTAX);
    }
    let start = if call.args.len() > 3 { call.integer_at(3) } else { Some(0) };
    let Some(start) = start else { return };
    let Some(unit) = unit_at(call, 5) else { return };
    let end_given = call.args.len() > 4;
    let end = if end_given { call.integer_at(4) } else { Some(-1) };
    let Some(end) = end else { return };
    // A key that is not there is an endless row of zeros.
    let Some(found) = shard.read(call.db, &call.key, call.now) else { return call.reply.integer(if wanted { -1 } else { 0 }) };
    let Some(value) = call.string(&found) else { return };
    let bits = match unit {
        Unit::Byte => clamped_range(start, end, value.len()).map(|bytes| bytes.start * 8..bytes.end * 8),
        Unit::Bit => clamped_range(start, end, value.len() * 8),
    };
    let position = bits.and_then(|bits| match first_bit(value, wanted, bits) {
        // Without an end the string goes on with zeros.
        None if !wanted && !end_given => Some(value.len() * 8),
        position => position,
    });
    call.reply.integer(position.map_or(-1, |position| position as i64));
}

/// The first bit that is as wanted. `bits` is not empty and lies inside.
fn first_bit(value: &[u8], wanted: bool, bits: std::ops::Range<usize>) -> Option<usize> {
    let unwanted_byte = if wanted { 0x00 } else { 0xFF };
    let first = bits.start / 8;
    let in_first = (value[first] ^ unwanted_byte) & (0xFF >> (bits.start % 8));
    let (index, hits) = if in_first != 0 {
        (first, in_first)
    } else {
        let rest = &value[first + 1..bits.end.div_ceil(8)];
        let index = first + 1 + first_other_byte(rest, unwanted_byte)?;
        (index, value[index] ^ unwanted_byte)
    };
    let position = index * 8 + hits.leading_zeros() as usize;
    (position < bits.end).then_some(position)
}

fn first_other_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    const BLOCK_BYTES: usize = 64;
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    // A whole block is judged at once, so that the loop is made of wide instructions.
    let same_blocks = blocks.iter().take_while(|block| block.iter().fold(0, |other, found| other | found ^ byte) == 0).count();
    let candidates = blocks.get(same_blocks).map_or(rest, |block| block.as_slice());
    candidates.iter().position(|found| *found != byte).map(|position| same_blocks * BLOCK_BYTES + position)
}

/// `BITOP AND | OR | XOR | NOT destination key [key ...]`
pub fn bitop(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let operation = match call.args.get(1).to_ascii_lowercase().as_slice() {
        b"and" => BitOp::And,
        b"or" => BitOp::Or,
        b"xor" => BitOp::Xor,
        b"not" if call.args.len() == 4 => BitOp::Not,
        b"not" => return call.reply.error("ERR BITOP NOT must be called with a single source key."),
        _ => return call.reply.error(texts::SYNTAX),
    };
    let mut result: Option<Vec<u8>> = None;
    for index in 3..call.args.len() {
        let key = call.key_at(shard, index);
        let source = match shard.read(call.db, &key, call.now) {
            None => b"",
            Some(found) => match call.string(&found) {
                Some(value) => value,
                None => return,
            },
        };
        match &mut result {
            None => result = Some(source.to_vec()),
            Some(result) => operation.fold(result, source),
        }
    }
    let mut result = result.unwrap_or_default();
    if operation == BitOp::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let destination = call.key_at(shard, 2);
    if result.is_empty() {
        shard.delete(call.db, &destination, call.now);
    } else {
        shard.put(call.db, &destination, Kind::String, &result, Expiry::Never, call.now);
    }
    call.reply.integer(result.len() as i64);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BitOp {
    And,
    Or,
    Xor,
    Not,
}

impl BitOp {
    /// Takes in one more source. The shorter one is as if followed by zeros.
    fn fold(self, result: &mut Vec<u8>, source: &[u8]) {
        if result.len() < source.len() {
            result.resize(source.len(), 0);
        }
        let (common, beyond) = result.split_at_mut(source.len());
        let pairs = common.iter_mut().zip(source);
        // Written as three loops so that each becomes wide instructions.
        match self {
            BitOp::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                beyond.fill(0);
            }
            BitOp::Or => pairs.for_each(|(byte, other)| *byte |= other),
            BitOp::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            BitOp::Not => unreachable!("it has one source"),
        }
    }
}

/// `BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment ...]`
pub fn bitfield(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(steps) = parse_steps(call) else { return };
    let Some(len) = string_len(shard, call) else { return };
    // The string grows first to all that may be written, as in Redis even if a step then fails to fit.
    let Some(end) = steps.iter().filter(|step| !matches!(step.verb, Verb::Get)).map(|step| step.field.byte_end()).max() else {
        return read_fields(shard, call, &steps);
    };
    let value = shard.resize(call.db, &call.key, len.max(end), call.now);
    call.reply.array(steps.len());
    for step in &steps {
        let old = step.field.read(value);
        let (wanted, answer_old) = match step.verb {
            Verb::Get => {
                call.reply.integer(old);
                continue;
            }
            Verb::Set(number) => (step.field.kind.as_given(number), true),
            Verb::IncrBy(increment) => (i128::from(old) + i128::from(increment), false),
        };
        match step.field.kind.fit(wanted, step.overflow) {
            Some(new) => {
                step.field.write(value, new);
                call.reply.integer(if answer_old { old } else { new });
            }
            None => call.reply.null(),
        }
    }
}

/// `BITFIELD_RO key [GET type offset ...]`
pub fn bitfield_ro(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(steps) = parse_steps(call) else { return };
    if steps.iter().any(|step| !matches!(step.verb, Verb::Get)) {
        return call.reply.error("ERR BITFIELD_RO only supports the GET subcommand");
    }
    read_fields(shard, call, &steps);
}

fn read_fields(shard: &mut Shard, call: &mut Call<'_, '_>, steps: &[Step]) {
    let value = match shard.read(call.db, &call.key, call.now) {
        None => b"",
        Some(found) => match call.string(&found) {
            Some(value) => value,
            None => return,
        },
    };
    call.reply.array(steps.len());
    steps.iter().for_each(|step| call.reply.integer(step.field.read(value)));
}

/// One thing to do to one field.
struct Step {
    verb: Verb,
    field: Field,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Set(i64),
    IncrBy(i64),
}

/// What becomes of a number that does not fit its field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// Answers the error and gives `None` if one step is wrong; nothing is done then.
fn parse_steps(call: &mut Call<'_, '_>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < call.args.len() {
        let following = call.args.len() - index - 1;
        let word = call.args.get(index).to_ascii_lowercase();
        match (word.as_slice(), following) {
            (b"overflow", 1..) => {
                overflow = match call.args.get(index + 1).to_ascii_lowercase().as_slice() {
                    b"wrap" => Overflow::Wrap,
                    b"sat" => Overflow::Saturate,
                    b"fail" => Overflow::Fail,
                    _ => {
                        call.reply.error("ERR Invalid OVERFLOW type specified");
                        return None;
                    }
                };
                index += 2;
            }
            (b"get", 2..) => {
                let field = Field::parse(call, index + 1)?;
                steps.push(Step { verb: Verb::Get, field, overflow });
                index += 3;
            }
            (b"set" | b"incrby", 3..) => {
                let field = Field::parse(call, index + 1)?;
                let number = call.integer_at(index + 3)?;
                let verb = if word == b"set" { Verb::Set(number) } else { Verb::IncrBy(number) };
                steps.push(Step { verb, field, overflow });
                index += 4;
            }
            _ => {
                call.reply.error(texts::SYNTAX);
                return None;
            }
        }
    }
    Some(steps)
}

/// Some bits of a string, read as a number.
#[derive(Clone, Copy)]
struct Field {
    kind: FieldKind,
    /// Of its first bit.
    offset: usize,
}

#[derive(Clone, Copy)]
struct FieldKind {
    signed: bool,
    bits: u32,
}

impl Field {
    /// From a type at `index` and an offset behind it; `#n` counts in fields of this width. Answers the error and gives
    /// `None` if one is wrong.
    fn parse(call: &mut Call<'_, '_>, index: usize) -> Option<Field> {
        let Some(kind) = FieldKind::parse(call.args.get(index)) else {
            call.reply.error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
            return None;
        };
        let offset = match call.args.get(index + 1) {
            [b'#', position @ ..] => number::parse_i64(position)
                .and_then(|position| usize::try_from(position).ok()?.checked_mul(kind.bits as usize))
                .filter(|offset| offset / 8 < STRING_BYTES_MAX),
            position => bit_offset(position),
        };
        if offset.is_none() {
            call.reply.error(texts::BIT_OFFSET);
        }
        offset.map(|offset| Field { kind, offset })
    }

    fn byte_end(self) -> usize {
        (self.offset + self.kind.bits as usize).div_ceil(8)
    }

    /// What lies past the end of the string is zero.
    fn read(self, value: &[u8]) -> i64 {
        let wide = self.window(value) << (self.offset % 8);
        let unused = u128::BITS - self.kind.bits;
        if self.kind.signed { (wide as i128 >> unused) as i64 } else { (wide >> unused) as i64 }
    }

    /// `number` fits, and the string is long enough.
    fn write(self, value: &mut [u8], number: i64) {
        let shift = u128::BITS - self.kind.bits - (self.offset % 8) as u32;
        let mask = ((1u128 << self.kind.bits) - 1) << shift;
        let wide = self.window(value) & !mask | (number as u128) << shift & mask;
        let bytes = &mut value[self.offset / 8..self.byte_end()];
        bytes.copy_from_slice(&wide.to_be_bytes()[..bytes.len()]);
    }

    /// The bytes that hold the field, at the high end. Sixty-four bits touch nine bytes at most.
    fn window(self, value: &[u8]) -> u128 {
        let bytes = value.get(self.offset / 8..self.byte_end().min(value.len())).unwrap_or_default();
        let mut window = [0; 16];
        window[..bytes.len()].copy_from_slice(bytes);
        u128::from_be_bytes(window)
    }
}

impl FieldKind {
    /// `i1` to `i64`, `u1` to `u63`: a reply holds no larger number.
    fn parse(text: &[u8]) -> Option<FieldKind> {
        let (signed, width, bits_max) = match text {
            [b'i', width @ ..] => (true, width, 64),
            [b'u', width @ ..] => (false, width, 63),
            _ => return None,
        };
        let bits = number::parse_i64(width).filter(|bits| (1..=bits_max).contains(bits))?;
        Some(FieldKind { signed, bits: bits as u32 })
    }

    /// A client's number before it is fitted. For an unsigned field a negative one is very large, as in Redis.
    fn as_given(self, number: i64) -> i128 {
        if self.signed { i128::from(number) } else { i128::from(number as u64) }
    }

    fn fit(self, wanted: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = match self.signed {
            true => (-(1i128 << (self.bits - 1)), (1i128 << (self.bits - 1)) - 1),
            false => (0, (1i128 << self.bits) - 1),
        };
        if (min..=max).contains(&wanted) {
            return Some(wanted as i64);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(wanted.clamp(min, max) as i64),
            Overflow::Wrap => {
                let unused = i128::BITS - self.bits;
                let top = wanted << unused;
                Some(if self.signed { top >> unused } else { (top as u128 >> unused) as i128 } as i64)
            }
        }
    }
}
