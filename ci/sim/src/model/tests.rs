//! What the model accepts and what it refuses.

use super::*;

/// The keys `a` to `m` live on core 0, the others on core 1.
fn core_of(key: &str, cores: u16) -> u16 {
    u16::from(cores > 1 && key > "m")
}

fn moment(ns: u64) -> Moment {
    Moment { ns, clock_min: ns / 1_000_000, clock_max: ns / 1_000_000 }
}

/// A client that gives these commands one after the other, each a millisecond long; those with a `?` get no reply.
fn model(ladder: &str, lines: &[&str]) -> Model {
    let mut model = Model::new(ladder.parse().expect("a ladder"), 1, core_of);
    model.begin_life(2);
    for (index, line) in lines.iter().enumerate() {
        let start_ns = index as u64 * 1_000_000;
        let words = line.trim_end_matches(" ?").split(' ').map(str::to_owned).collect();
        model.call(0, 0, words, moment(start_ns));
        if !line.ends_with('?') {
            let reply = match &model.authors[0].deeds[index].expected {
                Expected::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            model.answer(0, &reply, moment(start_ns + 500_000)).expect("the expected reply");
        }
    }
    model
}

/// Why this may not be left at this moment, or how much was lost.
fn judged(model: &Model, left: &[(&str, &str)], crashed_ns: u64, clock_ms: u64) -> Result<u64, String> {
    let seen = |value: &str| match value.split_once(" until ") {
        Some((value, ms)) => Seen { value: value.to_owned(), deadline: Some(ms.parse().expect("a deadline")) },
        None => Seen { value: value.to_owned(), deadline: None },
    };
    let seen = left.iter().map(|(key, value)| ((0, (*key).to_owned()), seen(value))).collect();
    let clock_ms = clock_ms..=clock_ms;
    let after = Aftermath { crashed: moment(crashed_ns), clock_ms, seen: &seen, syncs_late: false, page_cache: false, keys_go: false };
    model.judge(&after).map(|verdict| verdict.lost)
}

#[track_caller]
fn refused(model: &Model, left: &[(&str, &str)], expected: &str) {
    let why = judged(model, left, 50_000_000, 50).expect_err("this may not be left");
    assert!(why.contains(expected), "{why}");
}

#[test]
fn at_batch_only_what_was_not_acknowledged_may_be_lost() {
    let it = model("batch", &["SET a 1", "SET a 2", "SET z 3", "SET a 4 ?"]);
    assert_eq!(judged(&it, &[("a", "2"), ("z", "3")], 50_000_000, 50), Ok(1));
    assert_eq!(judged(&it, &[("a", "4"), ("z", "3")], 50_000_000, 50), Ok(0));
    refused(&it, &[("a", "1"), ("z", "3")], "must be");
    refused(&it, &[("a", "2")], "must be");
    refused(&it, &[("a", "5"), ("z", "3")], "no prefix");
    refused(&it, &[("a", "2"), ("z", "3"), ("b", "9")], "no prefix");
}

#[test]
fn a_write_over_two_cores_is_left_whole_or_not_at_all() {
    let it = model("batch", &["SET a 1", "MSET a 2 z 2 ?"]);
    assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(2));
    assert_eq!(judged(&it, &[("a", "2"), ("z", "2")], 50_000_000, 50), Ok(0));
    refused(&it, &[("a", "1"), ("z", "2")], "on some only");
    let weak = model("periodic:1000", &["SET a 1", "RENAME a z"]);
    assert_eq!(judged(&weak, &[("a", "1")], 50_000_000, 50), Ok(2));
    refused(&weak, &[("a", "1"), ("z", "1")], "on some only");
}

#[test]
fn a_copy_that_is_left_proves_its_source() {
    let it = model("batch", &["SET a 1 ?", "COPY a z ?"]);
    assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(1));
    refused(&it, &[("z", "1")], "on some only");
}

#[test]
fn weaker_levels_lose_a_bounded_end() {
    let it = model("every:2", &["SET a 1", "SET a 2", "SET a 3", "SET z 1"]);
    assert_eq!(judged(&it, &[("a", "2"), ("z", "1")], 50_000_000, 50), Ok(1));
    refused(&it, &[("a", "1"), ("z", "1")], "2 acknowledged writes are lost");
    let it = model("periodic:10", &["SET a 1", "SET a 2"]);
    assert_eq!(judged(&it, &[("a", "1")], 9_000_000, 9), Ok(1));
    refused(&it, &[("a", "1")], "ms ago is lost");
}

#[test]
fn what_is_left_of_two_clients_is_one_prefix() {
    let mut it = Model::new("periodic:1000".parse().expect("a ladder"), 2, core_of);
    for (author, key, ns) in [(0, "a", 0), (1, "b", 2_000_000)] {
        it.call(author, author as u16 * DBS_EACH, vec!["SET".into(), key.into(), "1".into()], moment(ns));
        it.answer(author, "+OK", moment(ns + 1_000_000)).expect("as expected");
    }
    let seen = BTreeMap::from([((2, "b".to_owned()), Seen { value: "1".into(), deadline: None })]);
    let after =
        Aftermath { crashed: moment(9_000_000), clock_ms: 9..=9, seen: &seen, syncs_late: false, page_cache: false, keys_go: false };
    assert!(it.judge(&after).expect_err("a hole").contains("came after it"));
}

#[test]
fn what_somebody_read_must_be_left() {
    let mut it = model("batch", &["SET a 1", "SET a 2 ?", "SET a 3 ?"]);
    assert_eq!(judged(&it, &[("a", "1")], 50_000_000, 50), Ok(2));
    it.read(0, &(0, "a".to_owned()), "\"2\"", moment(3_000_000)).expect("it was written");
    refused(&it, &[("a", "1")], "must be");
    assert_eq!(judged(&it, &[("a", "2")], 50_000_000, 50), Ok(1));
    assert!(it.read(0, &(0, "a".to_owned()), "\"7\"", moment(3_000_000)).is_err());
}

#[test]
fn nothing_expired_comes_back() {
    let it = model("batch", &["SET a 1 PX 10", "SET z 2"]);
    assert_eq!(judged(&it, &[("a", "1 until 10"), ("z", "2")], 5_000_000, 5), Ok(0));
    assert_eq!(judged(&it, &[("z", "2")], 20_000_000, 20), Ok(0));
    assert!(judged(&it, &[("z", "2")], 5_000_000, 5).is_err(), "it is gone too early");
    assert!(judged(&it, &[("a", "1 until 12"), ("z", "2")], 5_000_000, 5).is_err(), "another deadline");
    assert!(judged(&it, &[("a", "1 until 10"), ("z", "2")], 5_000_000, 0).expect_err("the clock went back").contains("clock"));
}

#[test]
fn a_refused_command_changed_nothing() {
    let mut it = Model::new(Ladder::of(Level::Batch), 1, core_of);
    for value in ["1", "2"] {
        it.call(0, 0, vec!["APPEND".into(), "a".into(), value.into()], moment(0));
    }
    it.answer(0, "-MISCONF the disk is full", moment(1)).expect("refused");
    it.answer(0, ":1", moment(2)).expect("the first was not there");
    assert_eq!(judged(&it, &[("a", "2")], 50_000_000, 50), Ok(0));
}
