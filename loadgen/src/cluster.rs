//! Redis Cluster as a client sees it: the slot of a key, which node owns a slot, and redirections.

use std::net::SocketAddr;

use crate::control::{Control, Tree};

/// How many slots a cluster has. Fixed by the protocol.
pub(crate) const SLOT_COUNT: usize = 16384;

/// Slot of a key: CRC16 of its `{hash tag}` if it has a non-empty one, else of all of it.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0).map(|length| &rest[..length])
    });
    crc16(tagged.unwrap_or(key)) % SLOT_COUNT as u16
}

/// Which node owns which slot, and where nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Addresses, by node number.
    pub(crate) nodes: Vec<SocketAddr>,
    /// Node number of each slot.
    pub(crate) owner: Vec<u16>,
}

impl Layout {
    /// Asks `control` for its cluster. Nodes that do not name a host are where we already are.
    pub(crate) fn ask(control: &mut Control, home: SocketAddr) -> Result<Layout, String> {
        let reply = control.command(&["CLUSTER", "SLOTS"])?;
        Layout::read(&reply, home)
    }

    fn read(reply: &Tree, home: SocketAddr) -> Result<Layout, String> {
        let Tree::List(ranges) = reply else {
            return Err(match reply {
                Tree::Refused(text) => format!("the target is no cluster: CLUSTER SLOTS answered '{text}'"),
                _ => "the target answered CLUSTER SLOTS with something else than a list".to_string(),
            });
        };
        let mut layout = Layout { nodes: Vec::new(), owner: vec![u16::MAX; SLOT_COUNT] };
        for range in ranges {
            let unreadable = || "CLUSTER SLOTS has a range that cannot be read".to_string();
            let Tree::List(parts) = range else { return Err(unreadable()) };
            let (Some(Tree::Number(first)), Some(Tree::Number(last)), Some(Tree::List(node))) = (parts.first(), parts.get(1), parts.get(2))
            else {
                return Err(unreadable());
            };
            let (Some(host), Some(Tree::Number(port))) = (node.first(), node.get(1)) else { return Err(unreadable()) };
            let host = match host {
                Tree::Text(host) => String::from_utf8_lossy(host).into_owned(),
                _ => String::new(),
            };
            let port = u16::try_from(*port).map_err(|_| unreadable())?;
            let number = layout.node(address(&host, port, home)?);
            let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else { return Err(unreadable()) };
            if first > last || last >= SLOT_COUNT {
                return Err(unreadable());
            }
            layout.owner[first..=last].fill(number);
        }
        match layout.owner.iter().position(|&owner| owner == u16::MAX) {
            Some(slot) => Err(format!("the cluster is not whole: no node owns slot {slot}")),
            None => Ok(layout),
        }
    }

    /// The number of the node at `address`, a new one if it was not known.
    pub(crate) fn node(&mut self, address: SocketAddr) -> u16 {
        match self.nodes.iter().position(|&known| known == address) {
            Some(index) => index as u16,
            None => {
                self.nodes.push(address);
                (self.nodes.len() - 1) as u16
            }
        }
    }
}

/// A refusal that says where to go instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// For this request only (`ASK`), not from now on (`MOVED`).
    pub(crate) once: bool,
    /// The slot in question.
    pub(crate) slot: u16,
    /// Host as named; may be empty, which means the host that answered.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Redirection {
    /// Reads `MOVED 3999 127.0.0.1:6381` or `ASK ...`.
    pub(crate) fn read(text: &[u8]) -> Option<Redirection> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        let once = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let slot = words.next()?.parse().ok().filter(|&slot| usize::from(slot) < SLOT_COUNT)?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        Some(Redirection { once, slot, host: host.to_string(), port: port.parse().ok()? })
    }
}

/// Where `host:port` is. Cluster nodes name addresses; a name is looked up.
pub(crate) fn address(host: &str, port: u16, home: SocketAddr) -> Result<SocketAddr, String> {
    if host.is_empty() || host == "?" {
        return Ok(SocketAddr::new(home.ip(), port));
    }
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    std::net::ToSocketAddrs::to_socket_addrs(&(host, port))
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| format!("the cluster names a node '{host}' that cannot be looked up"))
}

/// CRC16-XMODEM, as Redis Cluster demands.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static CRC_TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "127.0.0.1:7000";

    #[test]
    fn slots_are_those_of_redis() {
        // From the cluster specification: CRC16 of 123456789 is 0x31C3; tags decide where they are not empty.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16384);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % 16384);
    }

    #[test]
    fn redirections_are_read() {
        assert_eq!(
            Redirection::read(b"MOVED 3999 127.0.0.1:6381"),
            Some(Redirection { once: false, slot: 3999, host: "127.0.0.1".into(), port: 6381 })
        );
        assert_eq!(Redirection::read(b"ASK 1 ::1:6381").map(|there| (there.once, there.host)), Some((true, "::1".into())));
        for other in [&b"ERR MOVED"[..], b"MOVED", b"MOVED 99999 h:1", b"MOVED 1 h:x", b"MOVED 1 h"] {
            assert_eq!(Redirection::read(other), None);
        }
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> Tree {
        let node = Tree::List(vec![Tree::Text(host.into()), Tree::Number(port), Tree::Text(b"id".to_vec())]);
        Tree::List(vec![Tree::Number(first), Tree::Number(last), node])
    }

    #[test]
    fn a_layout_is_read_or_refused() {
        let home = HOME.parse().unwrap();
        let whole = Tree::List(vec![range(0, 8191, "", 7000), range(8192, 16383, "127.0.0.1", 7001)]);
        let layout = Layout::read(&whole, home).unwrap();
        assert_eq!(layout.nodes, [HOME.parse().unwrap(), "127.0.0.1:7001".parse().unwrap()]);
        assert_eq!((layout.owner[8191], layout.owner[8192]), (0, 1));
        let holed = Tree::List(vec![range(0, 100, "127.0.0.1", 7000)]);
        assert!(Layout::read(&holed, home).unwrap_err().contains("slot 101"));
        let refused = Tree::Refused("ERR This instance has cluster support disabled".into());
        assert!(Layout::read(&refused, home).unwrap_err().contains("no cluster"));
        assert!(Layout::read(&Tree::List(vec![range(5, 99_999, "", 1)]), home).is_err());
    }
}
