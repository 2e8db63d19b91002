//! A connection to a server: requests out, replies in, one thread, with a limit on how long the other side may be silent.

use super::Trouble;
use super::address::{Address, Password};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that has not said anything for so long is taken for lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const INPUT_BYTES: usize = 256 * 1024;
/// A line of the protocol: a status, an error, a length.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Arrays within arrays.
const DEPTH_MAX: usize = 8;

/// What a server answers, in RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Answer>),
}

/// One connection.
pub(super) struct Peer {
    pub(super) input: BufReader<TcpStream>,
    /// For messages.
    pub(super) name: String,
}

impl Peer {
    /// Connects, says who it is, and makes sure that it is heard.
    pub(super) fn connect(name: &str, address: &Address, password: Option<&Password>) -> Result<Peer, Trouble> {
        let failed = |error: io::Error| Trouble::new(format!("cannot connect to the {name} at {address}: {error}"));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut stream = Err(());
        for place in (address.host.as_str(), address.port).to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&place, CONNECT_TIMEOUT) {
                Ok(found) => {
                    stream = Ok(found);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Ok(stream) = stream else { return Err(failed(last)) };
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        let mut peer = Peer { input: BufReader::with_capacity(INPUT_BYTES, stream), name: format!("{name} at {address}") };
        peer.introduce(address, password)?;
        Ok(peer)
    }

    fn introduce(&mut self, address: &Address, password: Option<&Password>) -> Result<(), Trouble> {
        let answer = match (address.user.as_deref(), password) {
            (Some(user), Some(Password(password))) => self.call(&[b"AUTH", user.as_bytes(), password])?,
            (None, Some(Password(password))) => self.call(&[b"AUTH", password])?,
            (Some(_), None) => return Err(Trouble::usage(format!("{}: a user needs a password", self.name))),
            (None, None) => Answer::Status("OK".into()),
        };
        if let Answer::Error(text) = answer {
            return Err(self.refused(&text));
        }
        match self.call(&[b"PING"])? {
            Answer::Error(text) => Err(self.refused(&text)),
            _ => Ok(()),
        }
    }

    /// An error that the server answered.
    pub(super) fn refused(&self, text: &str) -> Trouble {
        Trouble::new(format!("the {} answers: {text}", self.name))
    }

    fn lost(&self, error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Trouble::new(format!("the {} has said nothing for {} s", self.name, SILENCE_MAX.as_secs()))
            }
            io::ErrorKind::UnexpectedEof => Trouble::new(format!("the {} closed the connection", self.name)),
            _ => Trouble::new(format!("the {}: {error}", self.name)),
        }
    }

    /// Sends bytes as they are.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.input.get_mut().write_all(bytes).map_err(|error| self.lost(&error))
    }

    /// One request and its answer.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> Result<Answer, Trouble> {
        let mut request = Vec::new();
        put_request(&mut request, words);
        self.send(&request)?;
        self.answer()
    }

    /// As [`Peer::call`], and an error is trouble.
    pub(super) fn demand(&mut self, words: &[&[u8]]) -> Result<Answer, Trouble> {
        match self.call(words)? {
            Answer::Error(text) => Err(self.refused(&text)),
            answer => Ok(answer),
        }
    }

    /// A field of `INFO section`.
    pub(super) fn info(&mut self, section: &str) -> Result<String, Trouble> {
        match self.demand(&[b"INFO", section.as_bytes()])? {
            Answer::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => Err(self.nonsense()),
        }
    }

    /// How many keys each database has; those without any are not named.
    pub(super) fn key_counts(&mut self) -> Result<Vec<(u32, u64)>, Trouble> {
        let text = self.info("keyspace")?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let (db, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
                Some((db.parse().ok()?, rest.split(',').next()?.trim().parse().ok()?))
            })
            .collect())
    }

    pub(super) fn nonsense(&self) -> Trouble {
        Trouble::new(format!("the {} does not answer as Redis does", self.name))
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Result<Answer, Trouble> {
        self.answer_within(DEPTH_MAX)
    }

    fn answer_within(&mut self, depth: usize) -> Result<Answer, Trouble> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or_else(|| self.nonsense())?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
        match kind {
            b'+' => Ok(Answer::Status(text())),
            b'-' => Ok(Answer::Error(text())),
            b':' => number().map(Answer::Integer).ok_or_else(|| self.nonsense()),
            b'$' => match number() {
                Some(-1) => Ok(Answer::Null),
                Some(length @ 0..) => self.bulk(length as u64),
                _ => Err(self.nonsense()),
            },
            b'*' if depth > 0 => match number() {
                Some(-1) => Ok(Answer::Null),
                Some(count @ 0..) => (0..count).map(|_| self.answer_within(depth - 1)).collect::<Result<_, _>>().map(Answer::Array),
                _ => Err(self.nonsense()),
            },
            _ => Err(self.nonsense()),
        }
    }

    /// A line without its end.
    pub(super) fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| self.lost(&error))?;
        if line.pop() != Some(b'\n') {
            return Err(self.lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    /// Memory follows the bytes that came.
    fn bulk(&mut self, length: u64) -> Result<Answer, Trouble> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(length + 2).read_to_end(&mut bytes);
        read.map_err(|error| self.lost(&error))?;
        if bytes.len() as u64 != length + 2 {
            return Err(self.lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.truncate(length as usize);
        Ok(Answer::Bulk(bytes))
    }
}

/// Appends a request.
pub(super) fn put_request(out: &mut Vec<u8>, words: &[&[u8]]) {
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
