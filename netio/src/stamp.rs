//! The cheapest clock there is, for measuring single requests: the processor's own time stamp counter.
//!
//! Reading it takes about 8 ns where the vDSO's clock takes 25, and a pipelined request as a whole may take 100. Only where
//! the counter runs at one rate on all processors whatever their frequency; elsewhere the monotonic clock is read instead.

use std::sync::OnceLock;

/// Nanoseconds since an origin of its own: only the difference between two stamps means anything, and it is off by up to
/// a ten-thousandth.
#[inline]
pub(crate) fn stamp_ns(monotonic_ns: impl FnOnce() -> u64) -> u64 {
    match scale() {
        Some(scale) => scale.ns(ticks()),
        None => monotonic_ns(),
    }
}

/// Finds out how fast the counter runs. Takes two milliseconds once per process; call it before time matters.
pub(crate) fn calibrate() {
    scale();
}

#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Nanoseconds per tick, as a fraction of 2^32.
    ns_per_tick: u64,
}

impl Scale {
    #[inline]
    fn ns(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32) as u64
    }
}

static SCALE: OnceLock<Option<Scale>> = OnceLock::new();

#[inline]
fn scale() -> Option<Scale> {
    *SCALE.get_or_init(measure)
}

#[cfg(target_arch = "x86_64")]
fn measure() -> Option<Scale> {
    use std::arch::x86_64::__cpuid;
    use std::time::{Duration, Instant};
    const PERIOD: Duration = Duration::from_millis(2);
    // Leaf 0x8000_0007, EDX bit 8: the counter is invariant. The highest extended leaf is asked first.
    let invariant = __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0;
    if !invariant {
        return None;
    }
    let (from, from_ticks) = (Instant::now(), ticks());
    while from.elapsed() < PERIOD {
        std::hint::spin_loop();
    }
    let (elapsed, elapsed_ticks) = (from.elapsed(), ticks().wrapping_sub(from_ticks));
    if elapsed_ticks == 0 {
        return None;
    }
    Some(Scale { ns_per_tick: ((elapsed.as_nanos() << 32) / u128::from(elapsed_ticks)) as u64 })
}

#[cfg(not(target_arch = "x86_64"))]
fn measure() -> Option<Scale> {
    None
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; it reads a counter and touches nothing else.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_turns_ticks_into_nanoseconds() {
        let scale = Scale { ns_per_tick: (1 << 32) / 3 };
        assert_eq!(scale.ns(3_000_000_000_000) / 1_000, 999_999_999);
        assert_eq!(Scale { ns_per_tick: 1 << 31 }.ns(u64::MAX), u64::MAX / 2);
    }

    #[test]
    fn stamps_never_go_back() {
        let mut last = stamp_ns(|| 0);
        for _ in 0..10_000 {
            let next = stamp_ns(|| last + 1);
            assert!(next >= last);
            last = next;
        }
    }
}
