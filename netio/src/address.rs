//! Socket addresses as the system wants them, and back.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// An address in the system's layout.
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    pub(crate) fn tcp(addr: SocketAddr) -> Address {
        match addr {
            SocketAddr::V4(v4) => Address::from_layout(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Address::from_layout(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    /// A Unix path, already known to fit with its final zero.
    pub(crate) fn unix_bytes(path: &[u8]) -> Address {
        let mut layout =
            libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; crate::listener::UNIX_PATH_BYTES_MAX] };
        assert!(path.len() < layout.sun_path.len());
        for (to, from) in layout.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        Address::from_layout(layout)
    }

    fn from_layout<T>(layout: T) -> Address {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        const { assert!(align_of::<T>() <= align_of::<libc::sockaddr_storage>()) };
        // SAFETY: an all-zero sockaddr_storage is a valid value of that plain struct.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: the storage is large enough and aligned for `T`, both asserted above.
        unsafe { (&raw mut storage).cast::<T>().write(layout) };
        Address { storage, len: size_of::<T>() as libc::socklen_t }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// `None` for families that have no address and port.
    fn to_socket_addr(&self) -> Option<SocketAddr> {
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in, which the storage is large and aligned enough for.
                let v4 = unsafe { &*self.as_ptr().cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for sockaddr_in6.
                let v6 = unsafe { &*self.as_ptr().cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// The address a socket is bound to.
pub(crate) fn bound_address(fd: RawFd) -> Option<SocketAddr> {
    ask(fd, libc::getsockname)
}

/// The address at the other end of a socket.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    ask(fd, libc::getpeername)
}

type Question = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn ask(fd: RawFd, question: Question) -> Option<SocketAddr> {
    // SAFETY: an all-zero sockaddr_storage is a valid value of that plain struct.
    let storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut address = Address { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t };
    // SAFETY: both pointers are valid for writing, and `len` says how much room the storage has.
    let done = unsafe { question(fd, (&raw mut address.storage).cast(), &raw mut address.len) };
    if done < 0 {
        return None;
    }
    address.to_socket_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_system_layout() {
        for text in ["127.0.0.1:6379", "0.0.0.0:0", "[::1]:7401", "[fe80::1%3]:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::tcp(addr).to_socket_addr(), Some(addr));
        }
    }
}
