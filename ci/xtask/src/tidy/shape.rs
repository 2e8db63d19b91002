//! What is true of any file: it opens by saying what it is, it is one noun, it can be read in one sitting, and it
//! names no place that exists on one machine only.

use super::scan::word_positions;
use super::{File, Finding};

/// Names that stand where a noun is still missing.
const NAMES_REFUSED: [&str; 9] = ["util", "utils", "utilities", "common", "helper", "helpers", "misc", "shared", "manager"];

/// Longer than this a file is two nouns, or a table. Tables are named in [`LONG_FILES`] with the reason.
const FILE_LINES_MAX: usize = 1_000;

/// Files that are long for a reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// First folders of paths that lead somewhere on one machine only.
const MACHINE_FOLDERS: [&str; 4] = ["home", "root", "Users", "work"];

/// Kinds of files that people write and read here; pictures, locks and raw results are measured by nobody.
const KINDS_READ: [&str; 5] = [".rs", ".py", ".sh", ".js", ".mjs"];

pub(super) fn check(file: &File, found: &mut Vec<Finding>) {
    check_head(file, found);
    check_name(file, found);
    check_length(file, found);
    check_machine_paths(file, found);
}

fn check_head(file: &File, found: &mut Vec<Finding>) {
    if file.is_product() && !file.text.starts_with("//!") {
        found.push(file.finding(1, "head", "open with `//!`: what this promises and what it never does".to_string()));
    }
}

fn check_name(file: &File, found: &mut Vec<Finding>) {
    if !file.is_rust() {
        return;
    }
    let names = file.path.trim_end_matches(".rs").split('/');
    for name in names.filter(|name| NAMES_REFUSED.contains(name)) {
        found.push(file.finding(1, "name", format!("`{name}` stands where a noun is missing")));
    }
    for (index, line) in file.code.lines().enumerate() {
        for position in word_positions(line, "mod") {
            let name = line[position + 3..].trim().trim_end_matches([';', '{', ' ']);
            if line[position + 3..].contains('{') && NAMES_REFUSED.contains(&name) {
                found.push(file.finding(index + 1, "name", format!("`{name}` stands where a noun is missing")));
            }
        }
    }
}

fn check_length(file: &File, found: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    let long_for_a_reason = LONG_FILES.iter().any(|(path, _reason)| *path == file.path);
    if KINDS_READ.iter().any(|kind| file.path.ends_with(kind)) && lines > FILE_LINES_MAX && !long_for_a_reason {
        found.push(file.finding(lines, "length", format!("{lines} lines: which two nouns are in here?")));
    }
}

fn check_machine_paths(file: &File, found: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        for folder in MACHINE_FOLDERS {
            let path = format!("/{folder}/");
            let alone = line.match_indices(&path).any(|(position, _)| {
                let before = line[..position].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && !"._-}/*".contains(before)
            });
            if alone {
                found.push(file.finding(index + 1, "machine", format!("`{path}…` exists on one machine only")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_findings;
    use super::*;

    #[test]
    fn a_product_file_opens_with_its_promise() {
        check_findings(&[("shards/src/a.rs", "use std::fmt;\n")], &["shards/src/a.rs:1: head"]);
        check_findings(&[("shards/src/a.rs", "//! Head.\n"), ("shards/tests/a.rs", "fn f() {}\n")], &[]);
    }

    #[test]
    fn a_missing_noun_is_reported() {
        check_findings(&[("shards/src/util.rs", "//! Head.\n")], &["shards/src/util.rs:1: name"]);
        check_findings(&[("shards/src/common/x.rs", "//! Head.\n")], &["shards/src/common/x.rs:1: name"]);
        check_findings(&[("shards/src/x.rs", "//! Head.\nmod helpers {\n}\n")], &["shards/src/x.rs:2: name"]);
    }

    #[test]
    fn a_file_of_two_nouns_is_reported() {
        let text = format!("//! Head.\n{}", "\n".repeat(FILE_LINES_MAX));
        check_findings(&[("shards/src/x.rs", &text)], &["shards/src/x.rs:1001: length"]);
        check_findings(&[("docs/perf/raw.json", &text)], &[]);
    }

    #[test]
    fn a_path_of_one_machine_is_reported() {
        let path = format!("/{}/me/x", "home");
        check_findings(&[("docs/a.md", &format!("see {path}\n"))], &["docs/a.md:1: machine"]);
        check_findings(&[("docs/a.md", "docs/work/x, https://x.example/home/y and $HOME/x\n")], &[]);
    }
}
