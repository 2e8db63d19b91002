//! Requests as bytes: templates made once, then filled with a key, a size and a payload. No allocation per request.
//!
//! The payload of a key is a window of one shared pattern, placed by the key's number alone. So any reply can be checked
//! against its key without remembering what was written, also across runs and across threads.

use std::sync::Arc;

use crate::random::{Random, mix64};
use crate::workload::{Kind, Sizes};

/// Which protocol the target speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// Redis' protocol: Corewheel, Redis, Valkey, Dragonfly, ...
    Resp,
    /// memcached's text protocol.
    Memcached,
}

/// One operation, drawn and not yet sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    /// What to do.
    pub(crate) kind: Kind,
    /// Number of the key, or of the first of a run.
    pub(crate) key: u64,
    /// Keys in the run; 1 for most kinds.
    pub(crate) run: u32,
    /// Size of the value, for kinds that write.
    pub(crate) size: usize,
    /// Expiry, for kinds that write and for `expire`.
    pub(crate) ttl_ms: Option<u64>,
}

/// How key numbers become names: a prefix, then digits of a fixed width, so that every key has the same length.
#[derive(Clone, Debug)]
pub(crate) struct KeyName {
    prefix: Vec<u8>,
    digits: usize,
}

impl KeyName {
    /// # Panics
    /// If `digits` is 0 or above 20.
    pub(crate) fn new(prefix: &str, digits: usize) -> KeyName {
        assert!((1..=20).contains(&digits));
        KeyName { prefix: prefix.as_bytes().to_vec(), digits }
    }

    /// Length of every key.
    pub(crate) fn bytes(&self) -> usize {
        self.prefix.len() + self.digits
    }

    /// Writes the name of key `number`. Numbers too wide for the digits lose their front; plans refuse that before.
    #[inline]
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        let mut digits = [b'0'; 20];
        let mut left = number;
        let mut at = 20;
        while left >= 100 {
            let pair = (left % 100) as usize * 2;
            left /= 100;
            at -= 2;
            digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if left >= 10 {
            let pair = left as usize * 2;
            digits[at - 2..at].copy_from_slice(&PAIRS[pair..pair + 2]);
        } else {
            digits[at - 1] = b'0' + left as u8;
        }
        out.extend_from_slice(&digits[20 - self.digits..]);
    }

    /// The number of a key written by [`KeyName::write`].
    pub(crate) fn read(&self, key: &[u8]) -> Option<u64> {
        let digits = key.strip_prefix(self.prefix.as_slice()).filter(|digits| digits.len() == self.digits)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The Redis Cluster slot of key `number`. `scratch` is only room to write in.
    pub(crate) fn slot(&self, number: u64, scratch: &mut Vec<u8>) -> u16 {
        scratch.clear();
        self.write(number, scratch);
        crate::cluster::slot_of(scratch)
    }

    /// Whether all keys fall into one slot, because the prefix carries a `{hash tag}`.
    pub(crate) fn one_slot(&self) -> bool {
        let Some(open) = self.prefix.iter().position(|&byte| byte == b'{') else { return false };
        self.prefix[open + 1..].iter().position(|&byte| byte == b'}').is_some_and(|length| length > 0)
    }
}

static PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[n * 2] = b'0' + (n / 10) as u8;
        pairs[n * 2 + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

/// Where payloads start in the pattern: enough places that neighbours differ, few enough to stay in the L2 cache.
const PLACES: u64 = 64 << 10;

/// Payloads by key.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pattern: Arc<[u8]>,
}

impl Payload {
    /// Enough pattern for values of up to `largest` bytes. It is the same in every run, so data written by one can be
    /// checked by the next.
    pub(crate) fn new(largest: usize) -> Payload {
        let mut random = Random::new(0x00c0_4e57_8ee1, 0);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut pattern = Vec::with_capacity(PLACES as usize + largest + 8);
        while pattern.len() < PLACES as usize + largest {
            let mut word = random.next();
            for _ in 0..8 {
                pattern.push(alphabet[(word & 63) as usize]);
                word >>= 6;
            }
        }
        Payload { pattern: pattern.into() }
    }

    /// The value of key `number` when it is `size` bytes long.
    #[inline]
    pub(crate) fn of(&self, number: u64, size: usize) -> &[u8] {
        let place = (mix64(number) % PLACES) as usize;
        &self.pattern[place..place + size]
    }

    /// Whether `value` is what this tool writes to key `number`, in one of `sizes`.
    pub(crate) fn matches(&self, number: u64, value: &[u8], sizes: &Sizes) -> bool {
        sizes.allows(value.len()) && value == self.of(number, value.len())
    }
}

/// Turns operations into bytes.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    protocol: Protocol,
    key: KeyName,
    counter: KeyName,
    payload: Payload,
    get: Vec<u8>,
    set: Vec<u8>,
    set_expiring: Vec<u8>,
    del: Vec<u8>,
    incr: Vec<u8>,
    exists: Vec<u8>,
    expire: Vec<u8>,
    ttl: Vec<u8>,
    key_head: Vec<u8>,
}

/// Expiry of `expire` operations where `--ttl` names none.
pub(crate) const EXPIRE_MS: u64 = 60_000;
/// Prefix of counters, which must not share keys with values.
pub(crate) const COUNTER_PREFIX: &str = "ctr:";

impl Encoder {
    /// Templates for `protocol` over keys named by `key`.
    pub(crate) fn new(protocol: Protocol, key: KeyName, payload: Payload) -> Encoder {
        let counter = KeyName { prefix: COUNTER_PREFIX.as_bytes().to_vec(), digits: key.digits };
        let head = |words: usize, verb: &str, key: &KeyName| match protocol {
            Protocol::Resp => format!("*{words}\r\n${}\r\n{verb}\r\n${}\r\n", verb.len(), key.bytes()).into_bytes(),
            Protocol::Memcached => format!("{} ", verb.to_ascii_lowercase()).into_bytes(),
        };
        let memcached = protocol == Protocol::Memcached;
        Encoder {
            protocol,
            get: head(2, "GET", &key),
            set: head(3, "SET", &key),
            set_expiring: head(5, "SET", &key),
            del: head(2, if memcached { "DELETE" } else { "DEL" }, &key),
            incr: head(2, "INCR", &counter),
            exists: head(2, "EXISTS", &key),
            expire: head(3, if memcached { "TOUCH" } else { "PEXPIRE" }, &key),
            ttl: head(2, "PTTL", &key),
            key_head: match protocol {
                Protocol::Resp => format!("${}\r\n", key.bytes()).into_bytes(),
                Protocol::Memcached => Vec::new(),
            },
            key,
            counter,
            payload,
        }
    }

    /// Payloads, to check replies against.
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// How keys are named.
    pub(crate) fn key_name(&self) -> &KeyName {
        &self.key
    }

    /// Whether `protocol` has a request for `kind`.
    pub(crate) fn speaks(protocol: Protocol, kind: Kind) -> bool {
        protocol == Protocol::Resp || !matches!(kind, Kind::Mset | Kind::Exists | Kind::Ttl)
    }

    /// Appends the request of `op`. A read-modify-write begins with its read; the write is [`Encoder::write_back`].
    #[inline]
    pub(crate) fn encode(&self, op: &Op, out: &mut Vec<u8>) {
        match op.kind {
            Kind::Get | Kind::Read | Kind::Rmw => self.one(&self.get, &self.key, op.key, out),
            Kind::Set | Kind::Update | Kind::Insert => self.set(op.key, op.size, op.ttl_ms, out),
            Kind::Del => self.one(&self.del, &self.key, op.key, out),
            Kind::Incr => self.incr(op.key, out),
            Kind::Exists => self.one(&self.exists, &self.key, op.key, out),
            Kind::Ttl => self.one(&self.ttl, &self.key, op.key, out),
            Kind::Expire => self.expire(op.key, op.ttl_ms.unwrap_or(EXPIRE_MS), out),
            Kind::Mget | Kind::Scan => self.mget(op, out),
            Kind::Mset => self.mset(op, out),
            Kind::Ping => out.extend_from_slice(match self.protocol {
                Protocol::Resp => b"*1\r\n$4\r\nPING\r\n",
                Protocol::Memcached => b"version\r\n",
            }),
        }
    }

    /// Appends the write that ends a read-modify-write.
    pub(crate) fn write_back(&self, key: u64, size: usize, ttl_ms: Option<u64>, out: &mut Vec<u8>) {
        self.set(key, size, ttl_ms, out);
    }

    #[inline]
    fn one(&self, head: &[u8], name: &KeyName, key: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(head);
        name.write(key, out);
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn set(&self, key: u64, size: usize, ttl_ms: Option<u64>, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Resp => {
                out.extend_from_slice(if ttl_ms.is_some() { &self.set_expiring } else { &self.set });
                self.key.write(key, out);
                out.extend_from_slice(b"\r\n$");
                write_number(size as u64, out);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(self.payload.of(key, size));
                if let Some(ms) = ttl_ms {
                    out.extend_from_slice(b"\r\n$2\r\nPX\r\n");
                    write_bulk_number(ms, out);
                } else {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Protocol::Memcached => {
                out.extend_from_slice(&self.set);
                self.key.write(key, out);
                out.extend_from_slice(b" 0 ");
                write_number(ttl_ms.map_or(0, seconds_up), out);
                out.push(b' ');
                write_number(size as u64, out);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(self.payload.of(key, size));
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn incr(&self, key: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.incr);
        self.counter.write(key, out);
        out.extend_from_slice(match self.protocol {
            Protocol::Resp => b"\r\n",
            Protocol::Memcached => b" 1\r\n",
        });
    }

    fn expire(&self, key: u64, ttl_ms: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.expire);
        self.key.write(key, out);
        match self.protocol {
            Protocol::Resp => {
                out.extend_from_slice(b"\r\n");
                write_bulk_number(ttl_ms, out);
            }
            Protocol::Memcached => {
                out.push(b' ');
                write_number(seconds_up(ttl_ms), out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn mget(&self, op: &Op, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::Resp => {
                out.push(b'*');
                write_number(u64::from(op.run) + 1, out);
                out.extend_from_slice(b"\r\n$4\r\nMGET\r\n");
                for key in op.key..op.key + u64::from(op.run) {
                    self.one(&self.key_head, &self.key, key, out);
                }
            }
            Protocol::Memcached => {
                out.extend_from_slice(b"get");
                for key in op.key..op.key + u64::from(op.run) {
                    out.push(b' ');
                    self.key.write(key, out);
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn mset(&self, op: &Op, out: &mut Vec<u8>) {
        out.push(b'*');
        write_number(u64::from(op.run) * 2 + 1, out);
        out.extend_from_slice(b"\r\n$4\r\nMSET\r\n");
        for key in op.key..op.key + u64::from(op.run) {
            self.one(&self.key_head, &self.key, key, out);
            out.push(b'$');
            write_number(op.size as u64, out);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(self.payload.of(key, op.size));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// memcached counts expiries in seconds; rounding down would turn a short one into "never".
fn seconds_up(ms: u64) -> u64 {
    ms.div_ceil(1000)
}

#[inline]
fn write_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = 20;
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// `$len\r\nnumber\r\n`.
fn write_bulk_number(number: u64, out: &mut Vec<u8>) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    out.push(b'$');
    write_number(u64::from(digits), out);
    out.extend_from_slice(b"\r\n");
    write_number(number, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(protocol: Protocol, kind: Kind, ttl_ms: Option<u64>) -> String {
        let encoder = Encoder::new(protocol, KeyName::new("key:", 4), Payload::new(64));
        let mut out = Vec::new();
        encoder.encode(&Op { kind, key: 7, run: 2, size: 3, ttl_ms }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn resp_requests() {
        let payload = Payload::new(64);
        let value = std::str::from_utf8(payload.of(7, 3)).unwrap();
        let next = std::str::from_utf8(payload.of(8, 3)).unwrap();
        let resp = |kind, ttl| text(Protocol::Resp, kind, ttl);
        assert_eq!(resp(Kind::Get, None), "*2\r\n$3\r\nGET\r\n$8\r\nkey:0007\r\n");
        assert_eq!(resp(Kind::Set, None), format!("*3\r\n$3\r\nSET\r\n$8\r\nkey:0007\r\n$3\r\n{value}\r\n"));
        assert_eq!(
            resp(Kind::Set, Some(10_000)),
            format!("*5\r\n$3\r\nSET\r\n$8\r\nkey:0007\r\n$3\r\n{value}\r\n$2\r\nPX\r\n$5\r\n10000\r\n")
        );
        assert_eq!(resp(Kind::Expire, Some(5)), "*3\r\n$7\r\nPEXPIRE\r\n$8\r\nkey:0007\r\n$1\r\n5\r\n");
        assert_eq!(resp(Kind::Mget, None), "*3\r\n$4\r\nMGET\r\n$8\r\nkey:0007\r\n$8\r\nkey:0008\r\n");
        assert_eq!(
            resp(Kind::Mset, None),
            format!("*5\r\n$4\r\nMSET\r\n$8\r\nkey:0007\r\n$3\r\n{value}\r\n$8\r\nkey:0008\r\n$3\r\n{next}\r\n")
        );
        assert_eq!(resp(Kind::Incr, None), "*2\r\n$4\r\nINCR\r\n$8\r\nctr:0007\r\n");
    }

    #[test]
    fn memcached_requests() {
        let payload = Payload::new(64);
        let value = std::str::from_utf8(payload.of(7, 3)).unwrap();
        let memcached = |kind, ttl| text(Protocol::Memcached, kind, ttl);
        assert_eq!(memcached(Kind::Get, None), "get key:0007\r\n");
        assert_eq!(memcached(Kind::Set, Some(1_500)), format!("set key:0007 0 2 3\r\n{value}\r\n"));
        assert_eq!(memcached(Kind::Del, None), "delete key:0007\r\n");
        assert_eq!(memcached(Kind::Scan, None), "get key:0007 key:0008\r\n");
        assert_eq!(memcached(Kind::Incr, None), "incr ctr:0007 1\r\n");
        assert_eq!(memcached(Kind::Expire, None), "touch key:0007 60\r\n");
    }

    #[test]
    fn payloads_are_checked_by_key_and_size() {
        let payload = Payload::new(100);
        let sizes = Sizes::parse("10,100").unwrap();
        assert!(payload.matches(5, payload.of(5, 100), &sizes));
        assert!(!payload.matches(5, payload.of(5, 99), &sizes), "a size never written");
        assert!(!payload.matches(5, payload.of(6, 10), &sizes), "another key's value");
    }

    proptest! {
        #[test]
        fn keys_are_padded_decimal(number in 0u64..1_000_000_000_000, digits in 12usize..=20) {
            let mut out = Vec::new();
            let name = KeyName::new("k", digits);
            name.write(number, &mut out);
            prop_assert_eq!(name.read(&out), Some(number));
            prop_assert_eq!(name.read(&out[1..]), None);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("k{number:0digits$}"));
        }

        #[test]
        fn numbers_are_decimal(number: u64) {
            let mut out = Vec::new();
            write_bulk_number(number, &mut out);
            let text = number.to_string();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("${}\r\n{text}\r\n", text.len()));
        }
    }
}
