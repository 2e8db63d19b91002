//! A list that is being changed, whatever its form.

use super::packed::{PackedList, packed_bytes};
use super::{End, List};
use crate::collection::{Large, LargeId, Open, View, WrongKind};
use crate::heap::Heap;
use crate::key::{Db, Key};
use crate::record::Kind;
use crate::shard::Shard;
use std::ops::Range;

/// A list between [`Shard::edit_list`] and [`EditedList::close`], which must follow if anything was changed, and only then.
pub(crate) struct EditedList<'s, 'k> {
    shard: &'s mut Shard,
    db: Db,
    key: Key<'k>,
    now: u64,
    form: Form,
}

enum Form {
    Packed(PackedList),
    /// It was packed, or is new.
    Grown(List),
    Large(LargeId),
}

impl Shard {
    /// Begins to change a list, which is empty if there is no such key.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub(crate) fn edit_list<'s, 'k>(&'s mut self, db: Db, key: Key<'k>, now: u64) -> Result<EditedList<'s, 'k>, WrongKind> {
        let form = match self.open(db, &key, Kind::List, now)? {
            Open::Packed(bytes) => Form::Packed(PackedList::of(bytes)),
            Open::Large(id) => Form::Large(id),
        };
        Ok(EditedList { shard: self, db, key, now, form })
    }
}

impl EditedList<'_, '_> {
    /// How many elements there are now.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.form {
            Form::Packed(packed) => packed.len(),
            Form::Grown(list) => list.len(),
            Form::Large(id) => self.shard.large(*id).0.len(),
        }
    }

    /// Adds elements at one end, one after the other.
    #[inline]
    pub(crate) fn push<'e>(&mut self, end: End, elements: impl Iterator<Item = &'e [u8]> + Clone) {
        let (count, bytes) = match &self.form {
            // Only what is packed may grow out of its form.
            Form::Packed(_) => elements.clone().fold((0, 0), |(count, bytes), element| (count + 1, bytes + packed_bytes(element.len()))),
            _ => (0, 0),
        };
        self.make_room(count, bytes);
        match &mut self.form {
            Form::Packed(packed) => packed.push(end, elements),
            form => {
                let (list, heap) = large(self.shard, form);
                elements.for_each(|element| list.push(heap, end, element));
            }
        }
    }

    /// Removes elements at one end, after showing them from that end on.
    #[inline]
    pub(crate) fn pop(&mut self, end: End, count: usize, show: &mut dyn FnMut(&[u8])) {
        match &mut self.form {
            Form::Packed(packed) => packed.pop(end, count, show),
            form => {
                let (list, heap) = large(self.shard, form);
                for _ in 0..count {
                    if !list.pop(heap, end, &mut *show) {
                        break;
                    }
                }
            }
        }
    }

    /// Where the first element is that is these bytes.
    pub(crate) fn position(&self, element: &[u8]) -> Option<usize> {
        let mut found = None;
        self.view().visit_from(End::Head, &mut |position, other| {
            found = (other == element).then_some(position);
            found.is_none()
        });
        found
    }

    /// Gives the element at `index`, which must be there, other bytes.
    pub(crate) fn set(&mut self, index: usize, element: &[u8]) {
        self.make_room(0, packed_bytes(element.len()));
        match &mut self.form {
            Form::Packed(packed) => packed.replace(index, 1, element),
            form => {
                let (list, heap) = large(self.shard, form);
                list.set(heap, index, element);
            }
        }
    }

    /// Puts an element before the one at `index`, or at the end for an index one past it.
    pub(crate) fn insert(&mut self, index: usize, element: &[u8]) {
        self.make_room(1, packed_bytes(element.len()));
        match &mut self.form {
            Form::Packed(packed) => packed.replace(index, 0, element),
            form => {
                let (list, heap) = large(self.shard, form);
                list.insert(heap, index, element);
            }
        }
    }

    /// Removes elements that are these bytes, no more than `most`, those nearest to one end. How many there were.
    pub(crate) fn remove_equal(&mut self, element: &[u8], most: usize, from: End) -> usize {
        match &mut self.form {
            Form::Packed(packed) => packed.remove_equal(element, most, from),
            form => {
                let (list, heap) = large(self.shard, form);
                list.remove_equal(heap, element, most, from)
            }
        }
    }

    /// Keeps only the elements of these positions.
    pub(crate) fn trim(&mut self, keep: Range<usize>) {
        match &mut self.form {
            Form::Packed(packed) => packed.trim(keep),
            form => {
                let (list, heap) = large(self.shard, form);
                if let Some(cut) = list.trim(heap, keep) {
                    self.shard.doom_part(Large::List(cut));
                }
            }
        }
    }

    /// Ends a change. The key is removed if nothing is left.
    #[inline]
    pub(crate) fn close(self) {
        let EditedList { shard, db, key, now, form } = self;
        match form {
            Form::Packed(packed) => shard.close(db, &key, Kind::List, packed.bytes(), now),
            Form::Grown(list) => shard.close_as_large(db, &key, Kind::List, Large::List(list), now),
            Form::Large(id) => shard.close_large(db, &key, id, now),
        }
    }

    fn view(&self) -> View<'_> {
        match &self.form {
            Form::Packed(packed) => View::Packed(packed.pack()),
            Form::Grown(_) => unreachable!("nobody looks at what has just grown"),
            Form::Large(id) => {
                let (large, heap) = self.shard.large(*id);
                View::Large(large, heap)
            }
        }
    }

    /// Before a packed list gets so many elements and bytes more: if they are too many for it, it is not packed any more.
    fn make_room(&mut self, elements: usize, bytes: usize) {
        if let Form::Packed(packed) = &self.form
            && !self.shard.pack_limits.fits_list(packed.len() + elements, packed.bytes().len() + bytes)
        {
            self.form = Form::Grown(List::of(packed.pack().iter(), &mut self.shard.heap));
        }
    }
}

/// A list that is not packed, and what changing it takes.
#[inline]
fn large<'a>(shard: &'a mut Shard, form: &'a mut Form) -> (&'a mut List, &'a mut Heap) {
    match form {
        Form::Packed(_) => unreachable!("the caller has seen that it is not"),
        Form::Grown(list) => (list, &mut shard.heap),
        Form::Large(id) => match shard.large_mut(*id) {
            (Large::List(list), heap) => (list, heap),
            _ => unreachable!("its record says that it is a list"),
        },
    }
}
