//! Listening sockets, and who in this process already has which.
//!
//! Both machine backends listen through here, so that the promises of [`crate::kernel::Kernel::listen`] are
//! kept in one place:
//! - cores of one process share a TCP port through `SO_REUSEPORT`, but the first of them proves by a
//!   bind *without* that option that no other process listens there. With the option alone, a second
//!   server of the same user would silently take a share of the first one's connections. (Two servers
//!   started within the same few microseconds can still miss each other.)
//! - a server that is restarted at once finds its place free: the kernel closes the sockets of a killed
//!   ring a moment after its process is gone, so a place in use is tried again for half a second.
//! - a Unix path is bound once per process; the socket file is removed when the last core is done with it.
//!
//! Options that accepted sockets inherit on Linux (`TCP_NODELAY`, keep-alive) are set on the listener,
//! which makes them free per connection.

use crate::address::{Address, bound_address};
use crate::kernel::{Listen, ListenError};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// One core's share of a listening socket. Closed when dropped.
pub(crate) struct Listener {
    addr: Option<SocketAddr>,
    socket: Socket,
}

enum Socket {
    Tcp { fd: OwnedFd, _claim: TcpClaim },
    Unix(Arc<UnixSocket>),
}

/// Seconds of silence before the first keep-alive probe, as Redis' `tcp-keepalive`.
const KEEPALIVE_IDLE_S: libc::c_int = 300;
/// Seconds between probes: a third of the idle time, as Redis does it.
const KEEPALIVE_INTERVAL_S: libc::c_int = KEEPALIVE_IDLE_S / 3;
/// Probes without an answer until the connection is dead.
const KEEPALIVE_PROBES: libc::c_int = 3;

/// How often a place in use is tried.
const PATIENCE_ATTEMPTS: u32 = 21;
/// Between two attempts; all of them together are half a second.
const PATIENCE_PAUSE: Duration = Duration::from_millis(25);

impl Listener {
    /// Opens, binds and listens. The socket blocks unless `nonblocking`.
    pub(crate) fn open(at: &Listen, nonblocking: bool, backlog: u32) -> Result<Listener, ListenError> {
        let error = |step: &'static str, cause: io::Error| ListenError { at: at.clone(), step, cause };
        match at {
            Listen::Tcp(addr) => {
                let claims = lock(&TCP_CLAIMS);
                let ours = addr.port() != 0 && claims.contains_key(addr);
                if addr.port() != 0 && !ours {
                    patiently(|| {
                        let probe = tcp_socket(*addr, nonblocking)?;
                        bind(probe.as_raw_fd(), &Address::tcp(*addr))
                    })
                    .map_err(|e| error("bind", e))?;
                }
                let fd = tcp_socket(*addr, nonblocking).map_err(|e| error("open a socket", e))?;
                set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
                    .map_err(|e| error("share the port between cores", e))?;
                inherit_options(fd.as_raw_fd()).map_err(|e| error("set options", e))?;
                bind(fd.as_raw_fd(), &Address::tcp(*addr)).map_err(|e| error("bind", e))?;
                listen(fd.as_raw_fd(), backlog).map_err(|e| error("listen", e))?;
                let bound = bound_address(fd.as_raw_fd()).unwrap_or(*addr);
                let claim = TcpClaim::take(claims, bound);
                Ok(Listener { addr: Some(bound), socket: Socket::Tcp { fd, _claim: claim } })
            }
            Listen::Unix { path, mode } => Ok(Listener {
                addr: None,
                socket: Socket::Unix(UnixSocket::share(path, *mode, nonblocking, backlog).map_err(|(step, e)| error(step, e))?),
            }),
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp { fd, .. } => fd.as_raw_fd(),
            Socket::Unix(socket) => socket.fd.as_raw_fd(),
        }
    }

    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }
}

/// How many listeners of this process stand on each address.
static TCP_CLAIMS: Mutex<BTreeMap<SocketAddr, usize>> = Mutex::new(BTreeMap::new());

/// One count in [`TCP_CLAIMS`].
struct TcpClaim(SocketAddr);

impl TcpClaim {
    fn take(mut claims: MutexGuard<'_, BTreeMap<SocketAddr, usize>>, addr: SocketAddr) -> TcpClaim {
        *claims.entry(addr).or_insert(0) += 1;
        TcpClaim(addr)
    }
}

impl Drop for TcpClaim {
    fn drop(&mut self) {
        let mut claims = lock(&TCP_CLAIMS);
        let count = claims.get_mut(&self.0).expect("a claim is counted until it is dropped");
        *count -= 1;
        if *count == 0 {
            claims.remove(&self.0);
        }
    }
}

/// A bound Unix socket, shared by the cores of this process.
struct UnixSocket {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode of the socket file, so that only our own is ever removed.
    file: Option<(u64, u64)>,
}

/// The Unix sockets of this process by absolute path.
static UNIX_SOCKETS: Mutex<BTreeMap<PathBuf, Weak<UnixSocket>>> = Mutex::new(BTreeMap::new());

impl UnixSocket {
    fn share(path: &Path, mode: Option<u32>, nonblocking: bool, backlog: u32) -> Result<Arc<UnixSocket>, (&'static str, io::Error)> {
        let path = absolute(path).map_err(|e| ("find the folder of the socket", e))?;
        let mut sockets = lock(&UNIX_SOCKETS);
        if let Some(socket) = sockets.get(&path).and_then(Weak::upgrade) {
            return Ok(socket);
        }
        let fd = open(libc::AF_UNIX, nonblocking).map_err(|e| ("open a socket", e))?;
        let address = Address::unix(&path).map_err(|e| ("bind", e))?;
        match bind(fd.as_raw_fd(), &address) {
            Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => {
                patiently(|| remove_if_stale(&path, &address)).map_err(|e| ("bind", e))?;
                bind(fd.as_raw_fd(), &address).map_err(|e| ("bind", e))?;
            }
            other => other.map_err(|e| ("bind", e))?,
        }
        let file = std::fs::symlink_metadata(&path).ok().map(|m| (m.dev(), m.ino()));
        let socket = UnixSocket { fd, path: path.clone(), file };
        // Nobody can connect before it listens, so nobody does who must not.
        let permitted = mode.map_or(Ok(()), |mode| std::fs::set_permissions(&socket.path, std::fs::Permissions::from_mode(mode)));
        let listens = permitted.map_err(|e| ("set the permissions", e));
        if let Err(failure) = listens.and_then(|()| listen(socket.fd.as_raw_fd(), backlog).map_err(|e| ("listen", e))) {
            // Its drop takes the registry's lock.
            drop(sockets);
            return Err(failure);
        }
        let socket = Arc::new(socket);
        sockets.insert(path, Arc::downgrade(&socket));
        Ok(socket)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Under the lock, so that no core binds the path anew between the look and the removal.
        let mut sockets = lock(&UNIX_SOCKETS);
        if sockets.get(&self.path).is_some_and(|known| known.strong_count() == 0) {
            sockets.remove(&self.path);
        }
        let still_ours = std::fs::symlink_metadata(&self.path).ok().map(|m| (m.dev(), m.ino())) == self.file;
        if self.file.is_some() && still_ours {
            // Nobody could act on a failure here, and the next start replaces a stale file anyway.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Tries again while the place is in use, for as long as the remains of a killed predecessor may take to go.
///
/// Blocks; listening is for the start, before anybody is served.
fn patiently(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..PATIENCE_ATTEMPTS {
        match attempt() {
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(PATIENCE_PAUSE),
            other => return other,
        }
    }
    attempt()
}

/// Removes a socket file that nobody listens on. Anything else in the way is an error.
fn remove_if_stale(path: &Path, address: &Address) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is in the way"));
    }
    let probe = open(libc::AF_UNIX, true)?;
    // SAFETY: the address is valid for reading `address.len()` bytes.
    let done = unsafe { libc::connect(probe.as_raw_fd(), address.as_ptr(), address.len()) };
    if done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECONNREFUSED) {
        return std::fs::remove_file(path);
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket"))
}

/// The path with its folder resolved, so that two spellings are one socket.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(folder.canonicalize()?.join(name))
}

fn tcp_socket(addr: SocketAddr, nonblocking: bool) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = open(family, nonblocking)?;
    // Connections of the last run that linger in TIME_WAIT must not keep us from starting.
    set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if addr.is_ipv6() {
        // So that `0.0.0.0` and `::` can be bound side by side, as Redis does.
        set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    Ok(fd)
}

fn inherit_options(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEPALIVE_IDLE_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEPALIVE_PROBES)
}

fn open(family: libc::c_int, nonblocking: bool) -> io::Result<OwnedFd> {
    let nonblock = if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | nonblock, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: RawFd, address: &Address) -> io::Result<()> {
    // SAFETY: the address is valid for reading `address.len()` bytes.
    check(unsafe { libc::bind(fd, address.as_ptr(), address.len()) })
}

fn listen(fd: RawFd, backlog: u32) -> io::Result<()> {
    // SAFETY: listen takes no pointers.
    check(unsafe { libc::listen(fd, backlog as libc::c_int) })
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is valid for reading for the duration of the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t) })
}

fn check(done: libc::c_int) -> io::Result<()> {
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// These maps are consistent between any two statements, so a panic elsewhere cannot have broken them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest path a Unix socket address holds, its final zero included.
pub(crate) const UNIX_PATH_BYTES_MAX: usize = 108;

impl Address {
    fn unix(path: &Path) -> io::Result<Address> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() >= UNIX_PATH_BYTES_MAX || bytes.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the path of a Unix socket holds at most {} bytes", UNIX_PATH_BYTES_MAX - 1),
            ));
        }
        Ok(Address::unix_bytes(bytes))
    }
}
