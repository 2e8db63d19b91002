//! What is asked of the target: kinds of operations and their mix, value sizes, expiries, YCSB's six workloads.
//!
//! Pure data and its parsers; nothing here knows a protocol or a socket.

use crate::keys::{KeyShape, THETA_YCSB};
use crate::quantity;
use crate::random::{Random, Weights};

macro_rules! kinds {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// One kind of operation: a row of the result.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(crate) enum Kind { $(#[doc = $doc] $variant,)* }

        impl Kind {
            /// Every kind, in the order of rows.
            pub(crate) const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// As written in `--mix` and in reports.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    Get "get" "Read one key.",
    Set "set" "Write one key.",
    Del "del" "Remove one key.",
    Incr "incr" "Count up a key of its own key space (prefix `ctr:`).",
    Mget "mget" "Read a run of `--scan-keys` keys at once.",
    Mset "mset" "Write a run of `--scan-keys` keys at once.",
    Exists "exists" "Ask whether a key is there.",
    Expire "expire" "Give a key an expiry (of `--ttl`, or 60 s).",
    Ttl "ttl" "Ask for a key's expiry.",
    Ping "ping" "No key at all: the cost of the path.",
    Read "read" "YCSB: read a record.",
    Update "update" "YCSB: overwrite a record.",
    Insert "insert" "YCSB: write a record that was not there.",
    Scan "scan" "YCSB: read a run of 1 to 100 records, as one MGET.",
    Rmw "read_modify_write" "YCSB: read a record, then write it; one operation, both trips.",
}

/// How many kinds there are: the length of a table with a row for each.
pub(crate) const KIND_COUNT: usize = Kind::ALL.len();

impl Kind {
    /// Whether a value travels to the target.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Kind::Set | Kind::Mset | Kind::Update | Kind::Insert | Kind::Rmw)
    }

    /// Whether one request names several keys.
    pub(crate) fn many(self) -> bool {
        matches!(self, Kind::Mget | Kind::Mset | Kind::Scan)
    }

    /// Reads a name as in `--mix`.
    pub(crate) fn parse(text: &str) -> Result<Kind, String> {
        let wanted = text.trim().to_ascii_lowercase();
        let wanted = if wanted == "rmw" { "read_modify_write" } else { wanted.as_str() };
        if let Some(&kind) = Kind::ALL.iter().find(|kind| kind.name() == wanted) {
            return Ok(kind);
        }
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let near = names.iter().min_by_key(|name| distance(name, wanted)).filter(|name| distance(name, wanted) <= 2);
        Err(match near {
            Some(near) => format!("'{text}' is no operation; did you mean '{near}'?"),
            None => format!("'{text}' is no operation; there are {}", names.join(", ")),
        })
    }
}

/// Kinds and how often each is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    kinds: Vec<Kind>,
    shares: Vec<f64>,
    weights: Weights,
}

impl Mix {
    /// A mix of `(kind, weight)`. Weights of 0 are left out.
    ///
    /// # Panics
    /// If no weight is above 0.
    pub(crate) fn new(parts: &[(Kind, f64)]) -> Mix {
        let parts: Vec<(Kind, f64)> = parts.iter().copied().filter(|(_, weight)| *weight > 0.0).collect();
        assert!(!parts.is_empty());
        let sum: f64 = parts.iter().map(|(_, weight)| weight).sum();
        let shares: Vec<f64> = parts.iter().map(|(_, weight)| weight / sum).collect();
        let weights = Weights::new(&shares);
        Mix { kinds: parts.iter().map(|(kind, _)| *kind).collect(), shares, weights }
    }

    /// Reads `get=70,set=20,del=10`.
    pub(crate) fn parse(text: &str) -> Result<Mix, String> {
        let mut parts: Vec<(Kind, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').or_else(|| part.split_once(':')).unwrap_or((part, "1"));
            let kind = Kind::parse(name)?;
            if parts.iter().any(|(known, _)| *known == kind) {
                return Err(format!("'{name}' is there twice"));
            }
            parts.push((kind, weight_of(weight)?));
        }
        if parts.iter().all(|(_, weight)| *weight == 0.0) {
            return Err(format!("'{text}' leaves nothing to do: some weight must be above 0"));
        }
        Ok(Mix::new(&parts))
    }

    /// Reads `GET:SET`, as `9:1`.
    pub(crate) fn ratio(text: &str) -> Result<Mix, String> {
        let Some((gets, sets)) = text.split_once(':') else {
            return Err(format!("'{text}' is not a ratio; write gets:sets, like 9:1"));
        };
        let (gets, sets) = (weight_of(gets)?, weight_of(sets)?);
        if gets + sets == 0.0 {
            return Err(format!("'{text}' leaves nothing to do"));
        }
        Ok(Mix::new(&[(Kind::Get, gets), (Kind::Set, sets)]))
    }

    /// The next kind.
    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> Kind {
        self.kinds[self.weights.draw(random)]
    }

    /// Every kind with a chance above 0.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (kind, share)) in self.kinds.iter().zip(&self.shares).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", kind.name(), (share * 1e5).round() / 1e3)?;
        }
        Ok(())
    }
}

/// Value sizes and how often each is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    ranges: Vec<(usize, usize)>,
    weights: Weights,
    text: String,
}

/// Largest value this tool sends: Redis' own limit of one string.
pub(crate) const VALUE_BYTES_MAX: usize = 512 << 20;

impl Sizes {
    /// Reads `64`, `64:70,1k:30`, `30-300`, `30-300:80,10k:20`.
    pub(crate) fn parse(text: &str) -> Result<Sizes, String> {
        let mut ranges = Vec::new();
        let mut weights = Vec::new();
        for part in text.split(',') {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            let (least, most) = match size.split_once('-') {
                Some((least, most)) => (quantity::bytes(least)?, quantity::bytes(most)?),
                None => (quantity::bytes(size)?, quantity::bytes(size)?),
            };
            if least > most {
                return Err(format!("'{size}' runs backwards"));
            }
            if most > VALUE_BYTES_MAX {
                return Err(format!("'{size}' is over the largest value, 512m"));
            }
            ranges.push((least, most));
            weights.push(weight_of(weight)?);
        }
        if weights.iter().all(|&weight| weight == 0.0) {
            return Err(format!("'{text}' leaves no size: some weight must be above 0"));
        }
        Ok(Sizes { ranges, weights: Weights::new(&weights), text: text.to_string() })
    }

    /// The next size in bytes.
    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let (least, most) = self.ranges[self.weights.draw(random)];
        if least == most { least } else { least + random.below((most - least + 1) as u64) as usize }
    }

    /// Whether a value of this size could have been drawn.
    pub(crate) fn allows(&self, size: usize) -> bool {
        self.ranges.iter().any(|&(least, most)| (least..=most).contains(&size))
    }

    /// The largest size that can be drawn.
    pub(crate) fn largest(&self) -> usize {
        self.ranges.iter().map(|&(_, most)| most).max().unwrap_or(0)
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which share of writes carries which expiry.
#[derive(Clone, Debug)]
pub(crate) struct Ttls {
    choices: Vec<Option<u64>>,
    weights: Weights,
    text: String,
}

impl Ttls {
    /// Nothing expires.
    pub(crate) fn never() -> Ttls {
        Ttls { choices: vec![None], weights: Weights::new(&[1.0]), text: "none".to_string() }
    }

    /// Reads `10s` (every write), `10s:50%`, `10s:50%,1m:10%`; what is left over does not expire.
    pub(crate) fn parse(text: &str) -> Result<Ttls, String> {
        let mut choices = Vec::new();
        let mut shares = Vec::new();
        for part in text.split(',') {
            let (span, share) = match part.split_once(':') {
                Some((span, share)) => (span, quantity::share(share)?),
                None => (part, 1.0),
            };
            let ms = quantity::duration(span)?.as_millis() as u64;
            if ms == 0 {
                return Err(format!("'{span}' is below a millisecond, the shortest expiry"));
            }
            choices.push(Some(ms));
            shares.push(share);
        }
        let sum: f64 = shares.iter().sum();
        if sum > 1.000_001 {
            return Err(format!("'{text}' adds up to {:.4}%, over 100%", sum * 100.0));
        }
        choices.push(None);
        shares.push((1.0 - sum).max(0.0));
        Ok(Ttls { choices, weights: Weights::new(&shares), text: text.to_string() })
    }

    /// The next expiry in milliseconds, or none.
    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> Option<u64> {
        self.choices[self.weights.draw(random)]
    }

    /// The first expiry given, for `expire` operations.
    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.choices[0]
    }
}

impl std::fmt::Display for Ttls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// One of the Yahoo! Cloud Serving Benchmark's core workloads, on strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ycsb {
    /// Session store: 50 % read, 50 % update, zipf.
    A,
    /// Photo tags: 95 % read, 5 % update, zipf.
    B,
    /// Profile cache: read only, zipf.
    C,
    /// Status updates: 95 % read of the latest, 5 % insert.
    D,
    /// Conversations: 95 % scan of a run of keys (one MGET of 1 to 100), 5 % insert, zipf.
    E,
    /// User database: 50 % read, 50 % read-modify-write, zipf.
    F,
}

/// YCSB's record: ten fields of 100 B, kept here as one string.
pub(crate) const YCSB_VALUE: &str = "1000";
/// Longest run of keys of one YCSB scan.
pub(crate) const YCSB_SCAN_KEYS_MAX: u64 = 100;

impl Ycsb {
    /// The mix of operations.
    pub(crate) fn mix(self) -> Mix {
        use Kind::{Insert, Read, Rmw, Scan, Update};
        Mix::new(match self {
            Ycsb::A => &[(Read, 0.5), (Update, 0.5)],
            Ycsb::B => &[(Read, 0.95), (Update, 0.05)],
            Ycsb::C => &[(Read, 1.0)],
            Ycsb::D => &[(Read, 0.95), (Insert, 0.05)],
            Ycsb::E => &[(Scan, 0.95), (Insert, 0.05)],
            Ycsb::F => &[(Read, 0.5), (Rmw, 0.5)],
        })
    }

    /// The distribution of keys.
    pub(crate) fn keys(self) -> KeyShape {
        match self {
            Ycsb::D => KeyShape::Latest { theta: THETA_YCSB },
            _ => KeyShape::Zipf { theta: THETA_YCSB },
        }
    }
}

fn weight_of(text: &str) -> Result<f64, String> {
    let bare = text.trim().trim_end_matches('%');
    quantity::number(bare).map_err(|_| format!("'{text}' is not a weight: write a number of at least 0"))
}

/// Edits between two short words, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_drawn_in_their_shares() {
        let sizes = Sizes::parse("64:70,1k:30").unwrap();
        let mut random = Random::new(1, 0);
        let draws: Vec<usize> = (0..50_000).map(|_| sizes.draw(&mut random)).collect();
        let small = draws.iter().filter(|&&size| size == 64).count() as f64 / 50_000.0;
        assert!(draws.iter().all(|&size| size == 64 || size == 1024));
        assert!((small - 0.7).abs() < 0.02, "{small}");
        assert!(sizes.allows(64) && sizes.allows(1024) && !sizes.allows(65));
        assert_eq!(sizes.largest(), 1024);
    }

    #[test]
    fn a_range_of_sizes_reaches_both_ends() {
        let sizes = Sizes::parse("3-5").unwrap();
        let mut random = Random::new(1, 0);
        let mut seen = [false; 6];
        for _ in 0..1_000 {
            seen[sizes.draw(&mut random)] = true;
        }
        assert_eq!(seen, [false, false, false, true, true, true]);
    }

    #[test]
    fn wrong_sizes_are_refused() {
        for (text, reason) in
            [("", "start with"), ("64:x", "weight"), ("9-3", "backwards"), ("64:0", "some weight"), ("1g", "512m"), ("64:-1", "weight")]
        {
            let error = Sizes::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn ttls_leave_the_rest_without_expiry() {
        let ttls = Ttls::parse("10s:50%,1m:10%").unwrap();
        let mut random = Random::new(4, 0);
        let draws: Vec<Option<u64>> = (0..50_000).map(|_| ttls.draw(&mut random)).collect();
        let share = |ms| draws.iter().filter(|&&draw| draw == ms).count() as f64 / 50_000.0;
        assert!((share(Some(10_000)) - 0.5).abs() < 0.02);
        assert!((share(Some(60_000)) - 0.1).abs() < 0.01);
        assert!((share(None) - 0.4).abs() < 0.02);
        assert_eq!(Ttls::parse("5s").unwrap().draw(&mut random), Some(5_000));
        assert!(Ttls::parse("10s:60%,1m:50%").unwrap_err().contains("over 100%"));
        assert!(Ttls::parse("10us").unwrap_err().contains("millisecond"));
    }

    #[test]
    fn mixes_are_read_or_refused() {
        let mix = Mix::parse("get=70,set=20,del=10").unwrap();
        assert_eq!(mix.kinds(), [Kind::Get, Kind::Set, Kind::Del]);
        assert_eq!(mix.to_string(), "get=70,set=20,del=10");
        assert_eq!(Mix::ratio("1:0").unwrap().kinds(), [Kind::Get]);
        assert!(Mix::parse("gte=1").unwrap_err().contains("did you mean 'get'"));
        assert!(Mix::parse("hgetall=1").unwrap_err().contains("there are"));
        assert!(Mix::parse("get=1,get=2").unwrap_err().contains("twice"));
        assert!(Mix::parse("get=0").unwrap_err().contains("nothing to do"));
        assert!(Mix::ratio("0:0").unwrap_err().contains("nothing to do"));
        assert!(Mix::ratio("3").unwrap_err().contains("gets:sets"));
    }

    #[test]
    fn kinds_number_their_rows() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(Kind::parse(kind.name()), Ok(*kind));
        }
    }
}
