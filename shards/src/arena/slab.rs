//! Equal units in an arena, named by number: a page and a place in it.

use super::{Arena, PAGE_BYTES, PageSize};

/// What a slab holds. Any value of it may be read at any time, so it owns nothing.
pub(crate) trait Unit: Copy {
    /// What a new unit is.
    const BLANK: Self;

    /// The number kept by [`Unit::set_link`]: a slab chains its free units with it.
    fn link(&self) -> u32;

    /// Keeps a number.
    fn set_link(&mut self, link: u32);
}

/// Units in pages of the slab's own range of addresses. Pages that are empty are given back.
pub(crate) struct Slab<T> {
    arena: Arena,
    /// What is known of each of the arena's pages.
    pages: Vec<Page>,
    /// Pages that have a free unit.
    open: Vec<u32>,
    pages_used: usize,
    units: std::marker::PhantomData<T>,
}

#[derive(Clone, Copy)]
struct Page {
    /// First of the chain of freed units.
    free: u32,
    /// Units from here on were never handed out.
    fresh: u32,
    used: u32,
    /// Where in `open` this page is, `NONE` if it has no free unit.
    open_at: u32,
}

const NONE: u32 = u32::MAX;

/// A page that holds nothing, or is not ours.
const VACANT: Page = Page { free: NONE, fresh: 0, used: 0, open_at: NONE };

impl<T: Unit> Slab<T> {
    /// Units in one page.
    const PAGE_UNITS: u32 = {
        assert!(PAGE_BYTES.is_multiple_of(size_of::<T>()) && align_of::<T>() <= PAGE_BYTES);
        (PAGE_BYTES / size_of::<T>()) as u32
    };

    /// An empty slab with addresses for so many pages. Costs no memory until it is used.
    pub(crate) fn new(pages_max: u32, size: PageSize) -> Slab<T> {
        let arena = Arena::reserve(pages_max, size);
        Slab { arena, pages: Vec::new(), open: Vec::new(), pages_used: 0, units: std::marker::PhantomData }
    }

    /// A new unit, blank.
    ///
    /// # Panics
    /// If the range is used up.
    pub(crate) fn take(&mut self) -> u32 {
        let number = match self.open.last() {
            Some(&number) => number,
            None => self.open_page(),
        };
        let page = self.pages[number as usize];
        let index = number * Self::PAGE_UNITS + if page.free == NONE { page.fresh } else { page.free };
        let page = if page.free == NONE {
            Page { fresh: page.fresh + 1, used: page.used + 1, ..page }
        } else {
            Page { free: self.get(index).link(), used: page.used + 1, ..page }
        };
        self.pages[number as usize] = page;
        if page.free == NONE && page.fresh == Self::PAGE_UNITS {
            self.leave_open(number);
        }
        // SAFETY: the page is the arena's gift and open for writing; the unit lies in it, aligned, because pages are aligned to
        // more than a unit and hold a whole number of them; `&mut self` says that nobody reads it.
        unsafe { self.address(index).write(T::BLANK) };
        index
    }

    /// Takes back a unit that [`Slab::take`] gave.
    pub(crate) fn give(&mut self, index: u32) {
        let (number, within) = (index / Self::PAGE_UNITS, index % Self::PAGE_UNITS);
        let Page { free, used, open_at, .. } = self.pages[number as usize];
        let unit = self.get_mut(index);
        *unit = T::BLANK;
        unit.set_link(free);
        let page = &mut self.pages[number as usize];
        (page.free, page.used) = (within, used - 1);
        if open_at == NONE {
            self.enter_open(number);
        }
        // The last one stays, so that a list that breathes does not give and take it all the time.
        if used == 1 && self.open.len() > 1 {
            self.leave_open(number);
            self.pages[number as usize] = VACANT;
            self.pages_used -= 1;
            self.arena.give(number);
        }
    }

    /// A unit, which may be one that was given back.
    ///
    /// # Panics
    /// If it was never taken, or its page is gone.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        // SAFETY: `unit` proves that it was written.
        unsafe { &*self.unit(index) }
    }

    /// The same for writing.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        // SAFETY: as in `get`; `&mut self` makes it the only reference.
        unsafe { &mut *self.unit(index) }
    }

    /// Whether [`Slab::get`] can answer.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.pages.get((index / Self::PAGE_UNITS) as usize).is_some_and(|page| index % Self::PAGE_UNITS < page.fresh)
    }

    /// Numbers of units are below this.
    pub(crate) fn end(&self) -> u32 {
        self.pages.len() as u32 * Self::PAGE_UNITS
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.pages_used * PAGE_BYTES + self.pages.capacity() * size_of::<Page>()
    }

    #[inline]
    fn unit(&self, index: u32) -> *mut T {
        assert!(index % Self::PAGE_UNITS < self.pages[(index / Self::PAGE_UNITS) as usize].fresh, "a unit nobody was given");
        self.address(index)
    }

    #[inline]
    fn address(&self, index: u32) -> *mut T {
        // Within the range for every unit of a page that the arena gave.
        self.arena.base().cast::<T>().wrapping_add(index as usize)
    }

    fn open_page(&mut self) -> u32 {
        let number = self.arena.take().expect("the slab's range of addresses is used up");
        if self.pages.len() <= number as usize {
            self.pages.resize(number as usize + 1, VACANT);
        }
        self.pages_used += 1;
        self.enter_open(number);
        number
    }

    fn enter_open(&mut self, number: u32) {
        self.pages[number as usize].open_at = self.open.len() as u32;
        self.open.push(number);
    }

    fn leave_open(&mut self, number: u32) {
        let at = std::mem::replace(&mut self.pages[number as usize].open_at, NONE);
        self.open.swap_remove(at as usize);
        if let Some(&moved) = self.open.get(at as usize) {
            self.pages[moved as usize].open_at = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Numbered {
        link: u32,
        number: u32,
        filling: [u32; 1022],
    }

    impl Unit for Numbered {
        const BLANK: Numbered = Numbered { link: 0, number: 0, filling: [0; 1022] };

        fn link(&self) -> u32 {
            self.link
        }

        fn set_link(&mut self, link: u32) {
            self.link = link;
        }
    }

    #[test]
    fn every_unit_keeps_what_it_was_given_and_empty_pages_go_back() {
        let mut slab = Slab::<Numbered>::new(1024, PageSize::Small);
        let (mut chance, mut held) = (Chance::new(7), Vec::new());
        for number in 0..20_000 {
            let growing = number % 4000 < 2000;
            if held.is_empty() || chance.next() % 8 < if growing { 6 } else { 2 } {
                let index = slab.take();
                assert_eq!(*slab.get(index), Numbered::BLANK);
                slab.get_mut(index).number = number;
                held.push((index, number));
            } else {
                let (index, number) = held.swap_remove(chance.next() as usize % held.len());
                assert_eq!(slab.get(index).number, number);
                slab.give(index);
            }
            let pages_min = held.len().div_ceil(16);
            assert!(slab.pages_used >= pages_min && slab.arena.pages_used() == slab.pages_used);
        }
        assert!(held.iter().all(|(index, number)| slab.has(*index) && slab.get(*index).number == *number));
        held.into_iter().for_each(|(index, _)| slab.give(index));
        assert_eq!(slab.pages_used, 1, "the last page stays");
        assert_eq!(slab.open.len(), 1);
    }
}
