//! Bytes received and not yet run. Consumed from the front without moving what is behind.

/// A queue of bytes in one piece.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Where what is left begins.
    from: usize,
}

impl Input {
    /// Bytes that were put together elsewhere.
    pub fn of(bytes: Vec<u8>) -> Input {
        Input { bytes, from: 0 }
    }

    /// What is left.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// How much is left.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    /// Whether nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends. What was consumed is left behind when room is needed, so that each byte moves twice on average at most and the
    /// allocation is at most twice what was ever left in it.
    pub fn extend(&mut self, more: &[u8]) {
        let needed = self.len() + more.len();
        if self.from > 0 && self.bytes.len() + more.len() > self.bytes.capacity() {
            if needed <= self.bytes.capacity() / 2 {
                self.bytes.drain(..self.from);
            } else {
                let mut bytes = Vec::with_capacity(2 * needed);
                bytes.extend_from_slice(self.as_slice());
                self.bytes = bytes;
            }
            self.from = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Gives back what growing has left over: for input that will not grow for a while.
    pub fn shrink(&mut self) {
        self.bytes.drain(..self.from);
        self.from = 0;
        self.bytes.shrink_to_fit();
    }

    /// Forgets the first `count` bytes; the allocation too if none are left, because an idle connection owns no buffer.
    pub fn consume(&mut self, count: usize) {
        self.from += count;
        assert!(self.from <= self.bytes.len());
        if self.is_empty() {
            *self = Input::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_gone_and_the_rest_is_whole() {
        let mut input = Input::default();
        let (mut given, mut taken) = (0_u32, 0_u32);
        for round in 0..1000_u32 {
            for _ in 0..round % 7 {
                input.extend(&given.to_le_bytes());
                given += 1;
            }
            for _ in 0..(round % 5).min(given - taken) {
                assert_eq!(input.as_slice()[..4], taken.to_le_bytes());
                input.consume(4);
                taken += 1;
            }
            assert_eq!(input.len(), 4 * (given - taken) as usize);
        }
    }

    #[test]
    fn an_allocation_is_at_most_twice_what_was_left_in_it() {
        let mut input = Input::default();
        let mut most = 0;
        for round in 0..10_000_usize {
            input.extend(&[7; 100]);
            most = most.max(input.len());
            assert!(input.capacity() <= 2 * most, "{} bytes for {most}", input.capacity());
            // A client that sends a little faster than it is served, until it is paused for a while.
            input.consume(if round % 100 < 95 { 90 } else { 250.min(input.len()) });
        }
        assert!(most > 1000, "it never piled up");
    }

    #[test]
    fn an_empty_input_owns_nothing() {
        let mut input = Input::of(vec![1; 100]);
        input.consume(60);
        assert_eq!(input.len(), 40);
        input.consume(40);
        assert_eq!((input.len(), input.capacity()), (0, 0));
    }
}
