//! What is where on a simulated disk: directories and files by number, found by path.

use super::Handle;
use super::directory::Directory;
use super::file::File;
use crate::file::Listed;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

/// See the module's head. The root is number zero; what nothing leads to any more is swept out.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// The number of the next node; none is used twice.
    next: u64,
}

#[derive(Clone)]
pub(super) enum Node {
    Directory(Directory),
    File(File),
}

const ROOT: u64 = 0;

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]), next: ROOT + 1 }
    }

    /// A copy in which no file is open.
    pub(super) fn copy(&self) -> Tree {
        let copied = |node: &Node| match node {
            Node::Directory(directory) => Node::Directory(directory.clone()),
            Node::File(file) => Node::File(file.copy()),
        };
        Tree { nodes: self.nodes.iter().map(|(number, node)| (*number, copied(node))).collect(), next: self.next }
    }

    pub(super) fn file_mut(&mut self, handle: &Handle) -> &mut File {
        match self.nodes.get_mut(&handle.node) {
            Some(Node::File(file)) => file,
            _ => unreachable!("an open file is a file, and stays while it is open"),
        }
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut File> {
        self.nodes.values_mut().filter_map(|node| if let Node::File(file) = node { Some(file) } else { None })
    }

    /// The sizes of all files.
    pub(super) fn used_bytes(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File(file) = node { file.bytes() as u64 } else { 0 }).sum()
    }

    /// Every file that has a name.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut waiting = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = waiting.pop() {
            match &self.nodes[&node] {
                Node::Directory(directory) => waiting.extend(directory.names().iter().map(|(name, node)| (path.join(name), *node))),
                Node::File(file) => found.push((path, file.bytes() as u64)),
            }
        }
        found.sort();
        found
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = match &self.nodes[&node] {
                Node::Directory(directory) => *directory.names().get(name).ok_or(io::ErrorKind::NotFound)?,
                Node::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(node)
    }

    /// The file of this name.
    pub(super) fn file_at(&mut self, path: &Path) -> io::Result<(u64, &mut File)> {
        let node = self.find(path)?;
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok((node, file)),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn directory_at(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let node = self.find(path)?;
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory that holds, or would hold, this path's last name.
    fn place<'p>(&mut self, path: &'p Path) -> io::Result<(&mut Directory, &'p str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory_at(path.parent().unwrap_or(Path::new("")))?, name))
    }

    pub(super) fn create(&mut self, path: &Path, bytes: usize, now: u64) -> io::Result<u64> {
        let number = self.next;
        let (directory, name) = self.place(path)?;
        if directory.names().contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.put(name, number, now);
        self.next += 1;
        self.nodes.insert(number, Node::File(File::new(bytes)));
        Ok(number)
    }

    pub(super) fn make_directory(&mut self, path: &Path, now: u64) -> io::Result<()> {
        let number = self.next;
        let (directory, name) = self.place(path)?;
        if let Some(there) = directory.names().get(name) {
            let there = *there;
            return if matches!(self.nodes[&there], Node::Directory(_)) { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        }
        directory.put(name, number, now);
        self.next += 1;
        self.nodes.insert(number, Node::Directory(Directory::default()));
        Ok(())
    }

    /// Both names are in one directory, as the kernel has asserted.
    pub(super) fn rename(&mut self, from: &Path, to: &Path, now: u64) -> io::Result<()> {
        self.find(from)?;
        let (directory, from) = self.place(from)?;
        let to = to.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        directory.rename(from, to, now);
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path, now: u64) -> io::Result<()> {
        let node = self.find(path)?;
        if matches!(&self.nodes[&node], Node::Directory(directory) if !directory.names().is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (directory, name) = self.place(path)?;
        directory.remove(name, now);
        Ok(())
    }

    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<Listed>> {
        let names = self.directory_at(path)?.names().clone();
        let listed = names.into_iter().map(|(name, node)| match &self.nodes[&node] {
            Node::File(file) => Listed { name, bytes: file.bytes() as u64, is_directory: false },
            Node::Directory(_) => Listed { name, bytes: 0, is_directory: true },
        });
        Ok(listed.collect())
    }

    /// Forgets what no name leads to, now or after a loss of power, and nobody has open.
    pub(super) fn sweep(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut waiting = vec![ROOT];
        while let Some(number) = waiting.pop() {
            if let Node::Directory(directory) = &self.nodes[&number] {
                waiting.extend(directory.nodes().filter(|node| self.nodes.contains_key(node) && reached.insert(*node)));
            }
        }
        self.nodes.retain(|number, node| reached.contains(number) || matches!(node, Node::File(file) if file.is_open()));
    }
}
