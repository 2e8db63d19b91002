//! What a crate may not touch: devices in pure code, `unsafe` outside the few places that argue it.
//!
//! `shards` gets bytes and `now` and gives replies, so that a replay, a follower and the simulator run what the live
//! server runs. `engine` reaches the machine through `netio`'s trait, start-up and the program aside. Time in tests
//! comes from the test, so their own code is held to the same rule.

use super::edges::paths;
use super::scan::word_positions;
use super::{File, Finding};

/// Folders whose sources must not reach for devices, with the exceptions and what those are for.
struct Pure {
    folder: &'static str,
    /// First parts of `std::…` paths that are refused.
    modules: &'static [&'static str],
    /// Types that read a clock, refused wherever they come from.
    types: &'static [&'static str],
    /// Paths, or prefixes of paths, that may: before the first turn or beside the data path.
    except: &'static [&'static str],
}

const PURE: &[Pure] = &[
    Pure {
        folder: "shards/src/",
        modules: &["fs", "net", "thread", "process", "env", "os"],
        types: &["Instant", "SystemTime"],
        except: &[],
    },
    Pure {
        folder: "engine/src/",
        modules: &["fs", "net"],
        types: &["Instant", "SystemTime"],
        // Reading the configuration and claiming the machine once; what the machine says of itself, for people; the program's
        // own commands. None of it on the way of a request for a key.
        except: &[
            "engine/src/main.rs",
            "engine/src/demo.rs",
            "engine/src/memory.rs",
            "engine/src/offline/",
            "engine/src/options.rs",
            "engine/src/settings.rs",
            "engine/src/start",
            "engine/src/upkeep/",
            "engine/src/serve/config.rs",
            "engine/src/serve/info.rs",
        ],
    },
];

/// Where `unsafe` may stand. Everything else is kept safe by its crate root or by this list.
const UNSAFE_PLACES: &[&str] = &[
    "netio/",              // the kernel's interfaces
    "engine/src/lane",     // rings between two cores
    "loadgen/src/machine", // the generator is its own program: threads pinned
    "loadgen/src/port/",   // … and sockets of its own
    "shards/src/arena",    // addresses, and memory behind them
    "shards/src/heap",     // records in their own arena
    "shards/src/record",   // records read in place
    "shards/src/table",    // cache-line buckets
];

pub(super) fn check(file: &File, found: &mut Vec<Finding>) {
    if !file.is_rust() {
        return;
    }
    check_devices(file, found);
    check_unsafe(file, found);
    check_unfinished(file, found);
}

fn check_devices(file: &File, found: &mut Vec<Finding>) {
    let Some(pure) = PURE.iter().find(|pure| file.path.starts_with(pure.folder)) else {
        return;
    };
    if pure.except.iter().any(|except| file.path.starts_with(except)) {
        return;
    }
    for path in paths(&file.code, "std") {
        if pure.modules.contains(&path.first.as_str()) {
            let what = format!("`std::{}` does not belong in `{}`: devices are netio's", path.first, pure.folder);
            found.push(file.finding(path.line, "device", what));
        }
    }
    for (index, line) in file.code.lines().enumerate() {
        for name in pure.types {
            if word_positions(line, name).next().is_some() {
                let what = format!("`{name}` reads a clock: `now` is given to `{}`, never taken", pure.folder);
                found.push(file.finding(index + 1, "clock", what));
            }
        }
    }
}

fn check_unsafe(file: &File, found: &mut Vec<Finding>) {
    if UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place)) {
        return;
    }
    for (index, line) in file.code.lines().enumerate() {
        if word_positions(line, "unsafe").next().is_some() {
            let what = "only netio, the lanes and the record core hold `unsafe`".to_string();
            found.push(file.finding(index + 1, "unsafe", what));
        }
    }
}

/// Markers of work that is not done, and tests that do not run.
fn check_unfinished(file: &File, found: &mut Vec<Finding>) {
    for (index, line) in file.code.lines().enumerate() {
        for mark in ["todo!", "unimplemented!", "dbg!"] {
            let name = mark.trim_end_matches('!');
            if word_positions(line, name).any(|position| line[position + name.len()..].starts_with('!')) {
                found.push(file.finding(index + 1, "unfinished", format!("`{mark}` is not an answer")));
            }
        }
        if line.trim_start().starts_with("#[ignore") {
            found.push(file.finding(index + 1, "unfinished", "a test that does not run proves nothing".to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_findings;

    #[test]
    fn pure_code_touches_no_device() {
        check_findings(
            &[("shards/src/a.rs", "//! Head.\nuse std::fs::File;\nuse std::{fmt, net::TcpStream};\n")],
            &["shards/src/a.rs:2: device", "shards/src/a.rs:3: device"],
        );
        check_findings(
            &[("shards/src/a.rs", "//! Head.\nfn f() { std::thread::spawn(g); let t = Instant::now(); }\n")],
            &["shards/src/a.rs:2: device", "shards/src/a.rs:2: clock"],
        );
        check_findings(&[("shards/tests/fuzz.rs", "//! Head.\nuse std::time::Instant;\n")], &[]);
        check_findings(&[("engine/src/turn.rs", "//! Head.\nuse std::net::TcpStream;\n")], &["engine/src/turn.rs:2: device"]);
        check_findings(&[("engine/src/start.rs", "//! Head.\nuse std::fs;\nuse std::time::Instant;\n")], &[]);
        check_findings(&[("netio/src/uring.rs", "//! Head.\nuse std::net::TcpStream;\n")], &[]);
    }

    #[test]
    fn unsafe_stands_only_where_it_is_argued() {
        let text = "//! Head.\nfn f() { unsafe { g() } }\n";
        check_findings(&[("shards/src/command.rs", text)], &["shards/src/command.rs:2: unsafe"]);
        check_findings(&[("loadgen/src/a.rs", text)], &["loadgen/src/a.rs:2: unsafe"]);
        check_findings(&[("netio/src/uring.rs", text), ("engine/src/lane.rs", text), ("shards/src/table/bucket.rs", text)], &[]);
        check_findings(&[("shards/src/b.rs", "//! Head.\n#![forbid(unsafe_code)]\n// unsafe\n")], &[]);
    }

    #[test]
    fn unfinished_work_is_reported() {
        check_findings(
            &[("shards/src/a.rs", "//! Head.\nfn f() { todo!() }\nfn todo() {}\n#[ignore]\nfn g() { dbg!(1); }\n")],
            &["shards/src/a.rs:2: unfinished", "shards/src/a.rs:4: unfinished", "shards/src/a.rs:5: unfinished"],
        );
    }
}
