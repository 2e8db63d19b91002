//! `LATENCY`: slow moments and histograms of all cores.

use crate::core::Core;
use crate::hold::Request;
use crate::latency::Event;
use crate::metrics::CommandCount;
use crate::serve::{merged_metrics, sum_of};
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::command::table::{container_of, find_full};
use shards::command::{COMMAND_COUNT, COMMANDS_BY_NUMBER};
use shards::wire::Reply;

/// `LATENCY LATEST`
pub(super) fn latest<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    ask(core, id, |events, reply| {
        reply.array(events.len());
        for event in events {
            let last = event.samples.back().expect("an event begins with a sample");
            reply.array(4);
            reply.bulk(event.moment.name().as_bytes());
            reply.integer(last.at_s as i64);
            reply.integer(last.ms as i64);
            reply.integer(event.ms_max as i64);
        }
    });
}

/// `LATENCY HISTORY event`
pub(super) fn history<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, _out: &mut Vec<u8>) {
    let name = request.args().get(2).to_vec();
    ask(core, id, move |events, reply| {
        let Some(event) = named(&events, &name) else { return reply.array(0) };
        reply.array(event.samples.len());
        for sample in &event.samples {
            reply.array(2);
            reply.integer(sample.at_s as i64);
            reply.integer(sample.ms as i64);
        }
    });
}

/// `LATENCY GRAPH event`
pub(super) fn graph<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, _out: &mut Vec<u8>) {
    let name = request.args().get(2).to_vec();
    let now_s = core.now_ms() / 1000;
    ask(core, id, move |events, reply| match named(&events, &name) {
        None => reply.error_bytes(&[b"ERR No samples available for event '", name.as_slice(), b"'"].concat()),
        Some(event) => reply.verbatim(drawing(event, now_s).as_bytes()),
    });
}

/// `LATENCY RESET [event ...]`: how many kinds of event were forgotten, over all cores.
pub(super) fn reset<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, _out: &mut Vec<u8>) {
    let names = request.args().iter_from(2).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    core.survey(id, Question::LatencyReset(names), Box::new(|_, _, findings, reply| reply.integer(sum_of(&findings) as i64)));
}

/// `LATENCY DOCTOR`
pub(super) fn doctor<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    let threshold_ms = core.executor.settings.latency_threshold_ms;
    ask(core, id, move |events, reply| reply.verbatim(advice(&events, threshold_ms).as_bytes()));
}

fn advice(events: &[Event], threshold_ms: u64) -> String {
    if threshold_ms == 0 {
        return "Slow moments are not being watched. Switch that on with \"CONFIG SET latency-monitor-threshold <milliseconds>\"; 100 \
                is a good start, 1 costs nothing either.\n"
            .to_owned();
    }
    if events.is_empty() {
        return format!("Nothing took {threshold_ms} ms or more. There is nothing to improve.\n");
    }
    let mut text = String::from("Slow moments, worst second by worst second:\n\n");
    for (number, event) in events.iter().enumerate() {
        let count = event.samples.len() as u64;
        let mean: u64 = event.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        text += &format!(
            "{}. {}: {count} slow seconds, {mean} ms on average, {} ms at worst.\n",
            number + 1,
            event.moment.name(),
            event.ms_max
        );
    }
    text += "\n";
    for event in events {
        text += match event.moment.name() {
            "command" => {
                "- Some commands work through much data at once. SLOWLOG GET names them; prefer SCAN to KEYS, and fetch large values in pieces.\n"
            }
            "fast-command" => {
                "- Commands that cost next to nothing took long: the processor was busy with something else. Give each core a processor of \
                 its own (--cores), and look for other processes and for swapping.\n"
            }
            "expire-cycle" => "- Many keys ended at the same moment. Spread their times: add a random part to each time to live.\n",
            _ => "- Making room took long. Raise maxmemory, or let keys expire before memory is full.\n",
        };
    }
    text
}

/// `LATENCY HISTOGRAM [command ...]`: cumulative counts in powers of two of microseconds.
pub(super) fn histogram<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, _out: &mut Vec<u8>) {
    let wanted: Option<Vec<u16>> = (request.args().len() > 2).then(|| {
        let named = request.args().iter_from(2).filter_map(|name| find_full(&name.to_ascii_lowercase())).map(|(number, _)| number);
        named.flat_map(with_subcommands).collect()
    });
    core.survey(
        id,
        Question::Stats,
        Box::new(move |_, _, findings, reply| {
            let metrics = merged_metrics(findings);
            let numbers: Vec<u16> = match wanted {
                Some(numbers) => numbers,
                None => (0..COMMAND_COUNT as u16).collect(),
            };
            let shown: Vec<u16> = numbers.into_iter().filter(|number| metrics.commands[usize::from(*number)].latency.is_some()).collect();
            reply.map(shown.len());
            for number in shown {
                reply.bulk(COMMANDS_BY_NUMBER[usize::from(number)].full_name.as_bytes());
                tell_histogram(&metrics.commands[usize::from(number)], reply);
            }
        }),
    );
}

/// A command and, of a container, what it contains.
fn with_subcommands(number: u16) -> Vec<u16> {
    let parts = (0..COMMAND_COUNT as u16).filter(move |other| container_of(*other) == Some(number));
    std::iter::once(number).chain(parts).collect()
}

fn tell_histogram(count: &CommandCount, reply: &mut Reply<'_>) {
    let latency = count.latency.as_ref().expect("only those with a histogram are told");
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    let mut total = 0;
    for (bound_ns, counted) in latency.counted() {
        total += counted;
        // Bounds are powers of two of nanoseconds; what Redis shows are powers of two of microseconds.
        let bound_us = bound_ns.div_ceil(1000).next_power_of_two();
        match buckets.last_mut() {
            Some((last, cumulative)) if *last == bound_us => *cumulative = total,
            _ => buckets.push((bound_us, total)),
        }
    }
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(total as i64);
    reply.bulk(b"histogram_usec");
    reply.map(buckets.len());
    for (bound_us, cumulative) in buckets {
        reply.integer(bound_us as i64);
        reply.integer(cumulative as i64);
    }
}

fn ask<K: Kernel>(core: &mut Core<K>, id: ConnId, then: impl FnOnce(Vec<Event>, &mut Reply<'_>) + Send + 'static) {
    core.survey(
        id,
        Question::Latency,
        Box::new(move |_, _, findings, reply| {
            let mut merged: Vec<Event> = Vec::new();
            for finding in findings {
                let Finding::Latency(events) = finding else { unreachable!("the question is for slow moments") };
                for event in events {
                    match merged.iter_mut().find(|known| known.moment == event.moment) {
                        Some(known) => known.merge(&event),
                        None => merged.push(event),
                    }
                }
            }
            merged.sort_by_key(|event| event.moment);
            then(merged, reply);
        }),
    );
}

fn named<'a>(events: &'a [Event], name: &[u8]) -> Option<&'a Event> {
    events.iter().find(|event| event.moment.name().as_bytes().eq_ignore_ascii_case(name))
}

/// A bar for each second, the newest to the right, with its age below.
fn drawing(event: &Event, now_s: u64) -> String {
    const ROWS: u64 = 4;
    const COLUMNS_MAX: usize = 80;
    let samples: Vec<_> = event.samples.iter().skip(event.samples.len().saturating_sub(COLUMNS_MAX)).collect();
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!("{} - high {high} ms, low {low} ms (all time high {} ms)\n", event.moment.name(), event.ms_max);
    text += &"-".repeat(80);
    text.push('\n');
    let step = (high - low).max(1);
    for row in (0..ROWS).rev() {
        for sample in &samples {
            let height = (sample.ms - low) * ROWS / step;
            text.push(match height.cmp(&row) {
                std::cmp::Ordering::Greater => '|',
                std::cmp::Ordering::Equal => {
                    if row == 0 {
                        '_'
                    } else {
                        '.'
                    }
                }
                std::cmp::Ordering::Less => ' ',
            });
        }
        text.push('\n');
    }
    let ages: Vec<String> = samples.iter().map(|sample| short_age(now_s.saturating_sub(sample.at_s))).collect();
    text.push('\n');
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.as_bytes().get(row).map_or(' ', |byte| char::from(*byte))).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn short_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::{Moment, Sample};
    use shards::wire::Proto;

    #[test]
    fn histograms_are_cumulative_in_powers_of_two_of_microseconds() {
        let mut count = CommandCount::default();
        let latency = count.latency.get_or_insert_default();
        for ns in [100, 900, 1500, 3000, 1_000_000] {
            latency.record(ns);
        }
        let mut out = Vec::new();
        tell_histogram(&count, &mut Reply::new(&mut out, Proto::Resp3));
        let shown = String::from_utf8(out).expect("text").replace("\r\n", " ");
        // 100 ns lies below 128 ns, 900 below 1024 (shown as 2 us), 1500 below 2048 (4 us), 3000 below 4096 (8 us).
        assert_eq!(shown, "%2 $5 calls :5 $14 histogram_usec %5 :1 :1 :2 :2 :4 :3 :8 :4 :2048 :5 ");
    }

    #[test]
    fn a_graph_has_a_column_for_each_second() {
        let event =
            Event { moment: Moment::Command, samples: [(100, 10), (160, 50)].map(|(at_s, ms)| Sample { at_s, ms }).into(), ms_max: 90 };
        let text = drawing(&event, 170);
        assert!(text.starts_with("command - high 50 ms, low 10 ms (all time high 90 ms)\n"), "{text}");
        assert!(text.contains("\n_|\n"), "{text}");
        assert!(text.contains("\n11\nm0\n s\n"), "{text}");
    }

    #[test]
    fn advice_names_what_was_slow() {
        assert!(advice(&[], 0).contains("latency-monitor-threshold"));
        assert!(advice(&[], 5).contains("5 ms"));
        let event = Event { moment: Moment::ExpireCycle, samples: [Sample { at_s: 1, ms: 7 }].into(), ms_max: 7 };
        assert!(advice(&[event], 5).contains("random part"));
    }
}
