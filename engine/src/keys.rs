//! The keys that files are encrypted with, as an operator gives them.
//!
//! One line each: a number, and 32 bytes in hexadecimal. The key with the highest number encrypts new files; all are there to
//! read older ones, each of which names its key's number. So a key is retired by adding the next. No file is encrypted with such
//! a key itself: every file has a key of its own, derived from it and from the file's header.
//!
//! Nothing here can be printed: neither [`Keys`] nor an error about them shows more than numbers.

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use shards::log::SegmentHeader;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// Keys by number. Wiped from memory with the last of them.
#[derive(Clone, Default)]
pub struct Keys(Arc<BTreeMap<u32, Zeroizing<[u8; KEY_BYTES]>>>);

impl Keys {
    /// Reads lines of a number from 1 on and 64 hexadecimal digits. Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// Says which line is wrong and how, never what stands in it.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", index + 1);
            let mut words = line.split_ascii_whitespace();
            let (Some(number), Some(digits), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("write a number, a space and 64 hexadecimal digits"));
            };
            let number: u32 = number.parse().map_err(|_| wrong("a key's number is one from 1 to 4294967295"))?;
            if number == 0 {
                return Err(wrong("a key's number is one from 1 to 4294967295"));
            }
            let key = from_hex(digits.as_bytes()).ok_or_else(|| wrong("a key is 64 hexadecimal digits, as openssl rand -hex 32 makes"))?;
            if keys.insert(number, key).is_some() {
                return Err(wrong(&format!("there is a key {number} already; numbers are never used again")));
            }
        }
        if keys.is_empty() {
            return Err("there is no key: write a line with a number, a space and 64 hexadecimal digits".into());
        }
        Ok(Keys(Arc::new(keys)))
    }

    /// These instead of `before`, while the server runs.
    ///
    /// # Errors
    /// If a number now names another key, which would make what was written since unreadable, or if new files would go back to
    /// an older one.
    pub fn follow(self, before: &Keys) -> Result<Keys, String> {
        for (number, key) in self.0.iter() {
            if before.0.get(number).is_some_and(|known| known != key) {
                return Err(format!("key {number} is another one than before: give a new key a new number"));
            }
        }
        match (self.newest(), before.newest()) {
            (now, Some(newest)) if now < Some(newest) => {
                Err(format!("key {newest}, with which files are being written, is not among them any more"))
            }
            _ => Ok(self),
        }
    }

    /// The number of the key that new files are encrypted with; `None` if they are not.
    pub fn newest(&self) -> Option<u32> {
        self.0.last_key_value().map(|(number, _)| *number)
    }

    /// The key of one file, derived with HKDF-SHA256 (RFC 5869) from the key that its header names, the node's id as salt and
    /// everything the header says as context: what its name is made of, when it was made, and its nonce prefix. So no two files
    /// have the same, not even those of two copies of one directory, and it opens nothing behind another header. `None` if the
    /// key is not there.
    pub(crate) fn of_file(&self, header: &SegmentHeader) -> Option<LessSafeKey> {
        let key = self.0.get(&header.key_number)?;
        let block = header.to_bytes();
        let context = [&block[..SegmentHeader::SAID_BYTES]];
        let extracted = Salt::new(HKDF_SHA256, &header.node.0).extract(&key[..]);
        let expanded = extracted.expand(&context, &AES_256_GCM).expect("a key is far shorter than what HKDF can give");
        Some(LessSafeKey::new(UnboundKey::from(expanded)))
    }

    /// The numbers there are, for people: `no key was given`, `the keys given are 1 and 2`.
    pub fn said(&self) -> String {
        let numbers: Vec<String> = self.0.keys().map(u32::to_string).collect();
        match &numbers[..] {
            [] => "no key was given".into(),
            [one] => format!("the only key given is {one}"),
            [first @ .., last] => format!("the keys given are {} and {last}", first.join(", ")),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, hidden)", self.said())
    }
}

fn from_hex(digits: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.len() != KEY_BYTES {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let [high, low] = [high, low].map(|digit| char::from(*digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const B: &str = "F00102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";

    #[test]
    fn lines_are_read_and_the_highest_number_writes() {
        let keys = Keys::parse(&format!("# made in spring\n\n7 {A}\r\n  3   {B}  \n")).unwrap();
        assert_eq!((keys.newest(), keys.said().as_str()), (Some(7), "the keys given are 3 and 7"));
        assert_eq!(keys.0[&7][..4], [0, 1, 2, 3]);
        assert_eq!(keys.0[&3][0], 0xf0);
        assert_eq!((Keys::default().newest(), Keys::default().said().as_str()), (None, "no key was given"));
    }

    #[test]
    fn what_is_wrong_is_said_without_saying_what_stands_there() {
        for (text, why) in [
            (String::new(), "there is no key"),
            (format!("{A}\n"), "line 1: write a number"),
            (format!("\n1 {A} x"), "line 2: write a number"),
            (format!("0 {A}"), "line 1: a key's number"),
            (format!("4294967296 {A}"), "line 1: a key's number"),
            (format!("{A} 1"), "line 1: a key's number"),
            (format!("1 {}", &A[1..]), "line 1: a key is 64"),
            (format!("1 {A}00"), "line 1: a key is 64"),
            (format!("1 {}g", &A[1..]), "line 1: a key is 64"),
            (format!("1 {A}\n1 {A}"), "line 2: there is a key 1 already"),
        ] {
            let error = Keys::parse(&text).expect_err(&text);
            assert!(error.starts_with(why) && !error.contains(&A[2..10]), "{error}");
        }
    }

    #[test]
    fn a_number_names_one_key_for_ever() {
        let before = Keys::parse(&format!("1 {A}")).unwrap();
        let more = Keys::parse(&format!("1 {A}\n2 {B}")).unwrap();
        let later = Keys::parse(&format!("2 {B}")).unwrap();
        assert_eq!(more.clone().follow(&before).unwrap().newest(), Some(2));
        assert_eq!(later.follow(&more).unwrap().newest(), Some(2), "the old one may go");
        assert_eq!(before.clone().follow(&Keys::default()).unwrap().newest(), Some(1));
        let other = Keys::parse(&format!("1 {B}\n2 {B}")).unwrap();
        assert!(other.follow(&before).unwrap_err().starts_with("key 1 is another one than before"));
        assert!(before.follow(&more).unwrap_err().starts_with("key 2, with which files are being written"));
    }

    #[test]
    fn nothing_prints_a_key() {
        let keys = Keys::parse(&format!("12 {A}")).unwrap();
        assert_eq!(format!("{keys:?}"), "(the only key given is 12, hidden)");
    }
}
