//! What `SCAN` promises while keys come and go.

use super::script::Session;
use proptest::prelude::*;
use shards::command::scan::slot_keys;
use shards::{Db, Slot};
use std::collections::BTreeMap;

/// One step: the next cursor and the keys it showed.
fn step(session: &mut Session, request: &[&str]) -> (String, Vec<String>) {
    let reply = String::from_utf8(session.ask(request)).expect("keys here are text");
    // *2, the cursor's length, the cursor, the number of keys, then two lines for each.
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let keys = lines[4..].iter().skip(1).step_by(2).map(|key| key.to_string()).collect();
    (lines[2].to_string(), keys)
}

/// What happens to other keys between two steps.
#[derive(Clone, Debug)]
enum Churn {
    Add(u16),
    Remove(u16),
    Expire(u16),
}

fn churn() -> impl Strategy<Value = Vec<Churn>> {
    prop::collection::vec(
        prop_oneof![
            4 => (0u16..5000).prop_map(Churn::Add),
            2 => (0u16..5000).prop_map(Churn::Remove),
            1 => (0u16..5000).prop_map(Churn::Expire),
        ],
        0..120,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_full_scan_shows_what_stays(stay in 1usize..1500, count in 1usize..300, rounds in prop::collection::vec(churn(), 1..40)) {
        let mut session = Session::new();
        for index in 0..stay {
            session.ask(&["SET", &format!("stay:{index}"), "v"]);
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut cursor = "0".to_string();
        let mut rounds = rounds.iter();
        // Every step but the last visits as many keys as were asked for.
        for steps in 0.. {
            prop_assert!(steps < 10_000, "a scan without end");
            let (next, keys) = step(&mut session, &["SCAN", &cursor, "COUNT", &count.to_string()]);
            for key in keys {
                *seen.entry(key).or_default() += 1;
            }
            if next == "0" {
                break;
            }
            cursor = next;
            for change in rounds.next().into_iter().flatten() {
                match change {
                    Churn::Add(index) => session.ask(&["SET", &format!("other:{index}"), "v"]),
                    Churn::Remove(index) => session.ask(&["DEL", &format!("other:{index}")]),
                    Churn::Expire(index) => session.ask(&["PEXPIRE", &format!("other:{index}"), "-1"]),
                };
            }
        }
        for index in 0..stay {
            prop_assert_eq!(seen.get(&format!("stay:{index}")), Some(&1), "stay:{}", index);
        }
    }
}

#[test]
fn filters_hide_keys_and_not_steps() {
    let mut session = Session::new();
    for index in 0..500 {
        session.ask(&["SET", &format!("key:{index}"), "v"]);
    }
    let (mut cursor, mut shown, mut steps) = ("0".to_string(), Vec::new(), 0);
    loop {
        let (next, keys) = step(&mut session, &["SCAN", &cursor, "MATCH", "key:*7", "COUNT", "20"]);
        (cursor, steps) = (next, steps + 1);
        shown.extend(keys);
        if cursor == "0" {
            break;
        }
    }
    shown.sort();
    let mut wanted: Vec<String> = (0..500).filter(|index| index % 10 == 7).map(|index| format!("key:{index}")).collect();
    wanted.sort();
    assert_eq!(shown, wanted);
    assert!(steps <= 25, "{steps} steps for 500 keys at 20 a step");
}

#[test]
fn a_slot_tells_its_keys() {
    let mut session = Session::new();
    for index in 0..300 {
        session.ask(&["SET", &format!("{{tag}}{index}"), "v"]);
        session.ask(&["SET", &format!("other:{index}"), "v"]);
    }
    let slot = Slot::of(b"tag");
    let others = (0..300).filter(|index| Slot::of(format!("other:{index}").as_bytes()) == slot).count();
    let mut bulks = Vec::new();
    let keys = session.with_shard(|shard, now| slot_keys(shard, Db(0), slot, 7, now, &mut bulks));
    assert_eq!(keys, 300 + others);
    assert_eq!(bulks.iter().filter(|byte| **byte == b'$').count(), 7);
}

#[test]
fn large_collections_are_walked_in_steps() {
    let mut session = Session::new();
    for index in 0..2000 {
        session.ask(&["SADD", "set", &format!("m:{index}")]);
        session.ask(&["HSET", "hash", &format!("m:{index}"), &format!("v:{index}")]);
    }
    let mut walk = |request: &[&str]| {
        let (mut cursor, mut shown, mut steps) = ("0".to_string(), Vec::new(), 0);
        loop {
            let words = [&request[..2], &[&cursor], &request[2..]].concat();
            let (next, keys) = step(&mut session, &words);
            (cursor, steps) = (next, steps + 1);
            shown.extend(keys);
            if cursor == "0" {
                return (shown, steps);
            }
        }
    };
    let mut members: Vec<String> = (0..2000).map(|index| format!("m:{index}")).collect();
    members.sort();
    for request in [vec!["SSCAN", "set", "COUNT", "50"], vec!["HSCAN", "hash", "NOVALUES", "COUNT", "50"]] {
        let (mut shown, steps) = walk(&request);
        shown.sort();
        assert_eq!(shown, members);
        assert!((10..=40).contains(&steps), "{steps} steps for 2000 members at 50 a step");
    }
    let (shown, _) = walk(&["HSCAN", "hash", "COUNT", "7", "MATCH", "m:1*"]);
    assert_eq!(shown.len(), 2 * 1111);
    assert!(shown.chunks(2).all(|pair| pair[0].starts_with("m:1") && pair[1][2..] == pair[0][2..]));
    // What is no position of this collection is past its end, or somewhere in it.
    assert_eq!(step(&mut session, &["SSCAN", "set", "18446744073709551615"]), ("0".to_string(), vec![]));
}

#[test]
fn what_chance_takes_is_gone_and_was_there() {
    let mut session = Session::new();
    for (len, count) in [(10, 3), (10, 9), (500, 1), (500, 20), (500, 499), (500, 500), (500, 900)] {
        session.ask(&["DEL", "set"]);
        let members: Vec<String> = (0..len).map(|index| format!("m:{index}")).collect();
        members.iter().for_each(|member| assert_eq!(session.ask(&["SADD", "set", member]), b":1\r\n"));
        let popped = bulks(&session.ask(&["SPOP", "set", &count.to_string()]));
        assert_eq!(popped.len(), count.min(len));
        let mut all = [popped, bulks(&session.ask(&["SMEMBERS", "set"]))].concat();
        all.sort();
        let mut expected = members.clone();
        expected.sort();
        assert_eq!(all, expected, "{count} of {len}");
        session.with_shard(|shard, _| shard.check());
    }
}

/// The elements of an array of bulks.
fn bulks(reply: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(reply).split("\r\n").skip(2).step_by(2).map(String::from).collect()
}
