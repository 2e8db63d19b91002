//! What a simulated disk does wrong, and what it does when its machine dies.

use super::{Disk, Handle, Job, Node, Tree};
use crate::file::FileRequest;
use std::io;
use std::ops::RangeInclusive;

/// How a simulated disk behaves. Of the counts that say "one in so many", zero is never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// How long a request takes.
    pub latency_ns: RangeInclusive<u64>,
    /// One request in so many takes longer.
    pub slow_one_in: u32,
    /// How long those take.
    pub slow_ns: RangeInclusive<u64>,
    /// How much fits: the sizes of all files.
    pub capacity_bytes: u64,
    /// One request in so many that needs room finds none, although there is some.
    pub full_one_in: u32,
    /// One write in so many fails, done in part.
    pub write_error_one_in: u32,
    /// One sync in so many fails; what it should have made durable is given up in part.
    pub sync_error_one_in: u32,
    /// One write in so many ends somewhere else in its file, and says nothing.
    pub misdirect_one_in: u32,
    /// After one request in so many a bit of some file has flipped.
    pub rot_one_in: u32,
    /// Syncs, of files and of directories, do nothing and say that they did.
    pub lies: bool,
}

impl Default for DiskOptions {
    /// A disk that keeps its promises.
    fn default() -> DiskOptions {
        DiskOptions {
            latency_ns: 20_000..=400_000,
            slow_one_in: 0,
            slow_ns: 50_000_000..=2_000_000_000,
            capacity_bytes: 1 << 30,
            full_one_in: 0,
            write_error_one_in: 0,
            sync_error_one_in: 0,
            misdirect_one_in: 0,
            rot_one_in: 0,
            lies: false,
        }
    }
}

impl Disk {
    /// How long this request takes.
    pub(super) fn delay_ns(&mut self) -> u64 {
        let slow = self.chance.one_in(self.options.slow_one_in);
        self.chance.within(if slow { &self.options.slow_ns } else { &self.options.latency_ns })
    }

    /// Whether so much more fits.
    pub(super) fn room_for(&mut self, bytes: usize) -> io::Result<()> {
        let short = bytes > 0 && self.chance.one_in(self.options.full_one_in);
        let fits = bytes as u64 <= self.options.capacity_bytes.saturating_sub(self.tree.used_bytes());
        if short || !fits { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
    }

    /// Where a write really goes.
    pub(super) fn directed(&mut self, at: usize, bytes: usize, file_bytes: usize) -> usize {
        let align = super::ALIGN_BYTES as usize;
        let places = file_bytes.saturating_sub(bytes) / align;
        if places > 0 && self.chance.one_in(self.options.misdirect_one_in) { self.chance.below(places as u64) as usize * align } else { at }
    }

    /// Now and then a bit flips.
    pub(super) fn rot(&mut self) {
        if !self.chance.one_in(self.options.rot_one_in) {
            return;
        }
        let mut files: Vec<_> = self.tree.files_mut().filter(|file| file.bytes() > 0).collect();
        if !files.is_empty() {
            let chosen = self.chance.below(files.len() as u64) as usize;
            let file = &mut files[chosen];
            file.flip(self.chance.below(file.bytes() as u64) as usize, self.chance.below(8) as u32);
        }
    }

    /// A request whose process died, or whose machine lost its power: it was done, or not, or a write in part.
    pub(super) fn abandon(&mut self, job: Job) {
        let Job { core, begun, request, handle, .. } = job;
        match (request, handle) {
            (FileRequest::Write { at, buffer, .. }, Some(handle)) => self.tear(&handle, at as usize, &buffer),
            (request, handle) => {
                if self.chance.one_in(2) {
                    // Nobody is there to hear how it went.
                    let _ = self.perform(core, begun, request, handle.as_ref());
                }
            }
        }
    }

    /// Some of the sectors reach the file: none, all, the first ones, or any.
    pub(super) fn tear(&mut self, handle: &Handle, at: usize, bytes: &[u8]) {
        let sector_bytes = super::ALIGN_BYTES as usize;
        let sectors = bytes.len() / sector_bytes;
        let (kind, first) = (self.chance.below(4), self.chance.below(sectors as u64 + 1) as usize);
        let now = self.clock;
        for (number, chunk) in bytes.chunks_exact(sector_bytes).enumerate() {
            let arrives = match kind {
                0 => false,
                1 => true,
                2 => number < first,
                _ => self.chance.one_in(2),
            };
            if arrives && handle.writable && self.room_for(sector_bytes).is_ok() {
                self.tree.file_mut(handle).write(at + number * sector_bytes, chunk, now, true);
            }
        }
    }

    /// Everything under way when the crash came is settled; the disk answers again.
    fn settle(&mut self) {
        self.crash_at = None;
        for job in std::mem::take(&mut self.halted) {
            self.abandon(job);
        }
        self.crashed = false;
        self.locks.clear();
    }

    pub(super) fn kill(&mut self) {
        self.settle();
        let Disk { tree, chance, .. } = self;
        tree.files_mut().for_each(|file| file.kill(chance));
        tree.sweep();
    }

    pub(super) fn lose_power(&mut self) {
        self.settle();
        let Disk { tree: Tree { nodes, .. }, chance, .. } = self;
        for node in nodes.values_mut() {
            match node {
                Node::Directory(directory) => directory.lose_power(chance),
                Node::File(file) => file.lose_power(chance),
            }
        }
        self.tree.sweep();
    }
}
