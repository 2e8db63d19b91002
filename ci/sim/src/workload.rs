//! What clients ask of a server that crashes.

use netio::sim::Chance;

/// Keys a client has in each of its databases; the first of them have a time to live now and then.
const KEYS: u64 = 6;
const KEYS_TIMED: u64 = 2;
/// A value stays this long, or for a moment only: clocks jump by less than the one in all of a world's lives, and by more than the other.
pub(crate) const LONG_MS: u64 = 100 * 3_600_000;
const SHORT_MS_MAX: u64 = 40;

/// A key, not one of the first so many.
pub(crate) fn key(chance: &mut Chance, from: u64) -> String {
    format!("k{}", from + chance.below(KEYS - from))
}

/// What a client asks next where keys go to make room: nothing whose effect depends on what is there.
pub(crate) fn draw_where_keys_go(chance: &mut Chance, value_next: &mut u64) -> Vec<String> {
    let mut value = |chance: &mut Chance| {
        *value_next += 1;
        format!("v{value_next}{}", "x".repeat(chance.below(6_000) as usize))
    };
    let plain = |chance: &mut Chance| key(chance, KEYS_TIMED);
    match chance.below(10) {
        0..4 => vec!["SET".to_owned(), plain(chance), value(chance)],
        4 => vec!["SET".to_owned(), key(chance, 0), value(chance), "PX".to_owned(), LONG_MS.to_string()],
        5 => {
            let pairs = (0..1 + chance.below(3)).flat_map(|_| [plain(chance), value(chance)]);
            std::iter::once("MSET".to_owned()).chain(pairs).collect()
        }
        6 => vec!["DEL".to_owned(), key(chance, 0)],
        _ => vec!["GET".to_owned(), key(chance, 0)],
    }
}

/// What a client asks next. Keys with a time to live are written and read alone: whether they are still there is not known.
pub(crate) fn draw(chance: &mut Chance, db: u16, alone: bool, value_next: &mut u64, stays: impl Fn(&str) -> bool) -> Vec<String> {
    let mut value = |chance: &mut Chance| {
        *value_next += 1;
        // Now and then one that fills sectors.
        let more = if chance.one_in(12) { chance.below(3_000) as usize } else { 0 };
        format!("v{value_next}{}", "x".repeat(more))
    };
    let plain = |chance: &mut Chance| key(chance, KEYS_TIMED);
    let timed = |chance: &mut Chance| format!("k{}", chance.below(KEYS_TIMED));
    let ms = |chance: &mut Chance| if chance.one_in(2) { LONG_MS } else { 1 + chance.below(SHORT_MS_MAX) }.to_string();
    let keys = |chance: &mut Chance| -> Vec<String> { (0..1 + chance.below(3)).map(|_| key(chance, KEYS_TIMED)).collect() };
    let word = |text: &str| text.to_owned();
    let (name, words): (&str, Vec<String>) = match chance.below(22) {
        0..4 => ("SET", vec![plain(chance), value(chance)]),
        4 | 5 => ("SET", vec![timed(chance), value(chance), word("PX"), ms(chance)]),
        6 => ("SET", vec![timed(chance), value(chance)]),
        7 => ("APPEND", vec![plain(chance), format!("+{}", value(chance))]),
        8 | 9 => ("INCR", vec![word("number")]),
        10 | 11 => ("MSET", keys(chance).into_iter().flat_map(|key| [key, value(chance)]).collect()),
        12 => ("MSETNX", keys(chance).into_iter().flat_map(|key| [key, value(chance)]).collect()),
        13 => ("DEL", keys(chance)),
        14 | 15 => ("RENAME", vec![plain(chance), plain(chance)]),
        16 => ("COPY", vec![plain(chance), plain(chance)]),
        17 => match timed(chance) {
            key if stays(&key) && chance.one_in(2) => ("GETEX", vec![key, word("PERSIST")]),
            key if stays(&key) => ("GETEX", vec![key, word("PX"), ms(chance)]),
            key => ("DEL", vec![key]),
        },
        18 => ("GET", vec![key(chance, 0)]),
        19 => ("MGET", keys(chance)),
        20 if chance.one_in(6) => match chance.below(3) {
            0 => ("SWAPDB", vec![(db & !1).to_string(), (db | 1).to_string()]),
            1 if alone => ("FLUSHALL", vec![]),
            _ => ("FLUSHDB", vec![]),
        },
        _ => ("GET", vec![timed(chance)]),
    };
    std::iter::once(word(name)).chain(words).collect()
}
