//! The sockets of one thread behind one trait, on io_uring or, where that is refused, on epoll.
//!
//! A port owns descriptors and moves bytes. It knows no reply, no key and no schedule. Connections are numbered slots;
//! a slot is used again only after [`Sink::closed`] said that nothing of it is in flight any more.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub(crate) mod poll;
pub(crate) mod ring;

/// How long a turn may wait when nothing has happened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Look and return.
    Never,
    /// Sleep until something happens, at most this long.
    AtMost(Duration),
}

/// What a connection's bytes lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Keep,
    /// Hang up: these are no replies.
    Close,
}

/// Who is told what happened during a turn.
pub(crate) trait Sink {
    /// Bytes arrived on `slot`. They are gone after the call.
    fn received(&mut self, slot: usize, bytes: &[u8]) -> Verdict;
    /// `slot` is closed and may be used again.
    fn closed(&mut self, slot: usize, cause: io::Error);
}

/// Sockets of one thread.
pub(crate) trait Port: Sized {
    /// Room for `slots` connections whose replies are usually below `reply_bytes`.
    fn open(slots: usize, reply_bytes: usize) -> io::Result<Self>;

    /// As reported.
    fn name() -> &'static str;

    /// Starts to receive on `fd` as `slot`.
    ///
    /// # Panics
    /// If the slot is taken.
    fn add(&mut self, slot: usize, fd: OwnedFd);

    /// Sends `bytes`, in order after what was sent before, and leaves `bytes` empty. Sends begin at the next turn at the
    /// latest. Bytes for a closed slot are dropped: its `closed` has been or will be told.
    fn send(&mut self, slot: usize, bytes: &mut Vec<u8>);

    /// Hangs up. [`Sink::closed`] follows in a later turn.
    fn close(&mut self, slot: usize, cause: io::Error);

    /// Submits what is to be sent, waits as told, and reports everything that happened. Returns how much that was.
    fn turn(&mut self, wait: Wait, sink: &mut impl Sink) -> io::Result<usize>;
}

/// Which port is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Io {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

#[cfg(test)]
mod tests {
    //! Both ports are held to the same behaviour.

    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[derive(Default)]
    struct Seen {
        bytes: Vec<Vec<u8>>,
        closed: Vec<usize>,
        hang_up_on: Option<u8>,
    }

    impl Sink for Seen {
        fn received(&mut self, slot: usize, bytes: &[u8]) -> Verdict {
            self.bytes.resize_with(self.bytes.len().max(slot + 1), Vec::new);
            self.bytes[slot].extend_from_slice(bytes);
            if self.hang_up_on.is_some_and(|stop| bytes.contains(&stop)) { Verdict::Close } else { Verdict::Keep }
        }

        fn closed(&mut self, slot: usize, _: io::Error) {
            self.closed.push(slot);
        }
    }

    const TURN: Wait = Wait::AtMost(Duration::from_secs(5));

    fn pair() -> (OwnedFd, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (near.into(), far)
    }

    fn check_port<P: Port>() {
        let mut port = P::open(2, 100).unwrap();
        let mut seen = Seen::default();
        let (near, mut far) = pair();
        port.add(0, near);

        // Out, in order, larger than any socket buffer, while the far side reads slowly.
        let mut big: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let expected: Vec<u8> = big.iter().copied().chain(*b"tail").collect();
        port.send(0, &mut big);
        assert!(big.is_empty());
        let mut tail = b"tail".to_vec();
        port.send(0, &mut tail);
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 3_000_004];
            far.read_exact(&mut got).unwrap();
            far.write_all(b"done").unwrap();
            (far, got)
        });
        while seen.bytes.first().is_none_or(|bytes| bytes != b"done") {
            port.turn(TURN, &mut seen).unwrap();
        }
        let (mut far, got) = reader.join().unwrap();
        assert!(got == expected);

        // In, larger than all receive buffers together.
        seen.bytes[0].clear();
        let writer = std::thread::spawn(move || {
            far.write_all(&vec![7; 9_000_000]).unwrap();
            far
        });
        while seen.bytes[0].len() < 9_000_000 {
            port.turn(TURN, &mut seen).unwrap();
        }
        assert!(seen.bytes[0].iter().all(|&byte| byte == 7));

        // The far side goes: the slot is told of once and may be used again.
        drop(writer.join().unwrap());
        while seen.closed.is_empty() {
            port.turn(TURN, &mut seen).unwrap();
        }
        assert_eq!(seen.closed, [0]);
        port.send(0, &mut b"into the void".to_vec());
        let (near, mut far) = pair();
        port.add(0, near);
        seen.bytes[0].clear();
        far.write_all(b"again").unwrap();
        while seen.bytes[0] != b"again" {
            port.turn(TURN, &mut seen).unwrap();
        }
        // The sink hangs up.
        seen.hang_up_on = Some(b'!');
        far.write_all(b"!").unwrap();
        while seen.closed.len() < 2 {
            port.turn(TURN, &mut seen).unwrap();
        }
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0, "the far side sees the end");
        // We hang up, with bytes still queued.
        let (near, far) = pair();
        port.add(1, near);
        port.send(1, &mut vec![1; 4_000_000]);
        port.turn(Wait::Never, &mut seen).unwrap();
        port.close(1, io::Error::other("enough"));
        while seen.closed.len() < 3 {
            port.turn(TURN, &mut seen).unwrap();
        }
        assert_eq!(seen.closed, [0, 0, 1]);
        // Nothing to do: a turn comes back by itself.
        assert_eq!(port.turn(Wait::AtMost(Duration::from_micros(100)), &mut seen).unwrap(), 0);
        // Dropped while bytes are on their way: nothing hangs.
        let (near, _far) = pair();
        port.add(1, near);
        port.send(1, &mut vec![1; 4_000_000]);
        port.turn(Wait::Never, &mut seen).unwrap();
        drop(port);
        drop(far);
    }

    #[test]
    fn epoll_moves_bytes_both_ways() {
        check_port::<poll::PollPort>();
    }

    #[test]
    fn uring_moves_bytes_both_ways() {
        // Sandboxes may forbid io_uring; then the tool itself uses epoll, which the test above covers.
        match ring::RingPort::open(1, 100) {
            Ok(_) => check_port::<ring::RingPort>(),
            Err(refusal) => eprintln!("io_uring is refused here ({refusal}); not tested"),
        }
    }
}
