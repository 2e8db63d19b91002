//! A simulated directory: the names it has, and which of them would survive a loss of power.

use super::super::chance::Chance;
use std::collections::BTreeMap;

/// Names, each with the number of what it names.
pub(super) type Names = BTreeMap<String, u64>;

/// See the module's head.
#[derive(Clone, Default)]
pub(super) struct Directory {
    /// What everybody sees.
    names: Names,
    /// What survives anything.
    durable: Names,
    /// What was done since, in order, each with its time in requests performed.
    pending: Vec<(u64, Change)>,
}

#[derive(Clone)]
enum Change {
    Put { name: String, node: u64 },
    Remove { name: String },
    Rename { from: String, to: String },
}

impl Directory {
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Everything that a name leads to, or may lead to again after a loss of power.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u64> + '_ {
        let pending = self.pending.iter().filter_map(|(_, change)| if let Change::Put { node, .. } = change { Some(*node) } else { None });
        self.names.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub(super) fn put(&mut self, name: &str, node: u64, done: u64) {
        self.change(done, Change::Put { name: name.to_owned(), node });
    }

    pub(super) fn remove(&mut self, name: &str, done: u64) {
        self.change(done, Change::Remove { name: name.to_owned() });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, done: u64) {
        self.change(done, Change::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    fn change(&mut self, done: u64, change: Change) {
        change.apply(&mut self.names);
        self.pending.push((done, change));
    }

    /// Makes durable what was done before `asked`.
    pub(super) fn sync(&mut self, asked: u64) {
        let count = self.pending.partition_point(|(done, _)| *done < asked);
        self.settle(count);
    }

    /// What was not made durable happened up to a moment of chance.
    pub(super) fn lose_power(&mut self, chance: &mut Chance) {
        let count = chance.below(self.pending.len() as u64 + 1) as usize;
        self.settle(count);
        self.pending.clear();
        self.names.clone_from(&self.durable);
    }

    fn settle(&mut self, count: usize) {
        for (_, change) in self.pending.drain(..count) {
            change.apply(&mut self.durable);
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Put { name, node } => {
                names.insert(name.clone(), *node);
            }
            Change::Remove { name } => {
                names.remove(name);
            }
            Change::Rename { from, to } => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_survive_as_a_prefix_of_what_was_done() {
        let mut directory = Directory::default();
        directory.put("kept", 1, 1);
        directory.put("a.tmp", 2, 2);
        directory.sync(3);
        directory.rename("a.tmp", "a", 4);
        directory.remove("kept", 5);
        directory.put("b", 3, 6);
        // Asked before the last change was done.
        let mut asked_early = directory.clone();
        asked_early.sync(5);
        let after = |directory: &Directory| -> BTreeSet<String> {
            let outcomes = (0..100).map(|seed| {
                let mut lost = directory.clone();
                lost.lose_power(&mut Chance::new(seed));
                lost.names().iter().map(|(name, node)| format!("{name}={node} ")).collect()
            });
            outcomes.collect()
        };
        let of = |found: &[&str]| found.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(after(&directory), of(&["a.tmp=2 kept=1 ", "a=2 kept=1 ", "a=2 ", "a=2 b=3 "]));
        assert_eq!(after(&asked_early), of(&["a=2 kept=1 ", "a=2 ", "a=2 b=3 "]));
        assert_eq!(directory.nodes().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    }
}
