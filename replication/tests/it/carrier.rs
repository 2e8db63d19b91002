use replication::carrier::{Carrier, Failure, INBOX_MESSAGES_MAX};
use std::sync::mpsc;

/// glommio needs io_uring; where a machine refuses it, the refusal must be an error and not a hang.
fn start(carry: impl FnMut(u64) + Send + 'static) -> Carrier<u64> {
    Carrier::start(carry).expect("a thread can be started")
}

fn refused(failure: &Failure) -> bool {
    matches!(failure, Failure::Executor(why) if !why.is_empty())
}

#[test]
fn everything_handed_over_before_the_stop_is_carried_in_order() {
    let (seen, carried) = mpsc::channel();
    let carrier = start(move |message| seen.send(message).expect("the test listens"));
    for message in 0..10 * INBOX_MESSAGES_MAX as u64 {
        if carrier.hand(message).is_err() {
            break;
        }
    }
    match carrier.stop() {
        Ok(()) => assert!(carried.iter().eq(0..10 * INBOX_MESSAGES_MAX as u64)),
        Err(failure) => assert!(refused(&failure), "{failure}"),
    }
}

#[test]
fn a_full_inbox_gives_the_message_back() {
    let (release, gate) = mpsc::channel::<()>();
    let carrier = start(move |_| {
        let _ = gate.recv();
    });
    let mut accepted = 0_u64;
    while accepted < 2 * INBOX_MESSAGES_MAX as u64 && carrier.offer(accepted).is_ok() {
        accepted += 1;
    }
    assert!(accepted <= INBOX_MESSAGES_MAX as u64 + 1, "one is being carried, the rest waits");
    assert!(accepted >= INBOX_MESSAGES_MAX as u64 || carrier.offer(0).is_err());
    drop(release);
    if let Err(failure) = carrier.stop() {
        assert!(refused(&failure), "{failure}");
    }
}
