//! Blocks of whole cache lines, of any length, for tables.
//!
//! All lengths share pages: a bit for each line says whether it is taken, and pages are listed by their longest free
//! run, so that a block goes where it fits best. What a segment of one length leaves behind, one of another can use;
//! with a page class for each length, a quarter of the pages was holes.

use crate::arena::{Arena, PAGE_BYTES};

/// One cache line: a bucket.
pub(crate) const LINE_BYTES: usize = 64;

/// Lines of one page.
const PAGE_LINES: usize = PAGE_BYTES / LINE_BYTES;
const WORDS: usize = PAGE_LINES / 64;

/// Longest block that lives in a page.
pub(super) const BLOCK_LINES_MAX: usize = 128;

const NONE: u32 = u32::MAX;

/// Pages that hold blocks.
pub(super) struct Blocks {
    pages: Vec<BlockPage>,
    /// Of `pages`, those that are not in use at the moment.
    vacant: Vec<u32>,
    /// Which of `pages` an arena's page is.
    index_of: Vec<u32>,
    /// First page of each longest free run, which is capped at [`BLOCK_LINES_MAX`].
    by_run: [u32; BLOCK_LINES_MAX + 1],
    page_count: usize,
}

struct BlockPage {
    /// A one for each line that is taken.
    taken: [u64; WORDS],
    page: u32,
    longest: u32,
    previous: u32,
    next: u32,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks { pages: Vec::new(), vacant: Vec::new(), index_of: Vec::new(), by_run: [NONE; BLOCK_LINES_MAX + 1], page_count: 0 }
    }

    /// Finds room for `lines`, at most [`BLOCK_LINES_MAX`]. Returns the arena's page and the first line in it, `None` when
    /// the arena has no page left.
    pub(super) fn take(&mut self, arena: &mut Arena, lines: usize) -> Option<(u32, usize)> {
        debug_assert!((1..=BLOCK_LINES_MAX).contains(&lines));
        let index = match self.by_run[lines..].iter().find(|first| **first != NONE) {
            Some(&first) => first,
            None => self.open_page(arena)?,
        };
        self.unlink(index);
        let page = &mut self.pages[index as usize];
        let (start, _) = best_run(&page.taken, lines).expect("its longest run is long enough");
        mark(&mut page.taken, start, lines, true);
        let place = (page.page, start);
        self.link(index);
        Some(place)
    }

    /// Takes back what [`Blocks::take`] gave.
    pub(super) fn free(&mut self, arena: &mut Arena, page: u32, start: usize, lines: usize) {
        let index = self.index_of[page as usize];
        self.unlink(index);
        mark(&mut self.pages[index as usize].taken, start, lines, false);
        if self.pages[index as usize].taken == [0; WORDS] {
            self.vacant.push(index);
            self.page_count -= 1;
            arena.give(page);
        } else {
            self.link(index);
        }
    }

    /// Pages in use.
    pub(super) fn page_count(&self) -> usize {
        self.page_count
    }

    /// Bytes that describe the pages.
    pub(super) fn bytes(&self) -> usize {
        self.pages.capacity() * size_of::<BlockPage>() + (self.vacant.capacity() + self.index_of.capacity()) * size_of::<u32>()
    }

    /// Lines that are taken.
    pub(super) fn lines_taken(&self) -> usize {
        self.pages.iter().flat_map(|page| page.taken).map(|word| word.count_ones() as usize).sum()
    }

    fn open_page(&mut self, arena: &mut Arena) -> Option<u32> {
        let page = arena.take()?;
        let blank = BlockPage { taken: [0; WORDS], page, longest: 0, previous: NONE, next: NONE };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.pages[index as usize] = blank;
                index
            }
            None => {
                self.pages.push(blank);
                self.pages.len() as u32 - 1
            }
        };
        if self.index_of.len() <= page as usize {
            self.index_of.resize(page as usize + 1, NONE);
        }
        self.index_of[page as usize] = index;
        self.page_count += 1;
        self.link(index);
        Some(index)
    }

    fn link(&mut self, index: u32) {
        let longest = longest_run(&self.pages[index as usize].taken).min(BLOCK_LINES_MAX);
        let next = self.by_run[longest];
        let page = &mut self.pages[index as usize];
        (page.longest, page.previous, page.next) = (longest as u32, NONE, next);
        if next != NONE {
            self.pages[next as usize].previous = index;
        }
        self.by_run[longest] = index;
    }

    fn unlink(&mut self, index: u32) {
        let BlockPage { longest, previous, next, .. } = self.pages[index as usize];
        if next != NONE {
            self.pages[next as usize].previous = previous;
        }
        if previous == NONE {
            self.by_run[longest as usize] = next;
        } else {
            self.pages[previous as usize].next = next;
        }
    }
}

/// Calls `see` with start and length of each run of zeros.
fn runs(taken: &[u64; WORDS], mut see: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at < PAGE_LINES {
        let start = at + distance(taken, at, false);
        if start >= PAGE_LINES {
            return;
        }
        let len = distance(taken, start, true);
        see(start, len);
        at = start + len;
    }
}

/// How far it is from line `from` to the next that is taken, or is not; the page's end counts as either.
fn distance(taken: &[u64; WORDS], from: usize, to_taken: bool) -> usize {
    let mut at = from;
    while at < PAGE_LINES {
        let word = if to_taken { taken[at / 64] } else { !taken[at / 64] };
        let ahead = (word >> (at % 64)).trailing_zeros() as usize;
        if ahead < 64 {
            return at + ahead - from;
        }
        at = (at / 64 + 1) * 64;
    }
    PAGE_LINES - from
}

fn longest_run(taken: &[u64; WORDS]) -> usize {
    let mut longest = 0;
    runs(taken, |_, len| longest = longest.max(len));
    longest
}

/// The shortest run of at least `lines`.
fn best_run(taken: &[u64; WORDS], lines: usize) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    runs(taken, |start, len| {
        if len >= lines && best.is_none_or(|(_, best)| len < best) {
            best = Some((start, len));
        }
    });
    best
}

fn mark(taken: &mut [u64; WORDS], start: usize, lines: usize, as_taken: bool) {
    for line in start..start + lines {
        let bit = 1 << (line % 64);
        debug_assert_eq!(taken[line / 64] & bit == 0, as_taken);
        taken[line / 64] ^= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::PageSize;
    use crate::chance::Chance;
    use std::collections::BTreeMap;

    #[test]
    fn blocks_never_overlap_and_their_pages_go_back() {
        let (mut arena, mut blocks, mut chance) = (Arena::reserve(1 << 14, PageSize::Huge), Blocks::new(), Chance::new(3));
        let mut live: BTreeMap<(u32, usize), usize> = BTreeMap::new();
        let (mut lines_live, mut holes_worst) = (0, 0.0f64);
        for step in 0..40_000 {
            if live.len() < 3000 || chance.below(2) == 0 {
                let lines = 16 + chance.below(48) / 4 * 4;
                let place = blocks.take(&mut arena, lines).unwrap();
                let end = place.1 + lines;
                assert!(end <= PAGE_LINES);
                let before = live.range(..=place).next_back().filter(|((page, _), _)| *page == place.0);
                assert!(before.is_none_or(|((_, start), lines)| start + lines <= place.1));
                let after = live.range(place..).next().filter(|((page, _), _)| *page == place.0);
                assert!(after.is_none_or(|((_, start), _)| *start >= end));
                live.insert(place, lines);
                lines_live += lines;
            } else {
                let place = *live.keys().nth(chance.below(live.len())).unwrap();
                let lines = live.remove(&place).unwrap();
                blocks.free(&mut arena, place.0, place.1, lines);
                lines_live -= lines;
            }
            if step > 10_000 {
                holes_worst = holes_worst.max(1.0 - lines_live as f64 / (blocks.page_count() * PAGE_LINES) as f64);
            }
        }
        assert_eq!(blocks.lines_taken(), lines_live);
        assert!(holes_worst < 0.15, "{holes_worst} of the pages are holes");
        for ((page, start), lines) in live {
            blocks.free(&mut arena, page, start, lines);
        }
        assert_eq!((blocks.page_count(), arena.pages_used()), (0, 0));
    }
}
