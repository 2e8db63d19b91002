//! Whose turn it is to walk a shard: one walk at a time, partition by partition, and whoever waits comes next.

/// Who walks shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walker {
    /// A snapshot on its way into a file.
    Snapshot,
    /// Keys on their way to a replica.
    Replica,
}

/// The one walk that a core's shard may have under way.
#[derive(Debug, Default)]
pub struct Turnstile {
    inside: Option<Walker>,
    waiting: Option<Walker>,
}

impl Turnstile {
    /// Whether `who` may walk the next partition now; if not, it is the next to be let in, and asks again.
    pub fn enter(&mut self, who: Walker) -> bool {
        let is_free = self.inside.is_none() && self.waiting.is_none_or(|waiting| waiting == who);
        if is_free {
            (self.inside, self.waiting) = (Some(who), None);
        } else if self.inside != Some(who) {
            self.waiting.get_or_insert(who);
        }
        is_free
    }

    /// `who` has walked its partition, or does not want to any more.
    pub fn leave(&mut self, who: Walker) {
        self.inside = self.inside.filter(|inside| *inside != who);
        self.waiting = self.waiting.filter(|waiting| *waiting != who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_walkers_take_turns_and_one_that_gives_up_is_in_nobodys_way() {
        let mut turnstile = Turnstile::default();
        assert!(turnstile.enter(Walker::Snapshot));
        assert!(!turnstile.enter(Walker::Replica));
        turnstile.leave(Walker::Snapshot);
        assert!(!turnstile.enter(Walker::Snapshot), "the other one is next");
        assert!(turnstile.enter(Walker::Replica));
        turnstile.leave(Walker::Replica);
        assert!(turnstile.enter(Walker::Snapshot));
        assert!(!turnstile.enter(Walker::Replica));
        turnstile.leave(Walker::Replica);
        turnstile.leave(Walker::Snapshot);
        assert!(turnstile.enter(Walker::Snapshot), "nobody waits any more");
    }
}
