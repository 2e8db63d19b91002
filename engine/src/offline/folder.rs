//! A store that is a directory, wherever it is mounted from. Objects are files with names like `a/b/c`; each is there whole and
//! durable, or not at all.

use super::Trouble;
use super::store::{LOCK, Object};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What an object ends in until it is whole.
const UNFINISHED: &str = ".tmp";

/// A directory of objects.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The one at `root`, which must be there.
    pub(super) fn open(root: &str) -> Result<Folder, Trouble> {
        match fs::metadata(root) {
            Ok(data) if data.is_dir() => Ok(Folder { root: PathBuf::from(root) }),
            Ok(_) => Err(Trouble::new(format!("{root} is not a directory"))),
            Err(error) => Err(Trouble::new(format!("cannot open the store {root}: {error}"))),
        }
    }

    /// The same, made if it is not there.
    pub(super) fn make(root: &str) -> Result<Folder, Trouble> {
        fs::create_dir_all(root).map_err(Trouble::step(format!("cannot make the store {root}")))?;
        Ok(Folder { root: PathBuf::from(root) })
    }

    /// Nobody else changes the store until the file that is returned is dropped.
    pub(super) fn lock(&self) -> Result<File, Trouble> {
        lock(&self.root.join(LOCK), "another backup or prune is at work in this store")
    }

    /// Every whole object.
    pub(super) fn objects(&self) -> Result<Vec<Object>, Trouble> {
        let (mut objects, mut folders) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            for entry in self.list(&folder)? {
                match entry {
                    Listed::Folder(name) => folders.push(format!("{name}/")),
                    Listed::Object(object) if object.name == LOCK || object.name.ends_with(UNFINISHED) => {}
                    Listed::Object(object) => objects.push(object),
                }
            }
        }
        Ok(objects)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Trouble> {
        let path = self.root.join(folder);
        let trouble = |error| Trouble::new(format!("cannot list {}: {error}", path.display()));
        let mut listed = Vec::new();
        for entry in fs::read_dir(&path).map_err(trouble)? {
            let entry = entry.map_err(trouble)?;
            let data = entry.metadata().map_err(trouble)?;
            // A name that is not text is none of ours.
            let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}{name}")) else { continue };
            if data.is_dir() {
                listed.push(Listed::Folder(name));
            } else if data.is_file() {
                listed.push(Listed::Object(Object { name, bytes: data.len() }));
            }
        }
        Ok(listed)
    }

    /// An object, to be read from the front.
    pub(super) fn read(&self, name: &str) -> Result<File, Trouble> {
        let path = self.root.join(name);
        File::open(&path).map_err(Trouble::step(format!("cannot open {}", path.display())))
    }

    /// Makes an object of what `fill` writes. When this returns it is durable; before, it is not there.
    pub(super) fn write<T>(&self, name: &str, fill: impl FnOnce(&mut dyn Write) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let path = self.root.join(name);
        let folder = path.parent().expect("an object is in the store");
        self.make_folder(folder)?;
        let begun = self.root.join(format!("{name}{UNFINISHED}"));
        let trouble = |what: &str, path: &Path| Trouble::step(format!("cannot {what} {}", path.display()));
        let mut file = File::create(&begun).map_err(trouble("create", &begun))?;
        let made = fill(&mut file)?;
        file.sync_all().map_err(trouble("sync", &begun))?;
        fs::rename(&begun, &path).map_err(trouble("rename", &begun))?;
        sync_folder(folder).map_err(trouble("sync", folder))?;
        Ok(made)
    }

    /// Makes a folder and all above it, each durable in the one above.
    fn make_folder(&self, folder: &Path) -> Result<(), Trouble> {
        if folder.is_dir() {
            return Ok(());
        }
        let above = folder.parent().expect("the store itself is there");
        self.make_folder(above)?;
        let trouble = || Trouble::step(format!("cannot make {}", folder.display()));
        fs::create_dir(folder)
            .or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(trouble())?;
        sync_folder(above).map_err(trouble())
    }

    /// Removes an object.
    pub(super) fn delete(&self, name: &str) -> Result<(), Trouble> {
        let path = self.root.join(name);
        fs::remove_file(&path).map_err(Trouble::step(format!("cannot delete {}", path.display())))
    }

    /// Makes removals under `folder` durable, removes what was never finished there, and folders that are empty.
    pub(super) fn tidy(&self, folder: &str) -> Result<(), Trouble> {
        for entry in self.list(folder)? {
            match entry {
                Listed::Folder(name) => self.tidy(&format!("{name}/"))?,
                Listed::Object(object) if object.name.ends_with(UNFINISHED) => self.delete(&object.name)?,
                Listed::Object(_) => {}
            }
        }
        let path = self.root.join(folder);
        let trouble = || Trouble::step(format!("cannot tidy {}", path.display()));
        if !folder.is_empty() && self.list(folder)?.is_empty() {
            return fs::remove_dir(&path).map_err(trouble());
        }
        sync_folder(&path).map_err(trouble())
    }
}

enum Listed {
    Folder(String),
    Object(Object),
}

/// Makes the names in a directory durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Locks a file, which is made if it is not there, for this process. `taken` says who else may have it.
pub(super) fn lock(path: &Path, taken: &str) -> Result<File, Trouble> {
    let trouble = || Trouble::step(format!("cannot lock {}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(trouble())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Trouble::new(format!("{}: {taken}", path.display()))),
        Err(TryLockError::Error(error)) => Err(trouble()(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder as Scratch;
    use super::*;

    fn names(store: &Folder) -> Vec<String> {
        let mut names: Vec<String> = store.objects().unwrap().into_iter().map(|object| object.name).collect();
        names.sort_unstable();
        names
    }

    fn put(store: &Folder, name: &str) {
        store.write(name, |file| file.write_all(b"x").map_err(Trouble::step("write"))).unwrap();
    }

    #[test]
    fn an_object_is_there_whole_or_not_at_all() {
        let folder = Scratch::new("store");
        let store = Folder::make(folder.text()).unwrap();
        put(&store, "node/a/one");
        let failed = store.write("node/b/two", |file| {
            file.write_all(b"half of it").unwrap();
            Err::<(), _>(Trouble::new("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(names(&store), ["node/a/one"]);
        store.tidy("").unwrap();
        assert!(!folder.path().join("node/b").exists(), "what was left of it is gone");
        assert_eq!(names(&store), ["node/a/one"]);
        store.delete("node/a/one").unwrap();
        store.tidy("node/").unwrap();
        assert!(!folder.path().join("node").exists());
    }

    #[test]
    fn one_at_a_time_changes_a_store() {
        let folder = Scratch::new("lock");
        let store = Folder::make(folder.text()).unwrap();
        let held = store.lock().unwrap();
        assert!(store.lock().unwrap_err().to_string().contains("another backup"));
        drop(held);
        assert!(store.lock().is_ok());
        assert_eq!(names(&store), [""; 0]);
    }
}
