//! Memory ahead of need.
//!
//! The first touch of a huge page is a tenth of a millisecond of zeroing on plain hardware, and ten or more on a virtual
//! machine whose host has to find the memory first. Whoever inserts should not wait for it. So somebody else touches the
//! next huge pages of a shard's range while the shard still fills the last one.
//!
//! The shard never waits for that: memory that is not ready yet is touched by whoever writes to it, as ever.

use super::PAGE_BYTES;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One step: a huge page.
const STEP_BYTES: usize = 2 << 20;

/// Pages of an arena in one step.
pub(super) const STEP_PAGES: u32 = (STEP_BYTES / PAGE_BYTES) as u32;

/// Steps kept ready: memory that is resident and holds nothing, 4 MiB a shard. At a million inserts of 100 bytes a second
/// a step is used up in 20 ms, so that one is enough for a host that needs 20 ms a page, and the other for bad luck.
const STEPS_AHEAD: u32 = 2;

/// The unused part of one shard's range, shared with whoever prepares it. A clone is the same ground.
#[derive(Clone)]
pub struct Ground(Arc<Shared>);

struct Shared {
    /// Address of the range. Zero once it is released; locked while pages are being touched, so that it is not released then.
    base: Mutex<usize>,
    /// Steps in the range.
    steps: u32,
    /// Steps the shard has begun to use.
    begun: AtomicU32,
    /// Steps that are in use or prepared.
    ready: AtomicU32,
    /// The range is gone, or the kernel cannot prepare memory.
    over: AtomicBool,
    /// What to call when a step is begun.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Ground {
    pub(super) fn new(base: *mut u8, pages: u32) -> Ground {
        Ground(Arc::new(Shared {
            base: Mutex::new(base.expose_provenance()),
            steps: pages / STEP_PAGES,
            begun: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            over: AtomicBool::new(false),
            wake: OnceLock::new(),
        }))
    }

    /// Names what the shard calls when there is something to prepare, once in 2 MiB and when it ends. The first name holds.
    pub fn on_need(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.wake.set(Box::new(wake));
    }

    /// Prepares one huge page, if one is due: two are kept ready, none for a shard that has never held a record. Whether it
    /// did something. May take as long as the kernel needs to find and clear 2 MiB; for one thread at a time.
    pub fn prepare_next(&self) -> bool {
        let shared = &self.0;
        let begun = shared.begun.load(Ordering::Acquire);
        // What the shard has begun by itself is its own.
        let ready = shared.ready.load(Ordering::Relaxed).max(begun);
        if begun == 0 || self.is_over() || ready >= shared.steps.min(begun + STEPS_AHEAD) {
            return false;
        }
        let base = shared.base.lock().unwrap_or_else(PoisonError::into_inner);
        if *base == 0 {
            return false;
        }
        let start = std::ptr::with_exposed_provenance_mut::<u8>(*base + ready as usize * STEP_BYTES);
        if !super::populate(start, STEP_BYTES) {
            shared.over.store(true, Ordering::Release);
        }
        shared.ready.store(ready + 1, Ordering::Relaxed);
        true
    }

    /// Whether there will never be anything to prepare again: the shard is gone, or the kernel cannot do it.
    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Acquire)
    }

    /// The shard begins to use a step: time for another.
    pub(super) fn begin(&self, step: u32) {
        self.0.begun.store(step + 1, Ordering::Release);
        self.wake();
    }

    /// The range is about to be released. Waits until nobody touches it.
    pub(super) fn end(&self) {
        self.0.over.store(true, Ordering::Release);
        *self.0.base.lock().unwrap_or_else(PoisonError::into_inner) = 0;
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = self.0.wake.get() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arena, PageSize};
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_a_shard_has_not_begun_is_touched_and_holds_nothing() {
        let mut arena = Arena::reserve(STEP_PAGES * 8, PageSize::Huge);
        let ground = arena.ground();
        let ready = || {
            while ground.prepare_next() {}
            ground.0.ready.load(Ordering::Relaxed)
        };
        assert_eq!(ready(), 0, "a shard without records gets nothing");
        arena.take().expect("an empty range");
        assert_eq!(ready(), 1 + STEPS_AHEAD);
        let pages: Vec<u32> = (0..STEP_PAGES * 2).map(|_| arena.take().expect("not full")).collect();
        assert_eq!(ready(), 3 + STEPS_AHEAD);
        for page in pages {
            // SAFETY: the page was just handed out, and this test is its only owner.
            let first = unsafe { arena.base().add(page as usize * PAGE_BYTES).read() };
            assert_eq!(first, 0);
        }
        while arena.take().is_some() {}
        assert!(!ground.prepare_next(), "nothing lies behind the range's end");
    }

    #[test]
    fn a_shard_calls_once_a_step_and_when_it_goes() {
        let mut arena = Arena::reserve(STEP_PAGES * 4, PageSize::Huge);
        let (ground, calls) = (arena.ground(), Arc::new(AtomicU32::new(0)));
        let counted = calls.clone();
        ground.on_need(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        while arena.take().is_some() {}
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        assert!(!ground.is_over());
        drop(arena);
        assert_eq!(calls.load(Ordering::Relaxed), 5);
        assert!(ground.is_over() && !ground.prepare_next());
    }
}
