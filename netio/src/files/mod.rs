//! Files of the machine, for the two backends that run on one: which are open, and who does what blocks.
//!
//! Opening, making room, renaming and listing have no place on a core: they take locks and read directories. They happen at control
//! rate, so one thread per kernel does them, one after the other; it starts with the first request. Where there is no ring, it reads,
//! writes and syncs as well.

mod machine;
mod worker;

use crate::file::{FILE_REQUESTS_MAX, FileDone, FileFailure, FileId, FileRequest, FileTraits, answered_bytes};
use crate::kernel::{Event, Wake};
use crate::slab::Slab;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use worker::Worker;

pub(crate) use worker::Job;

/// The open files of one kernel, and its thread.
pub(crate) struct Files {
    open: Slab<Arc<OpenFile>, FileId>,
    worker: Option<Worker>,
    /// Makes the kernel's wait return.
    ring_bell: Arc<dyn Fn() + Send + Sync>,
    under_way: usize,
    buffer_bytes: usize,
}

/// Closed when nobody holds it any more: a request under way holds it too.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    traits: FileTraits,
}

impl Files {
    pub(crate) fn new(waker: impl Wake) -> Files {
        Files { open: Slab::new(), worker: None, ring_bell: Arc::new(move || waker.wake()), under_way: 0, buffer_bytes: 0 }
    }

    /// Begins a request on the thread. What fails at once is appended to `ready`.
    pub(crate) fn begin(&mut self, token: u64, request: FileRequest, ready: &mut Vec<Event>) {
        let Some(job) = self.admit(token, request, ready) else { return };
        if self.worker.is_none() {
            match Worker::start(Arc::clone(&self.ring_bell)) {
                Ok(worker) => self.worker = Some(worker),
                Err(cause) => {
                    let buffer_bytes = job.request.buffer_bytes();
                    let failure = FileFailure { step: "start the thread for files", path: None, cause, buffer: job.request.into_buffer() };
                    return self.answer(job.token, buffer_bytes, Err(failure), ready);
                }
            }
        }
        self.worker.as_ref().expect("just started").submit(job);
    }

    /// Finds the file that a request names, and counts the request until [`Files::answer`]. `None` if there is no such file.
    pub(crate) fn admit(&mut self, token: u64, request: FileRequest, ready: &mut Vec<Event>) -> Option<Job> {
        let file = match request.file() {
            None => None,
            Some(id) => {
                let closes = matches!(request, FileRequest::Close { .. });
                let file = if closes { self.open.remove(id) } else { self.open.get(id).cloned() };
                if file.is_none() {
                    ready.push(Event::File { token, outcome: Err(FileFailure::not_open(request.into_buffer())) });
                    return None;
                }
                file
            }
        };
        request.assert_possible(file.as_ref().map_or(1, |file| file.traits.align_bytes));
        assert!(self.under_way < FILE_REQUESTS_MAX, "more than {FILE_REQUESTS_MAX} file requests under way");
        self.under_way += 1;
        self.buffer_bytes += request.buffer_bytes();
        Some(Job { token, request, file })
    }

    /// Tells how an admitted request went.
    pub(crate) fn answer(&mut self, token: u64, buffer_bytes: usize, outcome: Result<FileDone, FileFailure>, events: &mut Vec<Event>) {
        self.under_way -= 1;
        self.buffer_bytes -= buffer_bytes;
        debug_assert_eq!(buffer_bytes, answered_bytes(&outcome), "a buffer comes back as it went");
        events.push(Event::File { token, outcome });
    }

    /// Whether [`Files::take_done`] would find something.
    pub(crate) fn has_done(&self) -> bool {
        self.under_way > 0 && self.worker.as_ref().is_some_and(Worker::has_done)
    }

    /// Appends what is over, until there are `events_max` events.
    pub(crate) fn take_done(&mut self, events: &mut Vec<Event>, events_max: usize) {
        while events.len() < events_max
            && let Some(done) = self.worker.as_ref().and_then(Worker::take_done)
        {
            let outcome = done.outcome.map(|answer| match answer {
                Answer::Done(done) => done,
                Answer::Opened(file) => {
                    let traits = file.traits;
                    FileDone::Opened { file: self.open.insert(Arc::new(file)), traits }
                }
            });
            self.answer(done.token, done.buffer_bytes, outcome, events);
        }
    }

    /// Memory of slots and of buffers under way.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.open.memory_bytes() + self.buffer_bytes
    }
}

impl OpenFile {
    /// For tests of what is done with an open file: opens one on this thread, through the page cache.
    #[cfg(test)]
    pub(crate) fn open_read_now(path: &Path) -> Result<OpenFile, FileFailure> {
        machine::open_read(path, false)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The last place at or before this one where a transfer may begin.
    pub(crate) fn aligned_down(&self, bytes: usize) -> usize {
        bytes / self.traits.align_bytes as usize * self.traits.align_bytes as usize
    }
}

/// What the thread has to say: as in [`FileDone`], but it knows no names of open files.
pub(crate) enum Answer {
    Opened(OpenFile),
    Done(FileDone),
}
