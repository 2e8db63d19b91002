//! Where backups are kept: a directory, or a prefix of a bucket in an S3-compatible store. Objects have names like `a/b/c`; each is
//! there whole and durable, or not at all.

use super::Trouble;
use super::folder::Folder;
use std::fs::File;
use std::io::{Read, Write};

/// What an address of a bucket begins with.
const S3: &str = "s3://";

/// Held by whoever changes what is in the store.
pub(super) const LOCK: &str = "lock";

/// What holds backups.
pub(super) struct Store {
    address: String,
    place: Place,
}

enum Place {
    Folder(Folder),
    #[cfg(feature = "s3")]
    Bucket(objects::Bucket),
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// While it lives, nobody else changes the store.
pub(super) enum Lock {
    /// Let go of with the file, by whatever end of the process.
    Folder { _file: File },
    #[cfg(feature = "s3")]
    Bucket(objects::Lease),
}

impl Lock {
    /// Makes sure that it is still held, before what two may not do at once.
    pub(super) fn confirm(&self) -> Result<(), Trouble> {
        match self {
            Lock::Folder { .. } => Ok(()),
            #[cfg(feature = "s3")]
            Lock::Bucket(lease) => Ok(lease.confirm()?),
        }
    }
}

#[cfg(feature = "s3")]
impl From<objects::Trouble> for Trouble {
    fn from(trouble: objects::Trouble) -> Trouble {
        Trouble::new(trouble.to_string())
    }
}

impl Store {
    /// The store at `address`, which must be there. A bucket is asked nothing yet.
    pub(super) fn open(address: &str) -> Result<Store, Trouble> {
        Store::at(address, Folder::open)
    }

    /// The same; a directory is made if it is not there, a bucket is not.
    pub(super) fn make(address: &str) -> Result<Store, Trouble> {
        Store::at(address, Folder::make)
    }

    fn at(address: &str, folder: fn(&str) -> Result<Folder, Trouble>) -> Result<Store, Trouble> {
        let place = match address.split_once("://") {
            None => Place::Folder(folder(address)?),
            #[cfg(feature = "s3")]
            Some(("s3", _)) => Place::Bucket(objects::Bucket::open(address).map_err(|trouble| Trouble::usage(trouble.to_string()))?),
            #[cfg(not(feature = "s3"))]
            Some(("s3", _)) => return Err(Trouble::usage("this program was built without S3: see the feature `s3`, or give a directory")),
            Some((scheme, _)) => {
                return Err(Trouble::usage(format!("a store at {scheme}:// is not known: give a directory or {S3}BUCKET/PREFIX")));
            }
        };
        Ok(Store { address: address.trim_end_matches('/').to_owned(), place })
    }

    /// Nobody else changes the store while what is returned lives.
    pub(super) fn lock(&self) -> Result<Lock, Trouble> {
        match &self.place {
            Place::Folder(folder) => Ok(Lock::Folder { _file: folder.lock()? }),
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => {
                let waits = || {
                    eprintln!("{}/{LOCK}: another backup or prune is at work in this store, or was killed: waiting to see", self.address)
                };
                let lease = bucket.lock(LOCK, waits)?;
                if !lease.is_exclusive() {
                    eprintln!(
                        "{}: this store knows no conditional writes, so nothing keeps two backups apart: start one at a time",
                        self.address
                    );
                }
                Ok(Lock::Bucket(lease))
            }
        }
    }

    /// Where an object is, for messages.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Every whole object, sorted by name.
    pub(super) fn objects(&self) -> Result<Vec<Object>, Trouble> {
        let mut objects = match &self.place {
            Place::Folder(folder) => folder.objects()?,
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => {
                let listed = bucket.list()?.into_iter().filter(|object| object.name != LOCK);
                listed.map(|objects::Object { name, bytes }| Object { name, bytes }).collect()
            }
        };
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    /// An object, to be read from the front.
    pub(super) fn read(&self, name: &str) -> Result<Box<dyn Read>, Trouble> {
        match &self.place {
            Place::Folder(folder) => Ok(Box::new(folder.read(name)?)),
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => Ok(Box::new(bucket.read(name)?)),
        }
    }

    /// Makes an object of what `fill` writes, no more than `bytes_max`. When this returns it is durable; before, it is not there.
    pub(super) fn write<T>(
        &self,
        name: &str,
        #[cfg_attr(not(feature = "s3"), expect(unused_variables, reason = "a directory takes what comes"))] bytes_max: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        match &self.place {
            Place::Folder(folder) => folder.write(name, fill),
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => bucket.write(name, bytes_max, fill),
        }
    }

    /// Removes an object.
    pub(super) fn delete(&self, name: &str) -> Result<(), Trouble> {
        match &self.place {
            Place::Folder(folder) => folder.delete(name),
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => Ok(bucket.delete(name)?),
        }
    }

    /// Makes removals durable, and removes what a directory keeps of objects that were never finished or are gone.
    pub(super) fn tidy(&self) -> Result<(), Trouble> {
        match &self.place {
            Place::Folder(folder) => folder.tidy(""),
            #[cfg(feature = "s3")]
            Place::Bucket(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_a_directory_nor_a_bucket_is_refused_in_words() {
        let text = |address: &str| Store::make(address).map(|_| ()).unwrap_err().to_string();
        assert!(text("gs://bucket/path").contains("gs:// is not known: give a directory or s3://BUCKET/PREFIX"));
        assert!(text("s3:///path").contains("s3://"));
        assert!(Store::open("/nonexistent/of/course").is_err());
    }
}
