//! Worlds on the real machine: loopback TCP, non-blocking clients.

use crate::world::{Seen, World};
use netio::options::Without;
use netio::{Epoll, Kernel, Options, Uring};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

pub(crate) struct Machine<K> {
    open: fn(Options) -> K,
}

pub(crate) fn uring() -> Machine<Uring> {
    Machine { open: |options| Uring::open(options).expect("this machine allows io_uring") }
}

/// As on the oldest kernels we run on.
pub(crate) fn uring_plain() -> Machine<Uring> {
    Machine {
        open: |mut options| {
            options.without = Without { deferred_task_work: true, multishot: true, ring_messages: true, registered_ring: true };
            Uring::open(options).expect("this machine allows io_uring")
        },
    }
}

pub(crate) fn epoll() -> Machine<Epoll> {
    Machine { open: |options| Epoll::open(options, None).expect("every Linux has epoll") }
}

impl<K: Kernel> World for Machine<K> {
    type Kernel = K;
    type Client = TcpStream;
    const FLOOD_BYTES: usize = 32 << 20;

    fn open(&mut self, options: Options) -> K {
        (self.open)(options)
    }

    fn address(&mut self) -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn connect(&mut self, to: SocketAddr) -> TcpStream {
        let client = TcpStream::connect(to).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    fn write(&mut self, client: &mut TcpStream, bytes: &[u8]) -> usize {
        match client.write(bytes) {
            Ok(taken) => taken,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => panic!("the client cannot write: {e}"),
        }
    }

    fn read(&mut self, client: &mut TcpStream) -> Seen {
        let mut bytes = vec![0; 64 * 1024];
        match client.read(&mut bytes) {
            Ok(0) => Seen::End,
            Ok(count) => {
                bytes.truncate(count);
                Seen::Bytes(bytes)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Seen::Nothing,
            Err(_) => Seen::End,
        }
    }

    fn finish(&mut self, client: &mut TcpStream) {
        client.shutdown(Shutdown::Write).unwrap();
    }

    fn vanish(&mut self, client: TcpStream) {
        drop(client);
    }

    fn pass(&mut self) {}
}
