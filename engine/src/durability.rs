//! The durability ladder: how far a reply may run ahead of what is safe on the disk, by namespace.

use shards::Db;
use std::fmt;
use std::str::FromStr;

/// The longest period, in milliseconds: an hour.
const PERIOD_MS_MAX: u32 = 3_600_000;

/// The most entries that may be unsynced behind a reply.
const ENTRIES_MAX: u32 = 1_000_000;

/// How much of what was acknowledged a crash may take back. The order is the order of strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Everything: nothing is logged.
    #[default]
    None,
    /// What was acknowledged in the last so many milliseconds.
    Periodic {
        /// Milliseconds, from 1 to an hour.
        ms: u32,
    },
    /// The last so many writes of each core but one.
    Every {
        /// Writes, from 1 to a million; 1 is as strong as `Batch`.
        n: u32,
    },
    /// Nothing: a reply leaves when what it tells of is synced. One sync serves all that came meanwhile.
    Batch,
}

impl Level {
    fn strength(self) -> u8 {
        match self {
            Level::None => 0,
            Level::Periodic { .. } => 1,
            Level::Every { .. } => 2,
            Level::Batch => 3,
        }
    }

    /// Whether a command over several cores may not be cut in the middle by a crash: a cut takes what came after it along,
    /// which only a period allows.
    pub fn holds_parts(self) -> bool {
        matches!(self, Level::Batch | Level::Every { .. })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::None => f.write_str("none"),
            Level::Periodic { ms } => write!(f, "periodic:{ms}"),
            Level::Every { n } => write!(f, "every:{n}"),
            Level::Batch => f.write_str("batch"),
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let wrong = || format!("'{text}' is no durability: write none, periodic:MILLISECONDS, every:WRITES or batch");
        let (word, count) = text.split_once(':').map_or((text, None), |(word, count)| (word, Some(count)));
        let bounded = |max: u32| {
            let count: u32 = count.ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
            if (1..=max).contains(&count) { Ok(count) } else { Err(format!("'{text}': the number must be between 1 and {max}")) }
        };
        match word.to_ascii_lowercase().as_str() {
            "none" if count.is_none() => Ok(Level::None),
            "batch" if count.is_none() => Ok(Level::Batch),
            "periodic" => Ok(Level::Periodic { ms: bounded(PERIOD_MS_MAX)? }),
            "every" => Ok(Level::Every { n: bounded(ENTRIES_MAX)? }),
            _ => Err(wrong()),
        }
    }
}

/// The level of every namespace: one for all, and exceptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    default: Level,
    /// By number, ascending.
    own: Vec<(Db, Level)>,
}

impl Ladder {
    /// The same level everywhere.
    pub fn of(default: Level) -> Ladder {
        Ladder { default, own: Vec::new() }
    }

    /// The level of a namespace.
    #[inline]
    pub fn level(&self, db: Db) -> Level {
        if self.own.is_empty() {
            return self.default;
        }
        self.own.iter().find(|(own, _)| *own == db).map_or(self.default, |(_, level)| *level)
    }

    /// The level of the namespaces that have none of their own.
    pub fn default_level(&self) -> Level {
        self.default
    }

    /// Every level that occurs.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        std::iter::once(self.default).chain(self.own.iter().map(|(_, level)| *level))
    }

    /// The strongest level that occurs.
    pub fn strongest(&self) -> Level {
        self.levels().max_by_key(|level| level.strength()).unwrap_or_default()
    }

    /// Whether everything is logged.
    pub fn logs_all(&self) -> bool {
        self.levels().all(|level| level != Level::None)
    }

    /// Whether anything is logged at all.
    pub fn logs(&self) -> bool {
        self.strongest() != Level::None
    }

    /// Whether some namespace logs and another does not.
    pub fn is_mixed(&self) -> bool {
        self.logs() && self.levels().any(|level| level == Level::None)
    }

    /// Whether what a read shows must be safe first, somewhere.
    pub fn parks_reads(&self) -> bool {
        self.levels().any(Level::holds_parts)
    }

    /// The highest namespace with a level of its own.
    pub fn db_max(&self) -> Option<Db> {
        self.own.last().map(|(db, _)| *db)
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default)?;
        self.own.iter().try_for_each(|(db, level)| write!(f, " {}={level}", db.0))
    }
}

impl FromStr for Ladder {
    type Err = String;

    /// Words between spaces or commas: one level, and `NUMBER=LEVEL` for namespaces that differ.
    fn from_str(text: &str) -> Result<Ladder, String> {
        let mut ladder = Ladder::default();
        let mut default = None;
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            let Some((db, level)) = word.split_once('=') else {
                if default.replace(word.parse()?).is_some() {
                    return Err(format!("'{word}': only one level holds for all namespaces"));
                }
                continue;
            };
            let db = Db(db.parse().map_err(|_| format!("'{word}': write NUMBER=LEVEL"))?);
            match ladder.own.binary_search_by_key(&db.0, |(own, _)| own.0) {
                Ok(_) => return Err(format!("'{word}': namespace {} is named twice", db.0)),
                Err(at) => ladder.own.insert(at, (db, level.parse()?)),
            }
        }
        ladder.default = default.ok_or_else(|| "write none, periodic:MILLISECONDS, every:WRITES or batch first".to_owned())?;
        let default = ladder.default;
        ladder.own.retain(|(_, level)| *level != default);
        Ok(ladder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(text: &str) -> Ladder {
        text.parse().expect(text)
    }

    #[test]
    fn what_is_shown_is_taken_back() {
        for text in ["none", "batch", "periodic:1000", "every:100", "batch 1=none 2=periodic:1000", "none 3=batch"] {
            assert_eq!(ladder(text).to_string(), text);
        }
        assert_eq!(ladder(" BATCH,2=periodic:5, 1=none").to_string(), "batch 1=none 2=periodic:5");
        assert_eq!(ladder("batch 1=batch"), Ladder::of(Level::Batch), "the same is no exception");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (text, expected) in [
            ("", "first"),
            ("1=none", "first"),
            ("always", "write none"),
            ("batch:3", "write none"),
            ("periodic", "write none"),
            ("periodic:0", "between 1 and 3600000"),
            ("every:1000001", "between 1 and 1000000"),
            ("every:x", "write none"),
            ("batch none", "only one level"),
            ("batch x=none", "NUMBER=LEVEL"),
            ("batch 1=none 1=every:3", "twice"),
        ] {
            let error = text.parse::<Ladder>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn each_namespace_has_its_level() {
        let mixed = ladder("periodic:10 1=none 2=batch");
        assert_eq!([0, 1, 2].map(|db| mixed.level(Db(db))), [Level::Periodic { ms: 10 }, Level::None, Level::Batch]);
        assert!(mixed.strongest() == Level::Batch && mixed.is_mixed() && mixed.parks_reads() && mixed.logs());
        let weak = ladder("none 4=periodic:10");
        assert!(weak.logs() && !weak.parks_reads() && weak.is_mixed());
        assert!(!ladder("none").logs() && !ladder("none").is_mixed());
    }
}
