//! A blocking conversation with the target: the opening of a connection, and questions asked outside the measured load.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use crate::target::Stream;

/// One connection, one question at a time.
#[derive(Debug)]
pub(crate) struct Control {
    stream: Stream,
    peer: String,
    buffer: Vec<u8>,
}

/// A RESP reply as a tree, for the few that are looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A status, a string, or anything else with text.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// Null.
    Missing,
    /// An error and its text.
    Refused(String),
    /// An array, set or map (its keys and values in turn).
    List(Vec<Tree>),
}

/// Nesting deeper than any command asked here answers with.
const DEPTH_MAX: u32 = 16;
/// Longest answer to a question.
const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Control {
    /// Takes a connected stream.
    pub(crate) fn new(stream: Stream, peer: String) -> Control {
        Control { stream, peer, buffer: Vec::new() }
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn command(&mut self, words: &[&str]) -> Result<Tree, String> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.write(&request)?;
        loop {
            match crate::reply::resp(&self.buffer) {
                Err(malformed) => return Err(format!("{} does not speak RESP: {malformed}", self.peer)),
                Ok(Ok(reply)) => {
                    let bytes = reply.bytes;
                    let push = reply.answer == crate::reply::Answer::Push;
                    let tree = tree(&self.buffer[..bytes], &mut 0, 0);
                    self.buffer.drain(..bytes);
                    if !push {
                        return tree.ok_or_else(|| format!("{} gave an answer nested too deeply", self.peer));
                    }
                }
                Ok(Err(_)) => self.read()?,
            }
        }
    }

    /// Sends a command that has to work. `what` names it without its secrets.
    pub(crate) fn must(&mut self, what: &str, words: &[&str]) -> Result<Tree, String> {
        match self.command(words)? {
            Tree::Refused(text) => Err(format!("{} refused {what}: {text}", self.peer)),
            answer => Ok(answer),
        }
    }

    /// Sends a line and returns every line up to one of `ends`, as memcached answers.
    pub(crate) fn lines(&mut self, request: &str, ends: &[&str]) -> Result<Vec<String>, String> {
        self.write(format!("{request}\r\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&self.buffer[..end]).trim_end().to_string();
                self.buffer.drain(..=end);
                let last = ends.iter().any(|stop| line.starts_with(stop));
                lines.push(line);
                if last {
                    return Ok(lines);
                }
            }
            self.read()?;
        }
    }

    /// The descriptor, once the opening is over.
    pub(crate) fn into_fd(self) -> Result<OwnedFd, String> {
        if !self.buffer.is_empty() {
            return Err(format!("{} said more than it was asked", self.peer));
        }
        self.stream.into_fd().map_err(|error| format!("cannot prepare the connection to {}: {error}", self.peer))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot write to {}: {error}", self.peer))
    }

    fn read(&mut self) -> Result<(), String> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(format!("{} closed the connection", self.peer)),
            Ok(count) if self.buffer.len() + count > ANSWER_BYTES_MAX => {
                Err(format!("{} gave an answer over {ANSWER_BYTES_MAX} bytes", self.peer))
            }
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(format!("{} did not answer in time", self.peer)),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(format!("cannot read from {}: {error}", self.peer)),
        }
    }
}

/// The tree at `at` of a reply known to be whole; `None` if it is nested too deeply.
fn tree(bytes: &[u8], at: &mut usize, depth: u32) -> Option<Tree> {
    if depth > DEPTH_MAX {
        return None;
    }
    let end = *at + bytes[*at..].iter().position(|&byte| byte == b'\n')?;
    let kind = bytes[*at];
    let text = &bytes[*at + 1..end - 1];
    let number = || std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    *at = end + 1;
    let mut list =
        |count: i64| -> Option<Tree> { (0..count).map(|_| tree(bytes, at, depth + 1)).collect::<Option<Vec<_>>>().map(Tree::List) };
    Some(match kind {
        b'-' => Tree::Refused(String::from_utf8_lossy(text).into_owned()),
        b':' => Tree::Number(number()?),
        b'_' => Tree::Missing,
        b'$' | b'=' | b'!' => match number()? {
            -1 => Tree::Missing,
            length => {
                let body = &bytes[end + 1..end + 1 + length as usize];
                *at = end + 3 + length as usize;
                if kind == b'!' { Tree::Refused(String::from_utf8_lossy(body).into_owned()) } else { Tree::Text(body.to_vec()) }
            }
        },
        b'*' | b'~' | b'>' => match number()? {
            -1 => Tree::Missing,
            count => list(count)?,
        },
        b'%' => list(number()? * 2)?,
        b'|' => {
            list(number()? * 2)?;
            tree(bytes, at, depth)?
        }
        _ => Tree::Text(text.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read() {
        let read = |bytes: &[u8]| tree(bytes, &mut 0, 0);
        assert_eq!(
            read(b"*3\r\n:1\r\n$2\r\nab\r\n*2\r\n$-1\r\n+x\r\n"),
            Some(Tree::List(
                vec![Tree::Number(1), Tree::Text(b"ab".to_vec()), Tree::List(vec![Tree::Missing, Tree::Text(b"x".to_vec())]),]
            ))
        );
        assert_eq!(read(b"-ERR x\r\n"), Some(Tree::Refused("ERR x".into())));
        assert_eq!(read(b"%1\r\n+a\r\n_\r\n"), Some(Tree::List(vec![Tree::Text(b"a".to_vec()), Tree::Missing])));
        let mut deep = b"*1\r\n".repeat(100);
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(read(&deep), None);
    }
}
