//! Patterns of keys and names: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`, with the meaning Redis gives them, odd cases included.
//!
//! Time is at most the pattern's length times the text's, and the stack is not used: a pattern comes from outside, and
//! `a*a*a*a*b` must not be able to stop a core. Only the last `*` is ever tried again: if what follows it is nowhere in the
//! rest of the text, a longer match of an earlier one cannot help.
//!
//! An empty text is matched by the empty pattern only, not by `*`, as in Redis; `KEYS *` and `SCAN` do not ask.

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    search::<false>(pattern, text)
}

/// [`matches()`] that takes ASCII letters of both cases for the same.
pub fn matches_in_any_case(pattern: &[u8], text: &[u8]) -> bool {
    search::<true>(pattern, text)
}

/// The text that a pattern matches if it matches one text only; `None` if it holds anything special.
pub fn literal(pattern: &[u8]) -> Option<&[u8]> {
    pattern.iter().all(|byte| !matches!(byte, b'*' | b'?' | b'[' | b'\\')).then_some(pattern)
}

fn search<const ANY_CASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    let mut rest = pattern;
    let mut at = 0;
    // What follows the last `*`, and where in the text it was tried last.
    let mut retry: Option<(&[u8], usize)> = None;
    while at < text.len() {
        if let Some(after) = rest.strip_prefix(b"*") {
            rest = after;
            while let Some(after) = rest.strip_prefix(b"*") {
                rest = after;
            }
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, at));
        } else if !rest.is_empty() && step::<ANY_CASE>(&mut rest, text[at]) {
            at += 1;
        } else if let Some((after, tried)) = &mut retry {
            *tried += 1;
            (rest, at) = (after, *tried);
        } else {
            return false;
        }
    }
    // Text that ran out early runs out earlier at every later start, so nothing is tried again.
    !text.is_empty() && rest.iter().all(|byte| *byte == b'*') || pattern.is_empty()
}

/// Takes one element that is not `*` off `pattern`, which is not empty. Whether `byte` matches it.
#[inline]
fn step<const ANY_CASE: bool>(pattern: &mut &[u8], byte: u8) -> bool {
    match **pattern {
        [b'?', ref rest @ ..] => {
            *pattern = rest;
            true
        }
        [b'[', ref rest @ ..] => class::<ANY_CASE>(pattern, rest, byte),
        // A backslash at the very end stands for itself.
        [b'\\', literal, ref rest @ ..] | [literal, ref rest @ ..] => {
            *pattern = rest;
            same::<ANY_CASE>(literal, byte)
        }
        [] => false,
    }
}

/// What stands between `[` and `]`. One that is never closed ends with the pattern.
fn class<'a, const ANY_CASE: bool>(pattern: &mut &'a [u8], members: &'a [u8], byte: u8) -> bool {
    let (negated, mut members) = match members {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, members),
    };
    let mut found = false;
    loop {
        members = match *members {
            // An escaped member is compared as it is, in any case mode too.
            [b'\\', member, ref rest @ ..] => {
                found |= member == byte;
                rest
            }
            [b']', ref rest @ ..] => {
                *pattern = rest;
                break;
            }
            [from, b'-', to, ref rest @ ..] => {
                // Bytes are signed here, as C's `char` is on the machines Redis runs on.
                let (from, to, mut byte) = (from as i8, to as i8, byte as i8);
                let (mut low, mut high) = (from.min(to), from.max(to));
                if ANY_CASE {
                    (low, high, byte) = (lower(low), lower(high), lower(byte));
                }
                found |= (low..=high).contains(&byte);
                rest
            }
            [member, ref rest @ ..] => {
                found |= same::<ANY_CASE>(member, byte);
                rest
            }
            [] => {
                *pattern = &[];
                break;
            }
        };
    }
    found != negated
}

#[inline]
fn same<const ANY_CASE: bool>(left: u8, right: u8) -> bool {
    if ANY_CASE { left.eq_ignore_ascii_case(&right) } else { left == right }
}

fn lower(byte: i8) -> i8 {
    (byte as u8).to_ascii_lowercase() as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        // The answers were taken from redis-server 7.0.15 by KEYS.
        for (pattern, text, matched) in [
            ("*", "a", true),
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a**", "a", true),
            ("a*b", "ab", true),
            ("a*b", "acb", true),
            ("a*b", "acbc", false),
            ("a*b*c", "aXbYbZc", true),
            ("?", "a", true),
            ("?", "", false),
            ("??", "a", false),
            ("*?", "a", true),
            ("?*", "a", true),
            ("[abc]", "b", true),
            ("[abc]", "d", false),
            ("[^abc]", "d", true),
            ("[^abc]", "a", false),
            ("[a-c]", "b", true),
            ("[c-a]", "b", true),
            ("[a-]", "-", false),
            ("[a-]", "^", true),
            ("[-a]", "-", true),
            ("[]a]", "a", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[\\]]", "]", true),
            ("[\\^]", "^", true),
            ("[a", "a", true),
            ("[a", "b", false),
            ("[^a", "b", true),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("[", "[", false),
            ("[^", "a", true),
            ("[\\", "\\", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("\\\\", "\\", true),
            ("a\\", "a\\", true),
            ("\\a", "a", true),
            ("h[ae]llo*", "hallo world", true),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), matched, "{pattern:?} {text:?}");
        }
        assert!(matches_in_any_case(b"MAX[M-p]em*", b"maxMEMory"));
        assert!(!matches_in_any_case(b"[\\A]", b"a"), "an escaped member is compared as it is");
        assert!(matches(b"[\x80-\x05]", b"\x00"), "signed: -128 to 5");
        assert!(!matches(b"[\x01-\xff]", b"\x80"), "signed: -1 to 1");
    }

    #[test]
    fn hostile_patterns_take_bounded_time() {
        let pattern = [b"a*".repeat(500), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(5_000)));
        let stars = b"*".repeat(1 << 20);
        assert!(matches(&stars, b"abc"));
        assert!(!matches(&[stars, b"d".to_vec()].concat(), b"abc"));
        assert!(matches(&[b"*[".to_vec(), b"a-z".repeat(1 << 13)].concat(), &b"q".repeat(100)));
    }

    /// Redis' own recursion, without its guards: slow and plain.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skipped| model(rest, &text[skipped..])),
            _ => {
                let mut rest = pattern;
                !text.is_empty() && step::<false>(&mut rest, text[0]) && model(rest, &text[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn trying_again_only_at_the_last_star_loses_nothing(pattern in "[ab*?\\[\\]^-]{0,9}", text in "[ab]{1,9}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
            matches_in_any_case(&pattern, &text);
        }

        #[test]
        fn a_literal_matches_itself_only(pattern: Vec<u8>, text: Vec<u8>) {
            if let Some(literal) = literal(&pattern) {
                prop_assert!(matches(&pattern, literal));
                prop_assert_eq!(matches(&pattern, &text), text == literal);
            }
        }
    }
}
