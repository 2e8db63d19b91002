//! What a backup consists of: each file of the directory, and the object that holds it. One small text object per backup, written
//! last: a folder without one is no backup.

use super::Trouble;
use super::moment;
use super::store::Store;
use serde::{Deserialize, Serialize};
use shards::log::{Generation, NodeId, StreamId, opening_generation, segment_of};
use std::io::Read;

/// The version of this text.
const VERSION: u32 = 1;

/// The catalog's name in its backup's folder.
pub(super) const CATALOG: &str = "catalog.json";

/// The line behind the text.
const SEAL: &str = "crc32c ";

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Catalog {
    pub(super) version: u32,
    /// When it was taken, as a name. The greater, the later.
    pub(super) id: String,
    /// Whose directory it was, in hexadecimal.
    pub(super) node: String,
    pub(super) created_ms: u64,
    /// It shows every entry with a clock up to this one, and the cut there is consistent.
    pub(super) clock_ms: u64,
    /// Whether it needs no other backup's objects.
    pub(super) full: bool,
    pub(super) files: Vec<Kept>,
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its path in the directory.
    pub(super) name: String,
    /// As much of it as meant something, and that much's checksum.
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
    /// The object with its compressed bytes, in the node's folder, and theirs.
    pub(super) object: String,
    pub(super) stored_bytes: u64,
    pub(super) stored_crc32c: u32,
}

/// What a file of the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Node,
    Segment(StreamId, u64),
    Opening(Generation),
    /// A file of the snapshot with this number.
    Snapshot(u64),
}

impl Kept {
    /// What it is; `None` if this version does not know.
    pub(super) fn what(&self) -> Option<What> {
        match self.name.split_once('/') {
            None => (self.name == "node").then_some(What::Node),
            Some(("log", name)) => {
                segment_of(name).map(|(stream, seq)| What::Segment(stream, seq)).or_else(|| opening_generation(name).map(What::Opening))
            }
            Some(("snap", name)) => {
                let (id, file) = name.split_once('/')?;
                let is_known = file == shards::log::MANIFEST_NAME || shards::log::snapshot_file_core(file).is_some();
                shards::log::snapshot_id(id).filter(|_| is_known).map(What::Snapshot)
            }
            Some(_) => None,
        }
    }
}

impl Catalog {
    pub(super) fn new(node: NodeId, created_ms: u64, clock_ms: u64, full: bool) -> Catalog {
        Catalog { version: VERSION, id: moment::name(created_ms), node: node_text(node), created_ms, clock_ms, full, files: Vec::new() }
    }

    /// The object with this catalog.
    pub(super) fn object(&self) -> String {
        format!("{}/{}/{CATALOG}", self.node, self.id)
    }

    /// Where a file's object is in the store.
    pub(super) fn place(&self, kept: &Kept) -> String {
        format!("{}/{}", self.node, kept.object)
    }

    /// Bytes of the directory it shows, and bytes of objects it needs.
    pub(super) fn bytes(&self) -> (u64, u64) {
        self.files.iter().fold((0, 0), |(raw, stored), file| (raw + file.bytes, stored + file.stored_bytes))
    }

    /// The newest generation in it.
    pub(super) fn generation(&self) -> Generation {
        let openings = self.files.iter().filter_map(|file| match file.what() {
            Some(What::Opening(generation) | What::Segment(StreamId { generation, .. }, _)) => Some(generation),
            _ => None,
        });
        openings.max().unwrap_or_default()
    }

    fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("numbers and text");
        format!("{text}\n{SEAL}{:08x}\n", crc32c::crc32c(text.as_bytes()))
    }

    fn of_text(text: &str) -> Result<Catalog, String> {
        let sealed = text.trim_end().rsplit_once('\n').and_then(|(text, line)| Some((text, line.strip_prefix(SEAL)?)));
        let (text, seal) = sealed.ok_or("its last line, with the checksum, is missing")?;
        if format!("{:08x}", crc32c::crc32c(text.as_bytes())) != seal {
            return Err("its checksum does not hold".into());
        }
        let catalog: Catalog =
            serde_json::from_str(text).map_err(|error| format!("its checksum holds, but this version cannot read it: {error}"))?;
        if catalog.version != VERSION {
            return Err(format!("it was written by version {} of the format, this is {VERSION}", catalog.version));
        }
        match catalog.files.iter().find(|file| file.what().is_none() || !is_inside(&file.object)) {
            Some(file) => Err(format!("{} is no file of a backup", file.name)),
            None => Ok(catalog),
        }
    }

    /// Makes the backup one.
    pub(super) fn commit(&self, store: &Store) -> Result<(), Trouble> {
        let name = self.object();
        let (step, text) = (format!("cannot write {}", store.place(&name)), self.to_text());
        store.write(&name, text.len() as u64, |into| into.write_all(text.as_bytes()).map_err(Trouble::step(step)))
    }

    /// Reads the catalog that is the object `name`.
    pub(super) fn read(store: &Store, name: &str) -> Result<Catalog, Trouble> {
        let place = store.place(name);
        let mut text = String::new();
        store.read(name)?.read_to_string(&mut text).map_err(Trouble::step(format!("cannot read {}", place)))?;
        match Catalog::of_text(&text) {
            Ok(catalog) if catalog.object() == name => Ok(catalog),
            Ok(_) => Err(Trouble::new(format!("{} is the catalog of another backup", place))),
            Err(why) => Err(Trouble::new(format!("{} is damaged: {why}", place))),
        }
    }
}

/// Whether a name stays in the folder it is looked up in.
fn is_inside(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The names of all catalogs in a store, by node and time.
pub(super) fn catalog_names(store: &Store) -> Result<Vec<String>, Trouble> {
    let is_catalog = |name: &str| name.split('/').nth(2) == Some(CATALOG) && name.matches('/').count() == 2;
    Ok(store.objects()?.into_iter().map(|object| object.name).filter(|name| is_catalog(name)).collect())
}

/// A node's name in a store.
pub(super) fn node_text(node: NodeId) -> String {
    node.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str) -> Kept {
        Kept { name: name.into(), bytes: 4096, crc32c: 7, object: format!("id/{name}.zst"), stored_bytes: 99, stored_crc32c: 8 }
    }

    #[test]
    fn a_catalog_is_read_as_it_is_written_and_no_byte_may_change() {
        let mut catalog = Catalog::new(NodeId([0xAB; 16]), 1_795_280_112_123, 17, true);
        catalog.files =
            vec![kept("node"), kept("log/g00000001.open"), kept("log/g00000001-c0002-00000003.log"), kept("snap/00000004/manifest")];
        let text = catalog.to_text();
        assert_eq!(Catalog::of_text(&text), Ok(catalog.clone()));
        assert_eq!((catalog.generation(), catalog.bytes()), (Generation(1), (4 * 4096, 4 * 99)));
        for at in 0..text.trim_end().len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Catalog::of_text(&changed).is_err(), "byte {at}");
            assert!(Catalog::of_text(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_catalog_cannot_name_what_is_not_a_backups() {
        let mut catalog = Catalog::new(NodeId([1; 16]), 1, 1, true);
        for name in ["../etc/passwd", "log/../node", "lock", "/node", "log/x.log", "snap/00000001/other", "snap/1/manifest"] {
            catalog.files = vec![kept(name)];
            assert!(Catalog::of_text(&catalog.to_text()).is_err(), "{name}");
        }
        let mut outside = kept("node");
        outside.object = "../../node".into();
        catalog.files = vec![outside];
        assert!(Catalog::of_text(&catalog.to_text()).is_err());
        let stream = StreamId { generation: Generation(1), core: 2 };
        assert_eq!(kept("log/g00000001-c0002-00000003.log").what(), Some(What::Segment(stream, 3)));
    }
}
