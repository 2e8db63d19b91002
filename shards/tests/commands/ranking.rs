//! Sorted sets against a map: small ones, large ones, and those that become the one or the other.

use super::script::Session;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A member's number to its score.
type Model = BTreeMap<u32, i32>;

#[derive(Clone, Debug)]
enum Step {
    /// Members from a number on, each with a score that repeats after so many.
    Add {
        from: u32,
        count: u32,
        scores: i32,
    },
    Remove {
        from: u32,
        count: u32,
    },
    RemovePlaces(i64, i64),
    RemoveScores(i32, i32),
    PopLowest(usize),
    PopHighest(usize),
    /// The key is copied, and the copy takes its place.
    Copy,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..600u32, 1..150u32, 1..200i32).prop_map(|(from, count, scores)| Step::Add { from, count, scores }),
        3 => (0..600u32, 1..150u32).prop_map(|(from, count)| Step::Remove { from, count }),
        1 => (-300..300i64, -300..300i64).prop_map(|(start, stop)| Step::RemovePlaces(start, stop)),
        1 => (0..200i32, 0..200i32).prop_map(|(min, max)| Step::RemoveScores(min, max)),
        1 => (0..50usize).prop_map(Step::PopLowest),
        1 => (0..50usize).prop_map(Step::PopHighest),
        1 => Just(Step::Copy),
        1 => Just(Step::Forget),
    ]
}

fn member(number: u32) -> String {
    format!("m{number}")
}

/// By score, then by bytes.
fn in_order(model: &Model) -> Vec<(i32, String)> {
    let mut all: Vec<(i32, String)> = model.iter().map(|(number, score)| (*score, member(*number))).collect();
    all.sort();
    all
}

fn ask(session: &mut Session, words: &[&str]) -> String {
    String::from_utf8(session.ask(words)).unwrap()
}

fn bulks<'a>(words: impl Iterator<Item = &'a String>) -> String {
    let words: Vec<String> = words.map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

fn apply(session: &mut Session, model: &mut Model, step: &Step) {
    match *step {
        Step::Add { from, count, scores } => {
            let before = model.len();
            let mut words = vec!["ZADD".to_string(), "k".into()];
            for number in from..from + count {
                let score = (number as i32 * 37) % scores;
                model.insert(number, score);
                words.extend([score.to_string(), member(number)]);
            }
            assert_eq!(session.ask(&words), format!(":{}\r\n", model.len() - before).into_bytes());
        }
        Step::Remove { from, count } => {
            let words: Vec<String> = ["ZREM".into(), "k".into()].into_iter().chain((from..from + count).map(member)).collect();
            let removed = (from..from + count).filter(|number| model.remove(number).is_some()).count();
            assert_eq!(session.ask(&words), format!(":{removed}\r\n").into_bytes());
        }
        Step::RemovePlaces(start, stop) => {
            let len = model.len() as i64;
            let [first, last] = [start, stop].map(|place| if place < 0 { place + len } else { place });
            let places = first.max(0)..=last;
            drop_places(model, |place, _| places.contains(&(place as i64)));
            ask(session, &["ZREMRANGEBYRANK", "k", &start.to_string(), &stop.to_string()]);
        }
        Step::RemoveScores(min, max) => {
            drop_places(model, |_, score| score >= min && score < max);
            ask(session, &["ZREMRANGEBYSCORE", "k", &min.to_string(), &format!("({max}")]);
        }
        Step::PopLowest(count) => {
            drop_places(model, |place, _| place < count);
            ask(session, &["ZPOPMIN", "k", &count.to_string()]);
        }
        Step::PopHighest(count) => {
            let len = model.len();
            drop_places(model, |place, _| place + count >= len);
            ask(session, &["ZPOPMAX", "k", &count.to_string()]);
        }
        Step::Copy => {
            if !model.is_empty() {
                assert_eq!(ask(session, &["COPY", "k", "copy", "REPLACE"]), ":1\r\n");
                assert_eq!(ask(session, &["RENAME", "copy", "k"]), "+OK\r\n");
            }
        }
        Step::Forget => {
            model.clear();
            ask(session, &["DEL", "k"]);
        }
    }
}

fn drop_places(model: &mut Model, dropped: impl Fn(usize, i32) -> bool) {
    for (place, (score, name)) in in_order(model).into_iter().enumerate() {
        if dropped(place, score) {
            model.remove(&name[1..].parse().unwrap());
        }
    }
}

/// All that can be asked must be what the model says.
fn check_same(session: &mut Session, model: &Model, (first, second): (i32, i32)) {
    let all = in_order(model);
    let texts: Vec<String> = all.iter().flat_map(|(score, name)| [name.clone(), score.to_string()]).collect();
    assert_eq!(ask(session, &["ZRANGE", "k", "0", "-1", "WITHSCORES"]), bulks(texts.iter()));
    assert_eq!(ask(session, &["ZREVRANGE", "k", "0", "-1"]), bulks(all.iter().rev().map(|(_, name)| name)));
    let [min, max] = [first, second].map(|bound| bound.to_string());
    let inside = || all.iter().filter(|(score, _)| *score >= first && *score <= second);
    assert_eq!(ask(session, &["ZRANGEBYSCORE", "k", &min, &max]), bulks(inside().map(|(_, name)| name)));
    assert_eq!(ask(session, &["ZREVRANGEBYSCORE", "k", &max, &min]), bulks(inside().rev().map(|(_, name)| name)));
    assert_eq!(ask(session, &["ZCOUNT", "k", &min, &max]), format!(":{}\r\n", inside().count()));
    for (place, (score, name)) in all.iter().enumerate().step_by(7) {
        assert_eq!(ask(session, &["ZRANK", "k", name]), format!(":{place}\r\n"));
        let text = score.to_string();
        assert_eq!(ask(session, &["ZSCORE", "k", name]), format!("${}\r\n{text}\r\n", text.len()));
    }
    let mut walked = walk(session);
    walked.sort();
    walked.dedup();
    assert_eq!(walked, all, "what ZSCAN shows");
}

/// Everything that ZSCAN shows.
fn walk(session: &mut Session) -> Vec<(i32, String)> {
    let (mut cursor, mut seen) = ("0".to_string(), Vec::new());
    loop {
        let step = ask(session, &["ZSCAN", "k", &cursor, "COUNT", "20"]);
        // `*2 $n cursor *m $n member $n score ...`
        let lines: Vec<&str> = step.split("\r\n").collect();
        cursor = lines[2].into();
        seen.extend(lines[4..].chunks_exact(4).map(|pair| (pair[3].parse().unwrap(), pair[1].to_string())));
        if cursor == "0" {
            return seen;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_sorted_set_is_like_a_sorted_map(steps in prop::collection::vec((step(), 0..200i32, 0..200i32), 1..25)) {
        let mut session = Session::new();
        let mut model = Model::new();
        ask(&mut session, &["MSET", "k", "1", "copy", "1"]);
        ask(&mut session, &["DEL", "k", "copy"]);
        let empty = session.with_shard(|shard, _| shard.memory().directories);
        for (step, first, second) in steps {
            apply(&mut session, &mut model, &step);
            check_same(&mut session, &model, (first, second));
            session.with_shard(|shard, _| shard.check());
        }
        prop_assert_eq!(ask(&mut session, &["DEL", "k", "copy"]).len(), 4);
        session.tick_until_idle();
        session.with_shard(|shard, _| {
            shard.check();
            prop_assert_eq!((shard.memory().records - shard.memory().dead, shard.memory().directories), (0, empty));
            Ok(())
        })?;
    }
}
