//! Connections and files by index and generation.
//!
//! An index is used again as soon as it is free, most recently freed first, so that indices stay
//! dense and the memory warm; the generation tells the old owner's name from the new one's.

use crate::kernel::ConnId;
use std::marker::PhantomData;

/// A name made of index and generation.
pub(crate) trait Id: Copy {
    fn new(index: u32, generation: u32) -> Self;
    /// Index and generation.
    fn parts(self) -> (u32, u32);
}

impl Id for ConnId {
    fn new(index: u32, generation: u32) -> ConnId {
        ConnId { index, generation }
    }

    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// See the module's head.
pub(crate) struct Slab<T, I = ConnId> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    _named_by: PhantomData<I>,
}

struct Slot<T> {
    generation: u32,
    item: Option<T>,
}

impl<T, I: Id> Slab<T, I> {
    pub(crate) fn new() -> Slab<T, I> {
        Slab { slots: Vec::new(), free: Vec::new(), _named_by: PhantomData }
    }

    /// Keeps `item` and names it.
    pub(crate) fn insert(&mut self, item: T) -> I {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 at once");
            self.slots.push(Slot { generation: 0, item: None });
            index
        });
        let slot = &mut self.slots[index as usize];
        assert!(slot.item.is_none(), "slot {index} is in use");
        slot.item = Some(item);
        I::new(index, slot.generation)
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        let (index, generation) = id.parts();
        let slot = self.slots.get(index as usize)?;
        if slot.generation != generation {
            return None;
        }
        slot.item.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let (index, generation) = id.parts();
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation {
            return None;
        }
        slot.item.as_mut()
    }

    /// Takes the item out; the name is dead from here on.
    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let (index, generation) = id.parts();
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != generation {
            return None;
        }
        let item = slot.item.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(item)
    }

    /// The name of whatever is at `index` now.
    pub(crate) fn id_at(&self, index: u32) -> Option<I> {
        let slot = self.slots.get(index as usize)?;
        slot.item.as_ref().map(|_| I::new(index, slot.generation))
    }

    /// Every name in use, in the order of the index.
    pub(crate) fn ids(&self) -> impl Iterator<Item = I> + '_ {
        (0..self.slots.len() as u32).filter_map(|index| self.id_at(index))
    }

    /// Memory held by the slots themselves.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_dies_with_its_item() {
        let mut slab: Slab<char> = Slab::new();
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        assert_eq!(slab.remove(old), None);
        let new = slab.insert('b');
        assert_eq!(new.index, old.index);
        assert_ne!(new.generation, old.generation);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut 'b'));
        assert_eq!(slab.ids().collect::<Vec<_>>(), vec![new]);
    }
}
