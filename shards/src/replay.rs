//! A log's entries, applied again: the same handlers, the entry's clock, nobody to answer.
//!
//! Nothing is refused for want of memory and nobody is evicted: whoever was is in the log. And nobody calls
//! [`Shard::tick`] between entries of different streams: their clocks run apart, and what one of them would remove may
//! still be there for another's next entry.

use crate::command::{COMMANDS_BY_NUMBER, Call, Command, Handler, Resolved, keys_of, resolve};
use crate::key::{Db, Key, PARTITION_COUNT, PartitionId};
use crate::keyspace::Keyspace;
use crate::log::{Body, Entry, LogError, PARTITION_ALL, Words};
use crate::shard::Shard;
use crate::slot::Slot;
use crate::wire::{Args, Proto, Reply, Span};

/// Memory that replaying uses again and again.
#[derive(Default)]
pub(crate) struct Replaying {
    spans: Vec<Span>,
    reply: Vec<u8>,
}

/// Of the thrown-away replies, what is kept for the next one.
const REPLY_BYTES_KEPT: usize = 64 * 1024;

fn refused(why: impl Into<String>) -> LogError {
    LogError { place: 0, why: why.into().into() }
}

impl Shard {
    /// Does again what an entry says, as far as it concerns the wanted partitions: one for the entry's own, or each one of
    /// those if it is for all. About the cost of the command.
    ///
    /// # Errors
    /// If this version would never have written such an entry. Then nothing was changed, and the shard's state is not what
    /// the log says.
    pub fn replay(&mut self, entry: &Entry<'_>, partitions: &dyn Fn(u16) -> bool) -> Result<(), LogError> {
        if entry.db.0 >= self.db_count() {
            return Err(refused(format!(
                "an entry of database {}, and there are {}: set `databases` as it was",
                entry.db.0,
                self.db_count()
            )));
        }
        if entry.partition == PARTITION_ALL {
            return self.replay_everywhere(entry, partitions);
        }
        if entry.partition >= PARTITION_COUNT {
            return Err(refused(format!("an entry of partition {}", entry.partition)));
        }
        if !partitions(entry.partition) {
            return Ok(());
        }
        match entry.body {
            Body::Command(words) => self.replay_command(entry, words),
            Body::Store { key, record: Some(record) } => {
                let key = self.key_in(entry, key)?;
                self.import(entry.db, &key, record, entry.clock_ms).map_err(|_| refused("a record that is none"))
            }
            Body::Store { key, record: None } | Body::Evict { key } => {
                let key = self.key_in(entry, key)?;
                self.delete(entry.db, &key, entry.clock_ms);
                Ok(())
            }
            Body::Tick => Ok(()),
        }
    }

    fn replay_command(&mut self, entry: &Entry<'_>, words: Words<'_>) -> Result<(), LogError> {
        let Replaying { mut spans, mut reply } = std::mem::take(&mut self.replaying);
        let result = self.run_again(entry, words.spans(&mut spans), &mut reply);
        reply.clear();
        reply.shrink_to(REPLY_BYTES_KEPT);
        self.replaying = Replaying { spans, reply };
        result
    }

    fn run_again(&mut self, entry: &Entry<'_>, args: Args<'_>, reply: &mut Vec<u8>) -> Result<(), LogError> {
        let (command, handler) = command_of(args)?;
        let mut keys = keys_of(command, args);
        let Some(first) = keys.next() else { return Err(refused(format!("{} has no keys", command.full_name))) };
        let key = self.key_in(entry, args.get(first))?;
        for index in keys {
            in_partition(entry, Slot::of(args.get(index)))?;
        }
        let mut call = Call { args, key, db: entry.db, now: entry.clock_ms, reply: Reply::new(reply, Proto::Resp2) };
        handler(self, &mut call);
        match reply.first() {
            Some(b'-') => Err(refused(format!("{} answers {}", command.full_name, String::from_utf8_lossy(reply).trim_end()))),
            _ => Ok(()),
        }
    }

    /// Commands on everything, done for some partitions only.
    fn replay_everywhere(&mut self, entry: &Entry<'_>, partitions: &dyn Fn(u16) -> bool) -> Result<(), LogError> {
        let Body::Command(words) = entry.body else {
            return if entry.body == Body::Tick { Ok(()) } else { Err(refused("one key cannot be in all partitions")) };
        };
        let mut spans = Vec::new();
        let args = words.spans(&mut spans);
        let (command, _) = command_of(args)?;
        match command.full_name {
            "flushdb" => self.clear_partitions(entry.db, partitions),
            "flushall" => (0..self.db_count()).for_each(|db| self.clear_partitions(Db(db), partitions)),
            "swapdb" => {
                let [first, second] = [1, 2].map(|index| std::str::from_utf8(args.get(index)).ok().and_then(|text| text.parse().ok()));
                match (first.and_then(|db| Call::db_of(self, db)), second.and_then(|db| Call::db_of(self, db))) {
                    (Some(first), Some(second)) => self.swap_partitions(first, second, partitions),
                    _ => return Err(refused("swapdb of databases that there are not")),
                }
            }
            other => return Err(refused(format!("{other} does not write everywhere"))),
        }
        Ok(())
    }

    /// Empties some partitions of a database. The memory is given back in slices by later ticks.
    fn clear_partitions(&mut self, db: Db, partitions: &dyn Fn(u16) -> bool) {
        self.overturn_before(&[db]);
        let mut cleared = Keyspace::default();
        for partition in (0..PARTITION_COUNT).filter(|partition| partitions(*partition)) {
            self.dbs[usize::from(db.0)].swap_partition(&mut cleared, &mut self.heap, PartitionId(partition));
        }
        if cleared.has_tables() {
            self.doomed.push(cleared);
        }
    }

    /// Exchanges two databases' contents in some partitions.
    fn swap_partitions(&mut self, a: Db, b: Db, partitions: &dyn Fn(u16) -> bool) {
        self.overturn_before(&[a, b]);
        let Ok([a, b]) = self.dbs.get_disjoint_mut([a, b].map(|db| usize::from(db.0))) else { return };
        for partition in (0..PARTITION_COUNT).filter(|partition| partitions(*partition)) {
            a.swap_partition(b, &mut self.heap, PartitionId(partition));
        }
    }

    /// A key that must be in the entry's partition.
    fn key_in<'k>(&self, entry: &Entry<'_>, bytes: &'k [u8]) -> Result<Key<'k>, LogError> {
        let key = self.key(bytes);
        in_partition(entry, key.slot).map(|()| key)
    }
}

/// Entries are filtered by partition, so one that touches another than it says would be replayed in the wrong place.
fn in_partition(entry: &Entry<'_>, slot: Slot) -> Result<(), LogError> {
    if PartitionId::of(slot).0 == entry.partition { Ok(()) } else { Err(refused("a key outside its entry's partition")) }
}

type ShardHandler = fn(&mut Shard, &mut Call<'_, '_>);

fn command_of(args: Args<'_>) -> Result<(&'static Command, ShardHandler), LogError> {
    let Resolved::Command(number) = resolve(args) else {
        let name = String::from_utf8_lossy(&args.get(0)[..args.get(0).len().min(64)]).into_owned();
        return Err(refused(format!("'{name}' is no command of this version, or has other arguments")));
    };
    let command = COMMANDS_BY_NUMBER[usize::from(number)];
    match command.handler {
        Handler::Shard(handler) => Ok((command, handler)),
        _ => Err(refused(format!("{} changes no data", command.full_name))),
    }
}
