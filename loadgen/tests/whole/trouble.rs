//! Targets that refuse, lie, redirect or go away are told of, never papered over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::{bench, fake};

#[test]
fn nobody_there_is_an_error() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(bench(&format!("--port {port} --requests 10")).status, 1);
}

#[test]
fn wrong_passwords_and_missing_ones_are_errors() {
    let (port, _) = fake::resp_store();
    let folder = std::env::temp_dir().join(format!("corewheel-password-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (password, status) in [("right", 0), ("wrong", 1)] {
        let file = folder.join(password);
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let line = format!("--port {port} --closed --requests 10 --warmup 0 --password-file {} --db 2", file.display());
        assert_eq!(bench(&line).status, status, "{password}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let locked = fake::resp(|_| Some(b"-NOAUTH Authentication required.\r\n".to_vec()));
    assert_eq!(bench(&format!("--port {locked} --requests 10")).status, 1);
}

#[test]
fn refusals_are_counted_and_quoted() {
    let mut count = 0;
    let port = fake::resp(move |words| {
        count += 1;
        Some(match words[0].as_slice() {
            b"SET" if count % 3 == 0 => b"-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_vec(),
            b"INFO" => b"$0\r\n\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        })
    });
    let ran = bench(&format!("--port {port} --ratio 0:1 --closed --requests 1000 --warmup 0 --slo errors<1%"));
    assert_eq!(ran.status, 3);
    assert_eq!(ran.number("/total/ops") + ran.number("/total/errors"), 1_000.0);
    assert!((320.0..=345.0).contains(&ran.number("/total/errors")));
    assert!(ran.json["errors"]["samples"][0].as_str().unwrap().starts_with("OOM"));
}

#[test]
fn wrong_payloads_are_found() {
    let port = fake::resp(|words| {
        Some(match words[0].as_slice() {
            b"GET" => b"$5\r\nwrong\r\n".to_vec(),
            _ => b"$0\r\n\r\n".to_vec(),
        })
    });
    let ran = bench(&format!("--port {port} --ratio 1:0 --closed --requests 500 --warmup 0 --verify=10%"));
    assert_eq!(ran.status, 4);
    assert_eq!((ran.number("/reads/verified"), ran.number("/reads/mismatched")), (50.0, 50.0));
}

#[test]
fn broken_connections_are_opened_again() {
    let mut count = 0;
    let port = fake::resp(move |words| {
        count += 1;
        match words[0].as_slice() {
            b"INFO" => Some(b"$0\r\n\r\n".to_vec()),
            _ if count % 500 == 0 => None,
            _ => Some(b"+OK\r\n".to_vec()),
        }
    });
    for io in ["auto", "epoll"] {
        let ran = bench(&format!("--port {port} --ratio 0:1 --closed --requests 3000 --connections 4 --warmup 0 --io {io}"));
        assert_eq!(ran.status, 0);
        let broken = ran.number("/errors/broken_connections");
        assert!(broken >= 4.0, "{broken}");
        assert_eq!(ran.number("/total/ops") + ran.number("/total/errors"), 3_000.0);
        assert_eq!(ran.number("/total/errors"), broken, "one request was on each of them");
    }
}

#[test]
fn a_full_target_is_quoted() {
    // As Redis does beyond maxclients: says so without being asked, and hangs up.
    let mut count = 0;
    let port = fake::resp(move |words| {
        count += 1;
        match words[0].as_slice() {
            b"INFO" => Some(b"$0\r\n\r\n".to_vec()),
            _ if count % 100 == 0 => Some(b"+OK\r\n-ERR max number of clients reached\r\n".to_vec()),
            _ => Some(b"+OK\r\n".to_vec()),
        }
    });
    let ran = bench(&format!("--port {port} --ratio 0:1 --closed --requests 500 --connections 2 --warmup 0"));
    assert!(ran.json["errors"]["samples"].to_string().contains("max number of clients"), "{}", ran.json["errors"]);
    assert!(ran.number("/errors/broken_connections") >= 1.0);
}

#[test]
fn a_server_of_something_else_is_no_target() {
    let port = fake::resp(|_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert_eq!(bench(&format!("--port {port} --requests 10")).status, 1);
}

/// Two nodes that own half the slots each; the first says it owns all until it is asked for what it does not have.
#[test]
fn a_cluster_is_routed_and_redirections_are_followed() {
    let store = Arc::new(Mutex::new(fake::Store::default()));
    let (moved, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let second = {
        let (store, asked) = (store.clone(), asked.clone());
        fake::resp(move |words| {
            if words[0] == b"ASKING" {
                asked.fetch_add(1, Ordering::Relaxed);
                return Some(b"+OK\r\n".to_vec());
            }
            Some(store.lock().unwrap().resp(words))
        })
    };
    let first = {
        let (store, moved) = (store.clone(), moved.clone());
        let mut count = 0;
        fake::resp(move |words| {
            if words[0] == b"CLUSTER" {
                let (host, port) = ("127.0.0.1", PORT.load(Ordering::Relaxed));
                return Some(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len()).into_bytes());
            }
            let key = words.get(1).map(Vec::as_slice).unwrap_or_default();
            if key.starts_with(b"key:") && key.last().is_some_and(|digit| digit % 2 == 1) {
                count += 1;
                moved.fetch_add(1, Ordering::Relaxed);
                // Slot numbers do not matter to the fake, except that each is moved for itself.
                let slot = slot_of(key);
                let verb = if count % 10 == 0 { "ASK" } else { "MOVED" };
                return Some(format!("-{verb} {slot} 127.0.0.1:{second}\r\n").into_bytes());
            }
            Some(store.lock().unwrap().resp(words))
        })
    };
    static PORT: AtomicU64 = AtomicU64::new(0);
    PORT.store(u64::from(first), Ordering::Relaxed);
    let ran = bench(&format!(
        "--port {first} --cluster --load --keys 200 --ratio 1:1 --verify=100% --closed --requests 2000 --warmup 0 --pipeline 4 --connections 4"
    ));
    assert_eq!(ran.status, 0);
    assert_eq!((ran.number("/total/ops"), ran.number("/total/errors")), (2_000.0, 0.0));
    assert_eq!(ran.number("/reads/hits"), ran.number("/operations/get/ops"), "every key was loaded, wherever it lives");
    assert_eq!(ran.number("/reads/mismatched"), 0.0);
    assert_eq!(store.lock().unwrap().values.len(), 200);
    assert!(asked.load(Ordering::Relaxed) > 0);
    // What was moved is learnt: far fewer redirections than requests for those keys.
    assert!(moved.load(Ordering::Relaxed) < 900, "{moved:?} redirections");
}

/// The cluster's slot of a key, by the definition of CRC16-XMODEM.
fn slot_of(key: &[u8]) -> u16 {
    let mut crc = 0u16;
    for &byte in key {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    crc % 16384
}
