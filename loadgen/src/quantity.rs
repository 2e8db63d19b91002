//! Numbers as people write them on a command line: `100k`, `1.5M`, `64`, `1k`, `10s`, `250us`, `0.1%`.
//!
//! Pure text to value. Every refusal says what was read and what would have been understood.

use std::time::Duration;

/// A plain count or a rate: `k`, `M` and `G` are powers of 1000.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" | "b" => 1e9,
        _ => return Err(format!("'{text}' has the unit '{unit}'; a count ends in nothing, k, M or G")),
    };
    whole(text, number * scale)
}

/// A size in bytes: `k`, `m` and `g` (or `kb`, `kib`, ...) are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("'{text}' has the unit '{unit}'; a size ends in nothing, k, m or g")),
    };
    whole(text, number * scale).map(|bytes| bytes as usize)
}

/// A rate per second. A trailing `/s` is allowed.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let bare = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = split(bare)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        _ => return Err(format!("'{text}' has the unit '{unit}'; a rate ends in nothing, k or M (per second)")),
    };
    let rate = number * scale;
    if rate <= 0.0 {
        return Err(format!("'{text}' is not a rate: it must be above 0 per second"));
    }
    Ok(rate)
}

/// A span of time. A bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let nanos = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(format!("'{text}' has the unit '{unit}'; a duration ends in ns, us, ms, s, m or h")),
    } * number;
    if nanos > u64::MAX as f64 / 4.0 {
        return Err(format!("'{text}' is longer than this tool can count"));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// A share of the whole: `5%` or `0.05`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("'{text}' is not a share: write 0% to 100%, or 0.0 to 1.0"));
    }
    Ok(share)
}

/// A plain non-negative decimal number.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("'{text}' is not a number of at least 0")),
    }
}

/// Counts for people: `12`, `3.40k`, `1.25M`.
pub(crate) fn count_text(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2}G", v / 1e9),
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 1e3 => format!("{:.2}k", v / 1e3),
        v if v >= 10.0 || v == v.trunc() => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

/// Microseconds for people: `840ns`, `12.3us`, `1.25ms`, `2.10s`.
pub(crate) fn micros_text(us: f64) -> String {
    match us {
        v if v >= 1e6 => format!("{:.2}s", v / 1e6),
        v if v >= 1e5 => format!("{:.0}ms", v / 1e3),
        v if v >= 1e4 => format!("{:.1}ms", v / 1e3),
        v if v >= 1e3 => format!("{:.2}ms", v / 1e3),
        v if v >= 1e2 => format!("{v:.0}us"),
        v if v >= 1.0 => format!("{v:.1}us"),
        v if v > 0.0 => format!("{:.0}ns", v * 1e3),
        _ => "0".to_string(),
    }
}

/// Splits `1.5k` into 1.5 and `k`.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(format!("'{text}' does not start with a number"));
    }
    Ok((number(&digits.replace('_', ""))?, unit.trim()))
}

fn whole(text: &str, value: f64) -> Result<u64, String> {
    if value > 9e15 {
        return Err(format!("'{text}' is more than this tool can count"));
    }
    if value.fract() != 0.0 {
        return Err(format!("'{text}' is not a whole number"));
    }
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        assert_eq!(count("100k"), Ok(100_000));
        assert_eq!(count("1.5M"), Ok(1_500_000));
        assert_eq!(count("1_000"), Ok(1_000));
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(bytes("1k"), Ok(1024));
        assert_eq!(bytes("2MiB"), Ok(2 << 20));
        assert_eq!(rate("2.5k/s"), Ok(2_500.0));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("1"), Ok(1.0));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason() {
        for (text, reason) in [
            (count("k").unwrap_err(), "start with a number"),
            (count("12q").unwrap_err(), "unit 'q'"),
            (count("1.5").unwrap_err(), "whole"),
            (bytes("-1").unwrap_err(), "start with a number"),
            (bytes("99999999g").unwrap_err(), "more than"),
            (rate("0").unwrap_err(), "above 0"),
            (duration("3 parsecs").unwrap_err(), "unit 'parsecs'"),
            (duration("1.2.3s").unwrap_err(), "not a number"),
            (share("120%").unwrap_err(), "not a share"),
        ] {
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn text_for_people() {
        assert_eq!(count_text(999.0), "999");
        assert_eq!(count_text(1_234_567.0), "1.23M");
        assert_eq!(micros_text(0.84), "840ns");
        assert_eq!(micros_text(1_250.0), "1.25ms");
    }
}
