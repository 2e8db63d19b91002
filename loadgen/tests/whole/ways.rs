//! Each way of asking does what it says, counted at the server.

use std::sync::{Arc, Mutex};

use crate::{bench, fake};

#[test]
fn a_loaded_server_is_read_and_verified() {
    for io in ["auto", "epoll"] {
        let (port, store) = fake::resp_store();
        let ran = bench(&format!(
            "--port {port} --load --keys 500 --value-size 10:50,20000:50 --ratio 3:1 --verify=100% --closed --requests 2000 \
             --connections 6 --pipeline 5 --threads 2 --warmup 0 --io {io}"
        ));
        assert_eq!(ran.status, 0);
        assert_eq!(ran.number("/total/ops"), 2_000.0);
        let (gets, sets) = (ran.number("/operations/get/ops"), ran.number("/operations/set/ops"));
        assert_eq!(gets + sets, 2_000.0);
        assert!((1_350.0..1_650.0).contains(&gets), "{gets} of 2000 at 3:1");
        assert_eq!(ran.number("/reads/hits"), gets, "every key was loaded");
        assert_eq!(ran.number("/reads/verified"), gets);
        assert_eq!(ran.number("/reads/mismatched"), 0.0);
        let store = store.lock().unwrap();
        assert_eq!(store.values.len(), 500);
        assert!(store.values.keys().all(|key| key.starts_with(b"key:") && key.len() == 16));
        assert!(store.values.values().all(|value| value.len() == 10 || value.len() == 20_000));
        assert_eq!(store.verbs["SET"] as f64, 500.0 + sets);
    }
}

#[test]
fn requests_and_rates_are_kept_to_the_operation() {
    let (port, store) = fake::resp_store();
    let ran = bench(&format!("--port {port} --ratio 0:1 --rate 3k --duration 1s --warmup 0 --pipeline 10 --ttl 10s:50%"));
    assert_eq!(ran.number("/total/ops"), 3_000.0);
    assert_eq!(store.lock().unwrap().verbs["SET"], 3_000);
    let expiring = store.lock().unwrap().expiring;
    assert!((1_300..1_700).contains(&expiring), "{expiring} of 3000 at 50 %");
    let ran = bench(&format!("--port {port} --ratio 0:1 --rate 5k --requests 777 --warmup 100ms --threads 3"));
    assert_eq!(ran.number("/total/ops"), 777.0);
    let ran = bench(&format!("--port {port} --ratio 0:1 --ramp 1k..3k --duration 1s --warmup 0"));
    assert_eq!(ran.number("/total/ops"), 2_000.0);
}

#[test]
fn every_kind_is_asked() {
    let (port, store) = fake::resp_store();
    let mix = "get=1,set=1,del=1,incr=1,mget=1,mset=1,exists=1,expire=1,ttl=1,ping=1";
    let ran = bench(&format!("--port {port} --mix {mix} --closed --requests 3000 --keys 100 --warmup 0 --resp3 --verify=100%"));
    assert_eq!(ran.status, 0);
    assert_eq!(ran.number("/total/ops"), 3_000.0);
    assert_eq!(ran.number("/total/errors"), 0.0);
    assert_eq!(ran.number("/reads/mismatched"), 0.0);
    let store = store.lock().unwrap();
    for verb in ["GET", "SET", "DEL", "INCR", "MGET", "MSET", "EXISTS", "PEXPIRE", "PTTL", "PING", "HELLO"] {
        assert!(store.verbs.contains_key(verb), "{verb} in {:?}", store.verbs);
    }
}

#[test]
fn ycsb_workloads_ask_what_they_should() {
    for (name, kinds) in [
        ("a", &["read", "update"][..]),
        ("b", &["read", "update"]),
        ("c", &["read"]),
        ("d", &["read", "insert"]),
        ("e", &["scan", "insert"]),
        ("f", &["read", "read_modify_write"]),
    ] {
        let (port, store) = fake::resp_store();
        let ran = bench(&format!(
            "--port {port} --ycsb {name} --load --keys 300 --closed --requests 1000 --warmup 0 --pipeline 3 --connections 5"
        ));
        assert_eq!(ran.status, 0, "{name}");
        assert_eq!(ran.number("/total/ops"), 1_000.0, "{name}");
        let found: Vec<&String> = ran.json["operations"].as_object().unwrap().keys().collect();
        let mut expected = kinds.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
        let store = store.lock().unwrap();
        assert!(store.values.values().all(|value| value.len() == 1_000));
        let inserted = ran.json["operations"].get("insert").map_or(0.0, |line| line["ops"].as_f64().unwrap());
        assert_eq!(store.values.len() as f64, 300.0 + inserted, "{name}: inserts are new keys");
        if name == "f" {
            let (reads, cycles) = (ran.number("/operations/read/ops"), ran.number("/operations/read_modify_write/ops"));
            assert_eq!(store.verbs["GET"] as f64, reads + cycles);
            assert_eq!(store.verbs["SET"] as f64, 300.0 + cycles);
        }
    }
}

#[test]
fn memcached_is_asked_in_its_own_words() {
    let store = Arc::new(Mutex::new(fake::Store::default()));
    let inside = store.clone();
    let port = fake::memcached(move |words| Some(inside.lock().unwrap().memcached(words)));
    let ran = bench(&format!(
        "--protocol memcached --port {port} --load --keys 200 --mix get=5,set=3,del=0.1,incr=1,mget=1,expire=1,ping=1 --ttl 1500ms \
         --closed --requests 2000 --warmup 0 --verify=100% --pipeline 4"
    ));
    assert_eq!(ran.status, 0);
    assert_eq!((ran.number("/total/ops"), ran.number("/total/errors")), (2_000.0, 0.0));
    assert!(ran.number("/reads/hits") > 500.0);
    assert!(ran.number("/reads/verified") > 500.0);
    assert_eq!(ran.number("/reads/mismatched"), 0.0);
    assert_eq!(ran.json["environment"]["target"]["software"], "memcached");
    assert!(store.lock().unwrap().expiring > 0);
}

#[test]
fn a_rate_is_found_where_none_is_given() {
    let (port, _) = fake::resp_store();
    let ran = bench(&format!("--port {port} --duration 200ms --warmup 0 --keys 10 --pipeline 10"));
    assert_eq!(ran.status, 0);
    assert_eq!(ran.json["settings"]["loop_kind"], "open");
    let rate = ran.number("/settings/rate_ops_s");
    assert!(rate > 1.0);
    // The schedule offers its rate whatever the machine does: nothing is dropped.
    let offered = ran.number("/generator/offered_ops");
    assert!((offered - rate * 0.2).abs() <= 11.0, "{offered} for {rate}");
}

#[test]
fn the_knee_is_found_and_told() {
    let (port, _) = fake::resp_store();
    let ran = bench(&format!("--port {port} --ramp 200..400 --find-knee --slo p50<1s --step 100ms --keys 10"));
    assert_eq!(ran.status, 0);
    // A machine that stops in the wrong moment may end the climb early, but only with a rate that held.
    let rate = ran.number("/knee/rate_ops_s");
    assert!((200.0..=400.0).contains(&rate));
    assert_eq!(ran.json["knee"]["beyond"], rate == 400.0);
    assert!(!ran.json["knee"]["steps"].as_array().unwrap().is_empty());
    let ran = bench(&format!("--port {port} --ramp 200..400 --find-knee --slo p50<1ns --step 100ms --keys 10"));
    assert_eq!(ran.status, 3);
    assert!(ran.json["knee"]["rate_ops_s"].is_null());
}

#[test]
fn results_are_written_in_every_form() {
    let (port, _) = fake::resp_store();
    let folder = std::env::temp_dir().join(format!("corewheel-forms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let ran = bench(&format!(
        "--port {port} --load --closed --requests 500 --warmup 0 --slo p99<1h --markdown {} --svg {} --hdr {}",
        at("a.md"),
        at("a.svg"),
        at("a.hlog")
    ));
    assert_eq!(ran.status, 0);
    assert_eq!(ran.json["slo"]["met"], true);
    assert_eq!(ran.json["environment"]["target"]["version"], "9.9.9");
    assert!(!ran.json["environment"]["machine"]["kernel"].as_str().unwrap().is_empty());
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("a.md").starts_with("| operation |"));
    assert!(read("a.svg").starts_with("<svg"));
    assert!(read("a.hlog").contains("Tag=response"));
    std::fs::remove_dir_all(&folder).unwrap();
}
