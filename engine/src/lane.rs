//! A bounded queue from one core to one other: single producer, single consumer, no lock.
//!
//! A full lane refuses, it never drops and never grows; the sender keeps what it could not send and pushes back to its
//! sockets. After Lamport's ring with cached indices (see also the `SPSC` queues of folly and rigtorp): each side rereads
//! the other's index only when its cached copy says full or empty, so that in steady flow the two cores exchange one
//! cache line per batch instead of one per element.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Opens a lane that holds at most `capacity` elements.
///
/// # Panics
/// If `capacity` is no power of two.
pub fn lane<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity.is_power_of_two());
    let slots = (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring { slots, head: Line(AtomicUsize::new(0)), tail: Line(AtomicUsize::new(0)) });
    (Sender { ring: ring.clone(), tail: 0, head_seen: 0 }, Receiver { ring, head: 0, tail_seen: 0 })
}

/// Keeps an index alone on its cache line (two lines: the prefetcher fetches pairs).
#[repr(align(128))]
struct Line(AtomicUsize);

struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Next element to take. Written by the receiver only. Counts up for ever; its low bits are the position.
    head: Line,
    /// Next element to put. Written by the sender only.
    tail: Line,
}

// SAFETY: a slot is touched by the sender only while it lies outside head..tail and by the receiver only while inside;
// the release store of an index and the acquire load of it on the other side order those accesses. `T: Send` lets the
// element itself cross.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; the ring owns its elements.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, index: usize) -> *mut MaybeUninit<T> {
        self.slots[index & (self.slots.len() - 1)].get()
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        for index in *self.head.0.get_mut()..*self.tail.0.get_mut() {
            // SAFETY: both ends are gone, and head..tail were put and never taken.
            unsafe { (*self.slot(index)).assume_init_drop() };
        }
    }
}

/// The end that puts. Owned by the sending core.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    head_seen: usize,
}

impl<T: Send> Sender<T> {
    /// Puts an element, or gives it back when the lane is full. Visible to the receiver at once.
    pub fn send(&mut self, element: T) -> Result<(), T> {
        if self.is_full() {
            return Err(element);
        }
        // SAFETY: the lane is not full, so this slot lies outside head..tail and belongs to the sender.
        unsafe { (*self.ring.slot(self.tail)).write(element) };
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether the next [`Sender::send`] would be refused.
    pub fn is_full(&mut self) -> bool {
        let capacity = self.ring.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.ring.head.0.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head_seen) == capacity
    }
}

/// The end that takes. Owned by the receiving core.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    tail_seen: usize,
}

impl<T: Send> Receiver<T> {
    /// Takes the oldest element.
    pub fn receive(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the lane is not empty, so this slot was put and lies inside head..tail; after the store below it
        // belongs to the sender again, and it is read out only once.
        let element = unsafe { (*self.ring.slot(self.head)).assume_init_read() };
        self.head = self.head.wrapping_add(1);
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(element)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_gives_the_element_back() {
        let (mut sender, mut receiver) = lane(2);
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(sender.send(3), Err(3));
        assert_eq!(receiver.receive(), Some(1));
        assert_eq!(sender.send(3), Ok(()));
        assert_eq!([receiver.receive(), receiver.receive(), receiver.receive()], [Some(2), Some(3), None]);
    }

    #[test]
    fn elements_cross_threads_in_order_and_none_is_lost() {
        const COUNT: u64 = if cfg!(miri) { 500 } else { 200_000 };
        let (mut sender, mut receiver) = lane(8);
        let producer = std::thread::spawn(move || {
            for value in 0..COUNT {
                let mut element = Box::new(value);
                while let Err(back) = sender.send(element) {
                    element = back;
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..COUNT {
            let value = loop {
                match receiver.receive() {
                    Some(value) => break value,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        assert!(receiver.receive().is_none());
        producer.join().expect("the producer does not panic");
    }

    #[test]
    fn what_is_left_in_a_lane_is_dropped_with_it() {
        let witness = Arc::new(());
        let (mut sender, receiver) = lane(4);
        for _ in 0..3 {
            sender.send(witness.clone()).expect("room for three");
        }
        drop(receiver);
        drop(sender);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
