//! A stream's files, read from the front: which entries are there, and what the first byte that is not a frame means.
//!
//! Every frame says what was durable when it was written. So when a frame is missing, whether it was promised is known:
//! if any later frame, or anybody else who would know, says that its entries were durable, this is *damage*, and nothing
//! may go on without a person's decision; otherwise nobody was ever told of them, and the tail is *torn*, as a crash leaves
//! it. The rule does not depend on how writes were scheduled.
//!
//! A file has its whole length before its first frame, and keeps it until something in the next file is durable or the stream has
//! ended. So one that is shorter, where nothing follows it, was *cut*: not by a crash, and what it held nobody knows.

use super::frame::{FrameHeader, FrameKind, Sight, frame_bytes, look};
use super::{LogError, Lsn, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};

/// How a stream ends. `end` is the first Lsn that is not there, `segment` and `at` the file and the offset in it where its
/// frame would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "said above, and where not, here")]
pub enum Tail {
    /// Nothing follows.
    Clean { end: Lsn, segment: u64, at: u64 },
    /// Something follows that was never promised to anybody; `bytes` from there to the end of what is not zero, in this
    /// segment and those behind it.
    Torn { end: Lsn, segment: u64, at: u64, bytes: u64 },
    /// Something is missing that was durable; `known` is the last Lsn of which that is known.
    Damaged { end: Lsn, segment: u64, at: u64, known: Lsn },
    /// A file ends at `at`, before the length of `room_bytes` that it was made with, or the file behind it is gone. Nobody knows
    /// how much is missing.
    Cut { end: Lsn, segment: u64, at: u64, room_bytes: u64 },
}

impl Tail {
    /// The first Lsn that is not there.
    pub fn end(&self) -> Lsn {
        match *self {
            Tail::Clean { end, .. } | Tail::Torn { end, .. } | Tail::Damaged { end, .. } | Tail::Cut { end, .. } => end,
        }
    }

    /// The same for a stream whose end a later [`super::Opening`] has decided: all before `decided` must be there, and
    /// what follows means nothing any more.
    pub fn decided(self, decided: Lsn) -> Tail {
        let (Tail::Clean { end, segment, at }
        | Tail::Torn { end, segment, at, .. }
        | Tail::Damaged { end, segment, at, .. }
        | Tail::Cut { end, segment, at, .. }) = self;
        if end >= decided {
            Tail::Clean { end: decided, segment, at }
        } else {
            Tail::Damaged { end, segment, at, known: Lsn(decided.0 - 1) }
        }
    }
}

/// Where the first byte lies that is no frame, and what is behind it.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    segment: u64,
    at: u64,
    /// Bytes from `at` to the end of the last one that is not zero.
    bytes: u64,
    /// Bytes from `at` on that were looked at.
    seen: u64,
}

/// A file that is shorter than it was made.
#[derive(Clone, Copy, Debug)]
struct Cut {
    segment: u64,
    at: u64,
    room_bytes: u64,
}

/// How long a file becomes when it is over, of `used` bytes with frames and the room it was made with: as long as what is in it; and
/// one block longer where that is all of its room, because its length is to tell that another file follows it.
pub fn retired_bytes(used: u64, room_bytes: u64, align_bytes: u32) -> u64 {
    if used == room_bytes { used + u64::from(align_bytes) } else { used }
}

/// Reads one stream, segment after segment.
#[derive(Debug)]
pub struct Scan {
    /// Of the segment being read.
    seed: u32,
    align_bytes: usize,
    seq: u64,
    room_bytes: u64,
    /// The first Lsn that anybody needs: gaps before it lose nothing.
    needed: Lsn,
    /// The Lsn behind the last frame taken.
    next: Lsn,
    /// The last Lsn that anybody says was durable.
    known: Lsn,
    /// Offset in the file of the first byte of `kept`, and of the next fed if there is none.
    at: u64,
    /// The beginning of what may be a frame.
    kept: Vec<u8>,
    trouble: Option<Trouble>,
    /// Where the segment before this one ended.
    ended: Option<(u64, u64)>,
    /// Bytes that were no frames, before frames that followed without a gap.
    stray_bytes: u64,
    is_closed: bool,
    /// The last file that was cut, of those from the one with the last frame on.
    cut: Option<Cut>,
}

impl Scan {
    /// Begins with the first segment there is. Everything from `expected` on must be there; entries before it may be, and
    /// may be not: a snapshot has them.
    pub fn begin(header: &SegmentHeader, seed: u32, expected: Lsn) -> Scan {
        Scan {
            seed,
            align_bytes: header.align_bytes as usize,
            seq: header.seq,
            room_bytes: header.room_bytes,
            needed: expected.max(Lsn(1)),
            next: Lsn(0),
            known: Lsn(0),
            at: SEGMENT_HEADER_BYTES as u64,
            kept: Vec::new(),
            trouble: None,
            ended: None,
            stray_bytes: 0,
            is_closed: false,
            cut: None,
        }
    }

    /// Goes on with the next segment, once the one before it was fed whole.
    ///
    /// # Errors
    /// If `header` is not that of the next one.
    pub fn next_segment(&mut self, header: &SegmentHeader, seed: u32, take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<(), LogError> {
        self.end_segment(take)?;
        if header.kind != SegmentKind::Log || header.seq != self.seq + 1 {
            let why = format!("segment {} of the stream is missing: found {} instead", self.seq + 1, header.seq);
            return Err(LogError { place: 0, why: why.into() });
        }
        self.ended = Some((self.seq, self.at));
        self.room_bytes = header.room_bytes;
        (self.seed, self.align_bytes, self.seq, self.at) = (seed, header.align_bytes as usize, header.seq, SEGMENT_HEADER_BYTES as u64);
        Ok(())
    }

    /// Somebody else says that everything up to `lsn` was durable: an opening, a manifest, another core's part.
    pub fn note_durable(&mut self, lsn: Lsn) {
        self.known = self.known.max(lsn);
    }

    /// Takes consecutive bytes from [`SEGMENT_HEADER_BYTES`] on. Frames that ended inside and follow each other without a
    /// gap are given to `take` with their stored payload. Keeps no more than one frame; after the first byte that is not
    /// one, at worst the rest of a segment.
    ///
    /// # Errors
    /// If a frame's checksum holds but this version cannot read it.
    pub fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<(), LogError> {
        if self.kept.is_empty() {
            let used = self.walk(bytes, false, take)?;
            self.kept.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(bytes);
        let used = self.walk(&kept, false, take)?;
        kept.drain(..used);
        self.kept = kept;
        Ok(())
    }

    /// Bytes that are neither frames nor zeros, though no entry is missing where they are: a lost mark, rotten padding.
    pub fn stray_bytes(&self) -> u64 {
        self.stray_bytes
    }

    /// Whether the last frame says that the stream was closed in order.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What the stream's end is, once its last segment was fed whole. Frames may still come out of the bytes that were kept.
    ///
    /// # Errors
    /// As [`Scan::feed`].
    pub fn finish(mut self, take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<Tail, LogError> {
        self.end_segment(take)?;
        let cut = self.cut.filter(|_| !self.is_closed);
        let Trouble { segment, at, bytes, .. } = *self.trouble();
        let end = self.end();
        Ok(if self.known >= end {
            Tail::Damaged { end, segment, at, known: self.known }
        } else if let Some(Cut { segment, at, room_bytes }) = cut {
            Tail::Cut { end, segment, at, room_bytes }
        } else if bytes > 0 {
            Tail::Torn { end, segment, at, bytes }
        } else {
            Tail::Clean { end, segment, at }
        })
    }

    /// The first Lsn that is not there, as far as was read.
    pub fn end(&self) -> Lsn {
        self.next.max(self.needed)
    }

    /// Says that the segment was fed whole. [`Scan::next_segment`] and [`Scan::finish`] do so by themselves.
    ///
    /// # Errors
    /// As [`Scan::feed`].
    pub fn end_segment(&mut self, take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<(), LogError> {
        let kept = std::mem::take(&mut self.kept);
        self.walk(&kept, true, take)?;
        if self.at < self.room_bytes || self.is_overfull() {
            self.cut = Some(Cut { segment: self.seq, at: self.at, room_bytes: self.room_bytes });
        }
        Ok(())
    }

    /// Whether a file that its last frame filled to the last byte has a block of zeros behind its room: it is over, like one that was
    /// cut to what is in it. See [`retired_bytes`].
    fn is_overfull(&self) -> bool {
        let is_behind_room = |trouble: &Trouble| (trouble.segment, trouble.at, trouble.bytes) == (self.seq, self.room_bytes, 0);
        self.at == self.room_bytes + self.align_bytes as u64 && self.trouble.as_ref().is_some_and(is_behind_room)
    }

    /// Reads frames from `bytes`, which lie at `self.at`; how many bytes are done with.
    fn walk(&mut self, bytes: &[u8], is_all: bool, take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<usize, LogError> {
        let mut used = 0;
        while used < bytes.len() {
            let left = &bytes[used..];
            let step = match look(left, self.seed) {
                Sight::Frame(header, payload) => self.pass_frame(&header, payload, take)?,
                Sight::Beginning(_) if !is_all => break,
                Sight::Beginning(_) | Sight::Nothing => {
                    if left.len() < self.align_bytes && !is_all {
                        break;
                    }
                    self.pass_block(&left[..left.len().min(self.align_bytes)]);
                    self.align_bytes
                }
            };
            // The last frame's padding may be missing: zeros that are not there are as good.
            let step = step.min(left.len());
            used += step;
            self.at += step as u64;
        }
        Ok(used)
    }

    /// A frame whose checksum holds: the next one, or a witness. Returns its length.
    fn pass_frame(&mut self, header: &FrameHeader, payload: &[u8], take: &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<usize, LogError> {
        let kind = header.kind()?;
        let bytes = frame_bytes(payload.len(), self.align_bytes as u32);
        self.known = self.known.max(header.synced_lsn);
        let first = header.first_lsn;
        let is_next = first == self.next || (self.next < first && first <= self.needed);
        if !is_next || header.at != self.at || kind == FrameKind::Block {
            // A sound beginning that comes too late: what is missing stood at the end of the segment before.
            if self.at == SEGMENT_HEADER_BYTES as u64
                && header.at == self.at
                && first > self.next
                && let Some((segment, at)) = self.ended
            {
                self.trouble.get_or_insert(Trouble { segment, at, bytes: 0, seen: 0 });
            }
            let trouble = self.trouble();
            trouble.seen += bytes as u64;
            trouble.bytes = trouble.seen;
            return Ok(bytes);
        }
        let Some(end) = first.0.checked_add(u64::from(header.entry_count)) else {
            return Err(LogError { place: self.at, why: "more entries than there can be numbers".into() });
        };
        if let Some(trouble) = self.trouble.take() {
            self.stray_bytes += trouble.bytes;
        }
        self.next = Lsn(end);
        self.cut = None;
        self.is_closed = kind == FrameKind::End;
        take(header, payload);
        Ok(bytes)
    }

    /// One aligned block that is no frame's beginning.
    fn pass_block(&mut self, block: &[u8]) {
        let (eights, rest) = block.as_chunks::<8>();
        let is_zero = eights.iter().fold(0, |bits, eight| bits | u64::from_ne_bytes(*eight)) == 0 && rest.iter().all(|byte| *byte == 0);
        let trouble = self.trouble();
        trouble.seen += block.len() as u64;
        if !is_zero {
            trouble.bytes = trouble.seen;
        }
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert(Trouble { segment: self.seq, at: self.at, bytes: 0, seen: 0 })
    }
}

#[cfg(test)]
mod tests;
