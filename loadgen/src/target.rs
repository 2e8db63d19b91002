//! Where the target is, whether it may be loaded, and how a connection to it begins.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::Control;
use crate::request::Protocol;

/// How long a connection may take to be made, and to answer its first commands.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "{address}"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Looks `host` up and takes its first address.
    pub(crate) fn resolve(host: &str, port: u16) -> Result<Endpoint, String> {
        let bare = host.trim_matches(['[', ']']);
        let mut found = (bare, port).to_socket_addrs().map_err(|error| format!("cannot look up '{host}': {error}"))?;
        found.next().map(Endpoint::Tcp).ok_or_else(|| format!("'{host}' has no address"))
    }

    /// Refuses addresses out in the world, so that a slip of the fingers cannot load a stranger's server.
    pub(crate) fn check_private(&self, own_target: bool) -> Result<(), String> {
        match self {
            Endpoint::Tcp(address) if !own_target && !is_private(address.ip()) => {
                Err(format!("{address} is not a loopback or private address; if the machine there is yours to load, say --i-own-target"))
            }
            _ => Ok(()),
        }
    }

    /// Connects; the socket is blocking and does not wait to fill segments.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<Stream, String> {
        let failed = |error: std::io::Error| format!("cannot connect to {self}: {error}");
        match self {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, timeout).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                Ok(Stream::Tcp(stream))
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

/// A blocking stream of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// The descriptor, non-blocking from here on.
    pub(crate) fn into_fd(self) -> std::io::Result<OwnedFd> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Stream::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }
}

impl std::io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl std::io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a connection says first.
#[derive(Clone, Default)]
pub(crate) struct Greeting {
    /// User of `AUTH`, where the target has users.
    pub(crate) user: Option<String>,
    /// Password of `AUTH`. Never printed, never reported.
    pub(crate) password: Option<String>,
    /// Ask for RESP3 with `HELLO 3`.
    pub(crate) resp3: bool,
    /// Database of `SELECT`; 0 is not asked for.
    pub(crate) database: u32,
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Greeting {{ resp3: {}, database: {}, .. }}", self.resp3, self.database)
    }
}

impl Greeting {
    /// Connects to `endpoint` and says it all. Every refusal is an error.
    pub(crate) fn open(&self, endpoint: &Endpoint, protocol: Protocol, timeout: Duration) -> Result<Control, String> {
        let mut control = Control::new(endpoint.connect(timeout)?, endpoint.to_string());
        if protocol == Protocol::Memcached {
            return Ok(control);
        }
        let auth: Vec<&str> = match (&self.user, &self.password) {
            (Some(user), Some(password)) => vec![user, password],
            (None, Some(password)) => vec![password],
            _ => vec![],
        };
        if self.resp3 {
            let mut hello = vec!["HELLO", "3"];
            if let Some(password) = &self.password {
                hello.extend(["AUTH", self.user.as_deref().unwrap_or("default"), password]);
            }
            control.must("HELLO 3", &hello)?;
        } else if !auth.is_empty() {
            control.must("AUTH", &[&["AUTH"], auth.as_slice()].concat())?;
        }
        if self.database != 0 {
            control.must("SELECT", &["SELECT", &self.database.to_string()])?;
        }
        Ok(control)
    }
}

/// Loopback, private, link-local and unique-local addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_private(IpAddr::V4(mapped)),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_addresses_are_loaded_without_a_word() {
        for near in ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.7.7", "169.254.1.1", "::1", "fd00::1", "fe80::1"] {
            assert!(is_private(near.parse().unwrap()), "{near}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"] {
            assert!(!is_private(far.parse().unwrap()), "{far}");
            let endpoint = Endpoint::Tcp(SocketAddr::new(far.parse().unwrap(), 6379));
            assert!(endpoint.check_private(false).unwrap_err().contains("--i-own-target"));
            assert_eq!(endpoint.check_private(true), Ok(()));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let greeting = Greeting { password: Some("secret".into()), ..Greeting::default() };
        assert!(!format!("{greeting:?}").contains("secret"));
    }
}
