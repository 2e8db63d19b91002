//! The rules of the house, checked over text. A finding names the file, the line, the rule and the way out.
//!
//! Pure from [`findings`] down: files in, findings out, so that every rule is tested on a file that breaks it.
//! The rules of who may name whom are in [`edges`]; what a crate may not touch is in [`purity`]; [`shape`] holds
//! what is true of any file.

use std::fmt;
use std::fs;
use std::path::Path;

mod edges;
mod purity;
mod scan;
mod shape;

/// A text file of the workspace. `path` is relative to its root, with forward slashes.
#[derive(Debug)]
pub(crate) struct File {
    path: String,
    text: String,
    /// `text` with comments and literals blanked; empty for what is not Rust.
    code: String,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let code = if path.ends_with(".rs") { scan::code_only(text) } else { String::new() };
        File { path: path.to_string(), text: text.to_string(), code }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// What `cargo build` makes from a crate: not its tests, examples, benches.
    fn is_product(&self) -> bool {
        self.is_rust() && self.path.contains("/src/")
    }

    fn finding(&self, line: usize, rule: &'static str, what: String) -> Finding {
        Finding { path: self.path.clone(), line, rule, what }
    }
}

/// One broken rule at one place. Lines count from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// Every finding of every rule, in the order of the files.
pub(crate) fn findings(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        edges::check(file, files, &mut found);
        purity::check(file, &mut found);
        shape::check(file, &mut found);
    }
    found
}

/// Folders that hold no sources of ours: what tools build, install and remember.
const FOLDERS_SKIPPED: [&str; 6] = [".git", "target", "node_modules", ".venv", "__pycache__", "shared"];

/// Reads every text file under `root`, in the order of their paths.
pub(crate) fn read_files(root: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|cause| format!("read {}: {cause}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|cause| format!("read {}: {cause}", folder.display()))?;
            let path = entry.path();
            let name = entry.file_name();
            let kind = entry.file_type().map_err(|cause| format!("read {}: {cause}", path.display()))?;
            if kind.is_dir() {
                if !FOLDERS_SKIPPED.iter().any(|skipped| name == *skipped) {
                    folders.push(path);
                }
                continue;
            }
            if !kind.is_file() || name == ".git" {
                continue;
            }
            let bytes = fs::read(&path).map_err(|cause| format!("read {}: {cause}", path.display()))?;
            // What is not text (a picture, a recorded dump) has no lines to judge.
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push(File::new(&relative, &text));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Checks that `files` break exactly the `expected` rules, each given as `path:line: rule`.
#[cfg(test)]
fn check_findings(files: &[(&str, &str)], expected: &[&str]) {
    let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
    let found: Vec<String> = findings(&files).iter().map(|found| format!("{}:{}: {}", found.path, found.line, found.rule)).collect();
    assert_eq!(found, expected);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules hold for the tree this test was built from, so `cargo test -p xtask` is already a gate.
    #[test]
    fn the_workspace_itself_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("ci/xtask is two folders down");
        let files = read_files(root).expect("the workspace can be read");
        assert!(files.iter().any(|file| file.path == "ci/xtask/src/tidy.rs"), "the walk found this file");
        let found: Vec<String> = findings(&files).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_finding_says_where_which_rule_and_what() {
        let finding = File::new("a/src/b.rs", "").finding(7, "rule", "what".to_string());
        assert_eq!(finding.to_string(), "a/src/b.rs:7: rule: what");
    }
}
