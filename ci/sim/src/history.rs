//! What clients saw, and whether one server doing one thing at a time could have shown it.
//!
//! A history is linearizable if every operation can be given a moment between its call and its return so that, in the order of
//! those moments, a plain map would have given the same replies (Herlihy and Wing, 1990). Found by trying, after Wing and Gong, with
//! the states already tried remembered, as Lowe describes. Small histories only: a few clients with one operation each under way.

use std::collections::{BTreeMap, HashSet};

/// One operation as a client saw it.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When it was asked, in steps of the simulation.
    pub called: u64,
    /// When its reply was there.
    pub returned: u64,
    /// Its words.
    pub words: Vec<String>,
    /// Its reply, as one line of text.
    pub reply: String,
}

/// The plain map.
pub type State = BTreeMap<String, String>;

/// An order of the operations that explains them, as indices; `None` if there is none.
pub fn explain(history: &[Operation]) -> Option<Vec<usize>> {
    let mut search = Search { history, order: Vec::new(), done: vec![false; history.len()], tried: HashSet::new() };
    search.go(&State::new()).then_some(search.order)
}

struct Search<'a> {
    history: &'a [Operation],
    order: Vec<usize>,
    done: Vec<bool>,
    tried: HashSet<(Vec<bool>, State)>,
}

impl Search<'_> {
    fn go(&mut self, state: &State) -> bool {
        if self.order.len() == self.history.len() {
            return true;
        }
        if !self.tried.insert((self.done.clone(), state.clone())) {
            return false;
        }
        // Whoever is next must have been called before the first of the others returned.
        let open = |search: &Self| (0..search.history.len()).filter(|index| !search.done[*index]).collect::<Vec<_>>();
        let first_return = open(self).into_iter().map(|index| self.history[index].returned).min().expect("some are open");
        for index in open(self) {
            let operation = &self.history[index];
            if operation.called > first_return {
                continue;
            }
            let mut next = state.clone();
            if apply(&mut next, &operation.words) != operation.reply {
                continue;
            }
            self.done[index] = true;
            self.order.push(index);
            if self.go(&next) {
                return true;
            }
            self.order.pop();
            self.done[index] = false;
        }
        false
    }
}

/// What a plain map answers. Knows the commands that the workloads use, and their replies as text.
///
/// # Panics
/// On any other command.
pub fn apply(state: &mut State, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let quoted = |value: Option<&String>| value.map_or_else(|| "nil".to_owned(), |value| format!("\"{value}\""));
    match words.as_slice() {
        ["GET", key] => quoted(state.get(*key)),
        ["SET", key, value] => {
            state.insert((*key).to_owned(), (*value).to_owned());
            "+OK".to_owned()
        }
        ["APPEND", key, tail] => {
            let value = state.entry((*key).to_owned()).or_default();
            value.push_str(tail);
            format!(":{}", value.len())
        }
        ["MGET", keys @ ..] => format!("[{}]", keys.iter().map(|key| quoted(state.get(*key))).collect::<Vec<_>>().join(" ")),
        ["MSET", pairs @ ..] => {
            for pair in pairs.chunks_exact(2) {
                state.insert(pair[0].to_owned(), pair[1].to_owned());
            }
            "+OK".to_owned()
        }
        ["MSETNX", pairs @ ..] => {
            if pairs.chunks_exact(2).any(|pair| state.contains_key(pair[0])) {
                return ":0".to_owned();
            }
            for pair in pairs.chunks_exact(2) {
                state.insert(pair[0].to_owned(), pair[1].to_owned());
            }
            ":1".to_owned()
        }
        ["DEL", keys @ ..] => format!(":{}", keys.iter().filter(|key| state.remove(**key).is_some()).count()),
        ["EXISTS", keys @ ..] => format!(":{}", keys.iter().filter(|key| state.contains_key(**key)).count()),
        ["RENAME", from, to] => match state.remove(*from) {
            Some(value) => {
                state.insert((*to).to_owned(), value);
                "+OK".to_owned()
            }
            None => "-ERR no such key".to_owned(),
        },
        ["COPY", from, to] => match (state.get(*from).cloned(), state.contains_key(*to)) {
            (Some(value), false) => {
                state.insert((*to).to_owned(), value);
                ":1".to_owned()
            }
            _ => ":0".to_owned(),
        },
        other => panic!("the model does not know {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(called: u64, returned: u64, line: &str, reply: &str) -> Operation {
        Operation { called, returned, words: line.split(' ').map(str::to_owned).collect(), reply: reply.to_owned() }
    }

    #[test]
    fn overlapping_operations_may_happen_in_either_order_and_others_may_not() {
        let overlap = [operation(0, 10, "SET a 1", "+OK"), operation(5, 15, "GET a", "nil")];
        assert!(explain(&overlap).is_some());
        let apart = [operation(0, 4, "SET a 1", "+OK"), operation(5, 15, "GET a", "nil")];
        assert!(explain(&apart).is_none(), "a read after a write must see it");
    }

    #[test]
    fn half_of_a_write_of_two_keys_is_found_out() {
        let torn = [operation(0, 10, "MSET a 1 b 1", "+OK"), operation(2, 8, "MGET a b", "[\"1\" nil]")];
        assert!(explain(&torn).is_none());
        let whole = [operation(0, 10, "MSET a 1 b 1", "+OK"), operation(2, 8, "MGET a b", "[\"1\" \"1\"]")];
        assert!(explain(&whole).is_some());
    }

    #[test]
    fn a_value_that_goes_back_is_found_out() {
        let back = [operation(0, 20, "SET a 1", "+OK"), operation(1, 3, "GET a", "\"1\""), operation(4, 6, "GET a", "nil")];
        assert!(explain(&back).is_none());
    }
}
