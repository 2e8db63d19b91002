//! Lists, sets, sorted sets and hashes, in every form that Redis since 2.6 and Valkey have written them in.
//!
//! | numbers | form |
//! | --- | --- |
//! | 1, 2, 4, 5 | plain: a count, and strings; scores of a sorted set as doubles |
//! | 3 | the same with scores as text |
//! | 10, 12, 13 | one ziplist |
//! | 16, 17, 20 | one listpack |
//! | 9, 11 | a zipmap, an intset |
//! | 14, 18 | a list of nodes: ziplists; listpacks and single elements |
//!
//! Whatever form they had, they become packed elements here, see [`crate::collection::pack`].

use super::source::{ReadError, Source};
use super::{STRING_BYTES_MAX, encode, intset, listpack, ziplist, zipmap};
use crate::collection::pack::{Pack, Packer};
use crate::number;
use crate::record::Kind;
use std::io::BufRead;

/// A collection as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection<'a> {
    kind: Kind,
    packed: &'a [u8],
}

impl<'a> Collection<'a> {
    /// Of bytes that [`read`] gave.
    pub(super) fn trusted(kind: Kind, packed: &'a [u8]) -> Collection<'a> {
        Collection { kind, packed }
    }

    /// Its kind, never a string.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many elements, at least one; pairs of a hash.
    #[expect(clippy::len_without_is_empty, reason = "an empty collection is none")]
    pub fn len(&self) -> usize {
        Pack::trusted(self.packed).len()
    }

    /// Bytes of all elements, about.
    pub fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// The elements of a list in order, the members of a set; fields and values of a hash in turns. Not of a sorted set.
    pub fn elements(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        debug_assert_ne!(self.kind, Kind::SortedSet);
        Pack::trusted(self.packed).iter()
    }

    /// The fields of a hash and their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        Pack::trusted(self.packed).pairs()
    }

    /// The members of a sorted set and their scores, in order.
    pub fn scored(&self) -> impl Iterator<Item = (&'a [u8], f64)> + use<'a> {
        Pack::trusted(self.packed).scored()
    }

    /// Appends the payload that `RESTORE` takes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self.kind, self.packed, out);
    }

    /// The packed elements.
    pub(super) fn packed(&self) -> &'a [u8] {
        self.packed
    }
}

/// What became of a collection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Its packed elements.
    Packed(Vec<u8>),
    /// It has none: no server keeps such a one.
    Empty,
    /// It is longer than may be held, and was passed over.
    TooLong,
}

/// How a collection is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A count, and as many elements; twice as many for a hash.
    Plain,
    ScoresInText,
    ScoresInDoubles,
    /// A string of a form of its own.
    One(Visit),
    /// A count, and as many ziplists.
    Nodes,
    /// The same, but each node says what it is: an element, or a listpack.
    MarkedNodes,
}

/// Reads a packed form.
type Visit = fn(&[u8], &mut dyn FnMut(&[u8]) -> Option<()>) -> Option<()>;

/// The kind and the form that a type's number stands for. `None` if it is that of no collection that is read.
pub(super) fn form_of(number: u8) -> Option<(Kind, Form)> {
    Some(match number {
        1 => (Kind::List, Form::Plain),
        2 => (Kind::Set, Form::Plain),
        3 => (Kind::SortedSet, Form::ScoresInText),
        4 => (Kind::Hash, Form::Plain),
        5 => (Kind::SortedSet, Form::ScoresInDoubles),
        9 => (Kind::Hash, Form::One(zipmap::visit)),
        10 => (Kind::List, Form::One(ziplist::visit)),
        11 => (Kind::Set, Form::One(intset::visit)),
        12 => (Kind::SortedSet, Form::One(ziplist::visit)),
        13 => (Kind::Hash, Form::One(ziplist::visit)),
        14 => (Kind::List, Form::Nodes),
        16 => (Kind::Hash, Form::One(listpack::visit)),
        17 => (Kind::SortedSet, Form::One(listpack::visit)),
        18 => (Kind::List, Form::MarkedNodes),
        20 => (Kind::Set, Form::One(listpack::visit)),
        _ => return None,
    })
}

/// What an element is taken to need besides its bytes while it is read: short ones without number stay bounded too, and what
/// is written of a collection that was read is never longer than a string may be.
const ELEMENT_BYTES: usize = 16;

const CONTRADICTION: &str = "a packed collection contradicts itself";
/// What a node of [`Form::MarkedNodes`] is.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;
// Scores that are no text.
const SCORE_NAN: u8 = 253;
const SCORE_INFINITE: u8 = 254;
const SCORE_MINUS_INFINITE: u8 = 255;

/// Reads a collection to its last byte. `text` is lent for its strings.
pub(super) fn read<R: BufRead>(source: &mut Source<R>, kind: Kind, form: Form, text: &mut Vec<u8>) -> Result<Read, ReadError> {
    let mut gathered = Gathered::new(kind);
    match form {
        Form::One(visit) => one(source, visit, text, &mut gathered)?,
        Form::Plain => {
            let count = source.length()?;
            for _ in 0..count.saturating_mul(if kind == Kind::Hash { 2 } else { 1 }) {
                if !source.string(text)? {
                    gathered.give_up();
                } else if gathered.add(text).is_none() {
                    return source.damaged(CONTRADICTION);
                }
            }
        }
        Form::ScoresInText => scored(source, score_in_text, text, &mut gathered)?,
        Form::ScoresInDoubles => scored(source, |source| source.array().map(f64::from_le_bytes), text, &mut gathered)?,
        Form::Nodes => {
            for _ in 0..source.length()? {
                one(source, ziplist::visit, text, &mut gathered)?;
            }
        }
        Form::MarkedNodes => {
            for _ in 0..source.length()? {
                match source.length()? {
                    NODE_PLAIN => one(source, |text, take| take(text), text, &mut gathered)?,
                    NODE_PACKED => one(source, listpack::visit, text, &mut gathered)?,
                    _ => return source.damaged("no node of a list is of this kind"),
                }
            }
        }
    }
    gathered.finish().map_or_else(|what| source.damaged(what), Ok)
}

/// One string that holds elements.
fn one<R: BufRead>(source: &mut Source<R>, visit: Visit, text: &mut Vec<u8>, gathered: &mut Gathered) -> Result<(), ReadError> {
    if !source.string(text)? {
        gathered.give_up();
        return Ok(());
    }
    visit(text, &mut |element| gathered.add(element)).map_or_else(|| source.damaged(CONTRADICTION), Ok)
}

/// Members and their scores.
fn scored<R: BufRead>(
    source: &mut Source<R>,
    score: impl Fn(&mut Source<R>) -> Result<f64, ReadError>,
    text: &mut Vec<u8>,
    gathered: &mut Gathered,
) -> Result<(), ReadError> {
    for _ in 0..source.length()? {
        if !source.string(text)? {
            gathered.give_up();
        }
        let score = score(source)?;
        if score.is_nan() {
            return source.damaged("a score is not a number");
        }
        gathered.add_scored(text, score);
    }
    Ok(())
}

fn score_in_text<R: BufRead>(source: &mut Source<R>) -> Result<f64, ReadError> {
    match source.byte()? {
        SCORE_NAN => Ok(f64::NAN),
        SCORE_INFINITE => Ok(f64::INFINITY),
        SCORE_MINUS_INFINITE => Ok(f64::NEG_INFINITY),
        bytes => {
            let mut text = [0; u8::MAX as usize];
            let text = &mut text[..usize::from(bytes)];
            for byte in &mut *text {
                *byte = source.byte()?;
            }
            number::parse_f64(text).map_or_else(|| source.damaged("a score is no number"), Ok)
        }
    }
}

/// Elements as they come.
struct Gathered {
    kind: Kind,
    packer: Packer,
    bytes: usize,
    is_too_long: bool,
    /// A field or member, whose value or score comes next if `is_half`.
    first: Vec<u8>,
    is_half: bool,
}

impl Gathered {
    fn new(kind: Kind) -> Gathered {
        Gathered { kind, packer: Packer::default(), bytes: 0, is_too_long: false, first: Vec::new(), is_half: false }
    }

    /// It is longer than may be held. What comes is still looked at.
    fn give_up(&mut self) {
        self.is_too_long = true;
        self.packer = Packer::default();
    }

    /// Takes an element; of hashes fields and values in turns, of sorted sets members and scores in text. `None` if it is no score.
    fn add(&mut self, element: &[u8]) -> Option<()> {
        if matches!(self.kind, Kind::List | Kind::Set) {
            if self.has_room(element.len()) {
                self.packer.push(element);
            }
            return Some(());
        }
        self.is_half = !self.is_half;
        if self.is_half {
            self.first.clear();
            self.first.extend_from_slice(element);
        } else if self.kind == Kind::SortedSet {
            let first = std::mem::take(&mut self.first);
            self.add_scored(&first, number::parse_f64(element)?);
            self.first = first;
        } else if self.has_room(self.first.len() + element.len()) {
            self.packer.push_pair(&self.first, element);
        }
        Some(())
    }

    fn add_scored(&mut self, member: &[u8], score: f64) {
        if self.has_room(member.len()) {
            self.packer.push_scored(member, score);
        }
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes + ELEMENT_BYTES);
        if self.bytes > STRING_BYTES_MAX && !self.is_too_long {
            self.give_up();
        }
        !self.is_too_long
    }

    /// What it has become, or what is wrong with it.
    fn finish(self) -> Result<Read, &'static str> {
        if self.is_half {
            return Err("a field without a value, or a member without a score");
        }
        if self.is_too_long {
            return Ok(Read::TooLong);
        }
        if self.packer.len() == 0 {
            return Ok(Read::Empty);
        }
        let packed = self.packer.finish();
        match self.kind {
            Kind::List => Ok(Read::Packed(packed)),
            Kind::SortedSet => sorted(&packed).map(Read::Packed).ok_or("a member of a sorted set comes twice"),
            kind if Pack::check(kind, &packed) => Ok(Read::Packed(packed)),
            _ => Err("a member of a set or a field of a hash comes twice"),
        }
    }
}

/// The members by score, then by bytes. `None` if one comes twice.
fn sorted(packed: &[u8]) -> Option<Vec<u8>> {
    let mut members: Vec<(&[u8], f64)> = Pack::trusted(packed).scored().collect();
    members.sort_unstable_by_key(|(member, _)| *member);
    if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return None;
    }
    // Stable, so that the order of bytes stays within a score. None of them is "not a number", and the two zeros are equal.
    members.sort_by(|(_, score), (_, other)| score.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    let mut packer = Packer::default();
    members.iter().for_each(|(member, score)| packer.push_scored(member, *score));
    Some(packer.finish())
}

#[cfg(test)]
mod tests;
