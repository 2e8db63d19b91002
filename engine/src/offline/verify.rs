//! Whether all that was read is there in the end: every key is asked for once more.

use super::Trouble;
use super::pipeline::Pipeline;
use super::tally::Tally;
use shards::rdb::{Entry, Item, Reader, Value};
use std::fmt::Write;
use std::io::BufRead;

/// Keys named in a message.
const NAMED_MAX: usize = 10;
/// Keys remembered, to be asked for again where the source goes on changing.
const REMEMBERED_MAX: usize = 10_000;

/// Keys that should be there and are not.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// Keys asked for.
    pub(super) looked_at: u64,
    count: u64,
    keys: Vec<(u32, Vec<u8>)>,
}

impl Absent {
    pub(super) fn note(&mut self, db: u32, key: &[u8]) {
        self.count += 1;
        if self.keys.len() < REMEMBERED_MAX {
            self.keys.push((db, key.to_vec()));
        }
    }

    /// Takes those that are remembered out of the count, to be looked at again.
    pub(super) fn take_keys(&mut self) -> Vec<(u32, Vec<u8>)> {
        self.count -= self.keys.len() as u64;
        self.looked_at -= self.keys.len() as u64;
        std::mem::take(&mut self.keys)
    }

    /// Trouble if there are any.
    pub(super) fn verdict(&self) -> Result<(), Trouble> {
        if self.count == 0 {
            return Ok(());
        }
        let mut text = format!(
            "{} of {} keys are not in the target; somebody deleted or evicted them, or they were lost:",
            self.count, self.looked_at
        );
        for (db, key) in self.keys.iter().take(NAMED_MAX) {
            let _ = write!(text, "\n  database {db}: {}", key.escape_ascii());
        }
        Err(Trouble::new(text))
    }
}

/// Reads a file's keys again and asks for each. `seen` is told how far it is and whether to go on.
pub(super) fn keys_of_file<R: BufRead>(
    reader: &mut Reader<R>,
    pipeline: &mut Pipeline,
    tally: &mut Tally,
    now_ms: u64,
    mut seen: impl FnMut(u64) -> bool,
) -> Result<(), Trouble> {
    while seen(reader.position().at) {
        match reader.next().map_err(|error| Trouble::new(error.to_string()))? {
            Item::End => break,
            Item::Key(Entry { value: Value::Other(_), .. }) => {}
            Item::Key(Entry { db, key, expires_at_ms, .. }) if expires_at_ms.is_none_or(|at_ms| at_ms > now_ms) => {
                pipeline.exists(db, key, expires_at_ms, tally)?;
            }
            _ => {}
        }
    }
    pipeline.drain(tally)
}
