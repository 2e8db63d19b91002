//! The elements of a large list, in order.
//!
//! A deque of nodes ([`node`]), each a few kilobytes of packed elements, or one element that is longer. Both ends are reached at
//! once; whatever is in between costs a look at each node's count, from the nearer end, and the change of one node.

mod edit;
mod node;
mod packed;
#[cfg(test)]
mod tests;

pub(crate) use edit::EditedList;

use super::{Large, View};
use crate::heap::Heap;
use node::Node;
use std::collections::{VecDeque, vec_deque};
use std::ops::Range;

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Left, where the first element is.
    Head,
    /// Right.
    Tail,
}

impl End {
    /// The opposite one.
    pub(crate) fn other(self) -> End {
        match self {
            End::Head => End::Tail,
            End::Tail => End::Head,
        }
    }
}

/// A trim that cuts off more nodes leaves them to later ticks.
const FREED_AT_ONCE_MAX: usize = 64;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct List {
    /// None of them empty.
    nodes: VecDeque<Node>,
    len: usize,
    /// Of all nodes.
    buffer_bytes: usize,
}

impl List {
    /// Of elements in order.
    pub(crate) fn of<'e>(elements: impl Iterator<Item = &'e [u8]>, heap: &mut Heap) -> List {
        let mut list = List::default();
        for element in elements {
            list.push(heap, End::Tail, element);
        }
        list
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory of all nodes and of the deque, which is outside of the heap.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.buffer_bytes + self.nodes.capacity() * size_of::<Node>()
    }

    /// Adds an element at one end.
    #[inline]
    pub(crate) fn push(&mut self, heap: &mut Heap, end: End, element: &[u8]) {
        self.len += 1;
        if !self.edge_mut(end).is_some_and(|node| node.push(end, element)) {
            self.grow(heap, end, element);
        }
    }

    /// Adds an element that needs memory.
    #[inline(never)]
    fn grow(&mut self, heap: &mut Heap, end: End, element: &[u8]) {
        self.account(heap, |list| {
            if !list.nodes.is_empty() {
                let edge = if end == End::Head { 0 } else { list.nodes.len() - 1 };
                if list.edit_node(edge, |node| node.grow(end, element.len()) && node.push(end, element)) {
                    return;
                }
            }
            let place = if end == End::Head { 0 } else { list.nodes.len() };
            list.put_node(place, Node::of(element, end));
        });
    }

    /// Takes the element at one end, after showing it. Whether there was one.
    #[inline]
    pub(crate) fn pop(&mut self, heap: &mut Heap, end: End, show: impl FnOnce(&[u8])) -> bool {
        let Some(node) = self.edge_mut(end) else { return false };
        show(node.edge(end).unwrap_or_default());
        node.drop_edge(end);
        let is_over = node.len() == 0;
        self.len -= 1;
        if is_over {
            self.drop_edge_node(heap, end);
        }
        true
    }

    #[inline(never)]
    fn drop_edge_node(&mut self, heap: &mut Heap, end: End) {
        self.account(heap, |list| {
            let edge = if end == End::Head { 0 } else { list.nodes.len() - 1 };
            list.take_node(edge);
            list.shrink();
        });
    }

    /// The elements from `index` on, that one first, on the way to one end. None if there is no such element.
    pub(crate) fn walk(&self, index: usize, toward: End) -> Walk<'_> {
        if index >= self.len {
            return Walk { nodes: vec_deque::Iter::default(), rest: &[], toward };
        }
        let (at, within) = self.locate(index);
        let node = &self.nodes[at];
        let (nodes, rest) = match toward {
            End::Head => (self.nodes.range(..at), &node.content()[..node.offset(within + 1)]),
            End::Tail => (self.nodes.range(at + 1..), &node.content()[node.offset(within)..]),
        };
        Walk { nodes, rest, toward }
    }

    /// Gives the element at `index`, which must be there, other bytes.
    pub(crate) fn set(&mut self, heap: &mut Heap, index: usize, element: &[u8]) {
        let (at, within) = self.locate(index);
        if !self.nodes[at].overwrite(within, element) {
            self.splice(heap, index, 1, Some(element));
        }
    }

    /// Puts an element before the one at `index`, or at the end for an index one past it.
    pub(crate) fn insert(&mut self, heap: &mut Heap, index: usize, element: &[u8]) {
        if index == 0 {
            self.push(heap, End::Head, element);
        } else if index == self.len {
            self.push(heap, End::Tail, element);
        } else {
            self.splice(heap, index, 0, Some(element));
        }
    }

    fn splice(&mut self, heap: &mut Heap, index: usize, cut: usize, with: Option<&[u8]>) {
        let (at, within) = self.locate(index);
        self.account(heap, |list| {
            let node = list.take_node(at);
            let parts = node.replaced(within, cut, with);
            let after = at + parts.len();
            for (place, part) in parts.into_iter().enumerate() {
                list.put_node(at + place, part);
            }
            list.join(at, after);
        });
        self.len = self.len + usize::from(with.is_some()) - cut;
    }

    /// Removes elements that are these bytes, no more than `most`, those nearest to one end. How many there were.
    pub(crate) fn remove_equal(&mut self, heap: &mut Heap, element: &[u8], most: usize, from: End) -> usize {
        let mut removed = 0;
        self.account(heap, |list| {
            let (mut edited, mut last) = (0, 0);
            for step in 0..list.nodes.len() {
                if removed == most {
                    break;
                }
                let at = if from == End::Head { step } else { list.nodes.len() - 1 - step };
                let there = list.nodes[at].count_equal(element);
                if there > 0 {
                    let going = there.min(most - removed);
                    let skip = if from == End::Head { 0 } else { there - going };
                    list.edit_node(at, |node| node.remove_equal(element, skip, going));
                    removed += going;
                    (edited, last) = (edited + 1, at);
                }
            }
            list.len -= removed;
            match edited {
                0 => {}
                1 if list.nodes[last].len() == 0 => {
                    list.take_node(last);
                    list.join(last, last);
                }
                1 => list.join(last, last + 1),
                _ => list.join_all(),
            }
            list.shrink();
        });
        removed
    }

    /// Keeps only the elements of these positions. What is cut off comes back if it is much, to be taken apart later.
    #[must_use]
    pub(crate) fn trim(&mut self, heap: &mut Heap, keep: Range<usize>) -> Option<List> {
        let mut cut = List::default();
        self.account(heap, |list| {
            if keep.end < list.len {
                let (at, within) = list.locate(keep.end);
                let from = at + usize::from(within > 0);
                if within > 0 {
                    list.nodes[at].keep(0, within);
                }
                cut.nodes.extend(list.nodes.drain(from..));
                list.len = keep.end;
            }
            if keep.start > 0 {
                let kept = list.len - keep.start.min(list.len);
                let (at, within) = if kept == 0 { (list.nodes.len(), 0) } else { list.locate(keep.start) };
                cut.nodes.extend(list.nodes.drain(..at));
                if let Some(first) = list.nodes.front_mut().filter(|_| within > 0) {
                    first.keep(within, first.len());
                }
                list.len = kept;
            }
            cut.len = cut.nodes.iter().map(Node::len).sum();
            cut.buffer_bytes = cut.nodes.iter().map(Node::buffer_bytes).sum();
            list.buffer_bytes -= cut.buffer_bytes;
            list.shrink();
        });
        heap.note_directory(0, cut.bytes());
        if cut.nodes.len() > FREED_AT_ONCE_MAX {
            return Some(cut);
        }
        cut.free_some(heap, usize::MAX);
        None
    }

    /// Frees nodes of about so many elements. How many elements; none when nothing is left.
    pub(crate) fn free_some(&mut self, heap: &mut Heap, budget: usize) -> usize {
        let mut freed = 0;
        self.account(heap, |list| {
            while freed < budget.max(1)
                && let Some(node) = list.nodes.pop_back()
            {
                freed += node.len();
                list.buffer_bytes -= node.buffer_bytes();
            }
            list.len -= freed;
            if list.nodes.is_empty() {
                list.nodes = VecDeque::new();
            }
        });
        freed
    }

    /// Proves that its sums are right and its nodes whole.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn check(&self) {
        self.nodes.iter().for_each(Node::check);
        assert!(self.nodes.iter().all(|node| node.len() > 0), "an empty node");
        assert_eq!(self.nodes.iter().map(Node::len).sum::<usize>(), self.len);
        assert_eq!(self.nodes.iter().map(Node::buffer_bytes).sum::<usize>(), self.buffer_bytes);
    }

    #[inline]
    fn edge_mut(&mut self, end: End) -> Option<&mut Node> {
        match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        }
    }

    /// The node of the element at `index`, which must be there, and its number in that node.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index <= self.len / 2 {
            let mut within = index;
            for (at, node) in self.nodes.iter().enumerate() {
                if within < node.len() {
                    return (at, within);
                }
                within -= node.len();
            }
        } else {
            let mut behind = self.len - index;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                if behind <= node.len() {
                    return (at, node.len() - behind);
                }
                behind -= node.len();
            }
        }
        unreachable!("the nodes' lengths are the list's")
    }

    /// Does something that may change how much memory it has.
    fn account(&mut self, heap: &mut Heap, change: impl FnOnce(&mut List)) {
        let before = self.bytes();
        change(self);
        heap.note_directory(before, self.bytes());
    }

    fn edit_node<T>(&mut self, at: usize, edit: impl FnOnce(&mut Node) -> T) -> T {
        let node = &mut self.nodes[at];
        self.buffer_bytes -= node.buffer_bytes();
        let result = edit(node);
        self.buffer_bytes += node.buffer_bytes();
        result
    }

    fn put_node(&mut self, at: usize, node: Node) {
        self.buffer_bytes += node.buffer_bytes();
        self.nodes.insert(at, node);
    }

    fn take_node(&mut self, at: usize) -> Node {
        let node = self.nodes.remove(at).expect("the caller has seen it");
        self.buffer_bytes -= node.buffer_bytes();
        node
    }

    /// Joins the nodes from `first` to before `after`, which have changed, with each other and their neighbours where both are
    /// small: so many small changes do not leave many small nodes.
    fn join(&mut self, first: usize, after: usize) {
        for at in (first.saturating_sub(1)..after).rev() {
            if at + 1 < self.nodes.len() && self.nodes[at].should_join(&self.nodes[at + 1]) {
                let next = self.take_node(at + 1);
                self.edit_node(at, |node| node.join(&next));
            }
        }
    }

    /// The same for all nodes, of which some may be empty.
    fn join_all(&mut self) {
        let mut kept: VecDeque<Node> = VecDeque::with_capacity(self.nodes.len());
        for node in self.nodes.drain(..).filter(|node| node.len() > 0) {
            match kept.back_mut() {
                Some(last) if last.should_join(&node) => last.join(&node),
                _ => kept.push_back(node),
            }
        }
        self.buffer_bytes = kept.iter().map(Node::buffer_bytes).sum();
        self.nodes = kept;
    }

    /// Gives back what the deque has too much. Amortised: three quarters of what it moved before are gone.
    fn shrink(&mut self) {
        const CAPACITY_MIN: usize = 16;
        let capacity = self.nodes.capacity();
        if capacity > CAPACITY_MIN && self.nodes.len() < capacity / 4 {
            self.nodes.shrink_to(capacity / 2);
        }
    }
}

/// See [`List::walk`].
pub(crate) struct Walk<'a> {
    nodes: vec_deque::Iter<'a, Node>,
    /// Of the node that is walked through.
    rest: &'a [u8],
    toward: End,
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // Toward the tail an element is taken from the head of what is left.
        let from = self.toward.other();
        if self.rest.is_empty() {
            self.rest = match from {
                End::Head => self.nodes.next(),
                End::Tail => self.nodes.next_back(),
            }?
            .content();
        }
        node::take(&mut self.rest, from)
    }
}

impl View<'_> {
    /// Shows the elements of a list from `index` on, no more than `count`.
    pub(crate) fn visit_range(&self, index: usize, count: usize, visit: impl FnMut(&[u8])) {
        match self {
            View::Packed(pack) => pack.iter().skip(index).take(count).for_each(visit),
            View::Large(Large::List(list), _) => list.walk(index, End::Tail).take(count).for_each(visit),
            View::Large(..) => unreachable!("only a list has positions"),
        }
    }

    /// Shows positions and elements of a list from one end on, while `visit` says so.
    pub(crate) fn visit_from(&self, end: End, visit: &mut dyn FnMut(usize, &[u8]) -> bool) {
        let mut index = 0;
        let last = self.len().saturating_sub(1);
        let mut show = |element: &[u8]| {
            let position = if end == End::Head { index } else { last - index };
            index += 1;
            visit(position, element)
        };
        let goes_on = |is_on: bool| is_on;
        match (self, end) {
            (View::Packed(pack), End::Head) => pack.iter().map(&mut show).all(goes_on),
            // A pack is read in one direction only, and it is small.
            (View::Packed(pack), End::Tail) => pack.iter().collect::<Vec<_>>().into_iter().rev().map(&mut show).all(goes_on),
            (View::Large(Large::List(list), _), End::Head) => list.walk(0, End::Tail).map(&mut show).all(goes_on),
            (View::Large(Large::List(list), _), End::Tail) => list.walk(last, End::Head).map(&mut show).all(goes_on),
            (View::Large(..), _) => unreachable!("only a list has ends"),
        };
    }
}
