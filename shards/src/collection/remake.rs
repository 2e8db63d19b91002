//! A value in the commands that make it: for replicas, and for servers that data is taken to.

use super::View;
use crate::key::{Db, Key};
use crate::number::Digits;
use crate::record::Kind;
use crate::shard::Shard;

/// Words of one command at most, name and key not counted; even, so that pairs stay together.
const WORDS_MAX: usize = 128;
/// Bytes after which a command ends. A single element, or a pair, may be larger.
const BYTES_MAX: usize = 64 * 1024;

impl Shard {
    /// Says a key in commands that Redis since 6.2 understands: whatever was there, it is the same here and there afterwards.
    /// Several commands hold together, as one transaction if `say` is not to show them apart. About the cost of reading it.
    pub fn remake(&self, db: Db, key: &Key<'_>, now: u64, say: &mut dyn FnMut(&[&[u8]])) {
        let Some(found) = self.peek(db, key, now) else { return say(&[b"DEL", key.bytes]) };
        let deadline = found.deadline.map(|at| Digits::of_u64(at.0));
        if found.kind == Kind::String {
            return match deadline {
                None => say(&[b"SET", key.bytes, found.value]),
                Some(at) => say(&[b"SET", key.bytes, found.value, b"PXAT", at.as_bytes()]),
            };
        }
        let view = self.peek_view(db, key, found.kind, now).ok().flatten().expect("it was found a moment ago");
        say(&[b"DEL", key.bytes]);
        remake_collection(&view, found.kind, key.bytes, say);
        if let Some(at) = deadline {
            say(&[b"PEXPIREAT", key.bytes, at.as_bytes()]);
        }
    }
}

/// Adds the elements to a key that is empty.
fn remake_collection(view: &View<'_>, kind: Kind, key: &[u8], say: &mut dyn FnMut(&[&[u8]])) {
    let name: &[u8] = match kind {
        Kind::String => unreachable!("a string has no elements"),
        Kind::List => b"RPUSH",
        Kind::Set => b"SADD",
        Kind::SortedSet => b"ZADD",
        Kind::Hash => b"HSET",
    };
    let mut piece = Piece { words: Vec::new(), bytes: Vec::new() };
    let mut scores = Vec::new();
    match kind {
        Kind::String | Kind::List | Kind::Set => view.visit(&mut |element| piece.add(&[element], name, key, say)),
        Kind::Hash => view.visit_pairs(&mut |field, value| piece.add(&[field, value], name, key, say)),
        Kind::SortedSet => view.visit_scored(&mut |member, score| {
            scores.clear();
            crate::number::write_f64(&mut scores, score);
            piece.add(&[&scores, member], name, key, say);
        }),
    }
    piece.end(name, key, say);
}

/// The elements of one command.
struct Piece {
    /// Lengths of the words in `bytes`.
    words: Vec<usize>,
    bytes: Vec<u8>,
}

impl Piece {
    fn add(&mut self, words: &[&[u8]], name: &[u8], key: &[u8], say: &mut dyn FnMut(&[&[u8]])) {
        for word in words {
            self.words.push(word.len());
            self.bytes.extend_from_slice(word);
        }
        if self.words.len() >= WORDS_MAX || self.bytes.len() >= BYTES_MAX {
            self.end(name, key, say);
        }
    }

    fn end(&mut self, name: &[u8], key: &[u8], say: &mut dyn FnMut(&[&[u8]])) {
        if self.words.is_empty() {
            return;
        }
        let mut command = vec![name, key];
        let mut rest = &self.bytes[..];
        for length in self.words.drain(..) {
            let (word, after) = rest.split_at(length);
            command.push(word);
            rest = after;
        }
        say(&command);
        self.bytes.clear();
    }
}
