//! A core's log: what is written when, and what becomes of it.

use crate::core::Core;
use netio::{FileDone, FileFailure, Kernel};

/// Who began something with a file: the top byte of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// The writer of the log.
    Log,
    /// One core's share of a snapshot.
    Snapshot,
    /// Recovery.
    Load,
    /// Whoever keeps the snapshots of all cores, and deletes what is not needed.
    Keeper,
}

impl FileOwner {
    const ALL: [FileOwner; 4] = [FileOwner::Log, FileOwner::Snapshot, FileOwner::Load, FileOwner::Keeper];
    const SHIFT: u32 = 56;

    /// The token of this owner's request `number`.
    ///
    /// # Panics
    /// If the number needs the top byte.
    pub fn token(self, number: u64) -> u64 {
        assert!(number >> FileOwner::SHIFT == 0, "the top byte names the owner");
        (self as u64) << FileOwner::SHIFT | number
    }

    /// Whose request this is, and its number.
    ///
    /// # Panics
    /// If nobody can have made it.
    pub fn of(token: u64) -> (FileOwner, u64) {
        (FileOwner::ALL[(token >> FileOwner::SHIFT) as usize], token & ((1 << FileOwner::SHIFT) - 1))
    }
}

impl<K: Kernel> Core<K> {
    /// Something with a file is done.
    pub(crate) fn take_file(&mut self, token: u64, outcome: Result<FileDone, FileFailure>) {
        let (owner, number) = FileOwner::of(token);
        match owner {
            // What recovery no longer wanted to know may be answered after its end.
            FileOwner::Load => {
                if let Some(load) = &mut self.loading {
                    load.take_file(number, outcome);
                }
            }
            _ => unreachable!("{owner:?} asked for nothing: {number} was answered {outcome:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_owner() {
        for owner in FileOwner::ALL {
            for number in [0, 1, (1 << 56) - 1] {
                assert_eq!(FileOwner::of(owner.token(number)), (owner, number));
            }
        }
    }
}
