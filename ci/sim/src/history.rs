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
    /// The database its client had chosen.
    pub db: u16,
    /// Its words.
    pub words: Vec<String>,
    /// Its reply, as one line of text.
    pub reply: String,
}

/// The plain map, of every database's keys.
pub type State = BTreeMap<(u16, String), String>;

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
            if apply(&mut next, operation.db, &operation.words) != operation.reply {
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

/// What a plain map answers to a client of this database. Knows the commands that the workloads use, and their replies as text.
///
/// # Panics
/// On any other command.
pub fn apply(state: &mut State, db: u16, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let at = |key: &str| (db, key.to_owned());
    let quoted = |value: Option<&String>| value.map_or_else(|| "nil".to_owned(), |value| format!("\"{value}\""));
    match words.as_slice() {
        ["GET", key] => quoted(state.get(&at(key))),
        ["SET", key, value] => {
            state.insert(at(key), (*value).to_owned());
            "+OK".to_owned()
        }
        ["APPEND", key, tail] => {
            let value = state.entry(at(key)).or_default();
            value.push_str(tail);
            format!(":{}", value.len())
        }
        ["INCR", key] => {
            let value = state.entry(at(key)).or_insert_with(|| "0".to_owned());
            let Some(next) = value.parse().ok().and_then(|number: i64| number.checked_add(1)) else {
                return "-ERR value is not an integer or out of range".to_owned();
            };
            *value = next.to_string();
            format!(":{next}")
        }
        ["MGET", keys @ ..] => format!("[{}]", keys.iter().map(|key| quoted(state.get(&at(key)))).collect::<Vec<_>>().join(" ")),
        ["MSET", pairs @ ..] => {
            for pair in pairs.chunks_exact(2) {
                state.insert(at(pair[0]), pair[1].to_owned());
            }
            "+OK".to_owned()
        }
        ["MSETNX", pairs @ ..] => {
            if pairs.chunks_exact(2).any(|pair| state.contains_key(&at(pair[0]))) {
                return ":0".to_owned();
            }
            for pair in pairs.chunks_exact(2) {
                state.insert(at(pair[0]), pair[1].to_owned());
            }
            ":1".to_owned()
        }
        ["DEL", keys @ ..] => format!(":{}", keys.iter().filter(|key| state.remove(&at(key)).is_some()).count()),
        ["EXISTS", keys @ ..] => format!(":{}", keys.iter().filter(|key| state.contains_key(&at(key))).count()),
        ["RENAME", from, to] => match state.remove(&at(from)) {
            Some(value) => {
                state.insert(at(to), value);
                "+OK".to_owned()
            }
            None => "-ERR no such key".to_owned(),
        },
        ["COPY", from, to] if from == to => "-ERR source and destination objects are the same".to_owned(),
        ["COPY", from, to] => match (state.get(&at(from)).cloned(), state.contains_key(&at(to))) {
            (Some(value), false) => {
                state.insert(at(to), value);
                ":1".to_owned()
            }
            _ => ":0".to_owned(),
        },
        ["FLUSHALL"] => {
            state.clear();
            "+OK".to_owned()
        }
        ["FLUSHDB"] => {
            state.retain(|(of, _), _| *of != db);
            "+OK".to_owned()
        }
        ["SWAPDB", one, other] => {
            let [one, other]: [u16; 2] = [one, other].map(|index| index.parse().expect("an index"));
            let swapped = |db| {
                if db == one {
                    other
                } else if db == other {
                    one
                } else {
                    db
                }
            };
            *state = std::mem::take(state).into_iter().map(|((db, key), value)| ((swapped(db), key), value)).collect();
            "+OK".to_owned()
        }
        other => panic!("the model does not know {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(called: u64, returned: u64, line: &str, reply: &str) -> Operation {
        Operation { called, returned, db: 0, words: line.split(' ').map(str::to_owned).collect(), reply: reply.to_owned() }
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
    fn a_write_between_the_parts_of_a_flush_is_found_out() {
        let flushed = |seen| {
            let read = operation(11, 12, "MGET a b", seen);
            [operation(0, 10, "MSET a 1 b 1", "+OK"), operation(0, 10, "FLUSHALL", "+OK"), read]
        };
        assert!(explain(&flushed("[\"1\" nil]")).is_none());
        assert!(explain(&flushed("[nil nil]")).is_some());
        assert!(explain(&flushed("[\"1\" \"1\"]")).is_some());
    }

    #[test]
    fn databases_change_places() {
        let mut state = State::new();
        let mut ask = |db, line: &str| apply(&mut state, db, &line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        ask(0, "SET a 0");
        ask(1, "SET a 1");
        ask(2, "SWAPDB 0 1");
        assert_eq!([ask(0, "GET a"), ask(1, "GET a")], ["\"1\"", "\"0\""]);
        ask(0, "FLUSHDB");
        assert_eq!([ask(0, "GET a"), ask(1, "GET a")], ["nil", "\"0\""]);
    }

    #[test]
    fn a_value_that_goes_back_is_found_out() {
        let back = [operation(0, 20, "SET a 1", "+OK"), operation(1, 3, "GET a", "\"1\""), operation(4, 6, "GET a", "nil")];
        assert!(explain(&back).is_none());
    }
}
