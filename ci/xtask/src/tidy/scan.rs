//! Rust text with everything that is not code blanked out: comments, strings, characters.
//!
//! Line numbers survive, so a rule can search the rest by words and still say where. It is a scanner of tokens, not a
//! parser: a word produced by a macro is not seen, which is fine for rules about what people write.

/// The same text with comments and the insides of literals replaced by spaces. Line ends stay.
pub(super) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|&char| if char == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends, or `at` where none starts.
fn literal_end(chars: &[char], at: usize) -> usize {
    let before = if at == 0 { ' ' } else { chars[at - 1] };
    match chars[at] {
        '/' if chars.get(at + 1) == Some(&'/') => line_end(chars, at),
        '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' | 'b' | 'c' if !is_word(before) => prefixed_string_end(chars, at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&char| char == '\n').map_or(chars.len(), |length| at + length)
}

/// Block comments nest.
fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut next = at;
    while next < chars.len() {
        match (chars[next], chars.get(next + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                next += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                next += 2;
                if depth == 0 {
                    return next;
                }
            }
            _ => next += 1,
        }
    }
    chars.len()
}

/// `at` is just past the opening quote.
fn string_end(chars: &[char], at: usize) -> usize {
    let mut next = at;
    while next < chars.len() {
        match chars[next] {
            '\\' => next += 2,
            '"' => return next + 1,
            _ => next += 1,
        }
    }
    chars.len()
}

/// `b"…"`, `c"…"`, `r"…"`, `br#"…"#` and `b'…'`; `at` itself where the letters begin an ordinary word.
fn prefixed_string_end(chars: &[char], at: usize) -> usize {
    let mut next = at;
    let mut raw = false;
    while let Some(&char) = chars.get(next) {
        match char {
            'b' | 'c' if next - at < 2 => next += 1,
            'r' if !raw => {
                raw = true;
                next += 1;
            }
            _ => break,
        }
    }
    let hashes = chars[next..].iter().take_while(|&&char| char == '#').count();
    match chars.get(next + hashes) {
        Some('"') if raw => raw_string_end(chars, next + hashes + 1, hashes),
        Some('"') if hashes == 0 => string_end(chars, next + 1),
        Some('\'') if hashes == 0 && !raw && next == at + 1 => char_end(chars, next),
        _ => at,
    }
}

fn raw_string_end(chars: &[char], at: usize, hashes: usize) -> usize {
    let mut next = at;
    while next < chars.len() {
        let closing = &chars[next + 1..chars.len().min(next + 1 + hashes)];
        if chars[next] == '"' && closing.len() == hashes && closing.iter().all(|&char| char == '#') {
            return next + 1 + hashes;
        }
        next += 1;
    }
    chars.len()
}

/// A character literal, told from a lifetime by the quote that closes it.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => {
            let body = at + 3;
            let close = chars[body.min(chars.len())..].iter().position(|&char| char == '\'');
            close.map_or(chars.len(), |length| body + length + 1)
        }
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// Byte positions where `word` stands alone in `line`, not as a part of a longer word.
pub(super) fn word_positions<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    line.match_indices(word).map(|(position, _)| position).filter(move |&position| {
        let before = line[..position].chars().next_back().unwrap_or(' ');
        let after = line[position + word.len()..].chars().next().unwrap_or(' ');
        !is_word(before) && !is_word(after)
    })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let blanked: String = code_only(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(blanked, expected, "from {text:?}");
    }

    #[test]
    fn comments_and_literals_vanish_and_code_stays() {
        check("a // unsafe\nb", "a b");
        check("a /* x /* unsafe */ y */ b", "a b");
        check(r#"a("unsafe \" still", b)"#, "a( , b)");
        check(r##"a(r#"unsafe "quoted" "#, b)"##, "a( , b)");
        check(r#"a(b"unsafe", c"unsafe", br"unsafe\", d)"#, "a( , , , d)");
        check("let c = '\"'; unsafe {}", "let c = ; unsafe {}");
        check(r"let c = '\''; unsafe {}", "let c = ; unsafe {}");
        check("fn f<'a>(x: &'a str) -> &'a str { x }", "fn f<'a>(x: &'a str) -> &'a str { x }");
        check("let bar = rb + b; crab(b'x', 'y')", "let bar = rb + b; crab( , )");
    }

    #[test]
    fn line_numbers_survive() {
        let text = "a\n/* two\nlines */ b\n\"c\nd\" e\n";
        assert_eq!(code_only(text).lines().count(), text.lines().count());
    }

    #[test]
    fn text_that_ends_inside_a_literal_ends_there() {
        check("a \"unsafe", "a");
        check("a /* unsafe", "a");
        check("a r#\"unsafe\"", "a");
        check("a '\\", "a");
    }

    #[test]
    fn words_are_whole_words() {
        assert_eq!(word_positions("unsafe_code unsafe {", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
