//! Where a server is, as people write it: `host:port`, `host`, `[::1]:6379` or `redis://user@host:port`. Passwords come from a file
//! or the environment only: what stands on a command line is seen by every user of the machine.

use super::Trouble;
use std::fmt;
use std::fs;
use std::path::Path;

const PORT_DEFAULT: u16 = 6379;

/// The address of a server, and as whom to ask it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
}

impl Address {
    /// Reads an address given for `flag`. What is wrong is said without repeating it: it may hold a password.
    pub(super) fn parse(flag: &str, text: &str) -> Result<Address, Trouble> {
        let wrong = |what: &str| Trouble::usage(format!("{flag}: {what}; an address is host:port or redis://user@host:port"));
        if text.starts_with("rediss://") {
            return Err(wrong("TLS is not spoken here; tunnel it"));
        }
        let rest = text.strip_prefix("redis://").unwrap_or(text);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                return Err(wrong("a password does not belong on the command line; use the password file or the environment"));
            }
            Some((user, place)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains('/') {
            return Err(wrong("nothing may follow the port: every database is meant"));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(|| wrong("a colon is missing before the port"))?)),
            None => match place.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => return Err(wrong("an IPv6 address belongs in brackets")),
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let port = port.map_or(Ok(PORT_DEFAULT), str::parse).map_err(|_| wrong("the port is not a number up to 65535"))?;
        Ok(Address { host: host.to_owned(), port, user })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// A password. Shown to nobody.
pub(super) struct Password(pub(super) Vec<u8>);

impl Password {
    /// The first line of `file`, or else what the environment holds under `variable`.
    pub(super) fn find(file: Option<&Path>, variable: &str) -> Result<Option<Password>, Trouble> {
        let text = match (file, std::env::var_os(variable)) {
            (Some(path), _) => fs::read(path).map_err(Trouble::step(format_args!("cannot read {}", path.display())))?,
            (None, Some(text)) => text.into_encoded_bytes(),
            (None, None) => return Ok(None),
        };
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let place = file.map_or(variable.to_owned(), |path| path.display().to_string());
            return Err(Trouble::usage(format!("{place}: the first line, which is the password, is empty")));
        }
        Ok(Some(Password(line.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, host, port, user) in [
            ("localhost:6380", "localhost", 6380, None),
            ("localhost", "localhost", 6379, None),
            ("[::1]:7000", "::1", 7000, None),
            ("[::1]", "::1", 6379, None),
            ("redis://10.0.0.1:6379", "10.0.0.1", 6379, None),
            ("redis://mover@cache.example/", "cache.example", 6379, Some("mover")),
        ] {
            let user = user.map(str::to_owned);
            assert_eq!(Address::parse("--to", text).unwrap(), Address { host: host.to_owned(), port, user }, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        for text in [
            "redis://me:hunter2@host",
            "me:hunter2@host:1",
            "host:hunter2",
            "rediss://hunter2",
            "::hunter2:",
            "host:1/hunter2",
            ":1",
            "[::1]1",
        ] {
            let trouble = Address::parse("--to", text).unwrap_err();
            assert!(trouble.usage && trouble.text.starts_with("--to: ") && !trouble.text.contains("hunter2"), "{trouble}");
        }
    }
}
