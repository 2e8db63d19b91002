//! Files as a core sees them: what may be asked of the machine, what comes back, and the memory that travels with both.
//!
//! Every request is handed to [`Kernel::file`](crate::Kernel::file) and answered by one
//! [`Event::File`](crate::Event::File). Nothing here touches a file; that is the backends' work.

use crate::slab::Id;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// An open file of one kernel. The generation makes a name that outlived its file harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Position in the kernel's slab of files.
    pub index: u32,
    /// How often that position was used before.
    pub generation: u32,
}

impl Id for FileId {
    fn new(index: u32, generation: u32) -> FileId {
        FileId { index, generation }
    }

    fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// Where the memory of every [`Aligned`] begins: at a multiple of so many bytes. No machine asks for more.
pub const FILE_ALIGN_BYTES: usize = 4096;
/// Most bytes of one read or write; its result must fit 31 bits.
pub const FILE_TRANSFER_BYTES_MAX: usize = 1 << 30;
/// Requests that may be under way in one kernel. More is a bug of the caller.
pub const FILE_REQUESTS_MAX: usize = 256;

/// Bytes that the machine may read and write directly, past its page cache.
///
/// Owned by whoever holds it: it travels to the kernel with a request and comes back with the answer. All of its capacity is
/// initialised, with zeros where nobody wrote.
pub struct Aligned {
    start: NonNull<u8>,
    /// A multiple of [`FILE_ALIGN_BYTES`]; zero before the first byte.
    capacity: usize,
    len: usize,
}

// SAFETY: the memory belongs to this value alone, so it may go wherever the value goes.
unsafe impl Send for Aligned {}
// SAFETY: a shared reference allows nothing but reading.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// Room for so many bytes, rounded up; all of it zero, none of it in use yet.
    pub fn with_capacity(bytes: usize) -> Aligned {
        let capacity = bytes.next_multiple_of(FILE_ALIGN_BYTES);
        if capacity == 0 {
            return Aligned { start: NonNull::dangling(), capacity: 0, len: 0 };
        }
        let layout = layout(capacity);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        Aligned { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), capacity, len: 0 }
    }

    /// Bytes it can hold without another allocation.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Nothing is in use any more; the memory and its contents stay.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends, growing to at least twice the capacity where there is no room.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let len = self.len;
        self.resize(len + bytes.len());
        self[len..].copy_from_slice(bytes);
    }

    /// Appends zeros up to the next multiple of `align`.
    pub fn pad_to(&mut self, align: usize) {
        let len = self.len;
        self.resize(len.next_multiple_of(align));
        self[len..].fill(0);
    }

    /// Takes so many bytes into use, or puts the last ones out of it. What is new holds whatever was there before.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.capacity {
            let mut larger = Aligned::with_capacity(bytes.max(self.capacity * 2));
            larger.len = self.len;
            larger.copy_from_slice(self);
            *self = larger;
        }
        self.len = bytes;
    }
}

/// # Panics
/// If the size overflows an address space.
fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, FILE_ALIGN_BYTES).expect("a buffer smaller than the address space")
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` never exceeds the capacity, all of which is allocated and initialised; for none the pointer dangles legally.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the memory belongs to this value alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: allocated with this very layout, and freed once.
            unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
        }
    }
}

impl fmt::Debug for Aligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aligned({} of {} bytes)", self.len, self.capacity)
    }
}

/// What may be asked of the machine's files.
#[derive(Debug)]
pub enum FileRequest {
    /// Opens a file that exists, for reading. [`FileRequest::Sync`] works on it too.
    OpenRead {
        /// Which.
        path: PathBuf,
        /// Past the page cache where the file system can.
        direct: bool,
    },
    /// Makes a file that does not exist yet, for reading and writing, past the page cache where the file system can. Where it fails, no
    /// file is left behind. Its name is not durable until [`FileRequest::SyncDirectory`], its size not until [`FileRequest::Sync`].
    Create {
        /// Which.
        path: PathBuf,
        /// Its size: room that is there from now on, reading as zeros. Zero: it grows as it is written.
        bytes: u64,
    },
    /// Writes all of the buffer. `at` and its length are multiples of the file's [`FileTraits::align_bytes`].
    Write {
        /// Into which file.
        file: FileId,
        /// Offset in the file, bytes.
        at: u64,
        /// What; not empty.
        buffer: Aligned,
        /// Whether done means durable. Else it means that a reader sees it, and that it survives the end of this process.
        sync: bool,
    },
    /// Makes everything durable that was answered before this was asked.
    Sync {
        /// Which file.
        file: FileId,
    },
    /// Reads up to the buffer's length; less only at the end of the file. `at` and the length are multiples of the file's alignment.
    Read {
        /// From which file.
        file: FileId,
        /// Offset in the file, bytes.
        at: u64,
        /// Where to; its contents are overwritten.
        buffer: Aligned,
    },
    /// Sets the size of a file that was created here.
    Truncate {
        /// Which file.
        file: FileId,
        /// Its new size.
        bytes: u64,
    },
    /// Forgets the file at once; requests under way on it are still finished. Makes nothing durable.
    Close {
        /// Which file.
        file: FileId,
    },
    /// Gives a file another name in the same directory, in one step; what had that name before is gone. Not durable until
    /// [`FileRequest::SyncDirectory`].
    Rename {
        /// The name it has.
        from: PathBuf,
        /// The name it gets.
        to: PathBuf,
    },
    /// Removes a file or an empty directory. Not durable until [`FileRequest::SyncDirectory`].
    Unlink {
        /// Which.
        path: PathBuf,
    },
    /// Makes a directory in one that exists. One that is there already is as good. Not durable until the *parent's*
    /// [`FileRequest::SyncDirectory`].
    MakeDirectory {
        /// Which.
        path: PathBuf,
    },
    /// Makes durable which names a directory holds.
    SyncDirectory {
        /// Which.
        path: PathBuf,
    },
    /// The names in a directory.
    List {
        /// Which.
        path: PathBuf,
    },
    /// How full the file system is.
    Space {
        /// Some file or directory in it.
        path: PathBuf,
    },
    /// Locks a file against other processes until this kernel is dropped, making it where it does not exist. Fails with
    /// [`io::ErrorKind::WouldBlock`] where another holds it. Advisory: it binds those who lock too.
    Lock {
        /// Which.
        path: PathBuf,
    },
}

/// How a [`FileRequest`] of the same name was answered.
#[derive(Debug)]
pub enum FileDone {
    /// To `OpenRead` and `Create`.
    Opened {
        /// Its name from now on.
        file: FileId,
        /// What is known of it.
        traits: FileTraits,
    },
    /// To `Write`.
    Wrote {
        /// The buffer, back, as it was.
        buffer: Aligned,
    },
    /// To `Sync`.
    Synced,
    /// To `Read`.
    Read {
        /// The buffer, back, as long as what was read.
        buffer: Aligned,
    },
    /// To `Truncate`.
    Truncated,
    /// To `Close`.
    Closed,
    /// To `Rename`.
    Renamed,
    /// To `Unlink`.
    Unlinked,
    /// To `MakeDirectory`.
    Made,
    /// To `SyncDirectory`.
    DirectorySynced,
    /// To `List`, sorted by name.
    Listed(Vec<Listed>),
    /// To `Space`.
    Space(Space),
    /// To `Lock`.
    Locked,
}

/// What is known of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTraits {
    /// Its size when it was opened.
    pub bytes: u64,
    /// Whether it is read and written past the page cache.
    pub direct: bool,
    /// What offsets and lengths must be multiples of. A power of two from 512 to [`FILE_ALIGN_BYTES`].
    pub align_bytes: u32,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name alone, without the directory. What is not UTF-8 shows as replacement characters.
    pub name: String,
    /// Its size; of no meaning for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still fill.
    pub free_bytes: u64,
    /// What there is in all.
    pub total_bytes: u64,
}

/// Why a [`FileRequest`] could not be done.
#[derive(Debug)]
pub struct FileFailure {
    /// The step that failed, a verb: `open`, `write`, `sync`, ….
    pub step: &'static str,
    /// Of which file.
    pub path: Option<PathBuf>,
    /// The system's reason.
    pub cause: io::Error,
    /// The request's buffer, back. Contents unspecified after a read.
    pub buffer: Option<Aligned>,
}

impl FileFailure {
    pub(crate) fn new(step: &'static str, path: &Path, cause: io::Error) -> FileFailure {
        FileFailure { step, path: Some(path.to_owned()), cause, buffer: None }
    }

    /// Of a request that names a file which is not open.
    pub(crate) fn not_open(buffer: Option<Aligned>) -> FileFailure {
        FileFailure { step: "find an open file", path: None, cause: io::Error::from_raw_os_error(libc::EBADF), buffer }
    }

    pub(crate) fn with_buffer(self, buffer: Aligned) -> FileFailure {
        FileFailure { buffer: Some(buffer), ..self }
    }
}

impl fmt::Display for FileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, path, cause, .. } = self;
        match path {
            Some(path) => write!(f, "cannot {step} {}: {cause}", path.display()),
            None => write!(f, "cannot {step}: {cause}"),
        }
    }
}

impl std::error::Error for FileFailure {}

impl FileRequest {
    /// The open file it is about, if it is about one.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            FileRequest::Write { file, .. }
            | FileRequest::Sync { file }
            | FileRequest::Read { file, .. }
            | FileRequest::Truncate { file, .. }
            | FileRequest::Close { file } => Some(*file),
            _ => None,
        }
    }

    /// Memory that travels with it.
    pub(crate) fn buffer_bytes(&self) -> usize {
        match self {
            FileRequest::Write { buffer, .. } | FileRequest::Read { buffer, .. } => buffer.capacity(),
            _ => 0,
        }
    }

    /// The buffer, where the request comes to nothing.
    pub(crate) fn into_buffer(self) -> Option<Aligned> {
        match self {
            FileRequest::Write { buffer, .. } | FileRequest::Read { buffer, .. } => Some(buffer),
            _ => None,
        }
    }

    /// # Panics
    /// If it is one that no machine could do on a file of this alignment: these are a caller's bugs, not the machine's answers.
    pub(crate) fn assert_possible(&self, align_bytes: u32) {
        match self {
            FileRequest::Write { at, buffer, .. } | FileRequest::Read { at, buffer, .. } => {
                assert!(
                    at % u64::from(align_bytes) == 0 && buffer.len() % align_bytes as usize == 0,
                    "{self:?} is not aligned to {align_bytes}"
                );
                assert!(!buffer.is_empty() && buffer.len() <= FILE_TRANSFER_BYTES_MAX, "{self:?} is not of a possible size");
            }
            FileRequest::Rename { from, to } => assert_eq!(from.parent(), to.parent(), "a name moves within its directory"),
            _ => {}
        }
    }
}

/// Memory that comes back with an answer.
pub(crate) fn answered_bytes(outcome: &Result<FileDone, FileFailure>) -> usize {
    match outcome {
        Ok(FileDone::Wrote { buffer } | FileDone::Read { buffer }) => buffer.capacity(),
        Err(FileFailure { buffer: Some(buffer), .. }) => buffer.capacity(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_grows_by_doubling() {
        let mut buffer = Aligned::with_capacity(1);
        assert_eq!((buffer.capacity(), buffer.len()), (FILE_ALIGN_BYTES, 0));
        buffer.extend_from_slice(b"abc");
        buffer.pad_to(512);
        assert_eq!(buffer.len(), 512);
        assert_eq!(&buffer[..4], b"abc\0");
        assert!(buffer[3..].iter().all(|byte| *byte == 0));
        buffer.extend_from_slice(&[7; 4096]);
        assert_eq!((buffer.len(), buffer.capacity()), (4608, 8192));
        assert_eq!(&buffer[..3], b"abc");
        assert_eq!(buffer[4607], 7);
        buffer.resize(20_000);
        assert_eq!(buffer.capacity(), 20_480);
        assert!(buffer[4608..].iter().all(|byte| *byte == 0), "memory nobody wrote is zero");
        assert_eq!(buffer.as_ptr() as usize % FILE_ALIGN_BYTES, 0);
    }

    #[test]
    fn what_was_cleared_is_padded_with_zeros_again() {
        let mut buffer = Aligned::with_capacity(4096);
        buffer.extend_from_slice(&[9; 4096]);
        buffer.clear();
        assert_eq!((buffer.len(), buffer.capacity()), (0, 4096));
        buffer.extend_from_slice(b"x");
        buffer.pad_to(512);
        assert!(buffer[1..].iter().all(|byte| *byte == 0), "padding must not show what was there before");
        buffer.pad_to(512);
        assert_eq!(buffer.len(), 512, "what is aligned needs no padding");
    }

    #[test]
    fn an_empty_buffer_owns_nothing() {
        let mut buffer = Aligned::with_capacity(0);
        assert!(buffer.is_empty() && buffer.capacity() == 0);
        buffer.extend_from_slice(b"");
        assert_eq!(buffer.capacity(), 0);
        buffer.extend_from_slice(b"y");
        assert_eq!(&*buffer, b"y");
    }

    #[test]
    fn a_failure_says_which_step_and_which_file() {
        let cause = io::Error::from_raw_os_error(libc::ENOSPC);
        let failure = FileFailure::new("preallocate", Path::new("/data/log/x.log"), cause);
        assert_eq!(failure.to_string(), "cannot preallocate /data/log/x.log: No space left on device (os error 28)");
        assert!(FileFailure::not_open(None).to_string().starts_with("cannot find an open file: "));
    }
}
