//! What a command has come to, where the command itself is not what a log or a replica should repeat.
//!
//! A command that depends on chance (`SPOP`), that moves something between two partitions (`LMOVE`), or that a replica may
//! compute otherwise (`HINCRBYFLOAT`) says in other commands what it did: each of one key, and each doing the same whoever
//! repeats it. They hold together.

use crate::shard::Shard;
use crate::wire::{Args, Span};

/// See the head of this file. Its memory is used again and again.
#[derive(Default)]
pub struct Retold {
    /// What [`Shard::changes`] was behind the command that this is about: it is about no other.
    changes: u64,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Where each command's spans end.
    ends: Vec<usize>,
}

/// Bytes that stay allocated between two commands.
const BYTES_KEPT: usize = 64 * 1024;

impl Retold {
    /// The commands, in order. Each has its key at argument 1.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = Args<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| Args::new(&self.bytes, &self.spans[from..*to])).collect::<Vec<_>>().into_iter()
    }
}

impl Shard {
    /// The command that is running has made its last change, and came to this: words of commands of one key each.
    pub(crate) fn retell(&mut self, commands: &[&[&[u8]]]) {
        let changes = self.changes();
        let Retold { changes: of, bytes, spans, ends } = &mut self.retold;
        *of = changes;
        bytes.clear();
        bytes.shrink_to(BYTES_KEPT);
        spans.clear();
        ends.clear();
        for words in commands {
            for word in *words {
                spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
                bytes.extend_from_slice(word);
            }
            ends.push(spans.len());
        }
    }

    /// What the command that has just changed something came to, if it said so.
    #[inline]
    pub fn retold(&self) -> Option<&Retold> {
        (self.retold.changes == self.changes()).then_some(&self.retold)
    }
}
