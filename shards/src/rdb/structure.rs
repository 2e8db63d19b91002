//! How the kinds of value that there are none of here are built, so that each is passed over to its last byte.
//!
//! The structures are those of Redis 2.6 to 7.4 and Valkey 9. Two numbers mean different things to the two families.

use super::source::{ReadError, Source};
use std::io::BufRead;

/// A kind of value that is counted and passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OtherKind {
    /// A hash with deadlines of its fields.
    HashWithDeadlines,
    /// A stream with its consumer groups.
    Stream,
    /// A value of a module.
    Module,
    /// A string, or a key, longer than 512 MiB.
    LongString,
    /// A list, set, sorted set or hash longer than 512 MiB.
    LongCollection,
    /// A list, set, sorted set or hash without elements, which no server keeps.
    EmptyCollection,
}

impl OtherKind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            OtherKind::HashWithDeadlines => "hash whose fields expire",
            OtherKind::Stream => "stream",
            OtherKind::Module => "module value",
            OtherKind::LongString => "string longer than 512 MiB",
            OtherKind::LongCollection => "collection longer than 512 MiB",
            OtherKind::EmptyCollection => "empty collection",
        }
    }

    /// Why it is passed over, for people.
    pub fn reason(self) -> &'static str {
        match self {
            OtherKind::HashWithDeadlines | OtherKind::Stream | OtherKind::Module => "a kind of value that there is none of here",
            OtherKind::LongString | OtherKind::LongCollection => "values are not longer here",
            OtherKind::EmptyCollection => "there is nothing in it",
        }
    }
}

/// Who wrote the file; from version 12 on the numbers of types part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Redis,
    Valkey,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Redis => "Redis",
            Family::Valkey => "Valkey",
        }
    }
}

/// An identifier of an entry of a stream.
const STREAM_ID_BYTES: u64 = 16;
/// A point in time in milliseconds.
const TIME_BYTES: u64 = 8;
/// A floating-point number.
const DOUBLE_BYTES: u64 = 8;

/// Passes over a value of type `kind`, whose number has been read. Those of [`super::collection::form_of`] do not come here.
pub(super) fn skip_value<R: BufRead>(source: &mut Source<R>, kind: u8, family: Family) -> Result<OtherKind, ReadError> {
    match kind {
        22..=25 => skip_hash_with_deadlines(source, kind, family).map(|()| OtherKind::HashWithDeadlines),
        7 => {
            source.length()?;
            skip_module_data(source).map(|()| OtherKind::Module)
        }
        15 | 19 | 21 => skip_stream(source, kind).map(|()| OtherKind::Stream),
        6 => source.damaged("a module's value of before Redis 4.0, whose end only that module knows"),
        _ => source.damaged("no kind of value has this number"),
    }
}

/// A count, and as many of something.
fn skip_each<R: BufRead>(source: &mut Source<R>, mut skip: impl FnMut(&mut Source<R>) -> Result<(), ReadError>) -> Result<(), ReadError> {
    for _ in 0..source.length()? {
        skip(source)?;
    }
    Ok(())
}

fn skip_pair<R: BufRead>(source: &mut Source<R>) -> Result<(), ReadError> {
    source.skip_string()?;
    source.skip_string()
}

/// 22 and 23 are those of a release candidate of Redis 7.4; 22 is also Valkey's only one.
fn skip_hash_with_deadlines<R: BufRead>(source: &mut Source<R>, kind: u8, family: Family) -> Result<(), ReadError> {
    match (family, kind) {
        (Family::Valkey, 22) => skip_each(source, |source| {
            skip_pair(source)?;
            source.skip(TIME_BYTES)
        }),
        (Family::Redis, 22 | 24) => {
            source.skip(if kind == 24 { TIME_BYTES } else { 0 })?;
            skip_each(source, |source| {
                source.length()?;
                skip_pair(source)
            })
        }
        (Family::Redis, 23) => source.skip_string(),
        (Family::Redis, 25) => {
            source.skip(TIME_BYTES)?;
            source.skip_string()
        }
        _ => source.damaged("no kind of value has this number"),
    }
}

/// What a module wrote says of each piece what it is, so that those without the module can pass over it.
pub(super) fn skip_module_data<R: BufRead>(source: &mut Source<R>) -> Result<(), ReadError> {
    loop {
        match source.length()? {
            0 => return Ok(()),
            // Signed and unsigned numbers.
            1 | 2 => {
                source.length()?;
            }
            3 => source.skip(4)?,
            4 => source.skip(DOUBLE_BYTES)?,
            5 => source.skip_string()?,
            _ => return source.damaged("no piece of a module's data has this number"),
        }
    }
}

fn skip_stream<R: BufRead>(source: &mut Source<R>, kind: u8) -> Result<(), ReadError> {
    let (since_7_0, since_7_2) = (kind >= 19, kind >= 21);
    // Packed nodes by their first identifier.
    skip_each(source, skip_pair)?;
    // Length and last identifier; first and highest deleted identifier, and how many entries there ever were.
    for _ in 0..if since_7_0 { 3 + 5 } else { 3 } {
        source.length()?;
    }
    skip_each(source, |source| {
        source.skip_string()?;
        // Last identifier delivered, and how many were read.
        for _ in 0..if since_7_0 { 3 } else { 2 } {
            source.length()?;
        }
        // What was delivered and not acknowledged: by whom, when, how often.
        skip_each(source, |source| {
            source.skip(STREAM_ID_BYTES + TIME_BYTES)?;
            source.length().map(drop)
        })?;
        skip_each(source, |source| {
            source.skip_string()?;
            source.skip(if since_7_2 { 2 * TIME_BYTES } else { TIME_BYTES })?;
            skip_each(source, |source| source.skip(STREAM_ID_BYTES))
        })
    })
}
