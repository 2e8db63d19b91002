//! Worlds on the real machine: loopback TCP, non-blocking clients.

use crate::world::{Seen, World};
use netio::options::Without;
use netio::{Epoll, Kernel, Options, Uring};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Machine<K> {
    open: fn(Options) -> K,
    directories: Vec<PathBuf>,
}

impl<K> Machine<K> {
    fn new(open: fn(Options) -> K) -> Machine<K> {
        Machine { open, directories: Vec::new() }
    }
}

impl<K> Drop for Machine<K> {
    fn drop(&mut self) {
        for directory in &self.directories {
            // What is left behind is in the build's own scratch directory.
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Tells the directories of one process apart.
static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn uring() -> Machine<Uring> {
    Machine::new(|options| Uring::open(options).expect("this machine allows io_uring"))
}

/// As on the oldest kernels we run on.
pub(crate) fn uring_plain() -> Machine<Uring> {
    Machine::new(|mut options| {
        options.without = Without { deferred_task_work: true, multishot: true, ring_messages: true, registered_ring: true };
        Uring::open(options).expect("this machine allows io_uring")
    })
}

pub(crate) fn epoll() -> Machine<Epoll> {
    Machine::new(|options| Epoll::open(options, None).expect("every Linux has epoll"))
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

    fn directory(&mut self) -> PathBuf {
        // Beside the build, because a temporary directory may be a file system without direct transfers.
        let name = format!("files-{}-{}", std::process::id(), DIRECTORIES.fetch_add(1, Ordering::Relaxed));
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&directory).unwrap();
        self.directories.push(directory.clone());
        directory
    }

    fn pass(&mut self) {}
}
