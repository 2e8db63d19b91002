//! Who may name whom: the arrows of ARCHITECTURE.md, in manifests and in paths.
//!
//! A crate that is not in the table may not exist, so a new boundary is decided here and not by accident.

use super::scan::word_positions;
use super::{File, Finding};

/// One crate of the workspace, where it lives, and the crates of ours that it may name.
struct Member {
    name: &'static str,
    folder: &'static str,
    may_name: &'static [Edge],
}

/// An arrow. Without a limit, any public item on the other side may be named.
struct Edge {
    to: &'static str,
    limit: Limit,
}

enum Limit {
    Free,
    /// Only items under this one module of the other crate.
    Module(&'static str),
    /// Only from `main.rs` and the modules that `main.rs` alone declares.
    Program,
}

const fn free(to: &'static str) -> Edge {
    Edge { to, limit: Limit::Free }
}

const fn module(to: &'static str, module: &'static str) -> Edge {
    Edge { to, limit: Limit::Module(module) }
}

const fn program(to: &'static str) -> Edge {
    Edge { to, limit: Limit::Program }
}

const MEMBERS: &[Member] = &[
    Member { name: "netio", folder: "netio/", may_name: &[] },
    Member { name: "shards", folder: "shards/", may_name: &[] },
    Member { name: "replication", folder: "replication/", may_name: &[module("shards", "log")] },
    Member { name: "objects", folder: "objects/", may_name: &[] },
    Member { name: "loadgen", folder: "loadgen/", may_name: &[module("shards", "wire")] },
    Member {
        name: "engine",
        folder: "engine/",
        may_name: &[free("netio"), free("shards"), free("replication"), program("loadgen"), program("objects"), free("simulation")],
    },
    Member {
        name: "benches",
        folder: "benches/",
        may_name: &[free("netio"), free("shards"), free("replication"), free("loadgen"), free("engine")],
    },
    Member { name: "simulation", folder: "ci/sim/", may_name: &[free("netio"), free("shards"), free("replication"), free("engine")] },
    Member { name: "xtask", folder: "ci/xtask/", may_name: &[] },
];

pub(super) fn check(file: &File, files: &[File], found: &mut Vec<Finding>) {
    if file.path == "Cargo.toml" {
        check_members(file, found);
        return;
    }
    let Some(member) = MEMBERS.iter().find(|member| file.path.starts_with(member.folder)) else {
        return;
    };
    if file.path == format!("{}Cargo.toml", member.folder) {
        check_manifest(member, file, found);
    } else if file.is_rust() {
        check_paths(member, file, files, found);
    }
}

/// Every folder in the workspace's member list has a line in [`MEMBERS`].
fn check_members(file: &File, found: &mut Vec<Finding>) {
    let mut inside = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with("members") {
            inside = true;
        } else if inside && line.starts_with(']') {
            inside = false;
        }
        let Some(folder) = line.split('"').nth(1).filter(|_| inside) else {
            continue;
        };
        if !MEMBERS.iter().any(|member| member.folder.trim_end_matches('/') == folder) {
            let what = format!("`{folder}` has no line in tidy/edges.rs that says whom it may name");
            found.push(file.finding(index + 1, "edge", what));
        }
    }
}

/// Dependencies of any kind, whatever the target, are arrows.
fn check_manifest(member: &Member, file: &File, found: &mut Vec<Finding>) {
    let mut inside = false;
    for (index, line) in file.text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.rsplit_once("dependencies.") {
                check_edge(member, name, file, index + 1, found);
            }
        } else if inside {
            let name = line.split(['=', '.', ' ']).next().unwrap_or("").trim();
            check_edge(member, name, file, index + 1, found);
        }
    }
}

fn check_edge(member: &Member, name: &str, file: &File, line: usize, found: &mut Vec<Finding>) {
    let ours = MEMBERS.iter().any(|other| other.name == name);
    if ours && !member.may_name.iter().any(|edge| edge.to == name) {
        found.push(file.finding(line, "edge", format!("`{}` may not depend on `{name}`", member.name)));
    }
}

fn check_paths(member: &Member, file: &File, files: &[File], found: &mut Vec<Finding>) {
    for other in MEMBERS.iter().filter(|other| other.name != member.name) {
        let edge = member.may_name.iter().find(|edge| edge.to == other.name);
        for path in paths(&file.code, other.name) {
            let refused = match edge.map(|edge| &edge.limit) {
                None => Some(format!("`{}` may not name `{}`", member.name, other.name)),
                Some(Limit::Free) => None,
                Some(Limit::Module(module)) if path.first == *module => None,
                Some(Limit::Module(module)) => {
                    Some(format!("`{}` may name only `{}::{module}`, not `{}`", member.name, other.name, path.first))
                }
                Some(Limit::Program) if is_program(member, file, files) => None,
                Some(Limit::Program) => Some(format!("only the program of `{}` may name `{}`, not its library", member.name, other.name)),
            };
            if let Some(what) = refused {
                found.push(file.finding(path.line, "edge", what));
            }
        }
    }
}

/// Whether `file` belongs to the program alone: `main.rs`, or under a module that `main.rs` declares and `lib.rs` does not.
fn is_program(member: &Member, file: &File, files: &[File]) -> bool {
    let Some(inside) = file.path.strip_prefix(&format!("{}src/", member.folder)) else {
        return true;
    };
    let top = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    let declares = |root: &str| {
        let path = format!("{}src/{root}", member.folder);
        files.iter().find(|file| file.path == path).is_some_and(|file| declares_module(&file.code, top))
    };
    inside == "main.rs" || (declares("main.rs") && !declares("lib.rs"))
}

fn declares_module(code: &str, name: &str) -> bool {
    code.lines()
        .any(|line| word_positions(line, "mod").any(|position| line[position + 3..].trim_start().trim_end_matches([';', '{', ' ']) == name))
}

/// A place in code that names an item of a crate: the first part of the path after the crate's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) line: usize,
    pub(super) first: String,
}

/// Every path in `code` that starts at the crate `root`; a braced import counts once for each of its parts.
///
/// A name in a longer path (`crate::shards`, `self::shards`) is a module of one's own and is not reported. An import
/// of the crate as a whole (`use shards;`, `use shards as s;`) is reported with an empty first part: it would hide
/// what is named from then on.
pub(super) fn paths(code: &str, root: &str) -> Vec<NamedPath> {
    let mut found = Vec::new();
    for position in word_positions(code, root) {
        let before = code[..position].trim_end();
        if let Some(outer) = before.strip_suffix("::")
            && outer.chars().next_back().is_some_and(|char| char.is_alphanumeric() || "_>})".contains(char))
        {
            continue;
        }
        let line = code[..position].matches('\n').count() + 1;
        let after = code[position + root.len()..].trim_start();
        if let Some(rest) = after.strip_prefix("::") {
            for first in first_parts(rest.trim_start()) {
                found.push(NamedPath { line, first });
            }
        } else if before.ends_with("use") || before.ends_with("extern crate") {
            found.push(NamedPath { line, first: String::new() });
        }
    }
    found
}

/// The identifier that `rest` begins with, or the first identifiers of each part of a braced group.
fn first_parts(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        let end = rest.find(|char: char| !(char.is_alphanumeric() || char == '_' || char == '*'));
        return vec![rest[..end.unwrap_or(rest.len())].to_string()];
    };
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (position, char) in group.char_indices() {
        let closed = depth == 0 && char == '}';
        if closed || (depth == 0 && char == ',') {
            let part = group[start..position].trim();
            if !part.is_empty() {
                parts.extend(first_parts(part));
            }
            start = position + 1;
        }
        match char {
            _ if closed => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::check_findings;
    use super::*;

    fn check(code: &str, expected: &[(usize, &str)]) {
        let found: Vec<(usize, String)> = paths(code, "shards").into_iter().map(|path| (path.line, path.first)).collect();
        let expected: Vec<(usize, String)> = expected.iter().map(|(line, first)| (*line, first.to_string())).collect();
        assert_eq!(found, expected, "in {code:?}");
    }

    #[test]
    fn paths_are_found_in_every_spelling() {
        check("use shards::wire::Reply;", &[(1, "wire")]);
        check("\nlet x = shards::slot::of(key);", &[(2, "slot")]);
        check("use shards::{wire::{self, Reply}, slot, log as l};", &[(1, "wire"), (1, "slot"), (1, "log")]);
        check("use shards::{\n    wire,\n};", &[(1, "wire")]);
        check("use ::shards::wire;", &[(1, "wire")]);
        check("use shards::*;", &[(1, "*")]);
        check("use shards as s;", &[(1, "")]);
        check("extern crate shards;", &[(1, "")]);
        check("use crate::shards::wire; let shards = 3; my_shards::x();", &[]);
    }

    #[test]
    fn an_arrow_that_must_not_exist_is_reported_in_the_manifest() {
        let manifest = "[package]\nname = \"netio\"\n[dependencies]\nlibc = \"0.2\"\nshards = { workspace = true }\n";
        check_findings(&[("netio/Cargo.toml", manifest)], &["netio/Cargo.toml:5: edge"]);
        let development = "[dev-dependencies]\nengine.workspace = true\n";
        check_findings(&[("shards/Cargo.toml", development)], &["shards/Cargo.toml:2: edge"]);
        let table = "[target.'cfg(unix)'.dependencies.engine]\npath = \"../engine\"\n";
        check_findings(&[("loadgen/Cargo.toml", table)], &["loadgen/Cargo.toml:1: edge"]);
        check_findings(&[("engine/Cargo.toml", "[dependencies]\nnetio = 1\nshards = 1\nloadgen = 1\n")], &[]);
    }

    #[test]
    fn an_arrow_that_must_not_exist_is_reported_in_code() {
        check_findings(&[("replication/src/offer.rs", "//! Head.\nuse shards::table::Table;\n")], &["replication/src/offer.rs:2: edge"]);
        check_findings(&[("replication/src/offer.rs", "//! Head.\nuse shards::log::Lsn;\n")], &[]);
        check_findings(&[("loadgen/src/client.rs", "//! Head.\nuse shards::{wire::Reply, slot};\n")], &["loadgen/src/client.rs:2: edge"]);
        check_findings(&[("shards/tests/it.rs", "//! Head.\nfn f() { engine::run(); }\n")], &["shards/tests/it.rs:2: edge"]);
        check_findings(&[("netio/src/a.rs", "//! Head.\n// shards::wire is not named here\n")], &[]);
    }

    #[test]
    fn only_the_program_may_name_the_load_generator() {
        let main = ("engine/src/main.rs", "//! Head.\nmod bench;\nfn main() { loadgen::run(); }\n");
        let library = ("engine/src/lib.rs", "//! Head.\npub mod turn;\n");
        let bench = ("engine/src/bench.rs", "//! Head.\nuse loadgen::Plan;\n");
        let turn = ("engine/src/turn.rs", "//! Head.\nuse loadgen::Plan;\n");
        check_findings(&[main, library, bench], &[]);
        check_findings(&[main, library, turn], &["engine/src/turn.rs:2: edge"]);
    }

    #[test]
    fn a_crate_nobody_decided_on_is_reported() {
        let manifest = "[workspace]\nmembers = [\n    \"netio\", # bytes\n    \"common\",\n]\n";
        check_findings(&[("Cargo.toml", manifest)], &["Cargo.toml:4: edge"]);
    }
}
