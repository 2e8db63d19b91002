//! Moments as people write them: `2026-11-21T16:55:12.123Z`, or milliseconds since 1970.
//!
//! Days are counted as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".

use toml::value::{Datetime, Offset};

const DAY_MS: i64 = 86_400_000;

/// Reads a moment, in milliseconds since 1970. A time without an offset is refused: it would be another one elsewhere.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("{text} milliseconds since 1970 are more than there can be"));
    }
    let unusable =
        || format!("`{text}` is no moment: give 2026-11-21T16:55:12Z, with Z or an offset like +01:00, or milliseconds since 1970");
    let read: Datetime = text.parse().map_err(|_| unusable())?;
    let (Some(date), Some(time), Some(offset)) = (read.date, read.time, read.offset) else { return Err(unusable()) };
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0)) - minutes * 60;
    let days = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let ms = days * DAY_MS + seconds * 1000 + i64::from(time.nanosecond.unwrap_or(0) / 1_000_000);
    u64::try_from(ms).map_err(|_| format!("{text} is before 1970"))
}

/// Writes a moment, in UTC.
pub(super) fn show(ms: u64) -> String {
    let (year, month, day, rest) = civil(ms);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000)
}

/// The same without what a file's name should not have. Sorts as the moments do.
pub(super) fn name(ms: u64) -> String {
    show(ms).replace([':', '-'], "").replace('.', "")
}

/// A length of time such as `7d`, `12h`, `30m` or `90s`, in milliseconds.
pub(super) fn parse_span(text: &str) -> Option<u64> {
    const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];
    UNITS.iter().find_map(|(unit, ms)| text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*ms))
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month, day, and the milliseconds of that day.
fn civil(ms: u64) -> (u64, u64, u64, u64) {
    let (days, rest) = (ms / DAY_MS as u64 + 719_468, ms % DAY_MS as u64);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-21T16:55:12.123Z", 1_795_280_112_123),
            ("2026-11-21T17:55:12.123+01:00", 1_795_280_112_123),
            ("1795280112123", 1_795_280_112_123),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        assert_eq!(show(1_795_280_112_123), "2026-11-21T16:55:12.123Z");
        assert_eq!(name(1_795_280_112_123), "20261121T165512123Z");
        // Every day of four centuries, and the leap days among them.
        for day in 0..146_097 {
            let ms = day * DAY_MS as u64 + 12_345_678;
            assert_eq!(parse(&show(ms)), Ok(ms));
        }
    }

    #[test]
    fn what_could_be_two_moments_is_none() {
        for text in ["", "yesterday", "2026-11-21", "2026-11-21T16:55:12", "16:55:12", "1969-12-31T23:59:59Z", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(["7d", "12h", "30m", "90s", "0d"].map(parse_span), [604_800_000, 43_200_000, 1_800_000, 90_000, 0].map(Some));
        assert_eq!(["7", "d", "", "-1d", "1.5h", "300000000000d"].map(parse_span), [None; 6]);
    }
}
