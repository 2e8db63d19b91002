//! The reason this generator exists: a target that stalls for 100 ms must look like one.
//!
//! Bounds are one-sided by design, so no slow machine can fail them: the stall covers several percent of the intended
//! starts, which lifts the open loop's p99 and p99.9 to most of 100 ms; it touches only as many requests as there are
//! connections once they were sent, far below one percent, which is why service time and a closed loop do not show it.

use std::time::Duration;

use crate::{bench, fake};

const STALL: Duration = Duration::from_millis(100);

/// A server that stops for [`STALL`] once, at its `at`-th request.
fn stalling(at: u64) -> u16 {
    let mut count = 0;
    fake::resp(move |words| {
        if words[0] == b"INFO" {
            return Some(b"$0\r\n\r\n".to_vec());
        }
        count += 1;
        if count == at {
            std::thread::sleep(STALL);
        }
        Some(b"$-1\r\n".to_vec())
    })
}

const LOAD: &str = "--ratio 1:0 --connections 4 --warmup 0 --spin 0";

#[test]
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    // 100 ms at 2000/s is 200 of 3000 intended starts.
    let open = bench(&format!("--port {} --rate 2000 --duration 1500ms {LOAD}", stalling(1_000)));
    assert_eq!(open.status, 0);
    assert_eq!(open.number("/total/ops"), 3_000.0);
    let response = |percentile: &str| open.number(&format!("/total/response/latency_us/{percentile}"));
    let service = |percentile: &str| open.number(&format!("/total/service/latency_us/{percentile}"));
    assert!(response("p99_9") >= 50_000.0, "p99.9 {}", response("p99_9"));
    assert!(response("p99") >= 50_000.0, "p99 {}", response("p99"));
    assert!(response("max") >= 95_000.0);
    // At most one request per connection was on its way when it stopped: 4 of 3000 are 0.13 %.
    assert!(service("p99") < response("p99"), "service {} response {}", service("p99"), response("p99"));

    let closed = bench(&format!("--port {} --closed --requests 3000 {LOAD}", stalling(1_000)));
    assert_eq!(closed.status, 0);
    assert_eq!(closed.number("/total/ops"), 3_000.0);
    let hidden = closed.number("/total/response/latency_us/p99");
    assert!(hidden < 50_000.0, "the same stall, closed: p99 {hidden}");
    assert!(closed.number("/total/response/latency_us/max") >= 95_000.0, "it did happen");
}

#[test]
fn a_warm_up_leaves_no_debts() {
    // Answers only what follows after a second: everything the warm-up meant to send is still due when measuring begins.
    let began = std::time::Instant::now();
    let port = fake::resp(move |words| {
        if words[0] == b"GET" {
            std::thread::sleep(Duration::from_millis(900).saturating_sub(began.elapsed()));
        }
        Some(b"$-1\r\n".to_vec())
    });
    let ran = bench(&format!("--port {port} --ratio 1:0 --connections 2 --warmup 500ms --rate 1000 --duration 500ms"));
    assert_eq!(ran.number("/total/ops"), 500.0);
    assert_eq!(ran.number("/generator/offered_ops"), 500.0);
}

#[test]
fn epoll_and_poisson_show_it_as_well() {
    let open = bench(&format!("--port {} --rate 2000 --duration 1500ms --io epoll --arrivals poisson --threads 2 {LOAD}", stalling(1_000)));
    assert_eq!(open.json["generator"]["io"], "epoll");
    assert!(open.number("/total/response/latency_us/p99_9") >= 50_000.0);
}

#[test]
fn what_never_comes_back_is_charged_and_told() {
    // Answers a hundred requests and then no more: 900 intended starts wait until the run gives up on them.
    let mut count = 0;
    let port = fake::resp(move |words| {
        if words[0] == b"INFO" {
            return Some(b"$0\r\n\r\n".to_vec());
        }
        count += 1;
        Some(if count <= 100 { b"$-1\r\n".to_vec() } else { Vec::new() })
    });
    let ran = bench(&format!("--port {port} --rate 1000 --duration 1s --drain 100ms --slo p50<20ms {LOAD}"));
    assert_eq!(ran.status, 3, "the rule does not hold");
    assert_eq!(ran.number("/total/ops"), 100.0);
    assert_eq!(ran.number("/total/unfinished"), 900.0);
    assert_eq!(ran.number("/generator/offered_ops"), 1_000.0);
    assert!(ran.number("/total/response/latency_us/p90") >= 100_000.0);
    assert!(ran.json["notes"].to_string().contains("still waiting"));
}
