//! Reads, writes and syncs of files on the ring; the thread of [`Files`](crate::files::Files) does the rest.
//!
//! A write that is to be durable is two linked submissions, write and data sync: the second begins when the first is done, without this
//! core. A short write breaks the link, and what is left goes with a sync of its own. An answer is given when the last completion of
//! both was seen, so that nothing names a buffer which came back.

use super::{Machine, Uring, op, token};
use crate::file::{Aligned, FileDone, FileFailure, FileRequest};
use crate::files::{Job, OpenFile};
use crate::kernel::Event;
use crate::slab::Id;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use std::io;
use std::sync::Arc;

/// Where an operation is in the kernel's slab.
#[derive(Clone, Copy)]
pub(super) struct OperationId {
    index: u32,
    generation: u32,
}

impl Id for OperationId {
    fn new(index: u32, generation: u32) -> OperationId {
        OperationId { index, generation }
    }

    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// A request under way. Holds its file open and its buffer in place.
pub(super) struct Operation {
    token: u64,
    file: Arc<OpenFile>,
    buffer_bytes: usize,
    kind: Kind,
    at: u64,
    /// Empty for a sync.
    buffer: Aligned,
    /// How much of the buffer is through.
    done: usize,
    /// Completions that are still to come.
    under_way: u8,
    /// What the transfer said, since it was submitted last.
    transferred: Option<i32>,
    /// What the sync said, since it was submitted last.
    synced: Option<i32>,
    /// The ring's count of cut submissions when the sync was submitted.
    cuts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteAndSync,
    Sync,
}

/// What becomes of an operation of which nothing is under way.
enum Next {
    /// There is more to submit.
    Submit,
    Answer(Result<FileDone, FileFailure>),
}

impl Uring {
    /// Whether the ring does it.
    pub(super) fn takes(request: &FileRequest) -> bool {
        matches!(request, FileRequest::Write { .. } | FileRequest::Read { .. } | FileRequest::Sync { .. })
    }

    pub(super) fn begin_operation(&mut self, job: Job) {
        let buffer_bytes = job.request.buffer_bytes();
        let (kind, at, buffer) = match job.request {
            FileRequest::Read { at, buffer, .. } => (Kind::Read, at, buffer),
            FileRequest::Write { at, buffer, sync, .. } => (if sync { Kind::WriteAndSync } else { Kind::Write }, at, buffer),
            FileRequest::Sync { .. } => (Kind::Sync, 0, Aligned::with_capacity(0)),
            other => unreachable!("the ring does not do {other:?}"),
        };
        let file = job.file.expect("the kernel looked the file up");
        let id = self.machine.operations.insert(Operation {
            token: job.token,
            file,
            buffer_bytes,
            kind,
            at,
            buffer,
            done: 0,
            under_way: 0,
            transferred: None,
            synced: None,
            cuts: 0,
        });
        self.submit_operation(id);
    }

    /// Submits what is left of it.
    fn submit_operation(&mut self, id: OperationId) {
        let Machine { ring, operations, .. } = &mut *self.machine;
        let operation = operations.get_mut(id).expect("only operations under way are submitted");
        operation.cuts = ring.cuts();
        let transfer = operation.transfer(id);
        let sync = operation.syncs().then(|| {
            let sync = opcode::Fsync::new(Fd(operation.file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build();
            sync.user_data(operation_token(op::FILE_SYNC, id))
        });
        operation.under_way = u8::from(transfer.is_some()) + u8::from(sync.is_some());
        match (transfer, sync) {
            (Some(transfer), Some(sync)) => self.push_linked([transfer, sync]),
            (Some(one), None) | (None, Some(one)) => self.push(one, true),
            (None, None) => unreachable!("an operation with nothing left is answered"),
        }
    }

    /// Takes in one completion of an operation.
    pub(super) fn operation_completed(&mut self, op: u8, index: u32, result: i32, events: &mut Vec<Event>) {
        self.requests_under_way -= 1;
        let Machine { ring, operations, .. } = &mut *self.machine;
        let id = operations.id_at(index).expect("an operation stays until its requests are complete");
        let operation = operations.get_mut(id).expect("found a moment ago");
        operation.under_way -= 1;
        if op == op::FILE_SYNC {
            operation.synced = Some(result);
        } else {
            operation.transferred = Some(result);
        }
        if operation.under_way > 0 {
            return;
        }
        match operation.next(ring.cuts()) {
            // A kernel that is being dropped finishes nothing new.
            Next::Submit if self.dropping => {
                operations.remove(id);
            }
            Next::Submit => self.submit_operation(id),
            Next::Answer(outcome) => {
                let Operation { token, buffer_bytes, .. } = operations.remove(id).expect("found a moment ago");
                self.files.answer(token, buffer_bytes, outcome, events);
            }
        }
    }
}

fn operation_token(op: u8, id: OperationId) -> u64 {
    token(op, crate::kernel::ConnId { index: id.index, generation: id.generation })
}

/// Whether the machine asks for the same once more.
fn is_again(result: i32) -> bool {
    matches!(-result, libc::EINTR | libc::EAGAIN)
}

impl Operation {
    fn syncs(&self) -> bool {
        matches!(self.kind, Kind::WriteAndSync | Kind::Sync)
    }

    /// The submission that moves the rest of the buffer, if there is a rest.
    fn transfer(&mut self, id: OperationId) -> Option<squeue::Entry> {
        let (fd, at) = (Fd(self.file.as_raw_fd()), self.at + self.done as u64);
        let rest = &mut self.buffer[self.done..];
        if rest.is_empty() {
            return None;
        }
        let count = rest.len() as u32;
        Some(match self.kind {
            Kind::Read => opcode::Read::new(fd, rest.as_mut_ptr(), count).offset(at).build().user_data(operation_token(op::FILE_READ, id)),
            _ => opcode::Write::new(fd, rest.as_ptr(), count).offset(at).build().user_data(operation_token(op::FILE_WRITE, id)),
        })
    }

    /// Judges what the completions said.
    fn next(&mut self, cuts_now: u64) -> Next {
        let synced = self.synced.take();
        if let Some(result) = self.transferred.take() {
            if is_again(result) {
                return Next::Submit;
            }
            let step = if self.kind == Kind::Read { "read" } else { "write" };
            let Ok(moved) = usize::try_from(result) else { return self.failed(step, io::Error::from_raw_os_error(-result)) };
            let whole = self.done + moved == self.buffer.len();
            let aligned = self.file.aligned_down(self.done + moved);
            let stuck = aligned == self.done && !whole;
            if self.kind == Kind::Read {
                // Only the end of the file is not aligned.
                let at_end = stuck || aligned != self.done + moved;
                self.done += moved;
                return if whole || at_end { self.over() } else { Next::Submit };
            }
            if stuck {
                return self.failed(step, io::ErrorKind::WriteZero.into());
            }
            self.done = if whole { self.buffer.len() } else { aligned };
            if !whole {
                return Next::Submit;
            }
        }
        match synced {
            None => self.over(),
            // The kernel took the write and not yet its sync: nothing linked them.
            Some(_) if self.cuts != cuts_now && self.kind == Kind::WriteAndSync => Next::Submit,
            Some(0..) => self.over(),
            Some(result) if is_again(result) || result == -libc::ECANCELED => Next::Submit,
            Some(result) => self.failed("sync", io::Error::from_raw_os_error(-result)),
        }
    }

    fn over(&mut self) -> Next {
        let mut buffer = std::mem::replace(&mut self.buffer, Aligned::with_capacity(0));
        Next::Answer(Ok(match self.kind {
            Kind::Read => {
                buffer.resize(self.done);
                FileDone::Read { buffer }
            }
            Kind::Write | Kind::WriteAndSync => FileDone::Wrote { buffer },
            Kind::Sync => FileDone::Synced,
        }))
    }

    fn failed(&mut self, step: &'static str, cause: io::Error) -> Next {
        let failure = FileFailure::new(step, self.file.path(), cause);
        let buffer = std::mem::replace(&mut self.buffer, Aligned::with_capacity(0));
        Next::Answer(Err(if self.kind == Kind::Sync { failure } else { failure.with_buffer(buffer) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A write or read of four sectors, of which one submission with these results came back.
    fn after(kind: Kind, transferred: Option<i32>, synced: Option<i32>) -> (Operation, Next) {
        let file = OpenFile::open_read_now(Path::new(env!("CARGO_MANIFEST_PATH"))).expect("this package's manifest is there");
        let mut buffer = Aligned::with_capacity(4 * 4096);
        buffer.resize(if kind == Kind::Sync { 0 } else { 4 * 4096 });
        let mut operation = Operation {
            token: 7,
            file: Arc::new(file),
            buffer_bytes: 4 * 4096,
            kind,
            at: 4096,
            buffer,
            done: 0,
            under_way: 0,
            transferred,
            synced,
            cuts: 3,
        };
        let next = operation.next(3);
        (operation, next)
    }

    fn answered(next: Next) -> Result<FileDone, FileFailure> {
        match next {
            Next::Answer(outcome) => outcome,
            Next::Submit => panic!("there is nothing to submit"),
        }
    }

    #[test]
    fn a_short_write_goes_on_from_the_last_aligned_byte_with_a_sync_of_its_own() {
        let (mut operation, next) = after(Kind::WriteAndSync, Some(4096 + 100), Some(-libc::ECANCELED));
        assert!(matches!(next, Next::Submit));
        assert_eq!((operation.done, operation.synced), (4096, None));
        assert!(operation.transfer(OperationId { index: 0, generation: 0 }).is_some() && operation.syncs());
        operation.transferred = Some(3 * 4096);
        operation.synced = Some(0);
        let FileDone::Wrote { buffer } = answered(operation.next(3)).unwrap() else { panic!("a write was asked for") };
        assert_eq!(buffer.len(), 4 * 4096);
    }

    #[test]
    fn a_write_is_not_durable_by_a_sync_that_was_cancelled_interrupted_or_parted_from_it() {
        for said in [-libc::ECANCELED, -libc::EINTR, -libc::EAGAIN] {
            let (mut operation, next) = after(Kind::WriteAndSync, Some(4 * 4096), Some(said));
            assert!(matches!(next, Next::Submit), "{said}");
            assert!(operation.transfer(OperationId { index: 0, generation: 0 }).is_none(), "only the sync is left");
        }
        let (mut operation, _) = after(Kind::WriteAndSync, None, None);
        (operation.transferred, operation.synced) = (Some(4 * 4096), Some(0));
        assert!(matches!(operation.next(4), Next::Submit), "the kernel took the write alone");
        operation.cuts = 4;
        operation.synced = Some(0);
        assert!(matches!(answered(operation.next(4)), Ok(FileDone::Wrote { .. })));
    }

    #[test]
    fn errors_name_their_step_and_return_the_buffer() {
        let (_, next) = after(Kind::WriteAndSync, Some(-libc::ENOSPC), Some(-libc::ECANCELED));
        let failure = answered(next).unwrap_err();
        assert_eq!((failure.step, failure.cause.raw_os_error(), failure.buffer.unwrap().len()), ("write", Some(libc::ENOSPC), 4 * 4096));
        let (_, next) = after(Kind::WriteAndSync, Some(4 * 4096), Some(-libc::EIO));
        let failure = answered(next).unwrap_err();
        assert_eq!((failure.step, failure.cause.raw_os_error(), failure.buffer.is_some()), ("sync", Some(libc::EIO), true));
        let (_, next) = after(Kind::Sync, None, Some(-libc::EIO));
        let failure = answered(next).unwrap_err();
        assert_eq!((failure.step, failure.buffer.is_none()), ("sync", true));
        let (_, next) = after(Kind::Write, Some(100), None);
        assert_eq!(answered(next).unwrap_err().cause.kind(), io::ErrorKind::WriteZero, "less than a sector is no progress");
    }

    #[test]
    fn a_read_ends_where_the_file_ends() {
        for (got, through) in [(4 * 4096, true), (0, true), (4096 + 1, true), (2 * 4096, false)] {
            let (mut operation, next) = after(Kind::Read, Some(got), None);
            if through {
                let FileDone::Read { buffer } = answered(next).unwrap() else { panic!("a read was asked for") };
                assert_eq!(buffer.len(), got as usize);
            } else {
                assert!(matches!(next, Next::Submit));
                operation.transferred = Some(0);
                let FileDone::Read { buffer } = answered(operation.next(3)).unwrap() else { panic!("a read was asked for") };
                assert_eq!(buffer.len(), got as usize);
            }
        }
    }
}
