//! Hashes: fields, each with a value.

use super::PackLimits;
use super::WrongKind;
use super::elements::{Editor, Elements};
use super::pack::Pack;
use crate::key::{Db, Key};
use crate::record::Kind;
use crate::shard::Shard;

impl Shard {
    /// A hash for a client to read. `None` if there is no such key.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub(crate) fn view_hash(&mut self, db: Db, key: &Key<'_>, now: u64) -> Result<Option<Elements<'_>>, WrongKind> {
        Ok(self.view(db, key, Kind::Hash, now)?.map(|view| Elements::of(view, Kind::Hash)))
    }

    /// The same without a trace, and `None` as well if the key holds something else.
    #[inline]
    pub(crate) fn peek_hash(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Elements<'_>> {
        let view = self.peek_view(db, key, Kind::Hash, now).ok().flatten()?;
        Some(Elements::of(view, Kind::Hash))
    }

    /// Begins to change a hash, which may not be there yet.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub(crate) fn edit_hash<'k>(&mut self, db: Db, key: Key<'k>, now: u64) -> Result<Editor<'_, 'k>, WrongKind> {
        Editor::open(self, db, key, Kind::Hash, now)
    }
}

impl PackLimits {
    /// Whether a packed hash stays packed with this field and its value.
    pub(crate) fn admits_pair(&self, pack: &Pack<'_>, is_new: bool, field: &[u8], value: &[u8]) -> bool {
        let (count_max, bytes_max) = self.hash;
        pack.len() + usize::from(is_new) <= count_max && field.len() <= bytes_max && value.len() <= bytes_max
    }
}
