//! List commands against a deque, on lists of every form: packed, grown, shrunk again, of elements short and long.

use super::script::Session;
use proptest::prelude::*;
use shards::Db;
use std::collections::VecDeque;

type Element = Vec<u8>;

/// Few different ones, so that some are equal; a length says how long, a few bytes to more than a node of a large list.
fn element() -> impl Strategy<Value = Element> {
    let length = prop_oneof![8 => 0..6usize, 3 => 120..140usize, 2 => 500..600usize, 1 => 3000..9000usize];
    (prop::sample::select(vec![b'a', b'b']), length).prop_map(|(letter, length)| vec![letter; length])
}

#[derive(Clone, Debug)]
enum Step {
    Push { head: bool, elements: Vec<Element> },
    Many { head: bool, element: Element, count: usize },
    Pop { head: bool, count: usize },
    Set(i64, Element),
    Insert { before: bool, pivot: Element, element: Element },
    Remove(i64, Element),
    Trim(i64, i64),
    Move { same: bool, from_head: bool, to_head: bool },
    Find { element: Element, rank: i64, count: usize, len_max: usize },
    Range(i64, i64),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let index = || -300i64..300;
    prop_oneof![
        6 => (any::<bool>(), prop::collection::vec(element(), 1..6)).prop_map(|(head, elements)| Step::Push { head, elements }),
        3 => (any::<bool>(), element(), 1..300usize).prop_map(|(head, element, count)| Step::Many { head, element, count }),
        3 => (any::<bool>(), 0..150usize).prop_map(|(head, count)| Step::Pop { head, count }),
        3 => (index(), element()).prop_map(|(index, element)| Step::Set(index, element)),
        3 => (any::<bool>(), element(), element()).prop_map(|(before, pivot, element)| Step::Insert { before, pivot, element }),
        2 => (-3i64..4, element()).prop_map(|(count, element)| Step::Remove(count, element)),
        1 => (0i64..100, -100i64..0).prop_map(|(start, stop)| Step::Trim(start, stop)),
        3 => any::<(bool, bool, bool)>().prop_map(|(same, from_head, to_head)| Step::Move { same, from_head, to_head }),
        2 => (element(), prop::sample::select(vec![-2i64, -1, 1, 3]), 0..3usize, 0..200usize)
            .prop_map(|(element, rank, count, len_max)| Step::Find { element, rank, count, len_max }),
        2 => (index(), index()).prop_map(|(start, stop)| Step::Range(start, stop)),
        1 => Just(Step::Copy),
    ]
}

fn side(head: bool) -> &'static str {
    if head { "LEFT" } else { "RIGHT" }
}

fn bulk(element: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", element.len()).as_bytes(), element, b"\r\n"].concat()
}

fn array<'e>(elements: impl ExactSizeIterator<Item = &'e Element>) -> Vec<u8> {
    let header = format!("*{}\r\n", elements.len()).into_bytes();
    elements.fold(header, |mut reply, element| {
        reply.extend(bulk(element));
        reply
    })
}

fn integer(number: usize) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

const NIL: &[u8] = b"$-1\r\n";

/// Positions `start` to `stop` of so many, as Redis counts them.
fn inside(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let from_head = |index: i64| if index < 0 { index + len as i64 } else { index };
    let (start, end) = (from_head(start).max(0) as usize, (from_head(stop) + 1).clamp(0, len as i64) as usize);
    if start < end { start..end } else { 0..0 }
}

/// Two lists and what they should be.
struct Pair {
    session: Session,
    model: VecDeque<Element>,
    other: VecDeque<Element>,
}

impl Pair {
    fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.session.ask(words)
    }

    fn push(&mut self, head: bool, elements: &[Element]) -> (Vec<u8>, Vec<u8>) {
        for element in elements {
            if head {
                self.model.push_front(element.clone());
            } else {
                self.model.push_back(element.clone());
            }
        }
        let name: &[u8] = if head { b"LPUSH" } else { b"RPUSH" };
        let words: Vec<&[u8]> = [name, b"l"].into_iter().chain(elements.iter().map(|element| &element[..])).collect();
        (self.ask(&words), integer(self.model.len()))
    }

    fn pop(&mut self, head: bool, count: usize) -> (Vec<u8>, Vec<u8>) {
        let was_empty = self.model.is_empty();
        let count_popped = count.min(self.model.len());
        let popped: Vec<Element> =
            (0..count_popped).filter_map(|_| if head { self.model.pop_front() } else { self.model.pop_back() }).collect();
        let wanted = if was_empty { b"*-1\r\n".to_vec() } else { array(popped.iter()) };
        let name: &[u8] = if head { b"LPOP" } else { b"RPOP" };
        (self.ask(&[name, b"l", count.to_string().as_bytes()]), wanted)
    }

    fn remove(&mut self, count: i64, element: &Element) -> (Vec<u8>, Vec<u8>) {
        let mut equal: Vec<usize> = (0..self.model.len()).filter(|index| self.model[*index] == *element).collect();
        if count < 0 {
            equal.reverse();
        }
        equal.truncate(if count == 0 { usize::MAX } else { count.unsigned_abs() as usize });
        equal.sort_unstable();
        for index in equal.iter().rev() {
            self.model.remove(*index);
        }
        (self.ask(&[b"LREM", b"l", count.to_string().as_bytes(), element]), integer(equal.len()))
    }

    fn move_one(&mut self, same: bool, from_head: bool, to_head: bool) -> (Vec<u8>, Vec<u8>) {
        let moved = if from_head { self.model.pop_front() } else { self.model.pop_back() };
        let wanted = moved.as_ref().map_or(NIL.to_vec(), |element| bulk(element));
        if let Some(element) = moved {
            let target = if same { &mut self.model } else { &mut self.other };
            if to_head { target.push_front(element) } else { target.push_back(element) }
        }
        let target: &[u8] = if same { b"l" } else { b"o" };
        (self.ask(&[b"LMOVE", b"l", target, side(from_head).as_bytes(), side(to_head).as_bytes()]), wanted)
    }

    fn find(&mut self, element: &Element, rank: i64, count: usize, len_max: usize) -> (Vec<u8>, Vec<u8>) {
        let mut positions: Vec<usize> = (0..self.model.len()).collect();
        if rank < 0 {
            positions.reverse();
        }
        positions.truncate(if len_max == 0 { usize::MAX } else { len_max });
        positions.retain(|position| self.model[*position] == *element);
        let positions = positions.into_iter().skip(rank.unsigned_abs() as usize - 1);
        let found: Vec<usize> = positions.take(if count == 0 { usize::MAX } else { count }).collect();
        let wanted =
            found.iter().fold(format!("*{}\r\n", found.len()).into_bytes(), |reply, position| [reply, integer(*position)].concat());
        let [rank, count, len_max] = [rank.to_string(), count.to_string(), len_max.to_string()];
        let words = [&b"LPOS"[..], b"l", element, b"RANK", rank.as_bytes(), b"COUNT", count.as_bytes(), b"MAXLEN", len_max.as_bytes()];
        (self.ask(&words), wanted)
    }

    /// What a step is answered, and what it should be.
    fn step(&mut self, step: Step) -> (Vec<u8>, Vec<u8>) {
        match step {
            Step::Push { head, elements } => self.push(head, &elements),
            Step::Many { head, element, count } => self.push(head, &vec![element; count]),
            Step::Pop { head, count } => self.pop(head, count),
            Step::Set(index, element) => {
                let len = self.model.len() as i64;
                let wanted: &[u8] = if len == 0 {
                    b"-ERR no such key\r\n"
                } else if (-len..len).contains(&index) {
                    self.model[index.rem_euclid(len) as usize] = element.clone();
                    b"+OK\r\n"
                } else {
                    b"-ERR index out of range\r\n"
                };
                (self.ask(&[b"LSET", b"l", index.to_string().as_bytes(), &element]), wanted.to_vec())
            }
            Step::Insert { before, pivot, element } => {
                let found = self.model.iter().position(|other| *other == pivot);
                if let Some(index) = found {
                    self.model.insert(index + usize::from(!before), element.clone());
                }
                let wanted = match (self.model.len(), found) {
                    (0, _) => integer(0),
                    (_, None) => b":-1\r\n".to_vec(),
                    (len, Some(_)) => integer(len),
                };
                (self.ask(&[b"LINSERT", b"l", if before { b"BEFORE" } else { b"AFTER" }, &pivot, &element]), wanted)
            }
            Step::Remove(count, element) => self.remove(count, &element),
            Step::Trim(start, stop) => {
                let keep = inside(start, stop, self.model.len());
                self.model.truncate(keep.end);
                self.model.drain(..keep.start);
                (self.ask(&[b"LTRIM", b"l", start.to_string().as_bytes(), stop.to_string().as_bytes()]), b"+OK\r\n".to_vec())
            }
            Step::Move { same, from_head, to_head } => self.move_one(same, from_head, to_head),
            Step::Find { element, rank, count, len_max } => self.find(&element, rank, count, len_max),
            Step::Range(start, stop) => {
                let range = inside(start, stop, self.model.len());
                let wanted = array(self.model.range(range));
                (self.ask(&[b"LRANGE", b"l", start.to_string().as_bytes(), stop.to_string().as_bytes()]), wanted)
            }
            Step::Copy => {
                let copied = !self.model.is_empty();
                if copied {
                    self.other = self.model.clone();
                }
                (self.ask(&[b"COPY", b"l", b"o", b"REPLACE"]), integer(usize::from(copied)))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn lists_are_deques(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair { session: Session::new(), model: VecDeque::new(), other: VecDeque::new() };
        for step in steps {
            let shown = format!("{step:?}");
            let (reply, wanted) = pair.step(step);
            prop_assert!(reply == wanted, "{:.200} got {:.200}, not {:.200}", shown, reply.escape_ascii(), wanted.escape_ascii());
            pair.session.with_shard(|shard, _| shard.check());
        }
        for (key, model) in [("l", &pair.model), ("o", &pair.other)] {
            prop_assert!(pair.session.ask(&["LRANGE", key, "0", "-1"]) == array(model.iter()), "{} is another list", key);
            prop_assert_eq!(pair.session.ask(&["EXISTS", key]), integer(usize::from(!model.is_empty())));
        }
        pair.session.ask(&["FLUSHALL"]);
        let directories = pair.session.with_shard_mut(|shard, now| {
            while shard.tick(now, 100) > 0 || shard.backlog() > 0 {}
            shard.check();
            (shard.len(Db(0)), shard.memory().directories)
        });
        prop_assert_eq!(directories, (0, 0), "lists leave memory behind");
    }
}

/// Elements of one length until a list is not packed any more.
#[track_caller]
fn check_packed(length: usize, packed_max: usize) {
    let mut session = Session::new();
    let element = vec![b'x'; length];
    for count in 1..=packed_max + 1 {
        assert_eq!(session.ask(&[&b"RPUSH"[..], b"l", &element]), integer(count));
        let encoding = session.ask(&["OBJECT", "ENCODING", "l"]);
        assert_eq!(encoding, bulk(if count <= packed_max { b"listpack" } else { b"quicklist" }), "{count} of {length}");
    }
}

#[test]
fn eight_kilobytes_are_packed() {
    check_packed(9, 819);
    check_packed(98, 82);
    check_packed(8192 - 3, 1);
    check_packed(8192 - 2, 0);
}

#[test]
fn a_large_list_is_taken_apart_in_slices() {
    for cut in [&["DEL", "l"][..], &["LTRIM", "l", "5000", "5009"], &["LTRIM", "l", "1", "0"], &["SET", "l", "x"]] {
        let mut session = Session::new();
        let words: Vec<String> = (0..20_000).map(|number| format!("{number:0100}")).collect();
        let push: Vec<&str> = ["RPUSH", "l"].into_iter().chain(words.iter().map(String::as_str)).collect();
        assert_eq!(session.ask(&push), integer(words.len()));
        session.ask(cut);
        session.with_shard_mut(|shard, now| {
            shard.check();
            let before = shard.backlog();
            assert!(before > 19_000, "{cut:?} frees all at once");
            shard.tick(now, 1000);
            let step = before - shard.backlog();
            assert!((1000..1100).contains(&step), "{cut:?}: {step} elements at once");
            while shard.tick(now, 1000) > 0 || shard.backlog() > 0 {}
            shard.check();
        });
        if cut[0] == "LTRIM" && cut[2] == "5000" {
            let kept: Vec<Element> = words[5000..5010].iter().map(|word| word.clone().into_bytes()).collect();
            assert_eq!(session.ask(&["LRANGE", "l", "0", "-1"]), array(kept.iter()));
        }
    }
}
