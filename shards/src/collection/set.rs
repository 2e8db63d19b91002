//! Sets: members, each once, in no order.

use super::elements::{Editor, Elements};
use super::pack::{Pack, Packer};
use super::{PackLimits, WrongKind, is_whole_number};
use crate::key::{Db, Key};
use crate::number::I64_BYTES_MAX;
use crate::record::{Kind, Tag};
use crate::shard::{Expiry, Shard};
use std::collections::HashSet;

impl Shard {
    /// A set for a client to read. `None` if there is no such key.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub(crate) fn view_set(&mut self, db: Db, key: &Key<'_>, now: u64) -> Result<Option<Elements<'_>>, WrongKind> {
        Ok(self.view(db, key, Kind::Set, now)?.map(|view| Elements::of(view, Kind::Set)))
    }

    /// The same without a trace, so that several can be looked at side by side.
    #[inline]
    pub(crate) fn peek_set(&self, db: Db, key: &Key<'_>, now: u64) -> Result<Option<Elements<'_>>, WrongKind> {
        Ok(self.peek_view(db, key, Kind::Set, now)?.map(|view| Elements::of(view, Kind::Set)))
    }

    /// Begins to change a set, which may not be there yet.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub(crate) fn edit_set<'k>(&mut self, db: Db, key: Key<'k>, now: u64) -> Result<Editor<'_, 'k>, WrongKind> {
        Editor::open(self, db, key, Kind::Set, now)
    }

    /// Puts a set of these members, all different, whatever the key held; removes the key if there are none.
    pub(crate) fn put_set(&mut self, db: Db, key: &Key<'_>, members: Packer, now: u64) {
        if members.len() == 0 {
            self.delete(db, key, now);
            return;
        }
        let packed = members.finish();
        match self.unpacked(Kind::Set, &packed) {
            Some(id) => self.put_tagged(db, key, Tag::large(Kind::Set), &id.bytes(), Expiry::Never, now),
            None => self.put(db, key, Kind::Set, &packed, Expiry::Never, now),
        }
    }
}

impl PackLimits {
    /// Whether a packed set stays packed with this new member.
    pub(crate) fn admits_member(&self, pack: &Pack<'_>, member: &[u8]) -> bool {
        let (count_max, bytes_max) = self.set;
        let count = pack.len() + 1;
        // What is packed is either short or a whole number, and those are short as well, unless somebody set it otherwise.
        let others_are_short = || bytes_max >= I64_BYTES_MAX || pack.iter().all(|other| other.len() <= bytes_max);
        if count <= count_max && member.len() <= bytes_max && others_are_short() {
            return true;
        }
        // More than that are packed only if all are whole numbers: then that was seen when they became so many.
        let others_are_whole = || count > count_max + 1 || pack.iter().all(is_whole_number);
        count <= self.int_set && is_whole_number(member) && others_are_whole()
    }
}

/// How several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algebra {
    /// What is in all of them.
    Intersection,
    /// What is in any of them.
    Union,
    /// What is in the first and in no other.
    Difference,
}

impl Algebra {
    /// Shows each member of the result once; of an intersection until `visit` says enough. A set that is `None` is empty.
    pub(crate) fn apply<'a>(self, shard: &Shard, sets: &[Option<Elements<'a>>], visit: &mut dyn FnMut(&'a [u8]) -> bool) {
        match self {
            Algebra::Intersection => intersect(sets, visit),
            Algebra::Union => unite(shard, sets, visit),
            Algebra::Difference => subtract(shard, sets, visit),
        }
    }
}

fn intersect<'a>(sets: &[Option<Elements<'a>>], visit: &mut dyn FnMut(&'a [u8]) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return };
    // Each member of the smallest must be in the others, and is most likely missing in the next smallest.
    sets.sort_by_key(Elements::len);
    let Some((smallest, others)) = sets.split_first() else { return };
    smallest.visit_until(&mut |member| !others.iter().all(|other| other.contains(member)) || visit(member));
}

fn unite<'a>(shard: &Shard, sets: &[Option<Elements<'a>>], visit: &mut dyn FnMut(&'a [u8]) -> bool) {
    let mut seen = HashSet::with_hasher(shard.config.key_seed.hashing());
    for set in sets.iter().flatten() {
        set.visit(&mut |member, _| {
            if seen.insert(member) {
                visit(member);
            }
        });
    }
}

fn subtract<'a>(shard: &Shard, sets: &[Option<Elements<'a>>], visit: &mut dyn FnMut(&'a [u8]) -> bool) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    // A large set finds a member at once; packed ones are short, and together find it as quickly.
    let mut excluded = HashSet::with_hasher(shard.config.key_seed.hashing());
    for other in others.iter().flatten().filter(|other| !other.is_large()) {
        other.visit(&mut |member, _| {
            excluded.insert(member);
        });
    }
    let large: Vec<_> = others.iter().flatten().filter(|other| other.is_large()).collect();
    first.visit(&mut |member, _| {
        if !excluded.contains(member) && !large.iter().any(|other| other.contains(member)) {
            visit(member);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeySeed;
    use crate::shard::ShardConfig;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const NAMES: [&[u8]; 4] = [b"a", b"b", b"c", b"absent"];

    proptest! {
        #[test]
        fn sets_combine_as_sets_do(
            models in prop::collection::vec(prop::collection::btree_set(0..60u32, 1..60), 3),
            asked in prop::collection::vec(0..NAMES.len(), 1..5),
            limit in 1..20usize,
        ) {
            let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(5), chance_seed: 5, db_count: 1 });
            // Some are packed, some are not.
            shard.pack_limits = PackLimits { set: (20, 64), int_set: 20, ..PackLimits::default() };
            for (name, model) in NAMES.iter().zip(&models) {
                let mut packer = Packer::default();
                model.iter().for_each(|number| packer.push(number.to_string().as_bytes()));
                shard.put_set(Db(0), &shard.key(name), packer, 1);
            }
            let sets: Vec<_> = asked.iter().map(|index| shard.peek_set(Db(0), &shard.key(NAMES[*index]), 1).unwrap()).collect();
            let mut wanted = asked.iter().map(|index| models.get(*index).cloned().unwrap_or_default());
            let first = wanted.next().unwrap();
            let others: Vec<BTreeSet<u32>> = wanted.collect();
            for algebra in [Algebra::Intersection, Algebra::Union, Algebra::Difference] {
                let expected = others.iter().fold(first.clone(), |all, other| match algebra {
                    Algebra::Intersection => &all & other,
                    Algebra::Union => &all | other,
                    Algebra::Difference => &all - other,
                });
                let mut shown = Vec::new();
                algebra.apply(&shard, &sets, &mut |member| {
                    shown.push(String::from_utf8_lossy(member).parse::<u32>().unwrap());
                    true
                });
                shown.sort();
                prop_assert_eq!(shown, expected.iter().copied().collect::<Vec<_>>(), "{:?}", algebra);
            }
            let mut count = 0;
            Algebra::Intersection.apply(&shard, &sets, &mut |_| {
                count += 1;
                count < limit
            });
            prop_assert_eq!(count, limit.min(others.iter().fold(first, |all, other| &all & other).len()));
        }
    }
}
