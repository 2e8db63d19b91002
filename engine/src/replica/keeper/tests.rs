//! One stream out of several cores' pieces, and who is told what.

use super::*;
use netio::ConnId;

const TERMS: Terms = Terms { backlog_bytes: 1000, backlog_ttl_s: 60, ping_s: 10, waiting_bytes_max: 500 };

fn keeper(cores: u16) -> Keeper {
    Keeper::new(cores, "off".to_owned(), MonotonicNs(0), TERMS)
}

fn replica(index: u32) -> ReplicaId {
    ReplicaId { home: CoreId(0), conn: ConnId { index, generation: 0 } }
}

fn wish(index: u32, known: Option<(&str, u64)>) -> Wish {
    Wish {
        id: replica(index),
        address: String::new(),
        port: 0,
        keys_only: false,
        no_keys: false,
        known: known.map(|(name, offset)| (name.to_owned(), offset)),
    }
}

fn chunk(db: u16, bytes: &str) -> Chunk {
    Chunk { first: Db(db), last: Db(db), bytes: bytes.as_bytes().to_vec() }
}

fn says(db: u16, bytes: &str) -> Vec<Piece> {
    vec![Piece::Commands(chunk(db, bytes))]
}

fn everywhere(number: u64, swaps: bool) -> Vec<Piece> {
    vec![Piece::Everywhere { joint: Some(JointId { core: CoreId(0), number }), swaps, chunk: chunk(0, "ALL ") }]
}

/// What each destination is sent, in short words, and what is in the stream of replica 1.
fn drain(keeper: &mut Keeper) -> (String, String) {
    let (mut words, mut stream) = (Vec::new(), Vec::new());
    for core in 0..keeper.core_count {
        while let Some(note) = keeper.next(CoreId(core)) {
            match note {
                Note::Prepare(number) => words.push(format!("{core}:prepare{number}")),
                Note::Go { number, .. } => words.push(format!("{core}:go{number}")),
                Note::Cancel(number) => words.push(format!("{core}:cancel{number}")),
                Note::Off => words.push(format!("{core}:off")),
                Note::Begin { conn, id, offset } => words.push(format!("begin{}:{id}@{offset}", conn.index)),
                Note::Continue { conn, chunks, .. } => {
                    words.push(format!("continue{}:{}", conn.index, String::from_utf8_lossy(&chunks.concat())));
                }
                Note::Stream { conn, bytes } if conn.index == 1 => stream.extend_from_slice(&bytes),
                Note::Stream { .. } => {}
                Note::Drop { conn, .. } => words.push(format!("drop{}", conn.index)),
                Note::Reached { replicas, is_enough, .. } => {
                    words.push(format!("{core}:reached{replicas}{}", if is_enough { "!" } else { "" }))
                }
                other => panic!("the keeper does not say {other:?}"),
            }
        }
    }
    let stream = String::from_utf8(stream).expect("text").replace("*2\r\n$6\r\nSELECT\r\n$1\r\n", "@").replace("\r\n", " ");
    (words.join(" "), stream)
}

/// A keeper whose replica 1 follows.
fn followed(cores: u16) -> Keeper {
    let mut keeper = keeper(cores);
    keeper.take_wish(wish(1, None), "id1".to_owned());
    for core in 0..cores {
        keeper.take_pieces(CoreId(core), vec![Piece::Prepared(1)]);
    }
    for core in 0..cores {
        keeper.take_pieces(CoreId(core), vec![Piece::Walked(1)]);
    }
    keeper.take_ack(replica(1), 0);
    drain(&mut keeper);
    keeper
}

#[test]
fn a_replica_listens_from_when_every_core_says_everything() {
    let mut keeper = keeper(2);
    keeper.take_pieces(CoreId(0), says(0, "nobody "));
    keeper.take_wish(wish(1, None), "id1".to_owned());
    assert_eq!(drain(&mut keeper).0, "0:prepare1 1:prepare1");
    keeper.take_pieces(CoreId(0), vec![Piece::Prepared(1), Piece::Commands(chunk(0, "early"))]);
    keeper.turn(MonotonicNs(1));
    assert_eq!(drain(&mut keeper), (String::new(), String::new()));
    keeper.take_pieces(CoreId(1), vec![Piece::Prepared(1), Piece::Commands(chunk(0, "late "))]);
    keeper.take_pieces(CoreId(0), says(3, "db3 "));
    keeper.turn(MonotonicNs(2));
    // `SELECT 0` and five bytes came before, and are not for it.
    assert_eq!(drain(&mut keeper), ("begin1:id1@28 0:go1 1:go1".to_owned(), "@0 late @3 db3 ".to_owned()));
    // The next one waits until all keys are on their way.
    keeper.take_wish(wish(2, None), "id2".to_owned());
    keeper.take_pieces(CoreId(0), vec![Piece::Walked(1)]);
    assert_eq!(drain(&mut keeper).0, "");
    keeper.take_pieces(CoreId(1), vec![Piece::Walked(1)]);
    assert_eq!(drain(&mut keeper).0, "0:prepare2 1:prepare2");
    assert_eq!(keeper.standing().id, "id1", "it joins the stream that there is");
}

#[test]
fn what_is_said_in_the_turn_in_which_the_last_core_prepares_is_before_the_offset() {
    let mut keeper = keeper(2);
    keeper.take_wish(wish(1, None), "id1".to_owned());
    keeper.take_pieces(CoreId(0), vec![Piece::Prepared(1), Piece::Commands(chunk(0, "early"))]);
    keeper.take_pieces(CoreId(1), vec![Piece::Prepared(1), Piece::Commands(chunk(0, "late "))]);
    keeper.turn(MonotonicNs(1));
    assert_eq!(drain(&mut keeper), ("0:prepare1 begin1:id1@28 0:go1 1:prepare1 1:go1".to_owned(), "@0 late ".to_owned()));
}

#[test]
fn a_command_on_all_keys_stands_where_every_core_has_done_its_part() {
    let mut keeper = followed(3);
    keeper.take_pieces(CoreId(1), says(0, "1before "));
    keeper.take_pieces(CoreId(1), everywhere(1, false));
    keeper.take_pieces(CoreId(1), says(0, "1after "));
    keeper.take_pieces(CoreId(1), everywhere(2, false));
    keeper.take_pieces(CoreId(0), says(0, "0before "));
    keeper.take_pieces(CoreId(0), everywhere(1, false));
    keeper.take_pieces(CoreId(2), says(0, "2before "));
    keeper.take_pieces(CoreId(2), everywhere(1, false));
    keeper.take_pieces(CoreId(2), everywhere(2, false));
    keeper.take_pieces(CoreId(0), says(0, "0between "));
    keeper.take_pieces(CoreId(0), everywhere(2, false));
    keeper.turn(MonotonicNs(1));
    assert_eq!(drain(&mut keeper).1, "@0 1before 0before 2before ALL 1after 0between ALL ");
}

#[test]
fn what_was_missed_is_sent_again_as_long_as_it_is_kept() {
    let mut keeper = followed(1);
    for number in 0..10 {
        keeper.take_pieces(CoreId(0), says(0, &format!("number{number} ")));
        keeper.turn(MonotonicNs(1));
    }
    let (_, stream) = drain(&mut keeper);
    let end = keeper.standing().offset;
    keeper.take_gone(replica(1));
    keeper.take_wish(wish(1, Some(("id1", end - 12))), "id2".to_owned());
    assert_eq!(drain(&mut keeper).0, format!("continue1:{}", &stream[stream.len() - 12..]));
    keeper.take_wish(wish(2, Some(("id1", end))), "id2".to_owned());
    assert_eq!(drain(&mut keeper).0, "continue2:");
    // Another stream's name, and what was never said: all keys are sent.
    keeper.take_wish(wish(3, Some(("other", end))), "id2".to_owned());
    assert_eq!(drain(&mut keeper).0, "0:prepare2");
    keeper.take_wish(wish(5, Some(("id1", end + 1))), "id2".to_owned());
    assert_eq!((drain(&mut keeper).0.as_str(), keeper.standing().counts.partial_refused), ("", 2));
    for _ in 0..100 {
        keeper.take_pieces(CoreId(0), says(0, "more than is kept "));
        keeper.turn(MonotonicNs(1));
        drain(&mut keeper);
    }
    assert!(keeper.memory_bytes() < 2 * TERMS.backlog_bytes);
    keeper.take_wish(wish(4, Some(("id1", end))), "id2".to_owned());
    assert_eq!(keeper.standing().counts.partial_refused, 3);
}

#[test]
fn who_waits_is_told_when_replicas_have_what_was_said_before() {
    let mut keeper = followed(2);
    let ticket = Ticket { conn: ConnId { index: 9, generation: 0 }, sequence: 0 };
    keeper.take_pieces(CoreId(0), vec![Piece::Commands(chunk(0, "written ")), Piece::Mark(CoreId(1), ticket)]);
    keeper.take_wait(CoreId(1), ticket, 1);
    keeper.take_ack(replica(1), 1000);
    assert_eq!(drain(&mut keeper).0, "", "the other core has not said that it has said all");
    keeper.take_pieces(CoreId(1), vec![Piece::Mark(CoreId(1), ticket)]);
    keeper.turn(MonotonicNs(1));
    let (words, stream) = drain(&mut keeper);
    assert_eq!(words, "1:reached1!", "what a replica says it has is at most what there is: {stream}");
    keeper.take_wait(CoreId(1), ticket, 2);
    keeper.take_pieces(CoreId(0), says(0, "more "));
    for core in 0..2 {
        keeper.take_pieces(CoreId(core), vec![Piece::Mark(CoreId(1), ticket)]);
    }
    keeper.turn(MonotonicNs(1));
    let (words, stream) = drain(&mut keeper);
    assert!(words.is_empty() && stream.ends_with("GETACK $1 * "), "{words} {stream}");
    keeper.take_ack(replica(1), keeper.standing().offset);
    assert_eq!(drain(&mut keeper).0, "1:reached1");
    keeper.take_unwait(CoreId(1), ticket);
    assert!(keeper.waiters.is_empty());
}

#[test]
fn a_gap_ends_the_stream_and_its_name_with_it() {
    let mut keeper = followed(2);
    let offset = keeper.standing().offset;
    keeper.take_pieces(CoreId(1), vec![Piece::Broken("a test")]);
    assert_eq!(drain(&mut keeper).0, "0:off drop1 1:off");
    keeper.take_wish(wish(1, Some(("id1", offset))), "id2".to_owned());
    assert_eq!(drain(&mut keeper).0, "0:prepare2 1:prepare2");
    assert_eq!(keeper.standing().id, "id2");
}

#[test]
fn databases_that_are_exchanged_end_a_synchronisation_and_no_other_follower() {
    let mut keeper = followed(1);
    keeper.take_wish(wish(2, None), String::new());
    keeper.take_pieces(CoreId(0), vec![Piece::Prepared(2)]);
    drain(&mut keeper);
    keeper.take_pieces(CoreId(0), everywhere(1, true));
    keeper.turn(MonotonicNs(1));
    let (words, stream) = drain(&mut keeper);
    assert_eq!((words.as_str(), stream.as_str()), ("drop2 0:cancel2", "@0 ALL "));
}

#[test]
fn a_replica_whose_core_takes_nothing_is_let_go_and_a_lonely_backlog_too() {
    let mut keeper = followed(1);
    for _ in 0..4 {
        keeper.take_pieces(CoreId(0), says(0, &"x".repeat(150)));
        keeper.turn(MonotonicNs(1));
    }
    assert!(drain(&mut keeper).0.contains("drop1"));
    keeper.round(MonotonicNs(59_000_000_000));
    assert_eq!(drain(&mut keeper).0, "");
    keeper.round(MonotonicNs(61_000_000_000));
    assert_eq!(drain(&mut keeper).0, "0:off");
    assert!(!keeper.standing().is_kept);
}
