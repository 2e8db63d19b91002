//! What was read, what became of it, and what was left out for which reason: the report at the end, and a part of the position file.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Different reasons that are told apart; what comes later is counted together.
const REASONS_MAX: usize = 64;

/// Counts of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DbTally {
    pub(super) db: u32,
    /// Keys that the source holds, of any kind.
    pub(super) read: u64,
    /// Those that the target took.
    pub(super) stored: u64,
    /// Those that the target had and kept.
    pub(super) kept: u64,
    /// Those past their deadline.
    pub(super) expired: u64,
    /// Those that cannot be taken; the reasons are in the other table.
    pub(super) skipped: u64,
    /// Commands that the target carried out.
    pub(super) commands: u64,
}

/// Something that was left out, so many times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) what: String,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// All counts of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    #[serde(default)]
    pub(super) databases: Vec<DbTally>,
    #[serde(default)]
    pub(super) skipped: Vec<Skipped>,
}

impl Tally {
    /// The counts of a database.
    pub(super) fn db(&mut self, db: u32) -> &mut DbTally {
        let index = self.databases.binary_search_by_key(&db, |tally| tally.db).unwrap_or_else(|index| {
            self.databases.insert(index, DbTally { db, ..DbTally::default() });
            index
        });
        &mut self.databases[index]
    }

    /// Notes that something was left out.
    pub(super) fn skip(&mut self, what: &str, reason: &str) {
        if let Some(found) = self.skipped.iter_mut().find(|found| found.what == what && found.reason == reason) {
            found.count += 1;
        } else if self.skipped.len() < REASONS_MAX {
            self.skipped.push(Skipped { what: what.to_owned(), reason: reason.to_owned(), count: 1 });
        } else {
            let what = "others";
            match self.skipped.iter_mut().find(|found| found.what == what) {
                Some(found) => found.count += 1,
                None => self.skipped.push(Skipped { what: what.into(), reason: "too many different reasons to list".into(), count: 1 }),
            }
        }
    }

    /// Keys read and commands carried out.
    pub(super) fn total(&self) -> u64 {
        self.databases.iter().map(|db| db.read + db.commands).sum()
    }

    pub(super) fn commands(&self) -> u64 {
        self.databases.iter().map(|db| db.commands).sum()
    }

    /// Both tables for people.
    pub(super) fn text(&self) -> String {
        let mut rows = vec![["database", "keys read", "stored", "kept", "expired", "skipped", "commands"].map(str::to_owned)];
        rows.extend(
            self.databases.iter().map(|db| {
                [u64::from(db.db), db.read, db.stored, db.kept, db.expired, db.skipped, db.commands].map(|count| count.to_string())
            }),
        );
        let mut text = columns(&rows, 7);
        if !self.skipped.is_empty() {
            let mut rows = vec![["skipped", "count", "why"].map(str::to_owned)];
            rows.extend(self.skipped.iter().map(|skipped| [skipped.what.clone(), skipped.count.to_string(), skipped.reason.clone()]));
            text.push('\n');
            text.push_str(&columns(&rows, 2));
        }
        text
    }
}

/// Rows as columns; the first `right` of them are aligned to the right, except the very first.
pub(super) fn columns<const N: usize>(rows: &[[String; N]], right: usize) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let gap = if column == 0 { "" } else { "  " };
            let _ = if column > 0 && column < right { write!(line, "{gap}{cell:>width$}") } else { write!(line, "{gap}{cell:<width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_for_people() {
        let mut tally = Tally::default();
        tally.db(3).read += 2;
        *tally.db(0) = DbTally { db: 0, read: 1200, stored: 1000, kept: 100, expired: 50, skipped: 50, commands: 7 };
        for _ in 0..50 {
            tally.skip("list", "the target has no lists");
        }
        assert_eq!(
            tally.text(),
            "\
database  keys read  stored  kept  expired  skipped  commands
0              1200    1000   100       50       50         7
3                 2       0     0        0        0         0

skipped  count  why
list        50  the target has no lists
"
        );
        assert_eq!((tally.total(), tally.commands()), (1209, 7));
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let mut tally = Tally::default();
        for index in 0..1000 {
            tally.skip(&format!("command {index}"), "unknown");
        }
        assert_eq!(tally.skipped.len(), REASONS_MAX + 1);
        assert_eq!(tally.skipped.iter().map(|skipped| skipped.count).sum::<u64>(), 1000);
    }
}
