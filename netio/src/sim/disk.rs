//! A simulated disk: directories and files in memory, which outlive the kernels that wrote them.

use crate::file::{FILE_ALIGN_BYTES, FileDone, FileFailure, FileRequest, FileTraits, Listed, Space};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::chance::Chance;

/// What direct transfers to a simulated file are aligned to: the smallest sector there is.
const ALIGN_BYTES: u32 = 512;
const _: () = assert!(ALIGN_BYTES as usize <= FILE_ALIGN_BYTES);

/// How a simulated disk behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// How long a request takes.
    pub latency_ns: RangeInclusive<u64>,
    /// How much fits on it: the sizes of all files.
    pub capacity_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions { latency_ns: 20_000..=400_000, capacity_bytes: 1 << 30 }
    }
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<Disk>>);

/// See the module's head.
struct Disk {
    options: DiskOptions,
    chance: Chance,
    /// Everything there is, by number; the root is number zero.
    nodes: BTreeMap<u64, Node>,
    node_next: u64,
    /// Locked files, each with the core that holds it.
    locks: BTreeMap<u64, usize>,
}

enum Node {
    Directory(BTreeMap<String, u64>),
    File(Vec<u8>),
}

/// An open file.
#[derive(Clone)]
pub(super) struct Handle {
    node: u64,
    path: PathBuf,
    bytes: u64,
    writable: bool,
}

/// A request on its way to the disk.
pub(super) struct Job {
    pub(super) core: usize,
    pub(super) token: u64,
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
        let root = Node::Directory(BTreeMap::new());
        let chance = Chance::new(seed);
        SimDisk(Rc::new(RefCell::new(Disk { options, chance, nodes: BTreeMap::from([(0, root)]), node_next: 1, locks: BTreeMap::new() })))
    }

    pub(super) fn delay_ns(&self, _job: &Job) -> u64 {
        let disk = &mut *self.0.borrow_mut();
        disk.chance.within(&disk.options.latency_ns)
    }

    pub(super) fn perform(&self, job: Job) -> Performed {
        let Job { core, token, request, handle } = job;
        Performed { token, outcome: self.0.borrow_mut().perform(core, request, handle.as_ref()) }
    }

    /// The core of these requests died before they were answered: each happens or does not.
    pub(super) fn abandon(&self, jobs: impl Iterator<Item = Job>) {
        let disk = &mut *self.0.borrow_mut();
        for Job { core, request, handle, .. } in jobs {
            if disk.chance.one_in(2) {
                // Nobody is there to hear how it went.
                let _ = disk.perform(core, request, handle.as_ref());
            }
        }
    }

    /// The core died: it holds no lock any more.
    pub(super) fn unlock(&self, core: usize) {
        self.0.borrow_mut().locks.retain(|_, holder| *holder != core);
    }
}

impl Disk {
    fn perform(&mut self, core: usize, request: FileRequest, handle: Option<&Handle>) -> Result<Answer, FileFailure> {
        let named = || handle.expect("the kernel looked the file up");
        let done = match request {
            FileRequest::OpenRead { path, .. } => {
                return self.open(&path).map(Answer::Opened).map_err(|cause| FileFailure::new("open", &path, cause));
            }
            FileRequest::Create { path, bytes } => {
                let room = self.room_for(bytes).map_err(|cause| FileFailure::new("make room for", &path, cause));
                let made = room.and_then(|()| self.create(&path, bytes).map_err(|cause| FileFailure::new("create", &path, cause)));
                return made.map(Answer::Opened);
            }
            FileRequest::Write { at, buffer, .. } => {
                let handle = named();
                if !handle.writable {
                    let cause = io::Error::from_raw_os_error(libc::EBADF);
                    return Err(FileFailure::new("write", &handle.path, cause).with_buffer(buffer));
                }
                let end = at + buffer.len() as u64;
                let grows_by = end.saturating_sub(self.contents(handle).len() as u64);
                if let Err(cause) = self.room_for(grows_by) {
                    return Err(FileFailure::new("write", &handle.path, cause).with_buffer(buffer));
                }
                let contents = self.contents(handle);
                contents.resize(contents.len().max(end as usize), 0);
                contents[at as usize..end as usize].copy_from_slice(&buffer);
                FileDone::Wrote { buffer }
            }
            FileRequest::Sync { .. } => FileDone::Synced,
            FileRequest::Read { at, mut buffer, .. } => {
                let contents = self.contents(named());
                let from = contents.len().min(at as usize);
                let count = buffer.len().min(contents.len() - from);
                buffer.resize(count);
                buffer.copy_from_slice(&contents[from..from + count]);
                FileDone::Read { buffer }
            }
            FileRequest::Truncate { bytes, .. } => {
                let handle = named();
                if !handle.writable {
                    return Err(FileFailure::new("truncate", &handle.path, io::Error::from_raw_os_error(libc::EINVAL)));
                }
                self.contents(handle).resize(bytes as usize, 0);
                FileDone::Truncated
            }
            FileRequest::Close { .. } => FileDone::Closed,
            FileRequest::Rename { from, to } => {
                self.rename(&from, &to).map_err(|cause| FileFailure::new("rename", &from, cause))?;
                FileDone::Renamed
            }
            FileRequest::Unlink { path } => {
                self.unlink(&path).map_err(|cause| FileFailure::new("remove", &path, cause))?;
                FileDone::Unlinked
            }
            FileRequest::MakeDirectory { path } => {
                self.make_directory(&path).map_err(|cause| FileFailure::new("make the directory", &path, cause))?;
                FileDone::Made
            }
            FileRequest::SyncDirectory { path } => {
                self.directory(&path).map_err(|cause| FileFailure::new("sync the directory", &path, cause))?;
                FileDone::DirectorySynced
            }
            FileRequest::List { path } => FileDone::Listed(self.list(&path).map_err(|cause| FileFailure::new("list", &path, cause))?),
            FileRequest::Space { .. } => FileDone::Space(self.space()),
            FileRequest::Lock { path } => {
                self.lock(core, &path).map_err(|cause| FileFailure::new("lock", &path, cause))?;
                FileDone::Locked
            }
        };
        Ok(Answer::Done(done))
    }

    fn contents(&mut self, handle: &Handle) -> &mut Vec<u8> {
        match self.nodes.get_mut(&handle.node) {
            Some(Node::File(contents)) => contents,
            _ => unreachable!("an open file is a file"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = 0;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Some(Node::Directory(names)) = self.nodes.get(&node) else { return Err(io::ErrorKind::NotADirectory.into()) };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = *names.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut BTreeMap<String, u64>> {
        let node = self.find(path)?;
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(names)) => Ok(names),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory that holds, or would hold, this path's last name.
    fn place(&mut self, path: &Path) -> io::Result<(&mut BTreeMap<String, u64>, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent)?, name.to_owned()))
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        let node = self.find(path)?;
        match &self.nodes[&node] {
            Node::File(contents) => Ok(Handle { node, path: path.to_owned(), bytes: contents.len() as u64, writable: false }),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn create(&mut self, path: &Path, bytes: u64) -> io::Result<Handle> {
        let node = self.node_next;
        let (names, name) = self.place(path)?;
        if names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        names.insert(name, node);
        self.node_next += 1;
        self.nodes.insert(node, Node::File(vec![0; bytes as usize]));
        Ok(Handle { node, path: path.to_owned(), bytes, writable: true })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (names, name) = self.place(from)?;
        let node = names.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        let (names, name) = self.place(to)?;
        names.insert(name, node);
        Ok(())
    }

    fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if matches!(&self.nodes[&node], Node::Directory(names) if !names.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (names, name) = self.place(path)?;
        names.remove(&name);
        Ok(())
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        let node = self.node_next;
        let (names, name) = self.place(path)?;
        if let Some(there) = names.get(&name) {
            let there = *there;
            return if matches!(self.nodes[&there], Node::Directory(_)) { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        }
        names.insert(name, node);
        self.node_next += 1;
        self.nodes.insert(node, Node::Directory(BTreeMap::new()));
        Ok(())
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Listed>> {
        let names = self.directory(path)?.clone();
        let listed = names.into_iter().map(|(name, node)| match &self.nodes[&node] {
            Node::File(contents) => Listed { name, bytes: contents.len() as u64, is_directory: false },
            Node::Directory(_) => Listed { name, bytes: 0, is_directory: true },
        });
        Ok(listed.collect())
    }

    fn space(&self) -> Space {
        let used = |node: &Node| if let Node::File(contents) = node { contents.len() as u64 } else { 0 };
        let used: u64 = self.nodes.values().map(used).sum();
        Space { free_bytes: self.options.capacity_bytes.saturating_sub(used), total_bytes: self.options.capacity_bytes }
    }

    fn room_for(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.space().free_bytes { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    fn lock(&mut self, core: usize, path: &Path) -> io::Result<()> {
        let node = match self.find(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => self.create(path, 0)?.node,
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
