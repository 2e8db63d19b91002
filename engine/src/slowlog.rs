//! The last requests that took long, for `SLOWLOG`. Bounded in entries and in bytes per entry.

use shards::wire::Args;
use std::collections::VecDeque;

/// Arguments kept of one request, and bytes kept of one argument, as Redis does.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow request.
#[derive(Clone, Debug)]
pub struct SlowRequest {
    /// Unique in this process.
    pub id: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How long it ran.
    pub ns: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address, empty when the request came from another core.
    pub client_addr: String,
    /// The client's name.
    pub client_name: String,
}

/// The slow requests of one core.
#[derive(Debug)]
pub struct Slowlog {
    requests: VecDeque<SlowRequest>,
    entries_max: usize,
    slower_than_ns: u64,
    id_next: u64,
    id_step: u64,
}

impl Slowlog {
    /// An empty log of core `core` of `core_count`; the two make ids unique over all cores.
    pub fn new(core: u16, core_count: u16) -> Slowlog {
        Slowlog {
            requests: VecDeque::new(),
            entries_max: 0,
            slower_than_ns: u64::MAX,
            id_next: u64::from(core),
            id_step: u64::from(core_count),
        }
    }

    /// Takes new bounds; a negative threshold keeps nothing.
    pub fn configure(&mut self, slower_than_us: i64, entries_max: usize) {
        self.slower_than_ns = u64::try_from(slower_than_us).map_or(u64::MAX, |us| us.saturating_mul(1000));
        self.entries_max = entries_max;
        self.requests.truncate(entries_max);
    }

    /// From how many nanoseconds on a request is kept.
    pub fn slower_than_ns(&self) -> u64 {
        self.slower_than_ns
    }

    /// Whether a request that took this long is kept.
    #[inline]
    pub fn is_slow(&self, ns: u64) -> bool {
        ns >= self.slower_than_ns
    }

    /// Keeps a request.
    #[cold]
    pub fn note(&mut self, args: Args<'_>, ns: u64, at_ms: u64) {
        let id = self.id_next;
        self.id_next += self.id_step;
        if self.entries_max == 0 {
            return;
        }
        let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
        let mut words: Vec<Vec<u8>> = args.iter_from(0).take(kept).map(shorten).collect();
        if kept < args.len() {
            words.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
        }
        self.requests.truncate(self.entries_max - 1);
        self.requests.push_front(SlowRequest { id, at_ms, ns, args: words, client_addr: String::new(), client_name: String::new() });
    }

    /// The newest entry, for whoever knows more about its client.
    pub fn newest(&mut self) -> Option<&mut SlowRequest> {
        self.requests.front_mut()
    }

    /// How many were ever noted; tells whether [`Slowlog::note`] was called in between.
    pub fn noted(&self) -> u64 {
        self.id_next
    }

    /// What is kept, the newest first.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &SlowRequest> {
        self.requests.iter()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.requests.clear();
    }
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::wire::Span;

    #[test]
    fn entries_and_arguments_are_bounded() {
        let mut log = Slowlog::new(1, 4);
        log.configure(10, 2);
        assert!(!log.is_slow(9_999) && log.is_slow(10_000));
        let bytes = vec![b'x'; 1000];
        let long = [Span { start: 0, len: 1000 }];
        let many = [Span { start: 0, len: 1 }; 40];
        log.note(Args::new(&bytes, &long), 1, 0);
        log.note(Args::new(&bytes, &many), 2, 0);
        log.note(Args::new(&bytes, &long), 3, 0);
        let kept: Vec<&SlowRequest> = log.requests().collect();
        assert_eq!(kept.iter().map(|slow| slow.id).collect::<Vec<_>>(), [9, 5], "newest first, ids of core 1 of 4");
        assert!(kept[0].args[0].ends_with(b"... (872 more bytes)"));
        assert_eq!(kept[1].args.len(), 32);
        assert_eq!(kept[1].args[31], b"... (9 more arguments)");
        log.configure(-1, 2);
        assert!(!log.is_slow(u64::MAX - 1));
    }
}
