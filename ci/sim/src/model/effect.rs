//! What a command answers, and what it leaves, on a server that does one thing after the other.

use super::{Deadline, Expected, Moment, Place, Stored};
use crate::history;
use std::collections::BTreeMap;

/// The time to live that a command gives.
pub(super) fn timed_ms(words: &[String]) -> Option<u64> {
    let at = words.iter().position(|word| word == "PX")?;
    words.get(at + 1)?.parse().ok()
}

/// What a command answers, and what is there after it.
pub(super) fn effect(before: &BTreeMap<Place, Stored>, db: u16, words: &[String], called: Moment) -> (Expected, BTreeMap<Place, Stored>) {
    let mut after = before.clone();
    let line: Vec<&str> = words.iter().map(String::as_str).collect();
    let at = |key: &str| (db, key.to_owned());
    let deadline = timed_ms(words).map(|ms| Deadline { earliest: called.clock_min + ms, latest: u64::MAX });
    let told = |stored: Option<&Stored>| match stored {
        Some(stored) if stored.deadline.is_some() => Expected::Timed(stored.clone()),
        stored => Expected::Text(stored.map_or_else(|| "nil".to_owned(), |stored| format!("\"{}\"", stored.value))),
    };
    let expected = match line.as_slice() {
        ["SET", key, value, "PX", _] => {
            after.insert(at(key), Stored { value: (*value).to_owned(), deadline });
            Expected::Text("+OK".to_owned())
        }
        ["GETEX", key, rest @ ..] => {
            // Only asked for keys that are surely there, unless what put them there was refused.
            if let Some(stored) = after.get_mut(&at(key)) {
                stored.deadline = if rest == ["PERSIST"] { None } else { deadline };
            }
            told(before.get(&at(key)))
        }
        ["GET", key] => told(before.get(&at(key))),
        ["DEL", key] if before.get(&at(key)).is_some_and(|stored| stored.deadline.is_some()) => {
            let deadline = after.remove(&at(key)).and_then(|stored| stored.deadline);
            Expected::Removed(deadline.expect("just seen"))
        }
        ["SWAPDB", ..] => {
            after = before.iter().map(|((of, key), stored)| ((of ^ 1, key.clone()), stored.clone())).collect();
            Expected::Text("+OK".to_owned())
        }
        _ => {
            let mut plain: history::State = before.iter().map(|(place, stored)| (place.clone(), stored.value.clone())).collect();
            let reply = history::apply(&mut plain, db, words);
            let kept = |place: &Place, value: &String| before.get(place).filter(|stored| stored.value == *value).and_then(|s| s.deadline);
            after = plain.into_iter().map(|(place, value)| (place.clone(), Stored { deadline: kept(&place, &value), value })).collect();
            Expected::Text(reply)
        }
    };
    (expected, after)
}
