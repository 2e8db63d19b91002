//! Requests to the target without waiting for each reply: a few batches are under way, and every reply is matched with what was
//! asked. Memory is bounded by the batches and the one largest request.

use super::peer::{Answer, Peer, put_request};
use super::tally::Tally;
use super::verify::Absent;
use super::{Trouble, now_ms};
use shards::rdb::{Collection, Value};
use std::collections::VecDeque;

/// A batch is sent when it is so long,
const BATCH_BYTES: usize = 128 * 1024;
/// or of so many requests.
const BATCH_REQUESTS: usize = 512;
/// Batches sent whose replies have not been read. Their replies fit what a server and two sockets hold, so nobody waits in a circle.
const BATCHES_MAX: usize = 4;
/// What is kept of a refusal for the table.
const REASON_CHARS_MAX: usize = 80;

/// What a reply answers.
#[derive(Debug)]
pub(super) enum Sent {
    /// The database of the requests behind it.
    Select(u32),
    /// A key to be stored.
    Key(u32),
    /// Whether a key is there; it is gone for good reason after its deadline.
    Exists { db: u32, key: Vec<u8>, expires_at_ms: Option<u64> },
    /// A command of the source, named in upper case.
    Command { db: u32, name: Vec<u8> },
}

/// A connection to the target, and what is under way on it.
pub(super) struct Pipeline {
    peer: Peer,
    gathered: Vec<u8>,
    waiting: Vec<Sent>,
    under_way: VecDeque<Vec<Sent>>,
    db: Option<u32>,
    /// Keys that should be there and are not.
    pub(super) absent: Absent,
}

impl Pipeline {
    pub(super) fn new(peer: Peer) -> Pipeline {
        Pipeline { peer, gathered: Vec::new(), waiting: Vec::new(), under_way: VecDeque::new(), db: None, absent: Absent::default() }
    }

    /// Stores a value, in place of what is there only if `replace`.
    pub(super) fn store(
        &mut self,
        db: u32,
        key: &[u8],
        value: &Value<'_>,
        expires_at_ms: Option<u64>,
        replace: bool,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        self.select(db);
        let deadline = expires_at_ms.map(|at_ms| at_ms.to_string());
        match value {
            Value::String(value) => self.put_set(key, value, deadline.as_deref(), replace),
            Value::Collection(value) => self.put_restore(key, value, deadline.as_deref(), replace),
            Value::Other(_) => return Ok(()),
        }
        self.sent(Sent::Key(db), tally)
    }

    fn put_set(&mut self, key: &[u8], value: &[u8], deadline: Option<&str>, replace: bool) {
        let (mut words, mut count) = ([&b"SET"[..], key, value, b"", b"", b""], 3);
        if let Some(deadline) = deadline {
            words[3..5].copy_from_slice(&[b"PXAT", deadline.as_bytes()]);
            count = 5;
        }
        if !replace {
            words[count] = b"NX";
            count += 1;
        }
        put_request(&mut self.gathered, &words[..count]);
    }

    /// In one request whatever its length, so that an import that is cut off leaves no key with a part of its elements.
    fn put_restore(&mut self, key: &[u8], value: &Collection<'_>, deadline: Option<&str>, replace: bool) {
        let mut payload = Vec::new();
        value.encode(&mut payload);
        let words: [&[u8]; 6] = [b"RESTORE", key, deadline.unwrap_or("0").as_bytes(), &payload, b"ABSTTL", b"REPLACE"];
        put_request(&mut self.gathered, if replace { &words } else { &words[..5] });
    }

    /// Asks whether a key is there.
    pub(super) fn exists(&mut self, db: u32, key: &[u8], expires_at_ms: Option<u64>, tally: &mut Tally) -> Result<(), Trouble> {
        self.select(db);
        put_request(&mut self.gathered, &[b"EXISTS", key]);
        self.sent(Sent::Exists { db, key: key.to_vec(), expires_at_ms }, tally)
    }

    /// Sends a command as it came.
    pub(super) fn command(&mut self, db: u32, name: &[u8], raw: &[u8], tally: &mut Tally) -> Result<(), Trouble> {
        self.select(db);
        self.gathered.extend_from_slice(raw);
        self.sent(Sent::Command { db, name: name.to_ascii_uppercase() }, tally)
    }

    fn select(&mut self, db: u32) {
        if self.db != Some(db) {
            put_request(&mut self.gathered, &[b"SELECT", db.to_string().as_bytes()]);
            self.waiting.push(Sent::Select(db));
            self.db = Some(db);
        }
    }

    fn sent(&mut self, sent: Sent, tally: &mut Tally) -> Result<(), Trouble> {
        self.waiting.push(sent);
        if self.gathered.len() < BATCH_BYTES && self.waiting.len() < BATCH_REQUESTS {
            return Ok(());
        }
        self.flush(tally)
    }

    /// Sends what was gathered.
    pub(super) fn flush(&mut self, tally: &mut Tally) -> Result<(), Trouble> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if self.under_way.len() == BATCHES_MAX {
            self.settle(tally)?;
        }
        self.peer.send(&self.gathered)?;
        self.gathered.clear();
        self.gathered.shrink_to(2 * BATCH_BYTES);
        self.under_way.push_back(std::mem::take(&mut self.waiting));
        Ok(())
    }

    /// Sends what was gathered and reads every reply: whatever was asked so far is done, and as durable as the target makes it.
    pub(super) fn drain(&mut self, tally: &mut Tally) -> Result<(), Trouble> {
        self.flush(tally)?;
        while !self.under_way.is_empty() {
            self.settle(tally)?;
        }
        Ok(())
    }

    /// Reads the replies of the oldest batch.
    fn settle(&mut self, tally: &mut Tally) -> Result<(), Trouble> {
        let Some(batch) = self.under_way.pop_front() else { return Ok(()) };
        for sent in batch {
            let answer = self.peer.answer()?;
            self.note(sent, answer, tally)?;
        }
        Ok(())
    }

    fn note(&mut self, sent: Sent, answer: Answer, tally: &mut Tally) -> Result<(), Trouble> {
        match (sent, answer) {
            (Sent::Select(_), Answer::Status(_)) => {}
            (Sent::Select(db), Answer::Error(text)) if text.contains("out of range") => {
                return Err(Trouble::new(format!(
                    "the {} has no database {db}; start it with more (--set databases=COUNT)",
                    self.peer.name
                )));
            }
            (Sent::Key(db), Answer::Status(_)) => tally.db(db).stored += 1,
            (Sent::Key(db), Answer::Null) => tally.db(db).kept += 1,
            (Sent::Key(db), Answer::Error(text)) if text.starts_with("BUSYKEY") => tally.db(db).kept += 1,
            (Sent::Exists { .. }, Answer::Integer(1..)) => self.absent.looked_at += 1,
            (Sent::Exists { db, key, expires_at_ms }, Answer::Integer(_)) => {
                self.absent.looked_at += 1;
                if expires_at_ms.is_none_or(|at_ms| at_ms > now_ms()) {
                    self.absent.note(db, &key);
                }
            }
            (sent, Answer::Error(text)) => return self.note_refusal(&sent, &text, tally),
            (Sent::Command { db, .. }, _) => tally.db(db).commands += 1,
            _ => return Err(self.peer.nonsense()),
        }
        Ok(())
    }

    /// Some refusals are of one request; others mean that nothing will go well from here on.
    fn note_refusal(&mut self, sent: &Sent, text: &str, tally: &mut Tally) -> Result<(), Trouble> {
        const HOPELESS: [&str; 10] =
            ["OOM", "MISCONF", "NOAUTH", "NOPERM", "READONLY", "LOADING", "MOVED", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS"];
        let code = text.split(' ').next().unwrap_or_default();
        if HOPELESS.contains(&code) {
            return Err(self.peer.refused(text));
        }
        let reason: String = text.chars().take(REASON_CHARS_MAX).collect();
        match sent {
            Sent::Key(db) => {
                tally.db(*db).skipped += 1;
                tally.skip("key", &reason);
            }
            Sent::Command { name, .. } => {
                let reason = if reason.starts_with("ERR unknown command") { "the target has no such command" } else { &reason };
                tally.skip(&format!("command {}", name.escape_ascii()), reason);
            }
            Sent::Select(_) | Sent::Exists { .. } => return Err(self.peer.refused(text)),
        }
        Ok(())
    }
}
