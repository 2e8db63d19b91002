//! A file from front to back, with the next chunks on their way while one is looked at.

use crate::task::{Answer, Desk, Open};
use netio::file::FILE_ALIGN_BYTES;
use netio::{Aligned, FileDone, FileFailure, FileRequest};
use std::collections::VecDeque;
use std::path::Path;

/// Bytes read at once. Large enough that a request costs nothing, small enough that several fit a cache.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads under way.
const AHEAD: usize = 2;

/// The chunks of a file, in order.
pub(crate) struct Chunks {
    desk: Desk,
    open: Open,
    /// Offset of the next chunk to be asked for.
    next_at: u64,
    under_way: VecDeque<Answer>,
    spare: Vec<Aligned>,
}

impl Chunks {
    /// Begins to read at `from`, a multiple of 4096. Recovery reads the log through the page cache, because it does so twice.
    pub(crate) async fn open(desk: &Desk, path: &Path, from: u64, direct: bool) -> Result<Chunks, FileFailure> {
        let open = desk.open(path, direct).await?;
        let mut chunks = Chunks { desk: desk.clone(), open, next_at: from, under_way: VecDeque::new(), spare: Vec::new() };
        chunks.ask();
        Ok(chunks)
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.open.traits.bytes
    }

    /// The file behind it.
    pub(crate) fn file(&self) -> &Open {
        &self.open
    }

    fn ask(&mut self) {
        while self.under_way.len() < AHEAD && self.next_at < self.open.traits.bytes {
            // Most files of a young directory are small: no more memory than what is left of this one.
            let left = usize::try_from(self.open.traits.bytes - self.next_at).unwrap_or(CHUNK_BYTES);
            let bytes = left.next_multiple_of(FILE_ALIGN_BYTES).min(CHUNK_BYTES);
            let mut buffer = self.spare.pop().unwrap_or_else(|| Aligned::with_capacity(bytes));
            buffer.resize(bytes);
            self.under_way.push_back(self.desk.begin(FileRequest::Read { file: self.open.file, at: self.next_at, buffer }));
            self.next_at += CHUNK_BYTES as u64;
        }
    }

    /// The next chunk; `None` at the end of the file.
    pub(crate) async fn next(&mut self) -> Result<Option<Aligned>, FileFailure> {
        let Some(answer) = self.under_way.pop_front() else { return Ok(None) };
        match answer.await? {
            FileDone::Read { buffer } => {
                self.ask();
                Ok(Some(buffer).filter(|buffer| !buffer.is_empty()))
            }
            other => unreachable!("reading was answered with {other:?}"),
        }
    }

    /// Gives a chunk's memory back for the next one.
    pub(crate) fn give_back(&mut self, buffer: Aligned) {
        self.spare.push(buffer);
    }
}

/// The first bytes of a file: as many as asked for, or as there are.
pub(crate) async fn read_front(desk: &Desk, path: &Path, bytes: usize) -> Result<Aligned, FileFailure> {
    let open = desk.open(path, false).await?;
    let mut buffer = Aligned::with_capacity(bytes);
    buffer.resize(buffer.capacity());
    match desk.ask(FileRequest::Read { file: open.file, at: 0, buffer }).await? {
        FileDone::Read { buffer } => Ok(buffer),
        other => unreachable!("reading was answered with {other:?}"),
    }
}

/// A small file, whole.
pub(crate) async fn read_whole(desk: &Desk, path: &Path) -> Result<Vec<u8>, FileFailure> {
    let mut chunks = Chunks::open(desk, path, 0, false).await?;
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        whole.extend_from_slice(&chunk);
        chunks.give_back(chunk);
    }
    Ok(whole)
}
