//! A simulated disk: directories and files in memory, which outlive the kernels that wrote them.
//!
//! Promises, all from one seed:
//! - What was written is seen at once, by every kernel and by the next ones, but it is *durable* only after a sync: of the file for its
//!   bytes and its size, of the directory for its names. [`SimDisk::lose_power`] keeps what is durable and any part of the rest:
//!   names as a prefix of what was done, sizes by chance, written sectors each on its own.
//! - A sync covers what was done before it was asked for, and nothing else surely.
//! - [`SimDisk::kill`] ends a process: requests under way happened wholly, in part or not at all; what was written before stays.
//! - [`SimDisk::crash_at`] stops the disk at a request of the test's choice; from there on nothing is answered.
//! - Faults come as often as [`DiskOptions`] says. A disk without faults keeps every promise of a real one, and no more.

mod directory;
mod fault;
mod file;
mod tree;

pub use fault::DiskOptions;

use super::chance::Chance;
use crate::file::{FileDone, FileFailure, FileRequest, FileTraits, Space};
use file::SECTOR_BYTES;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tree::{Node, Tree};

/// What direct transfers to a simulated file are aligned to.
const ALIGN_BYTES: u32 = SECTOR_BYTES as u32;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<Disk>>);

/// See the module's head.
struct Disk {
    options: DiskOptions,
    chance: Chance,
    tree: Tree,
    /// Requests performed so far.
    clock: u64,
    /// Locked files, each with the core that holds it.
    locks: BTreeMap<u64, usize>,
    /// The request at which everything stops.
    crash_at: Option<u64>,
    crashed: bool,
    /// What was asked for and will not be answered any more.
    halted: Vec<Job>,
}

/// An open file.
#[derive(Clone)]
pub(super) struct Handle {
    node: u64,
    path: PathBuf,
    bytes: u64,
    writable: bool,
    /// Keeps the file.
    _open: Rc<()>,
}

/// A request on its way to the disk.
pub(super) struct Job {
    pub(super) core: usize,
    pub(super) token: u64,
    /// When it was asked for, in requests performed; set by the disk.
    pub(super) begun: u64,
    pub(super) request: FileRequest,
    pub(super) handle: Option<Handle>,
}

/// What became of a [`Job`].
pub(super) struct Performed {
    pub(super) token: u64,
    pub(super) outcome: Result<Answer, FileFailure>,
}

/// As in [`FileDone`], but the disk knows no names of open files.
pub(super) enum Answer {
    Opened(Handle),
    Done(FileDone),
}

impl Handle {
    pub(super) fn traits(&self) -> FileTraits {
        FileTraits { bytes: self.bytes, direct: true, align_bytes: ALIGN_BYTES }
    }
}

impl SimDisk {
    /// An empty disk: a root directory, in which relative paths begin as well.
    pub fn new(seed: u64, options: DiskOptions) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(Disk {
            options,
            chance: Chance::new(seed),
            tree: Tree::new(),
            clock: 0,
            locks: BTreeMap::new(),
            crash_at: None,
            crashed: false,
            halted: Vec::new(),
        })))
    }

    /// Another disk with the same contents, durable and not; no file of it is open and none is locked.
    pub fn copy(&self, seed: u64) -> SimDisk {
        let disk = self.0.borrow();
        let copy = SimDisk::new(seed, disk.options.clone());
        copy.0.borrow_mut().tree = disk.tree.copy();
        copy.0.borrow_mut().clock = disk.clock;
        copy
    }

    /// Changes how it behaves from here on.
    pub fn set_options(&self, options: DiskOptions) {
        self.0.borrow_mut().options = options;
    }

    /// How it behaves.
    pub fn options(&self) -> DiskOptions {
        self.0.borrow().options.clone()
    }

    /// Requests performed so far.
    pub fn requests(&self) -> u64 {
        self.0.borrow().clock
    }

    /// The `count`-th request from now is the last: it happens wholly, in part or not at all, and neither it nor a later one is answered,
    /// until the test has dropped the kernels and called [`SimDisk::kill`] or [`SimDisk::lose_power`].
    pub fn crash_at(&self, count: u64) {
        assert!(count > 0, "the first request from now is number one");
        let disk = &mut *self.0.borrow_mut();
        disk.crash_at = Some(disk.clock + count);
    }

    /// Whether the moment of [`SimDisk::crash_at`] has come.
    pub fn crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// The process is gone: call this when all its kernels were dropped. The machine goes on.
    pub fn kill(&self) {
        self.0.borrow_mut().kill();
    }

    /// The machine is gone: call this when all kernels were dropped.
    pub fn lose_power(&self) {
        self.0.borrow_mut().lose_power();
    }

    /// Every file with its size, by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.0.borrow().tree.files()
    }

    /// What a reader of this file would see.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.borrow_mut().tree.file_at(path).map(|(_, file)| file.read(0, usize::MAX))
    }

    /// Damages a file by one bit.
    ///
    /// # Panics
    /// If the file is not that long.
    pub fn flip_bit(&self, path: &Path, at: u64, bit: u32) -> io::Result<()> {
        self.0.borrow_mut().tree.file_at(path).map(|(_, file)| file.flip(at as usize, bit))
    }

    /// Damages a file by cutting it, or by zeros at its end.
    pub fn resize(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.0.borrow_mut().tree.file_at(path).map(|(_, file)| file.truncate(bytes as usize))
    }

    /// Notes when a request was asked for; returns how long it takes.
    pub(super) fn begin(&self, job: &mut Job) -> u64 {
        let disk = &mut *self.0.borrow_mut();
        job.begun = disk.clock + 1;
        disk.delay_ns()
    }

    /// The request takes effect. `None` once the crash has come.
    pub(super) fn perform(&self, job: Job) -> Option<Performed> {
        let disk = &mut *self.0.borrow_mut();
        disk.crashed |= disk.crash_at == Some(disk.clock + 1);
        if disk.crashed {
            disk.halted.push(job);
            return None;
        }
        let Job { core, token, begun, request, handle } = job;
        let outcome = disk.perform(core, begun, request, handle.as_ref());
        disk.rot();
        Some(Performed { token, outcome })
    }

    /// The core of these requests died before they were answered.
    pub(super) fn abandon(&self, jobs: impl Iterator<Item = Job>) {
        let disk = &mut *self.0.borrow_mut();
        jobs.for_each(|job| disk.abandon(job));
    }

    /// The core died: it holds no lock any more.
    pub(super) fn unlock(&self, core: usize) {
        self.0.borrow_mut().locks.retain(|_, holder| *holder != core);
    }
}

impl Disk {
    fn perform(&mut self, core: usize, begun: u64, request: FileRequest, handle: Option<&Handle>) -> Result<Answer, FileFailure> {
        self.clock += 1;
        let now = self.clock;
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |cause| FileFailure { step, path: Some(path), cause, buffer: None }
        };
        let named = || handle.expect("the kernel looked the file up");
        let done = match request {
            FileRequest::OpenRead { path, .. } => return self.open(&path).map(Answer::Opened).map_err(failed("open", &path)),
            FileRequest::Create { path, bytes } => return self.create(&path, bytes as usize, now).map(Answer::Opened),
            FileRequest::Write { at, buffer, sync, .. } => match self.write(named(), at as usize, &buffer, sync) {
                Ok(()) => FileDone::Wrote { buffer },
                Err(failure) => return Err(failure.with_buffer(buffer)),
            },
            FileRequest::Sync { .. } => {
                self.sync(named(), begun)?;
                FileDone::Synced
            }
            FileRequest::Read { at, mut buffer, .. } => {
                let seen = self.tree.file_mut(named()).read(at as usize, buffer.len());
                buffer.clear();
                buffer.extend_from_slice(&seen);
                FileDone::Read { buffer }
            }
            FileRequest::Truncate { bytes, .. } => {
                let handle = named();
                if !handle.writable {
                    return Err(failed("truncate", &handle.path)(io::Error::from_raw_os_error(libc::EINVAL)));
                }
                self.tree.file_mut(handle).truncate(bytes as usize);
                FileDone::Truncated
            }
            FileRequest::Close { .. } => FileDone::Closed,
            FileRequest::Rename { from, to } => {
                self.tree.rename(&from, &to, now).map_err(failed("rename", &from))?;
                FileDone::Renamed
            }
            FileRequest::Unlink { path } => {
                self.tree.unlink(&path, now).map_err(failed("remove", &path))?;
                FileDone::Unlinked
            }
            FileRequest::MakeDirectory { path } => {
                self.tree.make_directory(&path, now).map_err(failed("make the directory", &path))?;
                FileDone::Made
            }
            FileRequest::SyncDirectory { path } => {
                self.sync_directory(&path, begun).map_err(failed("sync the directory", &path))?;
                FileDone::DirectorySynced
            }
            FileRequest::List { path } => FileDone::Listed(self.tree.list(&path).map_err(failed("list", &path))?),
            FileRequest::Space { .. } => {
                let total_bytes = self.options.capacity_bytes;
                FileDone::Space(Space { free_bytes: total_bytes.saturating_sub(self.tree.used_bytes()), total_bytes })
            }
            FileRequest::Lock { path } => {
                self.lock(core, &path, now).map_err(failed("lock", &path))?;
                FileDone::Locked
            }
        };
        Ok(Answer::Done(done))
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        let (node, file) = self.tree.file_at(path)?;
        Ok(Handle { node, path: path.to_owned(), bytes: file.bytes() as u64, writable: false, _open: file.hold() })
    }

    fn create(&mut self, path: &Path, bytes: usize, now: u64) -> Result<Handle, FileFailure> {
        self.room_for(bytes).map_err(|cause| FileFailure::new("make room for", path, cause))?;
        let made = self.tree.create(path, bytes, now).and_then(|_| self.open(path));
        made.map(|handle| Handle { writable: true, ..handle }).map_err(|cause| FileFailure::new("create", path, cause))
    }

    fn write(&mut self, handle: &Handle, at: usize, bytes: &[u8], sync: bool) -> Result<(), FileFailure> {
        let failed = |errno| FileFailure::new("write", &handle.path, io::Error::from_raw_os_error(errno));
        if !handle.writable {
            return Err(failed(libc::EBADF));
        }
        let file_bytes = self.tree.file_mut(handle).bytes();
        if self.room_for((at + bytes.len()).saturating_sub(file_bytes)).is_err() {
            return Err(failed(libc::ENOSPC));
        }
        if self.chance.one_in(self.options.write_error_one_in) {
            self.tear(handle, at, bytes);
            return Err(failed(libc::EIO));
        }
        let at = self.directed(at, bytes.len(), file_bytes);
        self.tree.file_mut(handle).write(at, bytes, self.clock, false);
        // The sync behind a write is asked for when the write is done.
        if sync { self.sync(handle, self.clock + 1) } else { Ok(()) }
    }

    fn sync(&mut self, handle: &Handle, asked: u64) -> Result<(), FileFailure> {
        let file = self.tree.file_mut(handle);
        if self.chance.one_in(self.options.sync_error_one_in) {
            file.fail_sync(&mut self.chance);
            return Err(FileFailure::new("sync", &handle.path, io::Error::from_raw_os_error(libc::EIO)));
        }
        if !self.options.lies {
            file.sync(asked);
        }
        Ok(())
    }

    fn sync_directory(&mut self, path: &Path, asked: u64) -> io::Result<()> {
        let directory = self.tree.directory_at(path)?;
        if self.chance.one_in(self.options.sync_error_one_in) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if !self.options.lies {
            directory.sync(asked);
            self.tree.sweep();
        }
        Ok(())
    }

    fn lock(&mut self, core: usize, path: &Path, now: u64) -> io::Result<()> {
        let node = match self.tree.find(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => self.tree.create(path, 0, now)?,
            found => found?,
        };
        match self.locks.get(&node) {
            Some(holder) if *holder != core => Err(io::ErrorKind::WouldBlock.into()),
            _ => {
                self.locks.insert(node, core);
                Ok(())
            }
        }
    }
}
