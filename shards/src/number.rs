//! Numbers as text: what counts as one, and how it is written, exactly as Redis has it.
//!
//! Whole numbers are read strictly (no sign `+`, no blanks, no zero in front), so that a string that reads as a number is
//! the one text that number is written as. Fractions for `INCRBYFLOAT` are not here: they need more than 64 bits.

/// The longest text of an `i64`: a sign and 19 digits.
pub const I64_BYTES_MAX: usize = 20;

/// A whole number, by the rules of Redis' `string2ll`: optional `-`, no `+`, no blanks, no zeros in front, within `i64`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => Some(0),
        [b'-', digits @ ..] => match parse_magnitude(digits)? {
            magnitude if magnitude <= i64::MIN.unsigned_abs() => Some((magnitude as i64).wrapping_neg()),
            _ => None,
        },
        digits => i64::try_from(parse_magnitude(digits)?).ok(),
    }
}

/// A whole number that is not negative, such as a cursor.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text == b"0" { Some(0) } else { parse_magnitude(text) }
}

/// Digits, the first of them not zero.
#[inline]
fn parse_magnitude(digits: &[u8]) -> Option<u64> {
    /// Any so many digits fit.
    const DIGITS_SAFE: usize = 19;
    if digits.is_empty() || digits[0] == b'0' || digits.len() > DIGITS_SAFE + 1 {
        return None;
    }
    let (safe, last) = digits.split_at(digits.len().min(DIGITS_SAFE));
    let mut value = 0u64;
    for &byte in safe {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    match last {
        [] => Some(value),
        [byte] if byte.is_ascii_digit() => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    }
}

/// A fraction, by the rules of Redis' `getDoubleFromObject`: what `strtod` reads to its end, no blank in front, not NaN.
/// Infinity has a name (`inf`, `+infinity`); what is too large or too small for an `f64` has none. Hexadecimal is not read.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let named = text.iter().any(|byte| matches!(byte, b'i' | b'I'));
    let vanished = || text.iter().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'));
    if value.is_nan() || (value.is_infinite() && !named) || (value == 0.0 && vanished()) { None } else { Some(value) }
}

/// A whole number's text, on the stack.
pub struct Digits {
    bytes: [u8; I64_BYTES_MAX],
    start: u8,
}

impl Digits {
    /// The digits of `value`.
    #[inline]
    pub fn of_u64(mut value: u64) -> Digits {
        let mut bytes = [0; I64_BYTES_MAX];
        let mut start = I64_BYTES_MAX;
        while value >= 100 {
            let pair = (value % 100) as usize;
            value /= 100;
            start -= 2;
            bytes[start..start + 2].copy_from_slice(&PAIRS[pair]);
        }
        if value >= 10 {
            start -= 2;
            bytes[start..start + 2].copy_from_slice(&PAIRS[value as usize]);
        } else {
            start -= 1;
            bytes[start] = b'0' + value as u8;
        }
        Digits { bytes, start: start as u8 }
    }

    /// The digits of `value`, with its sign.
    #[inline]
    pub fn of_i64(value: i64) -> Digits {
        let mut digits = Digits::of_u64(value.unsigned_abs());
        if value < 0 {
            digits.start -= 1;
            digits.bytes[usize::from(digits.start)] = b'-';
        }
        digits
    }

    /// The text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Appends the text of `value`.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    write_between(out, &[], value, &[]);
}

/// Appends the text of `value`.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 { write_between(out, b"-", value.unsigned_abs(), &[]) } else { write_between(out, &[], value as u64, &[]) }
}

/// Appends `before`, the text of `value`, and `after`.
///
/// The digits are written where they stay: copied from a buffer they would be read back while still on their way to the
/// cache, which costs more than dividing.
#[inline]
pub fn write_between<const BEFORE: usize, const AFTER: usize>(
    out: &mut Vec<u8>,
    before: &[u8; BEFORE],
    mut value: u64,
    after: &[u8; AFTER],
) {
    let digits = value.checked_ilog10().unwrap_or(0) as usize + 1;
    out.extend_from_slice(before);
    let from = out.len();
    out.extend_from_slice(&[b'0'; I64_BYTES_MAX]);
    out.truncate(from + digits);
    let mut pairs = out[from..].rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if let [first] = pairs.into_remainder() {
        *first = b'0' + value as u8;
    }
    out.extend_from_slice(after);
}

/// Appends the shortest text that reads back as `value`, in the form of Redis 7.4: whole numbers without a point,
/// `1e+20`, `1.5e-7`, `inf`, `-inf`, `nan`, `-0`.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    /// Beyond this, whole numbers are written like any other fraction.
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    if value.abs() <= WHOLE_MAX && value as i64 as f64 == value {
        return write_i64(out, value as i64);
    }
    let mut shortest = Shortest::default();
    // A fraction's shortest digits and their exponent, without an allocation: `-d.ddde-ddd` at the longest.
    std::fmt::Write::write_fmt(&mut shortest, format_args!("{:e}", value.abs())).expect("17 digits and an exponent fit");
    let (digits, exponent) = shortest.parts();
    if value < 0.0 {
        out.push(b'-');
    }
    // Digits times ten to the power of `scale`.
    let scale = exponent - (digits.len() as i32 - 1);
    let magnitude = exponent.abs();
    if scale >= 0 && magnitude < digits.len() as i32 + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || magnitude < 4) {
        match usize::try_from(exponent) {
            Ok(before_point) => {
                let (whole, fraction) = digits.split_at(before_point + 1);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            Err(_) => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + magnitude as usize - 1, b'0');
                out.extend_from_slice(digits);
            }
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        write_u64(out, magnitude as u64);
    }
}

/// The text that `{:e}` gives: digits with a point after the first, `e`, an exponent.
#[derive(Default)]
struct Shortest {
    digits: [u8; 24],
    digit_count: usize,
    exponent: i32,
    exponent_negative: bool,
    in_exponent: bool,
}

impl Shortest {
    fn parts(&self) -> (&[u8], i32) {
        (&self.digits[..self.digit_count], if self.exponent_negative { -self.exponent } else { self.exponent })
    }
}

impl std::fmt::Write for Shortest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'e' => self.in_exponent = true,
                b'-' => self.exponent_negative = true,
                b'0'..=b'9' if self.in_exponent => self.exponent = self.exponent * 10 + i32::from(byte - b'0'),
                b'0'..=b'9' => {
                    *self.digits.get_mut(self.digit_count).ok_or(std::fmt::Error)? = byte;
                    self.digit_count += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut index = 0;
    while index < 100 {
        pairs[index] = [b'0' + (index / 10) as u8, b'0' + (index % 10) as u8];
        index += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_are_read_strictly() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("-", None),
            ("1", Some(1)),
            ("-1", Some(-1)),
            ("12a", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("18446744073709551615", None),
            ("99999999999999999999", None),
            ("100000000000000000000000", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), value, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn fractions_are_written_as_redis_writes_them() {
        for (value, text) in [
            (3.0, "3"),
            (-2.0, "-2"),
            (3.5, "3.5"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (0.0001, "0.0001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.00012345678901, "1.2345678901e-4"),
            (0.0012345678901, "0.0012345678901"),
            (1e17, "100000000000000000"),
            (1e20, "1e+20"),
            (5e18, "5e+18"),
            (1.2345e22, "1.2345e+22"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (3.0e-108, "3e-108"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let mut out = Vec::new();
            write_f64(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn fractions_are_read_to_their_end() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            ("+1.5", Some(1.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("+Infinity", Some(f64::INFINITY)),
            ("nan", None),
            ("1e400", None),
            ("1e-400", None),
            ("0e-400", Some(0.0)),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("abc", None),
            (".", None),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value: i64, magnitude: u64, fraction: f64) {
            prop_assert_eq!(parse_i64(Digits::of_i64(value).as_bytes()), Some(value));
            prop_assert_eq!(parse_u64(Digits::of_u64(magnitude).as_bytes()), Some(magnitude));
            let text = value.to_string();
            prop_assert!(Digits::of_i64(value).as_bytes() == text.as_bytes());
            let mut out = Vec::new();
            for value in [value, 0, i64::MIN, i64::MAX] {
                write_i64(&mut out, value);
            }
            write_u64(&mut out, magnitude);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value}0{}{}{magnitude}", i64::MIN, i64::MAX));
            if !fraction.is_nan() {
                let mut out = Vec::new();
                write_f64(&mut out, fraction);
                prop_assert_eq!(parse_f64(&out).map(f64::to_bits), Some(fraction.to_bits()));
            }
        }
    }
}
