//! Whole objects in an S3-compatible store, for programs that block: written, read, listed, deleted, and a [`Lease`] over them.
//!
//! A [`Bucket`] is one prefix of one bucket. An object is there whole or not at all: a large one comes in parts that the store puts
//! together when the last has come. Requests are signed, repeated where that may help for no longer than [`RETRY_FOR`], and answered in
//! words if they fail. It knows nothing of what the objects hold; keys and tokens come from the environment and are in no message.
//!
//! Costs one thread per [`Bucket`], which sleeps between requests.

mod environment;
mod lease;
mod trouble;
mod upload;

pub use lease::Lease;
pub use trouble::Trouble;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a request that fails is repeated.
pub const RETRY_FOR: Duration = Duration::from_secs(60);

/// A prefix of a bucket, ready for requests.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    store: AmazonS3,
    bucket: String,
    prefix: Path,
    runtime: Runtime,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name below the prefix, with `/` between the parts.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

impl Bucket {
    /// What `s3://BUCKET/PREFIX` names, reached as the environment says (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` and whatever else `object_store` reads). Asks the store
    /// nothing yet.
    ///
    /// # Errors
    /// If the address is none, or the environment contradicts itself.
    pub fn open(address: &str) -> Result<Bucket, Trouble> {
        environment::open(address)
    }

    /// Every whole object, sorted by name. Costs one request for every thousand of them.
    ///
    /// # Errors
    /// If the store does not answer, refuses, or has no such bucket.
    pub fn list(&self) -> Result<Vec<Object>, Trouble> {
        let Inner { store, prefix, runtime, .. } = &*self.inner;
        let listed = runtime.block_on(store.list(Some(prefix)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|error| self.trouble("list", "", &error))?;
        let mut objects: Vec<Object> = listed
            .into_iter()
            .filter_map(|meta| {
                let parts: Vec<String> = meta.location.prefix_match(prefix)?.map(|part| part.as_ref().to_owned()).collect();
                Some(Object { name: parts.join("/"), bytes: meta.size })
            })
            .collect();
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    /// An object, to be read from the front. What is not read is not fetched, but for what is on its way.
    ///
    /// # Errors
    /// As [`Bucket::list`], and if there is no such object. While it is read, what the reader says is the same in words.
    pub fn read(&self, name: &str) -> Result<impl Read + use<>, Trouble> {
        let Inner { store, runtime, .. } = &*self.inner;
        let got = runtime.block_on(store.get(&self.path(name))).map_err(|error| self.trouble("read", name, &error))?;
        Ok(Download { bucket: self.clone(), name: name.to_owned(), chunks: got.into_stream(), chunk: Bytes::new() })
    }

    /// Makes an object of what `fill` writes, no more than `bytes_max`. When this returns it is durable and whole; before, and if `fill`
    /// fails, it is not there. Holds one part of it in memory: 8 MiB, or a thousandth of `bytes_max` if that is more.
    ///
    /// # Errors
    /// What `fill` says; else as [`Bucket::list`].
    pub fn write<T, E: From<Trouble>>(
        &self,
        name: &str,
        bytes_max: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        upload::write(self, name, bytes_max, fill)
    }

    /// Removes an object. One that is not there is removed already.
    ///
    /// # Errors
    /// As [`Bucket::list`].
    pub fn delete(&self, name: &str) -> Result<(), Trouble> {
        match self.inner.runtime.block_on(self.inner.store.delete(&self.path(name))) {
            Err(error) if !is_absent(&error) => Err(self.trouble("delete", name, &error)),
            _ => Ok(()),
        }
    }

    /// Takes the lock that the object `name` is, for as long as the [`Lease`] lives. Where another has it this waits until it is known
    /// whether that one is alive: `waits` is told then, once.
    ///
    /// # Errors
    /// As [`Bucket::list`], and if another has it.
    pub fn lock(&self, name: &str, waits: impl FnOnce()) -> Result<Lease, Trouble> {
        Lease::take(self, name, waits)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.inner.prefix.clone(), |path, part| path.join(part))
    }

    /// What a request came to, in words.
    fn trouble(&self, what: &str, name: &str, error: &object_store::Error) -> Trouble {
        let place = if name.is_empty() { self.to_string() } else { format!("{self}/{name}") };
        Trouble::of(what, &place, &self.inner.bucket, error)
    }
}

/// Its address.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.inner.bucket)?;
        if self.inner.prefix.as_ref().is_empty() { Ok(()) } else { write!(f, "/{}", self.inner.prefix) }
    }
}

/// Whether an object is not there, though its bucket is.
fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !error.to_string().contains("NoSuchBucket")
}

/// An object on its way here.
struct Download {
    bucket: Bucket,
    name: String,
    chunks: futures_util::stream::BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.bucket.inner.runtime.block_on(self.chunks.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(io::Error::other(self.bucket.trouble("read", &self.name, &error))),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
