//! Fractions with 64 bits of precision: what C calls `long double` on x86.
//!
//! `INCRBYFLOAT` is defined by this arithmetic: with 53 bits 10.5 + 0.1 would not print as 10.6. Done in whole numbers, so
//! that every machine, replay and follower gets the same bytes. Every operation rounds to nearest, ties to even.
//! There is no NaN here: nothing that is parsed or returned is one.

use std::cmp::Ordering;
use std::fmt;

/// `mantissa * 2^exponent`, with the mantissa's top bit set unless the value is zero or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// Exponent of both infinities; their mantissa is zero.
const EXPONENT_INFINITE: i32 = i32::MAX;
/// Finite values lie below `2^TOP_BIT_MAX`.
const TOP_BIT_MAX: i32 = 16_384;
/// Smaller values than `2^TOP_BIT_MIN` are zero.
const TOP_BIT_MIN: i32 = -16_445;
/// Longest text that is read as a number; C's side has a buffer of this size.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Decimal exponents beyond this are infinite or zero whatever the digits say.
const DECIMAL_EXPONENT_MAX: i64 = 5_000;

impl LongDouble {
    /// Nothing.
    pub const ZERO: LongDouble = LongDouble { negative: false, mantissa: 0, exponent: 0 };

    /// Reads what `strtold` reads, if that is the whole of `text`: decimal or hexadecimal, with or without exponent,
    /// `inf`. `None` for anything else, for NaN, and for what is too large or too small to be told from infinity or zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, unsigned) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(LongDouble { negative, mantissa: 0, exponent: EXPONENT_INFINITE });
        }
        let magnitude = match unsigned {
            [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(digits)?,
            digits => parse_decimal(digits)?,
        };
        magnitude.is_finite().then_some(LongDouble { negative, ..magnitude })
    }

    /// The sum, or `None` if it is not finite.
    pub fn sum(self, other: LongDouble) -> Option<LongDouble> {
        if !self.is_finite() || !other.is_finite() {
            return None;
        }
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        let (large, small) = if (self.exponent, self.mantissa) < (other.exponent, other.mantissa) { (other, self) } else { (self, other) };
        // The large one gets 62 bits of room below it. What the small one has below that can only decide a tie.
        const ROOM_BITS: u32 = 62;
        let distance = (large.exponent - small.exponent) as u32;
        let wide_large = u128::from(large.mantissa) << ROOM_BITS;
        let wide_small = u128::from(small.mantissa) << ROOM_BITS;
        let shifted = wide_small.checked_shr(distance).unwrap_or(0);
        let rest = distance > 0 && (distance >= u128::BITS || shifted << distance != wide_small);
        let exponent = large.exponent - ROOM_BITS as i32;
        let sum = if large.negative == small.negative {
            rounded(wide_large + shifted, rest, exponent)
        } else {
            // A rest taken away leaves one less, and the complement of the rest.
            rounded(wide_large - shifted - u128::from(rest), rest, exponent)
        };
        sum.is_finite().then_some(LongDouble { negative: large.negative && sum.mantissa != 0, ..sum })
    }

    /// Whether it is no infinity.
    pub(crate) fn is_finite(self) -> bool {
        self.exponent != EXPONENT_INFINITE
    }
}

/// Digits with an optional point and an optional power of ten.
fn parse_decimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, exponent) = split_number(text, u8::is_ascii_digit, b'e')?;
    let magnitude = digits.significant.len() as i64 + exponent - digits.after_point;
    if digits.significant.is_empty() {
        return Some(LongDouble::ZERO);
    }
    if !(-DECIMAL_EXPONENT_MAX..=DECIMAL_EXPONENT_MAX).contains(&magnitude) {
        return None;
    }
    let mut numerator = Natural::of_decimal(&digits.significant);
    let mut denominator = Natural::one();
    let power = exponent - digits.after_point;
    if power >= 0 { &mut numerator } else { &mut denominator }.times_ten_to(power.unsigned_abs());
    let value = numerator.over(denominator);
    (value.mantissa != 0).then_some(value)
}

/// Hexadecimal digits with an optional point and an optional power of two.
fn parse_hexadecimal(text: &[u8]) -> Option<LongDouble> {
    const DIGITS_MAX: usize = 31;
    let (digits, exponent) = split_number(text, u8::is_ascii_hexdigit, b'p')?;
    if digits.significant.is_empty() {
        return Some(LongDouble::ZERO);
    }
    let (kept, dropped) = digits.significant.split_at(digits.significant.len().min(DIGITS_MAX));
    let value = kept.iter().fold(0u128, |value, digit| value << 4 | u128::from(char::from(*digit).to_digit(16).unwrap_or(0)));
    let rest = dropped.iter().any(|digit| *digit != b'0');
    let power = (exponent + 4 * (dropped.len() as i64 - digits.after_point)).clamp(-1_000_000, 1_000_000);
    let value = rounded(value, rest, power as i32);
    (value.mantissa != 0 || !value.is_finite()).then_some(value)
}

struct Digits {
    /// Without the point and without leading zeros.
    significant: Vec<u8>,
    /// How many digits of the text stood after the point.
    after_point: i64,
}

/// `digits[.digits][MARK[sign]digits]`, at least one digit before the mark.
fn split_number(text: &[u8], is_digit: fn(&u8) -> bool, mark: u8) -> Option<(Digits, i64)> {
    let mark_at = text.iter().position(|byte| byte.eq_ignore_ascii_case(&mark));
    let (number, power) = match mark_at {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let point_at = number.iter().position(|byte| *byte == b'.');
    let (before, after): (&[u8], &[u8]) = match point_at {
        Some(at) => (&number[..at], &number[at + 1..]),
        None => (number, b""),
    };
    if before.len() + after.len() == 0 || !before.iter().chain(after).all(is_digit) {
        return None;
    }
    let significant = before.iter().chain(after).copied().skip_while(|digit| *digit == b'0').collect();
    let exponent = match power {
        None => 0,
        Some(power) => {
            let (negative, digits) = match power.split_first()? {
                (b'-', rest) => (true, rest),
                (b'+', rest) => (false, rest),
                _ => (false, power),
            };
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            // Far beyond every finite number, and far from overflow when the digits' places are added.
            let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000_000));
            if negative { -value } else { value }
        }
    };
    Some((Digits { significant, after_point: after.len() as i64 }, exponent))
}

/// `value * 2^exponent`, plus something less than one unit of `value` if there is a `rest`. Not negative.
fn rounded(value: u128, rest: bool, exponent: i32) -> LongDouble {
    if value == 0 {
        return LongDouble::ZERO;
    }
    let bits = u128::BITS - value.leading_zeros();
    let (mut mantissa, mut exponent) = if bits <= u64::BITS {
        ((value as u64) << (u64::BITS - bits), exponent - (u64::BITS - bits) as i32)
    } else {
        let dropped = bits - u64::BITS;
        let kept = (value >> dropped) as u64;
        let (low, half) = (value & ((1 << dropped) - 1), 1u128 << (dropped - 1));
        let up = match low.cmp(&half) {
            Ordering::Less => false,
            Ordering::Equal => rest || kept % 2 == 1,
            Ordering::Greater => true,
        };
        let exponent = exponent + dropped as i32;
        match kept.checked_add(u64::from(up)) {
            Some(mantissa) => (mantissa, exponent),
            None => (1 << 63, exponent + 1),
        }
    };
    let top_bit = exponent + u64::BITS as i32;
    if top_bit > TOP_BIT_MAX {
        (mantissa, exponent) = (0, EXPONENT_INFINITE);
    } else if top_bit < TOP_BIT_MIN {
        (mantissa, exponent) = (0, 0);
    }
    LongDouble { negative: false, mantissa, exponent }
}

/// As C prints `%.17Lf`, without the zeros at the end of the fraction.
impl fmt::Display for LongDouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FRACTION_DIGITS: usize = 17;
        const SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);
        if !self.is_finite() {
            return out.write_str(if self.negative { "-inf" } else { "inf" });
        }
        if self.mantissa == 0 {
            // Not even a negative zero has a sign.
            return out.write_str("0");
        }
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            let mut whole = Natural(vec![self.mantissa]);
            whole.shift_left(self.exponent as u32);
            return write!(out, "{sign}{}", whole.into_decimal());
        }
        let scaled = u128::from(self.mantissa) * SCALE;
        let dropped = self.exponent.unsigned_abs();
        let (kept, low, half) = match dropped {
            0..128 => (scaled >> dropped, scaled & ((1 << dropped) - 1), 1u128 << (dropped - 1)),
            _ => (0, 0, 1),
        };
        let kept = kept + u128::from(low > half || (low == half && kept % 2 == 1));
        if kept == 0 {
            return out.write_str("0");
        }
        write!(out, "{sign}{}", kept / SCALE)?;
        let fraction = format!("{:017}", kept % SCALE);
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            digits => write!(out, ".{digits}"),
        }
    }
}

/// A whole number of any size, its low limb first. Just enough arithmetic to read and print; never larger than the longest
/// text makes it.
#[derive(Clone)]
struct Natural(Vec<u64>);

impl Natural {
    fn one() -> Natural {
        Natural(vec![1])
    }

    fn of_decimal(digits: &[u8]) -> Natural {
        let mut value = Natural(Vec::new());
        for chunk in digits.chunks(18) {
            let number = chunk.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
            value.times_plus(10u64.pow(chunk.len() as u32), number);
        }
        value
    }

    fn times_ten_to(&mut self, mut power: u64) {
        while power > 0 {
            let step = power.min(18);
            self.times_plus(10u64.pow(step as u32), 0);
            power -= step;
        }
    }

    fn times_plus(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let wide = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            (*limb, carry) = (wide as u64, (wide >> 64) as u64);
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    fn bits(&self) -> u32 {
        let zeros = self.0.iter().rev().take_while(|limb| **limb == 0).count();
        match self.0.get(self.0.len().wrapping_sub(zeros + 1)) {
            None => 0,
            Some(top) => (self.0.len() - zeros) as u32 * 64 - top.leading_zeros(),
        }
    }

    fn shift_left(&mut self, bits: u32) {
        let (limbs, bits) = ((bits / 64) as usize, bits % 64);
        if bits > 0 {
            self.times_plus(1 << bits, 0);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, limbs));
    }

    /// The rounded quotient. Sixty-seven steps of long division give more bits than are kept; the remainder is the rest.
    fn over(mut self, mut divisor: Natural) -> LongDouble {
        const QUOTIENT_BITS: u32 = 67;
        let scale = QUOTIENT_BITS as i32 - 1 - (self.bits() as i32 - divisor.bits() as i32);
        if scale >= 0 { &mut self } else { &mut divisor }.shift_left(scale.unsigned_abs());
        divisor.shift_left(QUOTIENT_BITS - 1);
        let mut quotient = 0u128;
        for _ in 0..QUOTIENT_BITS {
            let fits = self.cmp(&divisor) != Ordering::Less;
            if fits {
                self.subtract(&divisor);
            }
            quotient = quotient << 1 | u128::from(fits);
            self.shift_left(1);
        }
        rounded(quotient, self.bits() > 0, -scale)
    }

    fn cmp(&self, other: &Natural) -> Ordering {
        let limb = |of: &Natural, index: usize| of.0.get(index).copied().unwrap_or(0);
        (0..self.0.len().max(other.0.len()))
            .rev()
            .map(|index| limb(self, index).cmp(&limb(other, index)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        for (index, limb) in self.0.iter_mut().enumerate() {
            let (difference, under) = limb.overflowing_sub(other.0.get(index).copied().unwrap_or(0));
            let (difference, under_again) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, under || under_again);
        }
        assert!(!borrow, "only a smaller number is subtracted");
    }

    fn into_decimal(mut self) -> String {
        const CHUNK: u64 = 10u64.pow(18);
        let mut chunks = Vec::new();
        while self.bits() > 0 {
            let mut remainder = 0u64;
            for limb in self.0.iter_mut().rev() {
                let wide = u128::from(remainder) << 64 | u128::from(*limb);
                (*limb, remainder) = ((wide / u128::from(CHUNK)) as u64, (wide % u128::from(CHUNK)) as u64);
            }
            chunks.push(remainder);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:018}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every expected text was printed by C's `long double` on x86.
    #[test]
    fn sums_print_as_c_prints_them() {
        for (left, right, sum) in CASES {
            let text = match (LongDouble::parse(left.as_bytes()), LongDouble::parse(right.as_bytes())) {
                (Some(left), Some(right)) => left.sum(right).map_or("infinite".to_string(), |sum| sum.to_string()),
                _ => "no number".to_string(),
            };
            assert_eq!(&text, sum, "{left} + {right}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(TEXT_BYTES_MAX + 1);
        for text in [
            "",
            " 1",
            "1 ",
            "-",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
            "0x",
            "0xg",
            "0x.p1",
            "1.2.3",
            "nan",
            "-nan",
            "1_0",
            "infinit",
            "--1",
            "1e5000",
            "1e-5000",
            "3.5e9223372036854775807",
            "3.5e-9223372036854775808",
            "0x1p9223372036854775807",
            "0x1p-99999999999999999999",
            &long,
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[rustfmt::skip]
    const CASES: &[(&str, &str, &str)] = &[
        ("10.50", "0.1", "10.6"),
        ("3000", "0.1", "3000.10000000000000009"),
        ("1e20", "0.1", "100000000000000000000"),
        ("0.1", "0.2", "0.3"),
        ("1", "-1", "0"),
        ("-0", "-0", "0"),
        ("-0.0", "0", "0"),
        ("-0.000000000000000001", "0", "0"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "-0.5", "18446744073709551616"),
        ("1e4932", "1.2e4932", "no number"),
        ("5.0e3", "2.0e2", "5200"),
        ("0x1.8p1", ".5", "3.5"),
        ("3.6e-4951", "0", "0"),
        ("1", "5e-20", "1"),
        ("1", "-5e-20", "1"),
        ("9007199254740993", "0.5", "9007199254740993.5"),
        ("0.5", "0.00000000000000000499", "0.5"),
        ("1e-4940", "1", "1"),
        ("0x6623765e7e423.c9ca1p-54", "24", "24.09974465324154579"),
        ("-0x7f.156efp-46", "7940689387715.585658e-27", "-0.00000000000179803"),
        ("0x12bcae9844f476.c9739p-67", "53.0", "53.00003573806592037"),
        ("4.1029", "+0x55c045b669f7.1650dp-13", "11509312951.41431200876832008"),
        ("555.6", "0x12f52887.ed32fp-75", "555.60000000000000842"),
        ("-9167949531585.940498e-14", "0x19d96de3dda.60d87p-26", "26469.6253533303076324"),
        ("6891596485540985.80467e0", "+inf", "infinite"),
        ("6392.46", "+inf", "infinite"),
        ("+e", "3265.23960779", "no number"),
        ("424372.3", "0x", "no number"),
        ("73.613984e-5", "-8.296", "-8.29526386016"),
        ("+1350317716114554168.536800e-4", "+62.657788", "135031771611518.07464599609375"),
        ("+9301452452530798.24217e-17", "3.617524590090106e+16", "36175245900901060.09375"),
        ("37247.759332e9", "61860682946631313.769499e14", "6186068294663131414312588935168"),
        ("10.419474e28", "0x14b835e8a534145e87.1954ep25", "117019534248416744896441876480"),
        ("351083648659277.696705e16", "+453.111", "3510836486592776966943558074368"),
        ("-89.1341", "0.000000000000006187509738963655", "-89.13409999999999381"),
        ("-8758.639434", "-0.000000068991818828718712981633", "-8758.63943406899181809"),
        ("0.000000000000000000032798268349", "-53778945.775813e21", "-53778945775812999999316295680"),
        ("-8.261552518152211", "-513.9608", "-522.22235251815221097"),
        ("-791.68", "8.614", "-783.066"),
        ("3.70", "3657", "3660.69999999999999996"),
        ("9353", "-9.6101", "9343.38989999999999991"),
        ("0.000000000000000000000000000860", "+1064.4", "1064.40000000000000002"),
        ("+94.6519", "2.53907779", "97.19097779"),
        ("-0.000681138828182492734056475312", "699.3871367", "699.38645556117181751"),
        ("85e-381", "+0.000000000000000000000000000058", "0"),
    ];
}
