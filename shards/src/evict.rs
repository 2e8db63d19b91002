//! What is remembered of a record's use, and who goes when memory is short.
//!
//! A record carries 24 bits: the second of its last use, or a minute and Redis' logarithmic counter, by the policy.

use crate::chance::Chance;

/// Who may be removed to make room, and in which order. Redis' eight policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Nobody: commands that need memory are refused.
    #[default]
    NoEviction,
    /// The key unused for longest.
    AllKeysLru,
    /// The key used least often.
    AllKeysLfu,
    /// Any key.
    AllKeysRandom,
    /// The key unused for longest, of those with a deadline.
    VolatileLru,
    /// The key used least often, of those with a deadline.
    VolatileLfu,
    /// Any key with a deadline.
    VolatileRandom,
    /// The key whose deadline is nearest.
    VolatileTtl,
}

impl Eviction {
    /// All of them, in the order in which Redis lists them.
    pub const ALL: [Eviction; 8] = [
        Eviction::VolatileLru,
        Eviction::VolatileLfu,
        Eviction::VolatileRandom,
        Eviction::VolatileTtl,
        Eviction::AllKeysLru,
        Eviction::AllKeysLfu,
        Eviction::AllKeysRandom,
        Eviction::NoEviction,
    ];

    /// As in `maxmemory-policy`.
    pub fn name(self) -> &'static str {
        match self {
            Eviction::NoEviction => "noeviction",
            Eviction::AllKeysLru => "allkeys-lru",
            Eviction::AllKeysLfu => "allkeys-lfu",
            Eviction::AllKeysRandom => "allkeys-random",
            Eviction::VolatileLru => "volatile-lru",
            Eviction::VolatileLfu => "volatile-lfu",
            Eviction::VolatileRandom => "volatile-random",
            Eviction::VolatileTtl => "volatile-ttl",
        }
    }

    /// The policy of this name, in any case.
    pub fn named(name: &str) -> Option<Eviction> {
        Eviction::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// Whether uses are counted rather than dated.
    pub fn counts_uses(self) -> bool {
        matches!(self, Eviction::AllKeysLfu | Eviction::VolatileLfu)
    }
}

/// How the counter of uses grows and fades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    /// `lfu-log-factor`: the larger, the more uses it takes to fill the counter.
    pub log_factor: u32,
    /// `lfu-decay-time`: minutes after which an unused counter loses one; zero for never.
    pub decay_minutes: u32,
}

impl Default for Lfu {
    fn default() -> Lfu {
        Lfu { log_factor: 10, decay_minutes: 1 }
    }
}

/// A new key's counter: enough to live until it is used a second time.
const COUNTER_START: u8 = 5;

const CLOCK_MASK: u32 = (1 << 24) - 1;

/// Seconds, in 24 bits: wraps after 194 days.
#[inline]
pub(crate) fn clock_s(now: u64) -> u32 {
    (now / 1000) as u32 & CLOCK_MASK
}

/// How long ago a 24-bit clock was read.
#[inline]
pub(crate) fn idle_ms(access: u32, now: u64) -> u64 {
    u64::from(clock_s(now).wrapping_sub(access) & CLOCK_MASK) * 1000
}

/// A minute and a counter, in 24 bits.
#[inline]
pub(crate) fn counted(counter: u8, now: u64) -> u32 {
    ((now / 60_000) as u32 & 0xFFFF) << 8 | u32::from(counter)
}

/// The counter as it has faded by now.
#[inline]
pub(crate) fn faded(access: u32, now: u64, lfu: Lfu) -> u8 {
    let minutes = ((now / 60_000) as u32).wrapping_sub(access >> 8) & 0xFFFF;
    let lost = minutes.checked_div(lfu.decay_minutes).unwrap_or(0);
    (access as u8).saturating_sub(lost.min(255) as u8)
}

impl Eviction {
    /// What a new record remembers.
    #[inline]
    pub(crate) fn access_new(self, now: u64) -> u32 {
        if self.counts_uses() { counted(COUNTER_START, now) } else { clock_s(now) }
    }

    /// What a record remembers after one more use.
    #[inline]
    pub(crate) fn access_used(self, access: u32, now: u64, lfu: Lfu, chance: &mut Chance) -> u32 {
        if !self.counts_uses() {
            return clock_s(now);
        }
        let counter = faded(access, now, lfu);
        let above = u32::from(counter.saturating_sub(COUNTER_START));
        // One more with probability 1 / (above * factor + 1), so that the counter grows as a logarithm.
        let step = counter < 255 && chance.below((above * lfu.log_factor + 1) as usize) == 0;
        counted(counter + u8::from(step), now)
    }
}
