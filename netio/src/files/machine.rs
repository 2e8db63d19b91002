//! Each request, done by system calls that block.

use super::{Answer, OpenFile};
use crate::file::{Aligned, FILE_ALIGN_BYTES, FileDone, FileFailure, FileRequest, FileTraits, Listed, Space};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What direct transfers are aligned to at least, whatever a file system says: the smallest sector there is.
const SECTOR_BYTES: u32 = 512;
/// How much is written at once where a file system cannot preallocate.
const ZEROS_BYTES: usize = 1 << 20;

/// Files locked until the kernel is dropped.
#[derive(Default)]
pub(super) struct Locks(Vec<File>);

/// Does it. `file` is the one that the request names.
pub(super) fn perform(request: FileRequest, file: Option<&OpenFile>, locks: &mut Locks) -> Result<Answer, FileFailure> {
    let named = || file.expect("the kernel looked the file up");
    let done = match request {
        FileRequest::OpenRead { path, direct } => return open_read(&path, direct).map(Answer::Opened),
        FileRequest::Create { path, bytes } => return create(&path, bytes).map(Answer::Opened),
        FileRequest::Write { at, buffer, sync, .. } => write(named(), at, buffer, sync)?,
        FileRequest::Sync { .. } => {
            let file = named();
            file.file.sync_data().map_err(|cause| FileFailure::new("sync", &file.path, cause))?;
            FileDone::Synced
        }
        FileRequest::Read { at, buffer, .. } => read(named(), at, buffer)?,
        FileRequest::Truncate { bytes, .. } => {
            let file = named();
            file.file.set_len(bytes).map_err(|cause| FileFailure::new("truncate", &file.path, cause))?;
            FileDone::Truncated
        }
        FileRequest::Close { .. } => FileDone::Closed,
        FileRequest::Rename { from, to } => {
            fs::rename(&from, &to).map_err(|cause| FileFailure::new("rename", &from, cause))?;
            FileDone::Renamed
        }
        FileRequest::Unlink { path } => {
            unlink(&path).map_err(|cause| FileFailure::new("remove", &path, cause))?;
            FileDone::Unlinked
        }
        FileRequest::MakeDirectory { path } => {
            make_directory(&path).map_err(|cause| FileFailure::new("make the directory", &path, cause))?;
            FileDone::Made
        }
        FileRequest::SyncDirectory { path } => {
            let synced = File::open(&path).and_then(|directory| directory.sync_all());
            synced.map_err(|cause| FileFailure::new("sync the directory", &path, cause))?;
            FileDone::DirectorySynced
        }
        FileRequest::List { path } => FileDone::Listed(list(&path).map_err(|cause| FileFailure::new("list", &path, cause))?),
        FileRequest::Space { path } => {
            FileDone::Space(space(&path).map_err(|cause| FileFailure::new("ask for the space of", &path, cause))?)
        }
        FileRequest::Lock { path } => {
            locks.0.push(lock(&path).map_err(|cause| FileFailure::new("lock", &path, cause))?);
            FileDone::Locked
        }
    };
    Ok(Answer::Done(done))
}

pub(super) fn open_read(path: &Path, direct: bool) -> Result<OpenFile, FileFailure> {
    let failure = |step| move |cause| FileFailure::new(step, path, cause);
    let (file, direct) = open(path, false, direct).map_err(failure("open"))?;
    let bytes = file.metadata().map_err(failure("ask for the size of"))?.len();
    let traits = traits_of(&file, bytes, direct).map_err(failure("ask for the alignment of"))?;
    Ok(OpenFile { file, path: path.to_owned(), traits })
}

fn create(path: &Path, bytes: u64) -> Result<OpenFile, FileFailure> {
    let failure = |step| move |cause| FileFailure::new(step, path, cause);
    let (file, direct) = open(path, true, true).map_err(failure("create"))?;
    let made = traits_of(&file, bytes, direct)
        .map_err(failure("ask for the alignment of"))
        .and_then(|traits| preallocate(&file, bytes).map(|()| traits).map_err(failure("make room for")));
    match made {
        Ok(traits) => Ok(OpenFile { file, path: path.to_owned(), traits }),
        Err(failure) => {
            // The caller hears of the first failure; a file that cannot even be removed is found and named by the next try.
            let _ = fs::remove_file(path);
            Err(failure)
        }
    }
}

/// Opens for reading what exists, or makes what does not; past the page cache where that is wanted and possible. Says whether it was.
fn open(path: &Path, makes: bool, direct: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(makes).create_new(makes);
    if direct {
        match options.custom_flags(libc::O_DIRECT).open(path) {
            // The file system knows no direct transfers. It may have found out only after it made the file: one that was there before
            // would have been an error of another kind, so what is there now is ours.
            Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => {
                options.custom_flags(0).create(makes).create_new(false);
            }
            opened => return opened.map(|file| (file, true)),
        }
    }
    options.open(path).map(|file| (file, false))
}

/// Asks what transfers must be aligned to; a file that turns out not to take direct ones is switched to the page cache.
fn traits_of(file: &File, bytes: u64, direct: bool) -> io::Result<FileTraits> {
    let unknown = FILE_ALIGN_BYTES as u32;
    if !direct {
        return Ok(FileTraits { bytes, direct: false, align_bytes: unknown });
    }
    match direct_alignment(file)? {
        // A kernel before 6.1, or a file system that does not say: a page suits every device.
        None => Ok(FileTraits { bytes, direct: true, align_bytes: unknown }),
        Some(align) if align > 0 && align <= unknown => Ok(FileTraits { bytes, direct: true, align_bytes: align.max(SECTOR_BYTES) }),
        Some(_) => {
            use_page_cache(file)?;
            Ok(FileTraits { bytes, direct: false, align_bytes: unknown })
        }
    }
}

/// What the file system says that offsets of direct transfers must be multiples of; zero where it takes none.
fn direct_alignment(file: &File) -> io::Result<Option<u32>> {
    // SAFETY: an all-zero statx is a valid value of that plain struct.
    let mut found: libc::statx = unsafe { mem::zeroed() };
    let (here, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: the path is a valid empty string, `found` is valid for writing, and both outlive the call.
    let done = unsafe { libc::statx(file.as_raw_fd(), here, flags, libc::STATX_DIOALIGN, &raw mut found) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let answered = found.stx_mask & libc::STATX_DIOALIGN != 0;
    let possible = found.stx_dio_mem_align as usize <= FILE_ALIGN_BYTES;
    Ok(answered.then_some(if possible { found.stx_dio_offset_align } else { 0 }))
}

fn use_page_cache(file: &File) -> io::Result<()> {
    // SAFETY: fcntl takes no pointers for these two.
    let done = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        if flags < 0 { flags } else { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_DIRECT) }
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Room for so many bytes, which read as zeros.
fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let length = i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: fallocate takes no pointers.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(());
        }
        let cause = io::Error::last_os_error();
        match cause.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP) => return write_zeros(file, bytes),
            _ => return Err(cause),
        }
    }
}

/// Makes room by writing it, up to the next multiple of a page, and then cuts the file to its size.
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let mut zeros = Aligned::with_capacity(ZEROS_BYTES);
    zeros.resize(ZEROS_BYTES);
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).next_multiple_of(FILE_ALIGN_BYTES as u64).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..count as usize], at)?;
        at += count;
    }
    file.set_len(bytes)
}

fn write(file: &OpenFile, at: u64, buffer: Aligned, sync: bool) -> Result<FileDone, FileFailure> {
    if let Err(cause) = write_all(file, at, &buffer) {
        return Err(FileFailure::new("write", &file.path, cause).with_buffer(buffer));
    }
    if sync && let Err(cause) = file.file.sync_data() {
        return Err(FileFailure::new("sync", &file.path, cause).with_buffer(buffer));
    }
    Ok(FileDone::Wrote { buffer })
}

/// Goes on after a short write from the last aligned byte.
fn write_all(file: &OpenFile, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.file.write_at(&bytes[done..], at + done as u64) {
            Ok(taken) => {
                let aligned = file.aligned_down(done + taken);
                let through = done + taken == bytes.len();
                if aligned == done && !through {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done = if through { bytes.len() } else { aligned };
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

fn read(file: &OpenFile, at: u64, mut buffer: Aligned) -> Result<FileDone, FileFailure> {
    let mut done = 0;
    while done < buffer.len() {
        match file.file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(got) => {
                done += got;
                // Only the end of the file is not aligned.
                if file.aligned_down(done) != done {
                    break;
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(FileFailure::new("read", &file.path, cause).with_buffer(buffer)),
        }
    }
    buffer.resize(done);
    Ok(FileDone::Read { buffer })
}

fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(path),
        removed => removed,
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

fn list(path: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let about = match fs::metadata(entry.path()) {
            Ok(about) => about,
            // It went while we looked, or it is a link to nothing.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => match entry.metadata() {
                Ok(about) => about,
                Err(_) => continue,
            },
            Err(cause) => return Err(cause),
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push(Listed { name, bytes: about.len(), is_directory: about.is_dir() });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: an all-zero statvfs is a valid value of that plain struct.
    let mut found: libc::statvfs = unsafe { mem::zeroed() };
    // SAFETY: the path is a valid string, `found` is valid for writing, and both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let block = found.f_frsize as u64;
    Ok(Space { free_bytes: found.f_bavail as u64 * block, total_bytes: found.f_blocks as u64 * block })
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}
