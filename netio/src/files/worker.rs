//! The thread that does what blocks.
//!
//! Owned by one kernel, which hands it jobs and takes back what is done; it ends, and is waited for, when the kernel is dropped. What
//! it was handed before is still done then: a file that was to be written is written.

use super::machine::{Locks, perform};
use super::{Answer, OpenFile};
use crate::file::{FileFailure, FileRequest};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// The kernel's end.
pub(crate) struct Worker {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    finished: Arc<Finished>,
    thread: Option<JoinHandle<()>>,
}

/// A request with the file it is about.
pub(crate) struct Job {
    pub(crate) token: u64,
    pub(crate) request: FileRequest,
    pub(crate) file: Option<Arc<OpenFile>>,
}

/// What became of a [`Job`].
pub(crate) struct Done {
    pub(crate) token: u64,
    /// What its request carried.
    pub(crate) buffer_bytes: usize,
    pub(crate) outcome: Result<Answer, FileFailure>,
}

/// Bounded by what may be under way.
#[derive(Default)]
struct Finished {
    queue: Mutex<VecDeque<Done>>,
    /// Its length, to be asked without the lock.
    count: AtomicUsize,
}

impl Worker {
    pub(crate) fn start(ring_bell: Arc<dyn Fn() + Send + Sync>) -> io::Result<Worker> {
        let (jobs, inbox) = mpsc::channel();
        let finished = Arc::new(Finished::default());
        let outbox = Arc::clone(&finished);
        let thread = Builder::new().name("files".to_owned()).spawn(move || work(&inbox, &outbox, &*ring_bell))?;
        Ok(Worker { jobs: Some(jobs), finished, thread: Some(thread) })
    }

    pub(crate) fn submit(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only when dropped");
        assert!(jobs.send(job).is_ok(), "the thread for files has ended");
    }

    pub(crate) fn has_done(&self) -> bool {
        self.finished.count.load(Ordering::Acquire) > 0
    }

    pub(crate) fn take_done(&self) -> Option<Done> {
        if !self.has_done() {
            return None;
        }
        let mut queue = self.finished.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let done = queue.pop_front();
        self.finished.count.store(queue.len(), Ordering::Release);
        done
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn work(inbox: &Receiver<Job>, outbox: &Finished, ring_bell: &dyn Fn()) {
    let mut locks = Locks::default();
    while let Ok(Job { token, request, file }) = inbox.recv() {
        let buffer_bytes = request.buffer_bytes();
        let outcome = perform(request, file.as_deref(), &mut locks);
        // Before the answer: who is told that a file is closed finds it closed.
        drop(file);
        let mut queue = outbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(Done { token, buffer_bytes, outcome });
        outbox.count.store(queue.len(), Ordering::Release);
        drop(queue);
        ring_bell();
    }
}
