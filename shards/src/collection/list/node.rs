//! A run of a large list's elements, one after the other, read from either side.
//!
//! Each element is `length (varint) | bytes | the length's bytes backwards`. The elements lie somewhere in the buffer, so that
//! taking one from either side moves nothing, and adding one moves nothing while there is room on that side.

use super::End;
use crate::log::varint;

/// Most bytes of a buffer, unless it holds a single element that needs more: few enough to be copied in passing.
pub(super) const NODE_BYTES: usize = 4096;

/// Bytes of the smallest buffer.
const BUFFER_BYTES_MIN: usize = 512;

/// An element that takes more bytes does not make a buffer grow: if there is no room it gets one of its own, of just its
/// size, because what a full buffer leaves unused at its end can be as long as the element that did not fit.
const ALONE_BYTES_MIN: usize = BUFFER_BYTES_MIN;

/// See the head of this file.
pub(super) struct Node {
    buffer: Box<[u8]>,
    /// Where in the buffer the elements are.
    start: usize,
    end: usize,
    /// How many they are.
    len: usize,
}

impl Node {
    /// A node of one element, with room on the side of this end if it is a small one.
    pub(super) fn of(element: &[u8], end: End) -> Node {
        let bytes = encoded_bytes(element.len());
        let buffer = vec![0; bytes.max(BUFFER_BYTES_MIN)].into_boxed_slice();
        let at = match end {
            End::Head => buffer.len(),
            End::Tail => 0,
        };
        let mut node = Node { buffer, start: at, end: at, len: 0 };
        let is_pushed = node.push(end, element);
        debug_assert!(is_pushed, "the buffer was made for it");
        node
    }

    /// A node of elements that are encoded already, in pieces, without room for more.
    fn of_pieces(pieces: &[&[u8]], len: usize) -> Node {
        let buffer = pieces.concat().into_boxed_slice();
        Node { start: 0, end: buffer.len(), buffer, len }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of its elements.
    #[inline]
    pub(super) fn used_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of memory.
    #[inline]
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Its elements as they are encoded.
    #[inline]
    pub(super) fn content(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Adds an element at one end if there is room. Whether there was.
    #[inline]
    pub(super) fn push(&mut self, end: End, element: &[u8]) -> bool {
        let bytes = encoded_bytes(element.len());
        match end {
            End::Head if self.start >= bytes => {
                encode(&mut self.buffer[self.start - bytes..self.start], element);
                self.start -= bytes;
            }
            End::Tail if self.buffer.len() - self.end >= bytes => {
                encode(&mut self.buffer[self.end..self.end + bytes], element);
                self.end += bytes;
            }
            _ => return false,
        }
        self.len += 1;
        true
    }

    /// Makes room at one end for an element of so many bytes, if such a node should have it. Amortised: what is moved has at
    /// least as much room afterwards.
    pub(super) fn grow(&mut self, end: End, element_bytes: usize) -> bool {
        let more = encoded_bytes(element_bytes);
        let wanted = self.used_bytes() + more;
        let is_full = if self.buffer.len() >= NODE_BYTES { wanted > NODE_BYTES / 2 } else { wanted > NODE_BYTES };
        if more > ALONE_BYTES_MIN || is_full {
            return false;
        }
        self.move_to(end, (2 * wanted).next_power_of_two().clamp(BUFFER_BYTES_MIN, NODE_BYTES));
        true
    }

    /// Gives it another buffer, all of whose room is on the side of this end.
    fn move_to(&mut self, end: End, buffer_bytes: usize) {
        let used = self.used_bytes();
        let start = match end {
            End::Head => buffer_bytes - used,
            End::Tail => 0,
        };
        let mut buffer = vec![0; buffer_bytes].into_boxed_slice();
        buffer[start..start + used].copy_from_slice(self.content());
        (self.buffer, self.start, self.end) = (buffer, start, start + used);
    }

    /// The element at one end.
    #[inline]
    pub(super) fn edge(&self, end: End) -> Option<&[u8]> {
        take(&mut self.content(), end)
    }

    /// Takes the element at one end away.
    #[inline]
    pub(super) fn drop_edge(&mut self, end: End) {
        let mut rest = self.content();
        let taken = usize::from(take(&mut rest, end).is_some());
        let rest_bytes = rest.len();
        match end {
            End::Head => self.start = self.end - rest_bytes,
            End::Tail => self.end = self.start + rest_bytes,
        }
        self.len -= taken;
    }

    /// Where in its content the element of this number begins; where the last one ends for one past it.
    pub(super) fn offset(&self, within: usize) -> usize {
        let mut rest = self.content();
        if within <= self.len / 2 {
            for _ in 0..within {
                take(&mut rest, End::Head);
            }
            self.used_bytes() - rest.len()
        } else {
            for _ in within..self.len {
                take(&mut rest, End::Tail);
            }
            rest.len()
        }
    }

    /// Keeps only the elements of these numbers.
    pub(super) fn keep(&mut self, from: usize, to: usize) {
        let (low, high) = (self.offset(from), self.offset(to));
        (self.start, self.end, self.len) = (self.start + low, self.start + high, to - from);
    }

    /// How many elements are these bytes.
    pub(super) fn count_equal(&self, element: &[u8]) -> usize {
        Run(self.content()).filter(|other| *other == element).count()
    }

    /// Removes elements that are these bytes: of those it has, not the first `skip`, and no more than `most`.
    pub(super) fn remove_equal(&mut self, element: &[u8], skip: usize, most: usize) {
        let (mut read, mut write, mut seen, end) = (self.start, self.start, 0, self.end);
        let bytes = encoded_bytes(element.len());
        while read < end {
            let mut rest = &self.buffer[read..end];
            let is_equal = take(&mut rest, End::Head) == Some(element);
            let after = end - rest.len();
            seen += usize::from(is_equal);
            if is_equal && seen > skip && seen - skip <= most {
                debug_assert_eq!(after - read, bytes);
                self.len -= 1;
            } else {
                if write < read {
                    self.buffer.copy_within(read..after, write);
                }
                write += after - read;
            }
            read = after;
        }
        self.end = write;
        if self.used_bytes() < self.buffer.len() / 2 {
            self.move_to(End::Tail, self.used_bytes());
        }
    }

    /// Gives the element of this number other bytes if they are as many. Whether they are.
    pub(super) fn overwrite(&mut self, within: usize, element: &[u8]) -> bool {
        let from = self.start + self.offset(within);
        let mut rest = &self.buffer[from..self.end];
        let is_as_long = take(&mut rest, End::Head).is_some_and(|old| old.len() == element.len());
        if is_as_long {
            encode(&mut self.buffer[from..from + encoded_bytes(element.len())], element);
        }
        is_as_long
    }

    /// What it becomes if `cut` elements from number `within` on are replaced: up to three nodes, as full as they may be.
    pub(super) fn replaced(&self, within: usize, cut: usize, with: Option<&[u8]>) -> Vec<Node> {
        let content = self.content();
        let (head, tail) = (&content[..self.offset(within)], &content[self.offset(within + cut)..]);
        let (head_len, tail_len) = (within, self.len - within - cut);
        let mut new = vec![0; with.map_or(0, |element| encoded_bytes(element.len()))];
        if let Some(element) = with {
            encode(&mut new, element);
        }
        let new_len = usize::from(with.is_some());
        let nodes = if head.len() + new.len() + tail.len() <= NODE_BYTES {
            vec![Node::of_pieces(&[head, &new, tail], head_len + new_len + tail_len)]
        } else if new.len() > ALONE_BYTES_MIN {
            vec![Node::of_pieces(&[head], head_len), Node::of_pieces(&[&new], new_len), Node::of_pieces(&[tail], tail_len)]
        } else if head.len() <= tail.len() {
            vec![Node::of_pieces(&[head, &new], head_len + new_len), Node::of_pieces(&[tail], tail_len)]
        } else {
            vec![Node::of_pieces(&[head], head_len), Node::of_pieces(&[&new, tail], new_len + tail_len)]
        };
        nodes.into_iter().filter(|node| node.len > 0).collect()
    }

    /// Whether both are better one node.
    pub(super) fn should_join(&self, next: &Node) -> bool {
        self.used_bytes() + next.used_bytes() <= NODE_BYTES / 2
    }

    /// Adds all of the next node's elements.
    pub(super) fn join(&mut self, next: &Node) {
        if self.buffer.len() - self.end < next.used_bytes() {
            let bytes = (self.used_bytes() + next.used_bytes()).next_power_of_two();
            self.move_to(End::Tail, bytes.max(BUFFER_BYTES_MIN));
        }
        self.buffer[self.end..self.end + next.used_bytes()].copy_from_slice(next.content());
        self.end += next.used_bytes();
        self.len += next.len;
    }

    /// Proves that it reads the same from both sides.
    ///
    /// # Panics
    /// If it does not.
    pub(super) fn check(&self) {
        assert!(self.start <= self.end && self.end <= self.buffer.len());
        assert!(self.buffer.len() <= NODE_BYTES || self.len == 1, "only one element makes a long node");
        let forwards: Vec<&[u8]> = Run(self.content()).collect();
        let mut rest = self.content();
        let mut backwards: Vec<&[u8]> = std::iter::from_fn(|| take(&mut rest, End::Tail)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.len(), self.len);
    }
}

/// Encoded elements, first to last.
struct Run<'a>(&'a [u8]);

impl<'a> Iterator for Run<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        take(&mut self.0, End::Head)
    }
}

/// Bytes that an element takes in a node.
#[inline]
fn encoded_bytes(element_bytes: usize) -> usize {
    element_bytes + 2 * varint::len(element_bytes as u64)
}

/// Encodes an element in just the bytes that it takes.
#[inline]
fn encode(target: &mut [u8], element: &[u8]) {
    let mut rest = element.len();
    let (mut low, mut high) = (0, target.len() - 1);
    loop {
        // Seven bits in each byte, the lowest first; the top bit says that more follow.
        let byte = (rest & 0x7F) as u8 | if rest >= 0x80 { 0x80 } else { 0 };
        (target[low], target[high]) = (byte, byte);
        rest >>= 7;
        low += 1;
        if rest == 0 {
            break;
        }
        high -= 1;
    }
    target[low..high].copy_from_slice(element);
}

/// Takes the element at one end of encoded ones. `None` if there is none.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8], end: End) -> Option<&'a [u8]> {
    let bytes = *rest;
    let edge = match end {
        End::Head => *bytes.first()?,
        End::Tail => *bytes.last()?,
    };
    let (length, frame) = if edge < 0x80 { (usize::from(edge), 1) } else { long_length(bytes, end) };
    let taken = length + 2 * frame;
    match end {
        End::Head => {
            *rest = &bytes[taken..];
            Some(&bytes[frame..frame + length])
        }
        End::Tail => {
            let at = bytes.len() - taken;
            *rest = &bytes[..at];
            Some(&bytes[at + frame..at + frame + length])
        }
    }
}

/// A length of several bytes, and how many they are.
#[cold]
fn long_length(bytes: &[u8], end: End) -> (usize, usize) {
    let (mut length, mut frame) = (0, 0);
    loop {
        let byte = match end {
            End::Head => bytes[frame],
            End::Tail => bytes[bytes.len() - 1 - frame],
        };
        length |= usize::from(byte & 0x7F) << (7 * frame);
        frame += 1;
        if byte < 0x80 {
            return (length, frame);
        }
    }
}
