//! The position file: how far an import has come, so that one that was interrupted goes on. Written whole beside its place, then
//! moved there; it never says more than what the target has acknowledged.

use super::Trouble;
use super::tally::Tally;
use serde::{Deserialize, Serialize};
use shards::rdb;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// How far an import has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    format: u32,
    /// What is imported: the files with their lengths and times, or the master's identity. Another source is not gone on with.
    pub(super) source: String,
    /// Which of the files.
    pub(super) part: usize,
    /// Bytes of it, or of the master's stream, that are done.
    pub(super) at: u64,
    /// The database selected there.
    pub(super) db: u32,
    /// Commands are under way that may not be carried out twice; which of them were cannot be known.
    pub(super) unsure: bool,
    /// The keys of an RDB file are being read; otherwise commands.
    pub(super) keys: Option<Keys>,
    pub(super) tally: Tally,
}

/// What is needed to read on in an RDB file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    crc: String,
    version: u16,
}

impl Position {
    pub(super) fn start(source: String) -> Position {
        Position { format: FORMAT, source, part: 0, at: 0, db: 0, unsure: false, keys: None, tally: Tally::default() }
    }

    /// Between two items of an RDB file.
    pub(super) fn set_keys(&mut self, position: rdb::Position) {
        (self.at, self.db) = (position.at, position.db);
        self.keys = Some(Keys { crc: format!("{:016x}", position.crc), version: position.version });
    }

    /// Where to read on in an RDB file.
    pub(super) fn keys(&self) -> Option<rdb::Position> {
        let keys = self.keys.as_ref()?;
        let crc = u64::from_str_radix(&keys.crc, 16).ok()?;
        Some(rdb::Position { at: self.at, crc, db: self.db, version: keys.version })
    }
}

/// The file, or none where nobody wants one.
pub(super) struct PositionFile(Option<PathBuf>);

impl PositionFile {
    pub(super) fn new(path: Option<PathBuf>) -> PositionFile {
        PositionFile(path)
    }

    /// What an interrupted import left.
    pub(super) fn load(&self) -> Result<Option<Position>, Trouble> {
        let Some(path) = &self.0 else { return Ok(None) };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::new(format!("cannot read {}: {error}", path.display()))),
        };
        match toml::from_str::<Position>(&text) {
            Ok(position) if position.format == FORMAT => Ok(Some(position)),
            _ => Err(Trouble::new(format!("{} is not a position file of this version; remove it to begin anew", path.display()))),
        }
    }

    pub(super) fn save(&self, position: &Position) -> Result<(), Trouble> {
        let Some(path) = &self.0 else { return Ok(()) };
        let text = toml::to_string(position).map_err(|error| Trouble::new(format!("a position cannot be written: {error}")))?;
        let beside = beside(path);
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        written.map_err(Trouble::step(format_args!("cannot write {}", path.display())))
    }

    /// Removes the file: there is nothing left to go on with.
    pub(super) fn remove(&self) -> Result<(), Trouble> {
        match self.0.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(Trouble::new(format!("cannot remove the position file: {error}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back() {
        let mut position = Position::start("dump.rdb of 12 bytes".into());
        position.tally.db(3).stored = 7;
        position.tally.skip("list", "the target has no lists");
        let place = rdb::Position { at: 1234, crc: u64::MAX - 5, db: 3, version: 80 };
        position.set_keys(place);
        let read: Position = toml::from_str(&toml::to_string(&position).unwrap()).unwrap();
        assert_eq!(read, position);
        assert_eq!(read.keys(), Some(place));
    }
}
