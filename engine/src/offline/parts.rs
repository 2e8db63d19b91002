//! The files that a path stands for: a dump, an append-only file, or the folder of one with its manifest.

use super::Trouble;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A manifest is a few lines.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// Files to be read one after the other.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) files: Vec<PathBuf>,
    /// Of all files together.
    pub(super) bytes: u64,
    /// Names, lengths and times: changed files are other files.
    pub(super) identity: String,
}

impl Parts {
    /// Finds the files behind `path`.
    pub(super) fn of(path: &Path) -> Result<Parts, Trouble> {
        let failed = |error| Trouble::new(format!("cannot read {}: {error}", path.display()));
        let files = if fs::metadata(path).map_err(failed)?.is_dir() {
            Parts::listed(&Parts::manifest_in(path)?)?
        } else if path.extension().is_some_and(|extension| extension == "manifest") {
            Parts::listed(path)?
        } else {
            vec![path.to_owned()]
        };
        let (mut bytes, mut identity) = (0, String::new());
        for file in &files {
            let about = fs::metadata(file).map_err(Trouble::step(format_args!("cannot read {}", file.display())))?;
            let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_millis());
            bytes += about.len();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            identity.push_str(&format!(
                "{}{name} of {} bytes, changed {changed}",
                if identity.is_empty() { "" } else { "; " },
                about.len()
            ));
        }
        Ok(Parts { files, bytes, identity })
    }

    fn manifest_in(folder: &Path) -> Result<PathBuf, Trouble> {
        let entries = fs::read_dir(folder).map_err(Trouble::step(format_args!("cannot read {}", folder.display())))?;
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "manifest"));
        match found.len() {
            1 => Ok(found.remove(0)),
            count => Err(Trouble::new(format!("{} holds {count} files *.manifest; name the file to import", folder.display()))),
        }
    }

    fn listed(manifest: &Path) -> Result<Vec<PathBuf>, Trouble> {
        let length = fs::metadata(manifest).map_err(Trouble::step(format_args!("cannot read {}", manifest.display())))?.len();
        if length > MANIFEST_BYTES_MAX {
            return Err(Trouble::new(format!("{} is too long for a manifest", manifest.display())));
        }
        let text = fs::read(manifest).map_err(Trouble::step(format_args!("cannot read {}", manifest.display())))?;
        let names = manifest_names(&text).map_err(|what| Trouble::new(format!("{}: {what}", manifest.display())))?;
        let folder = manifest.parent().unwrap_or(Path::new(""));
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// The files of a manifest in the order they are read: the base, then the increments by their numbers. History is over.
fn manifest_names(text: &[u8]) -> Result<Vec<String>, String> {
    let mut names: Vec<(bool, u64, String)> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", index + 1);
        let words = shards::wire::split_words(line).ok_or_else(|| wrong("quotes do not match"))?;
        let words: Vec<String> = words.into_iter().map(String::from_utf8).collect::<Result<_, _>>().map_err(|_| wrong("not text"))?;
        let value = |name: &str| words.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
        let name = value("file").ok_or_else(|| wrong("no file is named"))?;
        // A file of the folder, as Redis wants it; a path could lead anywhere.
        if name.is_empty() || name.contains('/') {
            return Err(wrong("the file is not a plain name"));
        }
        let number = value("seq").and_then(|text| text.parse().ok()).ok_or_else(|| wrong("seq is not a number"))?;
        match value("type") {
            Some("b") if names.iter().any(|(increment, ..)| !increment) => return Err(wrong("a second base")),
            Some("b") => names.push((false, number, name.to_owned())),
            Some("i") => names.push((true, number, name.to_owned())),
            Some("h") => {}
            _ => return Err(wrong("the type is none of b, i and h")),
        }
    }
    names.sort();
    if names.is_empty() { Err("it names no file".into()) } else { Ok(names.into_iter().map(|(.., name)| name).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_redis() {
        let text = b"file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
            file \"append only.aof.11.incr.aof\" seq 11 type i\r\nfile appendonly.aof.3.incr.aof seq 3 type i\n# note\n";
        let names = manifest_names(text).unwrap();
        assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.3.incr.aof", "append only.aof.11.incr.aof"]);
        for (text, what) in [
            (&b""[..], "it names no file"),
            (b"file a seq 1 type h", "it names no file"),
            (b"file ../a seq 1 type b", "line 1: the file is not a plain name"),
            (b"\nseq 1 type b", "line 2: no file is named"),
            (b"file a seq x type b", "line 1: seq is not a number"),
            (b"file a seq 1 type z", "line 1: the type is none of b, i and h"),
            (b"file a seq 1 type b\nfile b seq 2 type b", "line 2: a second base"),
            (b"file \"a seq 1 type b", "line 1: quotes do not match"),
        ] {
            assert_eq!(manifest_names(text).unwrap_err(), what);
        }
    }
}
