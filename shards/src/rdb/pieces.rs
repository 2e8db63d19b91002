//! An RDB file made in pieces: several shards turn their walks into [`Leaf`]s, one place binds them into one file.
//!
//! Each leaf says which database its keys belong to, so leaves of different shards may follow each other in any order. A key
//! must come once: a walk that began again ([`crate::snapshot::Step::Restart`]) has spoilt its file.

use super::writer::{OPCODE_AUX, OPCODE_END, OPCODE_EXPIRE_MS, OPCODE_SELECT_DB};
use super::{VERSION_WRITTEN, crc64_append, encode_length, encode_text_plain, encode_value, type_of};
use crate::key::Db;
use crate::log::LogError;
use crate::snapshot::{Assembly, SnapshotItem};

/// Keys on their way into a file, whole ones only. Keeps the pieces of at most one long record until it is whole.
#[derive(Debug, Default)]
pub struct Leaf {
    bytes: Vec<u8>,
    db: Option<Db>,
    assembly: Assembly,
}

impl Leaf {
    /// Takes what a walk gave, see [`crate::shard::Shard::snapshot_step`]. O(n) in its bytes.
    ///
    /// # Errors
    /// If it is not what a walk gives.
    pub fn add(&mut self, mut items: &[u8]) -> Result<(), LogError> {
        while let Some(item) = SnapshotItem::take(&mut items)? {
            // A record that is whole must not disturb the pieces of another.
            let mut alone = Assembly::default();
            let assembly = if matches!(item, SnapshotItem::Slice { .. }) { &mut self.assembly } else { &mut alone };
            let Some((db, record)) = assembly.add(&item)? else { continue };
            let out = &mut self.bytes;
            if self.db != Some(db) {
                self.db = Some(db);
                out.push(OPCODE_SELECT_DB);
                encode_length(usize::from(db.0), out);
            }
            if let Some(deadline) = record.deadline() {
                out.push(OPCODE_EXPIRE_MS);
                out.extend_from_slice(&deadline.0.to_le_bytes());
            }
            out.push(type_of(record.kind()));
            encode_text_plain(record.key(), out);
            encode_value(record.kind(), record.value(), encode_text_plain, out);
            if matches!(item, SnapshotItem::Slice { .. }) {
                self.assembly = Assembly::default();
            }
        }
        Ok(())
    }

    /// Bytes that [`Leaf::take`] would give.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what is whole.
    pub fn take(&mut self) -> Vec<u8> {
        self.db = None;
        std::mem::take(&mut self.bytes)
    }
}

/// Binds leaves into one file: its head, its checksum, its end.
#[derive(Debug)]
pub struct Binding {
    crc: u64,
}

impl Binding {
    /// Appends the head, which says these things about the file, to `out`.
    pub fn begin(about: &[(&str, &str)], out: &mut Vec<u8>) -> Binding {
        let from = out.len();
        out.extend_from_slice(format!("REDIS{VERSION_WRITTEN:04}").as_bytes());
        for (name, value) in about {
            out.push(OPCODE_AUX);
            encode_text_plain(name.as_bytes(), out);
            encode_text_plain(value.as_bytes(), out);
        }
        Binding { crc: crc64_append(0, &out[from..]) }
    }

    /// Appends what a [`Leaf`] gave.
    pub fn add(&mut self, leaf: &[u8], out: &mut Vec<u8>) {
        self.crc = crc64_append(self.crc, leaf);
        out.extend_from_slice(leaf);
    }

    /// Appends the end.
    pub fn end(self, out: &mut Vec<u8>) {
        out.push(OPCODE_END);
        out.extend_from_slice(&crc64_append(self.crc, &[OPCODE_END]).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeySeed, PartitionId};
    use crate::rdb::{Entry, Item, Reader, Value};
    use crate::record::Kind;
    use crate::shard::{Deadline, Expiry, Shard, ShardConfig};
    use crate::snapshot::Step;
    use std::collections::BTreeMap;

    /// Every key of a shard as one leaf, in small steps.
    fn leaf_of(shard: &mut Shard) -> Vec<u8> {
        let mut leaf = Leaf::default();
        for partition in 0..crate::key::PARTITION_COUNT {
            shard.snapshot_begin(PartitionId(partition), 1_000);
            let mut step = Step::More;
            while step == Step::More {
                let mut items = Vec::new();
                step = shard.snapshot_step(3, 1 << 16, &mut items);
                leaf.add(&items).expect("a walk gives items");
            }
            assert!(matches!(step, Step::Done { .. }));
        }
        leaf.take()
    }

    #[test]
    fn leaves_of_several_shards_are_read_back_as_one_file() {
        let mut expected = BTreeMap::new();
        let mut shards: Vec<Shard> =
            (0..2).map(|chance_seed| Shard::new(ShardConfig { key_seed: KeySeed::new(7), chance_seed, db_count: 3 })).collect();
        for (index, shard) in shards.iter_mut().enumerate() {
            for number in 0..300_u32 {
                let key = format!("{index}:{number}").into_bytes();
                let value = if number == 7 { vec![b'x'; 3 << 20] } else { format!("{number}").into_bytes() };
                let deadline = (number % 3 == 0).then_some(Deadline(5_000 + u64::from(number)));
                let db = Db((number % 2) as u16 * 2);
                let hashed = shard.key(&key);
                shard.put(db, &hashed, Kind::String, &value, deadline.map_or(Expiry::Never, Expiry::At), 1_000);
                expected.insert((u32::from(db.0), key), (value, deadline.map(|deadline| deadline.0)));
            }
        }
        let mut file = Vec::new();
        let mut binding = Binding::begin(&[("redis-bits", "64")], &mut file);
        shards.iter_mut().for_each(|shard| binding.add(&leaf_of(shard), &mut file));
        binding.end(&mut file);
        let mut reader = Reader::begin(&file[..]).expect("a head");
        let mut found = BTreeMap::new();
        loop {
            match reader.next().expect("a file that is whole, checksum and all") {
                Item::Key(Entry { db, key, value: Value::String(value), expires_at_ms }) => {
                    let before = found.insert((db, key.to_vec()), (value.to_vec(), expires_at_ms));
                    assert!(before.is_none(), "a key that came twice");
                }
                Item::About { name, value } => assert_eq!((name, value), (&b"redis-bits"[..], &b"64"[..])),
                Item::End => break,
                other => panic!("{other:?} was not written"),
            }
        }
        assert!(found == expected, "{} keys instead of {}", found.len(), expected.len());
    }
}
