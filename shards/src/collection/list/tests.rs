//! Lists against a deque, in both forms, and the memory they keep.

use super::node::NODE_BYTES;
use super::packed::PackedList;
use super::*;
use crate::collection::pack::Pack;
use crate::record::Kind;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push(bool, Vec<u8>, usize),
    Pop(bool, usize),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>, usize),
    Remove(Vec<u8>, usize, bool),
    Trim(usize, usize),
}

/// Lengths around every edge: of a varint, of what gets a node of its own, of a node.
fn element() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![10 => 0..4usize, 3 => 125..131usize, 3 => 505..520usize, 2 => 1000..4200usize, 1 => 16_380..16_390usize];
    (length, prop::sample::select(vec![1u8, 2])).prop_map(|(length, byte)| vec![byte; length])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), element(), 1..60usize).prop_map(|(head, element, times)| Step::Push(head, element, times)),
        3 => (any::<bool>(), 1..200usize).prop_map(|(head, times)| Step::Pop(head, times)),
        4 => (any::<usize>(), element()).prop_map(|(index, element)| Step::Set(index, element)),
        4 => (any::<usize>(), element(), 1..30usize).prop_map(|(index, element, times)| Step::Insert(index, element, times)),
        2 => (element(), 1..40usize, any::<bool>()).prop_map(|(element, most, head)| Step::Remove(element, most, head)),
        1 => (0..80usize, 0..80usize).prop_map(|(head, tail)| Step::Trim(head, tail)),
    ]
}

fn end(head: bool) -> End {
    if head { End::Head } else { End::Tail }
}

fn apply(list: &mut List, heap: &mut Heap, model: &mut VecDeque<Vec<u8>>, step: Step) {
    match step {
        Step::Push(head, element, times) => {
            for _ in 0..times {
                list.push(heap, end(head), &element);
                if head { model.push_front(element.clone()) } else { model.push_back(element.clone()) }
            }
        }
        Step::Pop(head, times) => {
            for _ in 0..times {
                let mut popped = None;
                let was_there = list.pop(heap, end(head), |element| popped = Some(element.to_vec()));
                assert_eq!(was_there, popped.is_some());
                assert_eq!(popped, if head { model.pop_front() } else { model.pop_back() });
            }
        }
        Step::Set(index, element) if !model.is_empty() => {
            let index = index % model.len();
            list.set(heap, index, &element);
            model[index] = element;
        }
        Step::Set(..) => {}
        Step::Insert(index, element, times) => {
            let index = index % (model.len() + 1);
            for _ in 0..times {
                list.insert(heap, index, &element);
                model.insert(index, element.clone());
            }
        }
        Step::Remove(element, most, head) => {
            let mut going: Vec<usize> = (0..model.len()).filter(|index| model[*index] == element).collect();
            if !head {
                going.reverse();
            }
            going.truncate(most);
            assert_eq!(list.remove_equal(heap, &element, most, end(head)), going.len());
            going.sort_unstable();
            for index in going.into_iter().rev() {
                model.remove(index);
            }
        }
        Step::Trim(head, tail) => {
            let (start, stop) = (head.min(model.len()), model.len().saturating_sub(tail));
            let keep = start..stop.max(start);
            if let Some(mut cut) = list.trim(heap, keep.clone()) {
                cut.check();
                while cut.free_some(heap, 100) > 0 {}
            }
            model.truncate(keep.end);
            model.drain(..keep.start);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_list_is_a_deque(steps in prop::collection::vec(step(), 1..50), looks in prop::collection::vec(any::<usize>(), 8)) {
        let (mut heap, mut list, mut model) = (Heap::new(), List::default(), VecDeque::new());
        for step in steps {
            apply(&mut list, &mut heap, &mut model, step);
            list.check();
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.bytes(), heap.bytes_directories());
            for look in &looks {
                let index = look % (model.len() + 2);
                prop_assert!(list.walk(index, End::Tail).take(20).eq(model.iter().skip(index).take(20)), "forwards from {}", index);
                let behind = model.iter().take(index + 1).rev().take(if index < model.len() { 20 } else { 0 });
                prop_assert!(list.walk(index, End::Head).take(20).eq(behind), "backwards from {}", index);
            }
        }
        prop_assert!(list.walk(0, End::Tail).eq(model.iter()));
        while list.free_some(&mut heap, 7) > 0 {}
        prop_assert_eq!((list.len(), heap.bytes_directories()), (0, 0));
    }
}

/// What a list of `count` elements of so many bytes takes, made by `make`.
fn bytes_of(count: usize, bytes: usize, make: impl Fn(&mut List, &mut Heap, &[u8])) -> usize {
    let (mut heap, mut list) = (Heap::new(), List::default());
    for _ in 0..count {
        make(&mut list, &mut heap, &vec![b'x'; bytes]);
    }
    list.check();
    assert_eq!(list.len(), count);
    list.bytes()
}

#[test]
fn elements_of_any_length_waste_little() {
    for bytes in [1, 10, 100, 300, 500, 600, 1500, 2100, 3000, 4000, 5000, 100_000] {
        let count = 4 << 20 >> usize::ilog2(bytes);
        let payload = count * (bytes + 2);
        for head in [true, false] {
            let taken = bytes_of(count, bytes, |list, heap, element| list.push(heap, end(head), element));
            assert!(taken * 4 < payload * 5, "{count} elements of {bytes} bytes take {taken}");
        }
    }
}

#[test]
fn many_small_changes_in_the_middle_leave_no_small_nodes() {
    let inserted = bytes_of(20_000, 10, |list, heap, element| {
        let (index, long) = (list.len().min(2), [b'y'; NODE_BYTES]);
        match list.len() {
            0 | 1 => list.push(heap, End::Tail, &long),
            _ => list.insert(heap, index - 1, element),
        }
    });
    assert!(inserted < 20_000 * 12 * 2 + 3 * NODE_BYTES, "{inserted}");
    let (mut heap, mut list) = (Heap::new(), List::default());
    for number in 0..100_000u32 {
        list.push(&mut heap, End::Tail, &[b'a' + u8::from(number % 50 > 0)]);
    }
    assert_eq!(list.remove_equal(&mut heap, b"b", usize::MAX, End::Head), 98_000);
    list.check();
    assert!(list.nodes.len() < 10, "{} nodes", list.nodes.len());
    assert!(list.bytes() < 2000 * 3 * 4, "{} bytes", list.bytes());
}

/// A queue and a stack: nothing is moved but nodes' beginnings and ends.
#[test]
fn what_goes_through_leaves_nothing_behind() {
    for (push, pop) in [(End::Head, End::Tail), (End::Tail, End::Head), (End::Tail, End::Tail), (End::Head, End::Head)] {
        let (mut heap, mut list) = (Heap::new(), List::default());
        for number in 0..50_000u32 {
            list.push(&mut heap, push, &number.to_le_bytes());
        }
        let full = list.bytes();
        for number in 0..50_000u32 {
            list.push(&mut heap, push, &number.to_le_bytes());
            assert!(list.pop(&mut heap, pop, |_| {}));
        }
        assert!(list.bytes() <= full + 2 * NODE_BYTES, "{} after {full}", list.bytes());
        while list.pop(&mut heap, pop, |_| {}) {}
        list.check();
        assert!(list.bytes() <= NODE_BYTES, "{} bytes of nothing", list.bytes());
    }
}

/// Around the length at which the count in front takes a second byte.
#[derive(Clone, Debug)]
enum PackedStep {
    Push(bool, usize),
    Pop(bool, usize),
    Replace(usize, bool, usize),
    Remove(usize, bool),
    Trim(usize, usize),
}

fn packed_step() -> impl Strategy<Value = PackedStep> {
    prop_oneof![
        3 => (any::<bool>(), 1..5usize).prop_map(|(head, count)| PackedStep::Push(head, count)),
        2 => (any::<bool>(), 0..5usize).prop_map(|(head, count)| PackedStep::Pop(head, count)),
        4 => (0..128usize, any::<bool>(), 0..3usize).prop_map(|(index, is_new, length)| PackedStep::Replace(index, is_new, length)),
        1 => (1..3usize, any::<bool>()).prop_map(|(most, head)| PackedStep::Remove(most, head)),
        1 => (0..2usize, 0..2usize).prop_map(|(head, tail)| PackedStep::Trim(head, tail)),
    ]
}

proptest! {
    #[test]
    fn a_packed_list_is_a_deque(first in 120..130usize, steps in prop::collection::vec(packed_step(), 1..30)) {
        let (mut packed, mut model, mut number) = (PackedList::of(None), VecDeque::new(), 0u8);
        let mut next = |length: usize| {
            number = number.wrapping_add(1);
            vec![number; length]
        };
        let push = |packed: &mut PackedList, model: &mut VecDeque<Vec<u8>>, head: bool, elements: Vec<Vec<u8>>| {
            packed.push(end(head), elements.iter().map(|element| &element[..]));
            elements.into_iter().for_each(|element| if head { model.push_front(element) } else { model.push_back(element) });
        };
        push(&mut packed, &mut model, false, (0..first).map(|_| next(1)).collect());
        for step in steps {
            match step {
                PackedStep::Push(head, count) => push(&mut packed, &mut model, head, (0..count).map(&mut next).collect()),
                PackedStep::Pop(head, count) => {
                    let mut popped = Vec::new();
                    packed.pop(end(head), count, &mut |element| popped.push(Some(element.to_vec())));
                    let wanted: Vec<_> = (0..count).map(|_| if head { model.pop_front() } else { model.pop_back() }).collect();
                    prop_assert_eq!(popped, wanted);
                }
                PackedStep::Replace(index, is_new, length) => {
                    let index = index.min(model.len() - 1);
                    let element = next(length * 100);
                    packed.replace(index, usize::from(!is_new), &element);
                    if is_new { model.insert(index, element) } else { model[index] = element }
                }
                PackedStep::Remove(most, head) => {
                    let equal = (0..model.len()).filter(|index| model[*index].is_empty());
                    let mut equal: Vec<usize> = if head { equal.take(most).collect() } else { equal.collect::<Vec<_>>().into_iter().rev().take(most).collect() };
                    prop_assert_eq!(packed.remove_equal(b"", most, end(head)), equal.len());
                    equal.sort_unstable();
                    equal.into_iter().rev().for_each(|index| drop(model.remove(index)));
                }
                PackedStep::Trim(head, tail) => {
                    let keep = head..model.len() - tail;
                    packed.trim(keep.clone());
                    model.truncate(keep.end);
                    model.drain(..keep.start);
                }
            }
            prop_assert!(Pack::check(Kind::List, packed.bytes()));
            prop_assert_eq!(packed.len(), model.len());
            prop_assert!(packed.pack().iter().eq(model.iter()));
        }
    }
}
