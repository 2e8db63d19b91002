//! The cases. Each takes a world, opens a kernel in it, and states one promise of the trait.

use crate::world::{Seen, World, one_connection, pattern, read_exactly, send_all, take, turn_until};
use netio::{ConnId, Event, Kernel, Listen, Options, Sent, Wait, Wake};
use std::collections::HashMap;

pub(crate) fn echoes_in_order<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, _) = one_connection(&mut world, &mut kernel);
    let sent = pattern(300_000);
    let (mut written, mut echoed) = (0, Vec::new());
    turn_until(&mut world, &mut kernel, "echo", |world, kernel, event| {
        match event {
            Some(Event::Received { conn: from, buffer }) => {
                assert_eq!(from, conn);
                let bytes = take(kernel, buffer);
                // The client reads all the time, so a socket that is full now has room in a moment.
                let mut from = 0;
                while from < bytes.len() {
                    match kernel.send(conn, &bytes[from..]) {
                        Sent::All => from = bytes.len(),
                        Sent::Part { taken_bytes } => from += taken_bytes,
                        Sent::Gone => panic!("the client is there"),
                    }
                    if let Seen::Bytes(more) = world.read(&mut client) {
                        echoed.extend(more);
                    }
                    world.pass();
                }
            }
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                let end = sent.len().min(written + 7_001);
                written += world.write(&mut client, &sent[written..end]);
                if let Seen::Bytes(more) = world.read(&mut client) {
                    echoed.extend(more);
                }
            }
        }
        echoed.len() == sent.len()
    });
    assert_eq!(echoed, sent);
    assert_eq!(kernel.local_addr(conn).is_some(), kernel.peer_addr(conn).is_some());
}

/// Sends until the socket is full and hands over the rest of a large reply.
fn flood<K: Kernel>(kernel: &mut K, conn: ConnId, reply: Vec<u8>) {
    let mut from = 0;
    loop {
        match kernel.send(conn, &reply[from..]) {
            Sent::Part { taken_bytes } => from += taken_bytes,
            other => panic!("a reply of {} bytes must fill any socket, not {other:?}", reply.len()),
        }
        // A part may have ended at a moment's full queue; nothing taken means full.
        if matches!(kernel.send(conn, &reply[from..from + 1]), Sent::Part { taken_bytes: 0 }) {
            return kernel.send_rest(conn, reply, from);
        }
        from += 1;
    }
}

pub(crate) fn big_rests_leave_whole<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, _) = one_connection(&mut world, &mut kernel);
    let reply = pattern(W::FLOOD_BYTES);
    let memory_before = kernel.memory_bytes();
    flood(&mut kernel, conn, reply.clone());
    assert!(kernel.memory_bytes() >= memory_before + reply.len(), "rests are counted");
    let (mut seen, mut returned) = (Vec::new(), false);
    turn_until(&mut world, &mut kernel, "the rest leaves", |world, kernel, event| {
        match event {
            Some(Event::SentRest { conn: to, bytes, result }) => {
                assert_eq!((to, result), (conn, Ok(())));
                assert_eq!(bytes.capacity(), reply.capacity());
                assert!(kernel.memory_bytes() < memory_before + reply.len() / 2, "counted no longer");
                returned = true;
            }
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                for _ in 0..16 {
                    if let Seen::Bytes(more) = world.read(&mut client) {
                        seen.extend(more);
                    }
                }
            }
        }
        returned && seen.len() >= reply.len()
    });
    assert!(seen == reply, "the bytes are not those that were sent");
    // Free for the next direct send.
    send_all(&mut kernel, conn, b"next");
    assert_eq!(read_exactly(&mut world, &mut kernel, &mut client, 4), b"next");
    // A rest of nothing is complete at once.
    kernel.send_rest(conn, Vec::with_capacity(8), 0);
    turn_until(&mut world, &mut kernel, "the empty rest", |_, _, event| matches!(event, Some(Event::SentRest { result: Ok(()), .. })));
}

pub(crate) fn paused_connections_push_back<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, _) = one_connection(&mut world, &mut kernel);
    kernel.pause_receive(conn);
    let sent = pattern(W::FLOOD_BYTES);
    let (mut written, mut received, mut stalled) = (0, Vec::new(), 0);
    turn_until(&mut world, &mut kernel, "the peer feels it", |world, kernel, event| {
        match event {
            Some(Event::Received { buffer, .. }) => received.extend(take(kernel, buffer)),
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                let taken = world.write(&mut client, &sent[written..]);
                written += taken;
                stalled = if taken == 0 { stalled + 1 } else { 0 };
            }
        }
        stalled > 20
    });
    assert!(written < sent.len(), "a paused connection took everything");
    let received_paused = received.len();
    assert!(received_paused < sent.len() / 2);
    kernel.resume_receive(conn);
    turn_until(&mut world, &mut kernel, "all arrives", |world, kernel, event| {
        match event {
            Some(Event::Received { buffer, .. }) => received.extend(take(kernel, buffer)),
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                if written < sent.len() {
                    written += world.write(&mut client, &sent[written..]);
                }
            }
        }
        received.len() == sent.len()
    });
    assert!(received == sent, "the bytes are not those that were sent");
    // Back and forth within one turn leaves it receiving.
    kernel.pause_receive(conn);
    kernel.resume_receive(conn);
    kernel.pause_receive(conn);
    kernel.resume_receive(conn);
    assert_eq!(world.write(&mut client, b"again"), 5);
    let mut again = Vec::new();
    turn_until(&mut world, &mut kernel, "receives again", |_, kernel, event| {
        if let Some(Event::Received { buffer, .. }) = event {
            again.extend(take(kernel, buffer));
        }
        again == b"again"
    });
}

pub(crate) fn close_returns_the_rest<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, _) = one_connection(&mut world, &mut kernel);
    let memory_before = kernel.memory_bytes();
    flood(&mut kernel, conn, pattern(W::FLOOD_BYTES));
    let mut events = Vec::new();
    kernel.turn(Wait::Poll, &mut events).unwrap();
    assert!(events.is_empty(), "unexpected {events:?}");
    kernel.close(conn);
    turn_until(&mut world, &mut kernel, "the rest comes back", |_, _, event| match event {
        Some(Event::SentRest { conn: of, bytes, result }) => {
            assert_eq!(of, conn);
            assert!(bytes.capacity() >= W::FLOOD_BYTES);
            assert!(result.is_err());
            true
        }
        Some(other) => panic!("unexpected {other:?}"),
        None => false,
    });
    assert!(kernel.memory_bytes() < memory_before + 4096, "the rest is counted no longer");
    // What the socket had taken still arrives, then the end.
    let mut seen = 0;
    turn_until(&mut world, &mut kernel, "the client sees the end", |world, _, event| {
        assert!(event.is_none(), "unexpected {event:?}");
        loop {
            match world.read(&mut client) {
                Seen::Bytes(more) => seen += more.len(),
                Seen::Nothing => return false,
                Seen::End => return true,
            }
        }
    });
    assert!(seen < W::FLOOD_BYTES);
    // A rest for a dead name comes straight back.
    kernel.send_rest(conn, vec![1, 2, 3], 1);
    turn_until(
        &mut world,
        &mut kernel,
        "the late rest",
        |_, _, event| matches!(event, Some(Event::SentRest { bytes, result: Err(_), .. }) if bytes.capacity() >= 3),
    );
}

pub(crate) fn close_ends_the_peer_and_the_name<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, listener) = one_connection(&mut world, &mut kernel);
    send_all(&mut kernel, conn, b"bye");
    kernel.close(conn);
    kernel.close(conn);
    assert_eq!(kernel.send(conn, b"late"), Sent::Gone);
    kernel.pause_receive(conn);
    kernel.resume_receive(conn);
    assert_eq!(kernel.peer_addr(conn), None);
    assert_eq!(kernel.descriptor(conn), -1);
    let mut seen = Vec::new();
    turn_until(&mut world, &mut kernel, "the client sees the end", |world, _, event| {
        assert!(event.is_none(), "unexpected {event:?}");
        match world.read(&mut client) {
            Seen::Bytes(more) => seen.extend(more),
            Seen::Nothing => {}
            Seen::End => return true,
        }
        false
    });
    assert_eq!(seen, b"bye");
    // The index may be used again, the name is not.
    let to = kernel.listener_addr(listener).unwrap();
    let _second = world.connect(to);
    turn_until(&mut world, &mut kernel, "accept again", |_, _, event| match event {
        Some(Event::Accepted { conn: new, .. }) => {
            assert_ne!(new, conn);
            true
        }
        Some(other) => panic!("unexpected {other:?}"),
        None => false,
    });
    assert_eq!(kernel.send(conn, b"late"), Sent::Gone);
}

pub(crate) fn half_closed_peers_get_their_answer<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, _) = one_connection(&mut world, &mut kernel);
    assert_eq!(world.write(&mut client, b"last words"), 10);
    world.finish(&mut client);
    let (mut received, mut ends) = (Vec::new(), 0);
    turn_until(&mut world, &mut kernel, "the end arrives", |_, kernel, event| {
        match event {
            Some(Event::Received { buffer, .. }) => {
                assert_eq!(ends, 0, "bytes after the end");
                received.extend(take(kernel, buffer));
            }
            Some(Event::Ended { conn: of, error }) => {
                assert_eq!((of, error), (conn, None));
                ends += 1;
            }
            Some(other) => panic!("unexpected {other:?}"),
            None => {}
        }
        ends > 0
    });
    assert_eq!(received, b"last words");
    send_all(&mut kernel, conn, b"answer");
    // The end is told once, whatever the core asks for afterwards.
    kernel.resume_receive(conn);
    assert_eq!(read_exactly(&mut world, &mut kernel, &mut client, 6), b"answer");
    kernel.close(conn);
    turn_until(&mut world, &mut kernel, "closed", |world, _, event| {
        assert!(event.is_none(), "unexpected {event:?}");
        world.read(&mut client) == Seen::End
    });
}

pub(crate) fn many_connections<W: World>(mut world: W) {
    const CLIENTS: usize = 200;
    let mut kernel = world.open(Options {
        // Fewer buffers than connections that speak at once.
        receive_buffers: 16,
        receive_buffer_bytes: 4096,
        ..Options::default()
    });
    let at = world.address();
    let listener = kernel.listen(&Listen::Tcp(at)).unwrap();
    let to = kernel.listener_addr(listener).unwrap();
    // Three generations over the same slots.
    for round in 0..3 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| world.connect(to)).collect();
        let mut said: HashMap<ConnId, Vec<u8>> = HashMap::new();
        let mut answers = vec![Vec::new(); CLIENTS];
        let mut written = vec![0; CLIENTS];
        let word = |client: usize| format!("client {client} in round {round};").into_bytes();
        turn_until(&mut world, &mut kernel, "everybody is answered", |world, kernel, event| {
            match event {
                Some(Event::Accepted { conn, .. }) => assert!(said.insert(conn, Vec::new()).is_none()),
                Some(Event::Received { conn, buffer }) => {
                    let bytes = take(kernel, buffer);
                    send_all(kernel, conn, &bytes);
                    said.get_mut(&conn).expect("accepted before it spoke").extend(bytes);
                }
                Some(other) => panic!("unexpected {other:?}"),
                None => {
                    for (at, client) in clients.iter_mut().enumerate() {
                        let word = word(at);
                        if written[at] < word.len() {
                            written[at] += world.write(client, &word[written[at]..]);
                        }
                        if let Seen::Bytes(more) = world.read(client) {
                            answers[at].extend(more);
                        }
                    }
                }
            }
            answers.iter().enumerate().all(|(at, answer)| answer.len() == word(at).len())
        });
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(*answer, word(at));
        }
        assert_eq!(said.len(), CLIENTS);
        let indices: Vec<u32> = said.keys().map(|conn| conn.index).collect();
        assert!(indices.iter().all(|index| (*index as usize) < 2 * CLIENTS), "indices stay dense");
        clients.drain(..).for_each(|client| world.vanish(client));
        let mut ended = 0;
        turn_until(&mut world, &mut kernel, "everybody left", |_, kernel, event| {
            if let Some(Event::Ended { conn, .. }) = event {
                kernel.close(conn);
                ended += 1;
            }
            ended == CLIENTS
        });
    }
}

pub(crate) fn empty_pool_stops_receiving_until_release<W: World>(mut world: W) {
    const BUFFERS: u16 = 4;
    let mut kernel = world.open(Options { receive_buffers: BUFFERS, receive_buffer_bytes: 1024, ..Options::default() });
    let (mut client, _, listener) = one_connection(&mut world, &mut kernel);
    let to = kernel.listener_addr(listener).unwrap();
    let mut second = world.connect(to);
    let sent = pattern(64 * 1024);
    let (mut written, mut second_written) = (0, 0);
    let mut held = Vec::new();
    let mut quiet = 0;
    turn_until(&mut world, &mut kernel, "the pool is empty", |world, kernel, event| {
        match event {
            Some(Event::Received { conn, buffer }) => {
                quiet = 0;
                assert!(kernel.bytes(buffer).len() <= 1024);
                held.push((conn, buffer));
            }
            Some(Event::Accepted { .. }) => {}
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                quiet += 1;
                written += world.write(&mut client, &sent[written..]);
                if second_written < 6 {
                    second_written += world.write(&mut second, &b"second"[second_written..]);
                }
            }
        }
        held.len() == usize::from(BUFFERS) && quiet > 20
    });
    // From here on every buffer comes back at once, and everything arrives, in order.
    let mut received: HashMap<ConnId, Vec<u8>> = HashMap::new();
    for (conn, buffer) in held {
        received.entry(conn).or_default().extend(take(&mut kernel, buffer));
    }
    turn_until(&mut world, &mut kernel, "all arrives", |world, kernel, event| {
        match event {
            Some(Event::Received { conn, buffer }) => received.entry(conn).or_default().extend(take(kernel, buffer)),
            Some(Event::Accepted { .. }) => {}
            Some(other) => panic!("unexpected {other:?}"),
            None => {
                if written < sent.len() {
                    written += world.write(&mut client, &sent[written..]);
                }
                if second_written < 6 {
                    second_written += world.write(&mut second, &b"second"[second_written..]);
                }
            }
        }
        received.values().map(Vec::len).sum::<usize>() == sent.len() + 6
    });
    let mut streams: Vec<_> = received.into_values().collect();
    streams.sort_by_key(Vec::len);
    assert!(streams[0] == b"second" && streams[1] == sent);
}

pub(crate) fn wakes_arrive<W: World>(mut world: W) {
    let mut sleeper = world.open(Options::default());
    let mut other = world.open(Options::default());
    let waker = sleeper.waker();
    let wait_for_wake = |world: &mut W, kernel: &mut W::Kernel| {
        turn_until(world, kernel, "woken", |_, _, event| match event {
            Some(Event::Woken) => true,
            Some(other) => panic!("unexpected {other:?}"),
            None => false,
        });
    };
    for _ in 0..3 {
        // From any thread.
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
        });
        wait_for_wake(&mut world, &mut sleeper);
        // From another core; it leaves with that core's next turn.
        other.wake(&waker);
        other.turn(Wait::Poll, &mut Vec::new()).unwrap();
        wait_for_wake(&mut world, &mut sleeper);
        // From itself.
        sleeper.wake(&waker);
        wait_for_wake(&mut world, &mut sleeper);
    }
    // Many at once are at least one, and not endless, even more than any queue between the two holds.
    for _ in 0..10_000 {
        waker.wake();
    }
    wait_for_wake(&mut world, &mut sleeper);
    for _ in 0..10_000 {
        other.wake(&waker);
    }
    let mut events = Vec::new();
    other.turn(Wait::Poll, &mut events).unwrap();
    assert!(events.is_empty(), "unexpected {events:?}");
    wait_for_wake(&mut world, &mut sleeper);
    let mut quiet_turns = 0;
    for _ in 0..crate::world::TURNS_MAX {
        sleeper.turn(Wait::Poll, &mut events).unwrap();
        quiet_turns = if events.is_empty() { quiet_turns + 1 } else { 0 };
        events.clear();
        if quiet_turns > 10 {
            break;
        }
        world.pass();
    }
    assert!(quiet_turns > 10, "still ringing");
    // A core that is gone is woken in vain, harmlessly.
    drop(sleeper);
    waker.wake();
    other.wake(&waker);
    other.turn(Wait::Poll, &mut Vec::new()).unwrap();
}

pub(crate) fn peers_that_vanish_are_ended_or_gone<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (client, conn, listener) = one_connection(&mut world, &mut kernel);
    // It leaves while a rest is under way and unread bytes lie in its socket: a reset.
    flood(&mut kernel, conn, pattern(W::FLOOD_BYTES));
    world.vanish(client);
    let (mut returned, mut ended) = (None, false);
    turn_until(&mut world, &mut kernel, "rest and end", |_, _, event| {
        match event {
            Some(Event::SentRest { result, .. }) => returned = Some(result),
            Some(Event::Ended { .. }) => ended = true,
            Some(other) => panic!("unexpected {other:?}"),
            None => {}
        }
        returned.is_some() && ended
    });
    assert!(returned.is_some_and(|result| result.is_err()));
    turn_until(&mut world, &mut kernel, "sending fails", |_, kernel, event| {
        assert!(event.is_none(), "unexpected {event:?}");
        kernel.send(conn, b"anyone?") == Sent::Gone
    });
    kernel.close(conn);
    // A paused connection whose peer vanished must not make turns busy, and is ended when resumed.
    let to = kernel.listener_addr(listener).unwrap();
    let client = world.connect(to);
    let mut paused = None;
    turn_until(&mut world, &mut kernel, "accept", |_, kernel, event| {
        if let Some(Event::Accepted { conn, .. }) = event {
            kernel.pause_receive(conn);
            paused = Some(conn);
        }
        paused.is_some()
    });
    let paused = paused.unwrap();
    let mut events = Vec::new();
    for _ in 0..3 {
        kernel.turn(Wait::Poll, &mut events).unwrap();
        world.pass();
    }
    send_all(&mut kernel, paused, &[0; 10_000]);
    world.vanish(client);
    for _ in 0..20 {
        kernel.turn(Wait::Poll, &mut events).unwrap();
        world.pass();
    }
    assert!(events.len() <= 1, "told again and again: {events:?}");
    let mut ended = events.iter().any(|event| matches!(event, Event::Ended { .. }));
    kernel.resume_receive(paused);
    turn_until(&mut world, &mut kernel, "ended when resumed", |_, _, event| {
        ended |= matches!(event, Some(Event::Ended { conn, .. }) if conn == paused);
        ended
    });
    kernel.close(paused);
}

pub(crate) fn stops_listening_and_keeps_connections<W: World>(mut world: W) {
    let mut kernel = world.open(Options::default());
    let (mut client, conn, listener) = one_connection(&mut world, &mut kernel);
    let at = kernel.listener_addr(listener).unwrap();
    kernel.stop_listening();
    kernel.stop_listening();
    let mut events = Vec::new();
    for _ in 0..5 {
        kernel.turn(Wait::Poll, &mut events).unwrap();
        world.pass();
    }
    assert!(events.is_empty(), "unexpected {events:?}");
    send_all(&mut kernel, conn, b"still here");
    assert_eq!(read_exactly(&mut world, &mut kernel, &mut client, 10), b"still here");
    // The port is free again, for this kernel and for others.
    let mut other = world.open(Options::default());
    let listener = other.listen(&Listen::Tcp(at)).unwrap();
    assert_eq!(other.listener_addr(listener), Some(at));
    let _client = world.connect(at);
    turn_until(&mut world, &mut other, "accepted by the other", |_, _, event| matches!(event, Some(Event::Accepted { .. })));
}

pub(crate) fn events_of_a_turn_are_bounded<W: World>(mut world: W) {
    let mut kernel = world.open(Options { events_per_turn_max: 8, ..Options::default() });
    let at = world.address();
    let listener = kernel.listen(&Listen::Tcp(at)).unwrap();
    let to = kernel.listener_addr(listener).unwrap();
    let mut clients: Vec<_> = (0..40).map(|_| world.connect(to)).collect();
    for client in &mut clients {
        assert_eq!(world.write(client, b"hello"), 5);
    }
    let (mut accepted, mut heard) = (0, HashMap::new());
    let mut events = Vec::new();
    for _ in 0..crate::world::TURNS_MAX {
        kernel.turn(Wait::AtMost(std::time::Duration::from_millis(2)), &mut events).unwrap();
        assert!(events.len() <= 8, "{} events in one turn", events.len());
        for event in events.drain(..) {
            match event {
                Event::Accepted { .. } => accepted += 1,
                Event::Received { conn, buffer } => *heard.entry(conn).or_insert(0) += take(&mut kernel, buffer).len(),
                other => panic!("unexpected {other:?}"),
            }
        }
        if accepted == 40 && heard.len() == 40 && heard.values().all(|bytes| *bytes == 5) {
            return;
        }
        world.pass();
    }
    panic!("stuck: {accepted} accepted, {} heard", heard.len());
}
