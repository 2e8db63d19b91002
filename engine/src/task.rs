//! A long sequence of steps on one core, written as one function and run a little in every turn: recovery, snapshots.
//!
//! A [`Task`] is a future that its core alone polls, once or more per turn. It waits for files, for the next turn or for other
//! cores, and reaches the core's shard by handing over what is to be done with it. So its author writes `open`, `read`, `close` one
//! after the other, and the turn loop never blocks. There is no waker: a core polls after every event and whenever
//! [`Task::rest`] says so.

use crate::directory::{kept, unfinished};

use crate::executor::Executor;
use crate::log::FileOwner;
use netio::file::{FILE_ALIGN_BYTES, Listed};
use netio::{Aligned, FileDone, FileFailure, FileId, FileRequest, FileTraits, Kernel};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How a file request ended.
pub(crate) type Outcome = Result<FileDone, FileFailure>;

/// What is done with a core's shard.
type Act = Box<dyn FnOnce(&mut Executor)>;

/// How a turn's tasks may use it before clients have theirs, in nanoseconds.
const BUDGET_NS: u64 = 2_000_000;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// An event of a file.
    Files,
    /// The core's next turn: there is more to do.
    Turn,
    /// Other cores, which say so where all cores look.
    Others,
}

/// The end of a task that its own code holds.
#[derive(Clone)]
pub(crate) struct Desk(Rc<RefCell<State>>);

struct State {
    /// Asked for and not yet with the kernel.
    requests: Vec<(u64, FileRequest)>,
    /// With the kernel, or answered and not yet looked at. Whoever gave up waiting is not in it.
    answers: HashMap<u64, Option<Outcome>>,
    number_next: u64,
    act: Option<Act>,
    rest: Rest,
    now_ms: u64,
}

/// A sequence of steps under way.
pub(crate) struct Task<T> {
    desk: Desk,
    future: Pin<Box<dyn Future<Output = T>>>,
    /// Whose the answers are.
    owner: FileOwner,
}

impl<T> Task<T> {
    /// A task that has not begun, and whose file requests it makes.
    pub(crate) fn new<F: Future<Output = T> + 'static>(owner: FileOwner, steps: impl FnOnce(Desk) -> F) -> Task<T> {
        let state = State { requests: Vec::new(), answers: HashMap::new(), number_next: 0, act: None, rest: Rest::Turn, now_ms: 0 };
        let desk = Desk(Rc::new(RefCell::new(state)));
        Task { future: Box::pin(steps(desk.clone())), desk, owner }
    }

    /// The same with other numbers for its file requests, from this one on.
    pub(crate) fn numbered_from(self, number: u64) -> Task<T> {
        self.desk.0.borrow_mut().number_next = number;
        self
    }

    /// What it waits for.
    pub(crate) fn rest(&self) -> Rest {
        self.desk.0.borrow().rest
    }

    /// Its file request `number` ended.
    pub(crate) fn take(&mut self, number: u64, outcome: Outcome) {
        let mut state = self.desk.0.borrow_mut();
        if let Some(slot) = state.answers.get_mut(&number) {
            *slot = Some(outcome);
        }
    }

    /// Goes on until it has to wait, or for about two milliseconds. Its result when it has come to its end; it is not to be stepped
    /// again then.
    pub(crate) fn step<K: Kernel>(&mut self, kernel: &mut K, executor: &mut Executor, now_ms: u64) -> Option<T> {
        self.desk.0.borrow_mut().now_ms = now_ms;
        let started_ns = kernel.stamp_ns();
        loop {
            self.desk.0.borrow_mut().rest = Rest::Files;
            let polled = self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let (requests, act) = {
                let mut state = self.desk.0.borrow_mut();
                (std::mem::take(&mut state.requests), state.act.take())
            };
            for (number, request) in requests {
                kernel.file(self.owner.token(number), request);
            }
            if let Poll::Ready(result) = polled {
                return Some(result);
            }
            let act = act?;
            act(executor);
            if kernel.stamp_ns().saturating_sub(started_ns) >= BUDGET_NS {
                self.desk.0.borrow_mut().rest = Rest::Turn;
                return None;
            }
        }
    }
}

impl Desk {
    /// The entry clock of this turn: milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }

    /// Asks for something without waiting for it yet. Whoever drops the answer does not want to know.
    pub(crate) fn begin(&self, request: FileRequest) -> Answer {
        let mut state = self.0.borrow_mut();
        let number = state.number_next;
        state.number_next = number + 1;
        state.answers.insert(number, None);
        state.requests.push((number, request));
        Answer { desk: self.clone(), number }
    }

    /// Asks for something and waits.
    pub(crate) async fn ask(&self, request: FileRequest) -> Outcome {
        self.begin(request).await
    }

    /// Opens a file to read from.
    pub(crate) async fn open(&self, path: &Path, direct: bool) -> Result<Open, FileFailure> {
        self.opened(FileRequest::OpenRead { path: path.to_owned(), direct }).await
    }

    /// Makes a file to write to.
    pub(crate) async fn create(&self, path: &Path, bytes: u64) -> Result<Open, FileFailure> {
        self.opened(FileRequest::Create { path: path.to_owned(), bytes }).await
    }

    async fn opened(&self, request: FileRequest) -> Result<Open, FileFailure> {
        match self.ask(request).await? {
            FileDone::Opened { file, traits } => Ok(Open { desk: self.clone(), file, traits }),
            other => unreachable!("opening was answered with {other:?}"),
        }
    }

    /// Makes a small file durable under its name, whole or not at all, replacing what had that name. Zeros are added up to a multiple
    /// of 4096 bytes.
    pub(crate) async fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), FileFailure> {
        let begun = unfinished(path);
        let open = self.create(&begun, 0).await?;
        let mut buffer = Aligned::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer.pad_to(FILE_ALIGN_BYTES);
        self.ask(FileRequest::Write { file: open.file, at: 0, buffer, sync: true }).await?;
        drop(open);
        self.ask(FileRequest::Rename { from: begun, to: path.to_owned() }).await?;
        self.sync_directory(path.parent().expect("a file is in a directory")).await
    }

    /// Makes a directory, unless there is one.
    pub(crate) async fn make_directory(&self, path: &Path) -> Result<(), FileFailure> {
        self.ask(FileRequest::MakeDirectory { path: path.to_owned() }).await.map(|_| ())
    }

    /// Makes the names in a directory durable.
    pub(crate) async fn sync_directory(&self, path: &Path) -> Result<(), FileFailure> {
        self.ask(FileRequest::SyncDirectory { path: path.to_owned() }).await.map(|_| ())
    }

    /// Removes a file, or an empty directory.
    pub(crate) async fn unlink(&self, path: &Path) -> Result<(), FileFailure> {
        self.ask(FileRequest::Unlink { path: path.to_owned() }).await.map(|_| ())
    }

    /// Lets go of a file of the log: deletes it, or leaves it for the archive under another name.
    pub(crate) async fn let_go(&self, path: &Path, is_archived: bool) -> Result<(), FileFailure> {
        if !is_archived {
            return self.unlink(path).await;
        }
        self.ask(FileRequest::Rename { from: path.to_owned(), to: kept(path) }).await.map(|_| ())
    }

    /// What is in a directory, by name.
    pub(crate) async fn list(&self, path: &Path) -> Result<Vec<Listed>, FileFailure> {
        match self.ask(FileRequest::List { path: path.to_owned() }).await? {
            FileDone::Listed(listed) => Ok(listed),
            other => unreachable!("listing was answered with {other:?}"),
        }
    }

    /// Does something with this core's shard, within this task's part of a turn.
    pub(crate) async fn act<R: 'static>(&self, act: impl FnOnce(&mut Executor) -> R + 'static) -> R {
        let result = Rc::new(Cell::new(None));
        let told = result.clone();
        self.0.borrow_mut().act = Some(Box::new(move |executor| told.set(Some(act(executor)))));
        std::future::poll_fn(move |_| result.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Lets the core do other things first.
    pub(crate) async fn turn(&self) {
        self.pause(Rest::Turn).await;
    }

    /// Waits until other cores have said something.
    pub(crate) async fn until<R>(&self, mut said: impl FnMut() -> Option<R>) -> R {
        loop {
            if let Some(said) = said() {
                return said;
            }
            self.pause(Rest::Others).await;
        }
    }

    async fn pause(&self, rest: Rest) {
        let mut paused = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            self.0.borrow_mut().rest = rest;
            Poll::Pending
        })
        .await;
    }
}

/// A file request under way.
pub(crate) struct Answer {
    desk: Desk,
    number: u64,
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.desk.0.borrow_mut();
        let slot = state.answers.get_mut(&self.number).expect("polled until it is ready, and dropped then");
        slot.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.desk.0.borrow_mut().answers.remove(&self.number);
    }
}

/// An open file of a task. Closed when it is dropped.
pub(crate) struct Open {
    desk: Desk,
    pub(crate) file: FileId,
    pub(crate) traits: FileTraits,
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.desk.begin(FileRequest::Close { file: self.file }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use crate::core::Core;
    use crate::peers::Peers;
    use crate::placement::{CoreId, Placement};
    use netio::{Event, Options, SimNet, SimOptions, Wait};
    use std::sync::Arc;

    /// Runs a task on a simulated disk until it has come to its end.
    fn run<T, F: Future<Output = T> + 'static>(steps: impl FnOnce(Desk) -> F) -> (T, usize) {
        let net = SimNet::new(1, SimOptions::default());
        let now = net.now();
        let placement = Placement::new(1);
        let board = Arc::new(Board::new(placement, now.wall, now.monotonic, || 1));
        let peers = Peers::all(placement).pop().expect("one core");
        let core = Core::new(CoreId(0), placement, net.kernel(Options::default()), Arc::default(), board, peers);
        let Core { mut kernel, mut executor, .. } = core;
        let mut task = Task::new(FileOwner::Load, steps);
        let mut events = Vec::new();
        for turns in 1.. {
            if let Some(result) = task.step(&mut kernel, &mut executor, 1) {
                return (result, turns);
            }
            if task.rest() == Rest::Files {
                net.advance_to_next_event();
            }
            kernel.turn(Wait::Poll, &mut events).expect("a simulated turn does not fail");
            for event in events.drain(..) {
                let Event::File { token, outcome } = event else { panic!("only files are asked for") };
                let (owner, number) = FileOwner::of(token);
                assert_eq!(owner, FileOwner::Load);
                task.take(number, outcome);
            }
        }
        unreachable!("it ends")
    }

    #[test]
    fn steps_follow_each_other_and_what_is_asked_at_once_is_under_way_at_once() {
        let (read, _) = run(|desk| async move {
            let file = desk.create(Path::new("a"), 0).await.expect("a new file");
            let mut buffer = Aligned::with_capacity(1024);
            buffer.extend_from_slice(&[1; 512]);
            buffer.extend_from_slice(&[2; 512]);
            desk.ask(FileRequest::Write { file: file.file, at: 0, buffer, sync: true }).await.expect("written");
            let read = |at| {
                let mut buffer = Aligned::with_capacity(512);
                buffer.resize(512);
                desk.begin(FileRequest::Read { file: file.file, at, buffer })
            };
            let (first, second) = (read(0), read(512));
            // The answers may come in any order, and are looked at in this one.
            let mut bytes = Vec::new();
            for answer in [second, first] {
                let Ok(FileDone::Read { buffer }) = answer.await else { panic!("read") };
                bytes.push(buffer[0]);
            }
            bytes
        });
        assert_eq!(read, [2, 1]);
    }

    #[test]
    fn a_failure_is_an_answer_and_files_close_by_themselves() {
        let (failed, _) = run(|desk| async move {
            for _ in 0..500 {
                drop(desk.create(Path::new("a"), 0).await.expect("a new file"));
                desk.ask(FileRequest::Unlink { path: "a".into() }).await.expect("removed");
            }
            desk.open(Path::new("a"), false).await.map(|_| ()).map_err(|failure| failure.step)
        });
        assert_eq!(failed, Err("open"));
    }

    #[test]
    fn the_shard_is_changed_between_steps_and_turns_can_be_let_pass() {
        let ((keys, looks), turns) = run(|desk| async move {
            let put = |executor: &mut Executor| {
                let shard = &mut executor.shard;
                let key = shard.key(b"k");
                shard.put(shards::Db(0), &key, shards::Kind::String, b"v", shards::shard::Expiry::Never, 1);
            };
            desk.act(put).await;
            desk.turn().await;
            let mut looks = 0;
            desk.until(|| {
                looks += 1;
                (looks == 5).then_some(())
            })
            .await;
            (desk.act(|executor| executor.shard.len(shards::Db(0))).await, looks)
        });
        assert_eq!((keys, looks), (1, 5));
        assert_eq!(turns, 6, "one to let pass, four looks in vain");
    }
}
