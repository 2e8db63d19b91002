//! The order of a large sorted set: records by score, found by place.
//!
//! A B+tree whose inner nodes know how many entries each child has, and the first of them. So the place of an entry, the
//! entry at a place, and the place where a bound falls are each one way down. Entries are the score and the record's handle;
//! the order among equal scores is the caller's, who can read records.
//!
//! Nodes are allocations of their own, so that nothing grows with a pause. They need not be half full: two neighbours are
//! joined when they fit well into one, and a node that is full at its end goes on in an empty one, which keeps a set dense
//! that grows at its end.

use crate::heap::Handle;
use std::ops::Range;

/// Most entries of a leaf, and children of an inner node.
const WIDTH_MAX: usize = 64;

/// Neighbours that have no more together are joined: well below the most, so that a set that breathes does not split again.
const JOINED_MAX: usize = WIDTH_MAX * 3 / 4;

const LEAF_BYTES: usize = size_of::<Entries>();
const INNER_BYTES: usize = size_of::<Inner>() + WIDTH_MAX * size_of::<Node>();

/// A record and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) score: f64,
    pub(crate) handle: Handle,
}

/// Which way to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the lowest score up.
    Up,
    /// From the highest score down.
    Down,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Order {
    root: Option<Node>,
    /// Of all nodes.
    bytes: usize,
}

enum Node {
    Leaf(Box<Entries>),
    Inner(Box<Inner>),
}

struct Inner {
    /// The first entry of each child.
    firsts: Entries,
    counts: [u32; WIDTH_MAX],
    /// Never grows beyond the room it was made with.
    children: Vec<Node>,
}

/// Scores apart from handles: a search reads many of the one and few of the other.
struct Entries {
    len: usize,
    scores: [f64; WIDTH_MAX],
    handles: [Option<Handle>; WIDTH_MAX],
}

impl Order {
    /// How many entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.root.as_ref().map_or(0, Node::len)
    }

    /// Memory of all nodes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries are `before` something: those for which it holds must come first.
    pub(crate) fn place(&self, mut before: impl FnMut(Entry) -> bool) -> usize {
        let (mut place, mut next) = (0, self.root.as_ref());
        while let Some(node) = next {
            match node {
                Node::Leaf(entries) => return place + entries.partition_point(before),
                Node::Inner(inner) => {
                    let at = inner.firsts.partition_point(&mut before).saturating_sub(1);
                    place += sum(&inner.counts[..at]);
                    next = inner.children.get(at);
                }
            }
        }
        place
    }

    /// The entry at a place that there is.
    pub(crate) fn at(&self, mut place: usize) -> Entry {
        let mut node = self.root.as_ref().expect("a place in it");
        loop {
            match node {
                Node::Leaf(entries) => return entries.get(place),
                Node::Inner(inner) => {
                    let at;
                    (at, place) = inner.child_of(place);
                    node = &inner.children[at];
                }
            }
        }
    }

    /// Puts an entry at a place; those from there on move up.
    pub(crate) fn insert(&mut self, place: usize, entry: Entry) {
        let bytes = &mut self.bytes;
        let root = self.root.get_or_insert_with(|| Node::leaf(Entries::new(), bytes));
        if let Some(right) = root.insert(place, entry, bytes) {
            let left = self.root.take().expect("just there");
            let mut inner = Inner::new();
            inner.put(0, left);
            inner.put(1, right);
            self.root = Some(Node::inner(inner, bytes));
        }
    }

    /// Takes the entry out of a place that there is; those behind it move down.
    pub(crate) fn remove(&mut self, place: usize) -> Entry {
        let root = self.root.as_mut().expect("a place in it");
        let entry = root.remove(place, &mut self.bytes);
        while let Some(Node::Inner(inner)) = &mut self.root
            && inner.children.len() == 1
        {
            self.root = inner.children.pop();
            self.bytes -= INNER_BYTES;
        }
        if self.root.as_ref().is_some_and(|root| root.width() == 0) {
            self.bytes -= self.root.take().map_or(0, |root| root.own_bytes());
        }
        entry
    }

    /// Shows the entries at some places, all of which there are.
    pub(crate) fn visit(&self, places: Range<usize>, direction: Direction, visit: &mut dyn FnMut(Entry)) {
        if let Some(root) = &self.root
            && !places.is_empty()
        {
            root.visit(places, direction, visit);
        }
    }

    /// Gives back the memory of the last leaf. `false` if there was none. The order is only good for more of the same after it.
    pub(crate) fn free_leaf(&mut self) -> bool {
        let Some(root) = &mut self.root else { return false };
        if root.free_leaf(&mut self.bytes) {
            self.root = None;
        }
        true
    }

    /// Proves that counts and first entries are what they say, and that entries are `in_order`.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) fn check(&self, in_order: &mut dyn FnMut(Entry, Entry) -> bool) {
        let (mut last, mut bytes) = (None, 0);
        if let Some(root) = &self.root {
            assert!(root.width() > 0, "an empty root");
            root.check(&mut bytes, &mut |entry| {
                assert!(last.is_none_or(|last| in_order(last, entry)), "entries out of order");
                last = Some(entry);
            });
        }
        assert_eq!(bytes, self.bytes);
    }
}

impl Node {
    fn leaf(entries: Entries, bytes: &mut usize) -> Node {
        *bytes += LEAF_BYTES;
        Node::Leaf(Box::new(entries))
    }

    fn inner(inner: Inner, bytes: &mut usize) -> Node {
        *bytes += INNER_BYTES;
        Node::Inner(Box::new(inner))
    }

    fn own_bytes(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_BYTES,
            Node::Inner(_) => INNER_BYTES,
        }
    }

    /// Entries below it.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len,
            Node::Inner(inner) => inner.len(),
        }
    }

    /// Entries or children of its own.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len,
            Node::Inner(inner) => inner.children.len(),
        }
    }

    fn first(&self) -> Entry {
        match self {
            Node::Leaf(entries) => entries.get(0),
            Node::Inner(inner) => inner.firsts.get(0),
        }
    }

    /// What did not fit goes into a node to the right of this one.
    fn insert(&mut self, place: usize, entry: Entry, bytes: &mut usize) -> Option<Node> {
        match self {
            Node::Leaf(entries) if entries.len < WIDTH_MAX => {
                entries.insert(place, entry);
                None
            }
            Node::Leaf(entries) => {
                let mut right = entries.split_off(split_at(place));
                if place <= entries.len && entries.len < WIDTH_MAX {
                    entries.insert(place, entry);
                } else {
                    right.insert(place - entries.len, entry);
                }
                Some(Node::leaf(right, bytes))
            }
            Node::Inner(inner) => {
                let (at, place) = inner.child_for(place);
                let new = inner.children[at].insert(place, entry, bytes);
                inner.note(at);
                inner.take_in(at + 1, new?).map(|right| Node::inner(right, bytes))
            }
        }
    }

    fn remove(&mut self, place: usize, bytes: &mut usize) -> Entry {
        match self {
            Node::Leaf(entries) => entries.remove(place),
            Node::Inner(inner) => {
                let (at, place) = inner.child_of(place);
                let entry = inner.children[at].remove(place, bytes);
                if inner.children[at].width() == 0 {
                    *bytes -= inner.drop_child(at).own_bytes();
                } else {
                    inner.note(at);
                    if !inner.join(at, bytes) && at > 0 {
                        inner.join(at - 1, bytes);
                    }
                }
                entry
            }
        }
    }

    fn visit(&self, places: Range<usize>, direction: Direction, visit: &mut dyn FnMut(Entry)) {
        match (self, direction) {
            (Node::Leaf(entries), Direction::Up) => places.for_each(|place| visit(entries.get(place))),
            (Node::Leaf(entries), Direction::Down) => places.rev().for_each(|place| visit(entries.get(place))),
            (Node::Inner(inner), Direction::Up) => {
                let mut start = 0;
                for (child, count) in inner.children.iter().zip(inner.counts) {
                    visit_part(child, start, count as usize, &places, direction, visit);
                    start += count as usize;
                }
            }
            (Node::Inner(inner), Direction::Down) => {
                let mut end = inner.len();
                for (child, count) in inner.children.iter().zip(inner.counts).rev() {
                    end -= count as usize;
                    visit_part(child, end, count as usize, &places, direction, visit);
                }
            }
        }
    }

    /// Whether nothing is left of it.
    fn free_leaf(&mut self, bytes: &mut usize) -> bool {
        let is_over = match self {
            Node::Leaf(_) => true,
            Node::Inner(inner) => {
                if inner.children.last_mut().is_none_or(|last| last.free_leaf(bytes)) {
                    inner.children.pop();
                }
                inner.children.is_empty()
            }
        };
        if is_over {
            *bytes -= self.own_bytes();
        }
        is_over
    }

    fn check(&self, bytes: &mut usize, see: &mut dyn FnMut(Entry)) {
        *bytes += self.own_bytes();
        match self {
            Node::Leaf(entries) => (0..entries.len).for_each(|at| see(entries.get(at))),
            Node::Inner(inner) => {
                assert_eq!(inner.firsts.len, inner.children.len());
                assert_eq!(inner.children.capacity(), WIDTH_MAX, "room that is not accounted");
                for (at, child) in inner.children.iter().enumerate() {
                    assert!(child.width() > 0, "an empty node");
                    assert_eq!((inner.counts[at] as usize, inner.firsts.get(at)), (child.len(), child.first()));
                    child.check(bytes, see);
                }
            }
        }
    }
}

/// The part of a child that begins at place `start`.
fn visit_part(child: &Node, start: usize, count: usize, places: &Range<usize>, direction: Direction, visit: &mut dyn FnMut(Entry)) {
    let part = places.start.max(start)..places.end.min(start + count);
    if !part.is_empty() {
        child.visit(part.start - start..part.end - start, direction, visit);
    }
}

/// Where to split a full node that gets something at a place: a set that grows at its end leaves full nodes behind.
fn split_at(place: usize) -> usize {
    if place == WIDTH_MAX { WIDTH_MAX } else { WIDTH_MAX / 2 }
}

fn sum(counts: &[u32]) -> usize {
    counts.iter().map(|count| *count as usize).sum()
}

impl Inner {
    fn new() -> Inner {
        Inner { firsts: Entries::new(), counts: [0; WIDTH_MAX], children: Vec::with_capacity(WIDTH_MAX) }
    }

    fn len(&self) -> usize {
        sum(&self.counts[..self.children.len()])
    }

    /// The child that has the entry at a place, and its place there.
    fn child_of(&self, mut place: usize) -> (usize, usize) {
        let mut at = 0;
        while place >= self.counts[at] as usize && at + 1 < self.children.len() {
            place -= self.counts[at] as usize;
            at += 1;
        }
        (at, place)
    }

    /// The child that takes a new entry at a place: of two neighbours the first, at its end.
    fn child_for(&self, mut place: usize) -> (usize, usize) {
        let mut at = 0;
        while place > self.counts[at] as usize && at + 1 < self.children.len() {
            place -= self.counts[at] as usize;
            at += 1;
        }
        (at, place)
    }

    /// A child has changed.
    fn note(&mut self, at: usize) {
        // Entries are records, which have 32-bit names.
        self.counts[at] = self.children[at].len() as u32;
        self.firsts.set(at, self.children[at].first());
    }

    /// Puts a child where there is room for it.
    fn put(&mut self, at: usize, child: Node) {
        let len = self.children.len();
        self.counts.copy_within(at..len, at + 1);
        self.firsts.insert(at, child.first());
        self.children.insert(at, child);
        self.note(at);
    }

    /// Puts a child. What does not fit goes into a new node.
    fn take_in(&mut self, at: usize, child: Node) -> Option<Inner> {
        if self.children.len() < WIDTH_MAX {
            self.put(at, child);
            return None;
        }
        let middle = split_at(at);
        let mut right = Inner::new();
        right.firsts = self.firsts.split_off(middle);
        right.counts[..WIDTH_MAX - middle].copy_from_slice(&self.counts[middle..]);
        right.children.extend(self.children.drain(middle..));
        if at <= middle && middle < WIDTH_MAX {
            self.put(at, child);
        } else {
            right.put(at - middle, child);
        }
        Some(right)
    }

    fn drop_child(&mut self, at: usize) -> Node {
        let len = self.children.len();
        self.counts.copy_within(at + 1..len, at);
        self.firsts.remove(at);
        self.children.remove(at)
    }

    /// Makes one of two neighbours that fit into one. Whether they do.
    fn join(&mut self, at: usize, bytes: &mut usize) -> bool {
        let Some(right) = self.children.get(at + 1) else { return false };
        if self.children[at].width() + right.width() > JOINED_MAX {
            return false;
        }
        let right = self.drop_child(at + 1);
        *bytes -= right.own_bytes();
        match (&mut self.children[at], right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.append(&right),
            (Node::Inner(left), Node::Inner(mut right)) => {
                let (from, len) = (left.children.len(), right.children.len());
                left.firsts.append(&right.firsts);
                left.counts[from..from + len].copy_from_slice(&right.counts[..len]);
                left.children.append(&mut right.children);
            }
            _ => unreachable!("children of one node are of one kind"),
        }
        self.note(at);
        true
    }
}

impl Entries {
    fn new() -> Entries {
        Entries { len: 0, scores: [0.0; WIDTH_MAX], handles: [None; WIDTH_MAX] }
    }

    #[inline]
    fn get(&self, at: usize) -> Entry {
        debug_assert!(at < self.len);
        Entry { score: self.scores[at], handle: self.handles[at].expect("an entry") }
    }

    fn set(&mut self, at: usize, entry: Entry) {
        (self.scores[at], self.handles[at]) = (entry.score, Some(entry.handle));
    }

    fn insert(&mut self, at: usize, entry: Entry) {
        self.scores.copy_within(at..self.len, at + 1);
        self.handles.copy_within(at..self.len, at + 1);
        self.set(at, entry);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> Entry {
        let entry = self.get(at);
        self.scores.copy_within(at + 1..self.len, at);
        self.handles.copy_within(at + 1..self.len, at);
        self.len -= 1;
        entry
    }

    fn split_off(&mut self, at: usize) -> Entries {
        let mut right = Entries::new();
        right.append_part(self, at);
        self.len = at;
        right
    }

    fn append(&mut self, other: &Entries) {
        self.append_part(other, 0);
    }

    fn append_part(&mut self, other: &Entries, from: usize) {
        let len = self.len + other.len - from;
        self.scores[self.len..len].copy_from_slice(&other.scores[from..other.len]);
        self.handles[self.len..len].copy_from_slice(&other.handles[from..other.len]);
        self.len = len;
    }

    fn partition_point(&self, mut before: impl FnMut(Entry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            if before(self.get(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(number: u32) -> Entry {
        Entry { score: f64::from(number / 4), handle: Handle::from_bits(number + 1).unwrap() }
    }

    fn is_before(left: Entry, right: Entry) -> bool {
        (left.score, left.handle.bits()) < (right.score, right.handle.bits())
    }

    #[track_caller]
    fn check_same(order: &Order, model: &[u32]) {
        order.check(&mut is_before);
        assert_eq!(order.len(), model.len());
        let (mut up, mut down) = (Vec::new(), Vec::new());
        order.visit(0..model.len(), Direction::Up, &mut |entry| up.push(entry));
        order.visit(0..model.len(), Direction::Down, &mut |entry| down.push(entry));
        assert!(up.iter().copied().eq(model.iter().map(|number| entry(*number))));
        assert!(down.iter().copied().eq(model.iter().rev().map(|number| entry(*number))));
    }

    fn put(order: &mut Order, model: &mut Vec<u32>, number: u32) {
        let place = order.place(|other| is_before(other, entry(number)));
        match model.binary_search(&number) {
            Ok(at) => {
                assert_eq!((place, order.at(place)), (at, entry(number)));
                assert_eq!(order.remove(place), entry(number));
                model.remove(at);
            }
            Err(at) => {
                assert_eq!(place, at);
                order.insert(place, entry(number));
                model.insert(at, number);
            }
        }
    }

    #[test]
    fn it_grows_and_shrinks_from_any_side() {
        const LEN: u32 = 10_000;
        let scattered = |number: u32| (u64::from(number) * 7919 % u64::from(LEN)) as u32;
        let ways: [&dyn Fn(u32) -> u32; 3] = [&|number| number, &|number| LEN - 1 - number, &scattered];
        for way_in in ways {
            for way_out in ways {
                let (mut order, mut model) = (Order::default(), Vec::new());
                (0..LEN).for_each(|number| put(&mut order, &mut model, way_in(number)));
                check_same(&order, &model);
                let grown = order.bytes();
                assert!(grown < LEN as usize * 30, "{grown} bytes");
                (0..LEN * 9 / 10).for_each(|number| put(&mut order, &mut model, way_out(number)));
                check_same(&order, &model);
                assert!(order.bytes() * 3 < grown, "{} of {grown} bytes are left", order.bytes());
                (LEN * 9 / 10..LEN).for_each(|number| put(&mut order, &mut model, way_out(number)));
                assert_eq!((order.len(), order.bytes()), (0, 0));
            }
        }
    }

    #[test]
    fn what_grows_at_its_end_is_dense() {
        let mut order = Order::default();
        (0..64 * 64).for_each(|number| order.insert(number as usize, entry(number)));
        assert_eq!(order.bytes(), 64 * LEAF_BYTES + INNER_BYTES);
    }

    #[test]
    fn it_is_freed_leaf_by_leaf() {
        let mut order = Order::default();
        (0..20_000).for_each(|number| order.insert(number as usize, entry(number)));
        let mut last = order.bytes();
        while order.free_leaf() {
            assert!(last > order.bytes() && last - order.bytes() <= LEAF_BYTES + 3 * INNER_BYTES);
            last = order.bytes();
        }
        assert_eq!(last, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn it_is_like_a_sorted_vector(
            runs in prop::collection::vec((0..3000u32, 1..300u32, 1..4u32), 1..40), parts in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64), 8)
        ) {
            let (mut order, mut model) = (Order::default(), Vec::new());
            for (from, len, step) in runs {
                (0..len).for_each(|index| put(&mut order, &mut model, from + index * step));
                order.check(&mut is_before);
            }
            check_same(&order, &model);
            for (from, to) in parts {
                let [from, to] = [from, to].map(|part| (part * (model.len() + 1) as f64) as usize);
                let part = from.min(to)..from.max(to);
                let (mut up, mut down) = (Vec::new(), Vec::new());
                order.visit(part.clone(), Direction::Up, &mut |entry| up.push(entry));
                order.visit(part.clone(), Direction::Down, &mut |entry| down.insert(0, entry));
                prop_assert!(up.iter().copied().eq(model[part].iter().map(|number| entry(*number))));
                prop_assert_eq!(up, down);
            }
        }
    }
}
