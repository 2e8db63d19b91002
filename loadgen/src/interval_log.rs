//! `--hdr`: an HdrHistogram interval log, one compressed histogram a second, as the HdrHistogram tools read it.
//!
//! Values are nanoseconds. Lines tagged `response` and `service` each hold one second of all operations.

use std::io::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::tally::Interval;

/// Writes all of `intervals` (start and length since the pass began) to `out`.
pub(crate) fn write(out: &mut impl Write, started: SystemTime, intervals: &[(Duration, Duration, Interval)]) -> Result<(), String> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("corewheel bench; values in nanoseconds, maxima in milliseconds")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(out, &mut serializer)
        .map_err(|error| error.to_string())?;
    for (start, length, interval) in intervals {
        for (tag, histogram) in [("response", &interval.response), ("service", &interval.service)] {
            log.write_histogram(histogram, *start, *length, Tag::new(tag)).map_err(|error| format!("{error:?}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn the_log_is_read_back() {
        let mut interval = Interval::new();
        interval.response.record_n(1_000_000, 7).unwrap();
        let intervals = [(Duration::ZERO, Duration::from_secs(1), interval)];
        let mut out = Vec::new();
        write(&mut out, SystemTime::UNIX_EPOCH, &intervals).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&out) {
            if let LogEntry::Interval(entry) = entry.unwrap() {
                let bytes = decode(entry.encoded_histogram());
                let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                found.push((entry.tag().unwrap().as_str().to_string(), histogram.len()));
            }
        }
        assert_eq!(found, [("response".to_string(), 7), ("service".to_string(), 0)]);
    }

    /// Base64 without a dependency: only for this test.
    fn decode(text: &str) -> Vec<u8> {
        let digit = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0u32, 0);
        for byte in text.bytes().filter(|&byte| byte != b'=') {
            bits = bits << 6 | u32::from(digit(byte));
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
        }
        bytes
    }
}
