//! A lock in the store: an object that only one can make, and that its owner changes again and again as long as it lives.
//!
//! No clock is compared with another's: whoever finds the lock taken watches whether it changes. One that does not change for
//! [`DEAD_AFTER`] was left by somebody who is gone, and is taken over by whoever changes it first. The owner asks before what must not be
//! done by two whether it still is the owner.
//!
//! This needs a store that knows conditional writes (`If-None-Match`, `If-Match`). Where it does not the lock is none:
//! [`Lease::is_exclusive`] says so.

use super::{Bucket, Trouble, is_absent};
use object_store::{Error, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often an owner shows that it lives, and how long a lock that does not change is respected. Several chances lie between.
const RENEW_EVERY: Duration = Duration::from_secs(5);
const DEAD_AFTER: Duration = Duration::from_secs(20);
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// A lock that is held. It is given back when this is dropped.
pub struct Lease {
    held: Arc<Held>,
    /// Ends the thread that renews it.
    over: Option<(SyncSender<()>, JoinHandle<()>)>,
}

struct Held {
    bucket: Bucket,
    name: String,
    /// Unlike any other's.
    owner: String,
    exclusive: bool,
    /// How often it was written. A word that did not change would have the same version. Locked while it is being written.
    count: Mutex<u64>,
}

impl Lease {
    pub(super) fn take(bucket: &Bucket, name: &str, waits: impl FnOnce()) -> Result<Lease, Trouble> {
        let mut held = Held {
            bucket: bucket.clone(),
            name: name.to_owned(),
            owner: format!("{:016x}{:016x}", RandomState::new().hash_one(std::process::id()), RandomState::new().hash_one(Instant::now())),
            exclusive: true,
            count: Mutex::new(0),
        };
        if held.claim(PutMode::Create)? == Put::Taken {
            waits();
            held.take_over()?;
        }
        // A store that does not know the condition makes it a second time.
        held.exclusive = held.put(PutMode::Create)? == Put::Taken;
        let held = Arc::new(held);
        let (over, ended) = sync_channel(1);
        let renewing = held.clone();
        let renew = move || {
            while ended.recv_timeout(RENEW_EVERY) == Err(RecvTimeoutError::Timeout) {
                // One that cannot be renewed is noticed by whoever asks before it does something.
                let _ = renewing.renew();
            }
        };
        let thread = thread::Builder::new().name("lease".into()).spawn(renew);
        let thread = thread.map_err(|error| Trouble::new(format!("no thread to keep {bucket}/{name}: {error}")))?;
        Ok(Lease { held, over: Some((over, thread)) })
    }

    /// Whether the store keeps others out. If not, whoever starts a second one must.
    pub fn is_exclusive(&self) -> bool {
        self.held.exclusive
    }

    /// Asks the store whether this still is the owner. What is begun at once is finished before anybody may take it over.
    ///
    /// # Errors
    /// If another has it, because this one did not show for long that it lives, or if the store does not answer.
    pub fn confirm(&self) -> Result<(), Trouble> {
        self.held.renew()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.over.take() {
            drop(over);
            let _ = thread.join();
        }
        // Whoever comes next finds a lock that does not change, if it cannot be given back.
        if self.held.found().is_ok_and(|found| found.is_some_and(|found| self.held.is_ours(&found))) {
            let _ = self.held.bucket.delete(&self.held.name);
        }
    }
}

/// What came of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    Done,
    /// The condition did not hold.
    Taken,
}

/// What the lock says, and the version of that.
type Found = (String, Option<String>);

impl Held {
    fn is_ours(&self, (said, _): &Found) -> bool {
        said.split(' ').next() == Some(&self.owner)
    }

    /// Writes this one's name. An answer that was lost on its way is as good as one that came.
    fn claim(&self, mode: PutMode) -> Result<Put, Trouble> {
        match self.put(mode)? {
            Put::Taken if self.found()?.is_some_and(|found| self.is_ours(&found)) => Ok(Put::Done),
            put => Ok(put),
        }
    }

    fn put(&self, mode: PutMode) -> Result<Put, Trouble> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        let (inner, path) = (&self.bucket.inner, self.bucket.path(&self.name));
        let payload = PutPayload::from(format!("{} {count}", self.owner).into_bytes());
        let put = |mode| inner.runtime.block_on(inner.store.put_opts(&path, payload.clone(), PutOptions::from(mode)));
        let done = match put(mode) {
            Err(error) if is_unknown(&error) => put(PutMode::Overwrite),
            done => done,
        };
        match done {
            Ok(_) => Ok(Put::Done),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => Ok(Put::Taken),
            Err(error) => Err(self.bucket.trouble("lock", &self.name, &error)),
        }
    }

    /// `None` if nobody has it.
    fn found(&self) -> Result<Option<Found>, Trouble> {
        let inner = &self.bucket.inner;
        let got = inner.runtime.block_on(async {
            let got: GetResult = inner.store.get(&self.bucket.path(&self.name)).await?;
            let version = got.meta.e_tag.clone();
            Ok((String::from_utf8_lossy(&got.bytes().await?).into_owned(), version))
        });
        match got {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.bucket.trouble("read", &self.name, &error)),
        }
    }

    /// Watches another's lock until it is gone, has changed, or must be nobody's.
    fn take_over(&self) -> Result<(), Trouble> {
        let taken = || Trouble::new(format!("{}/{}: another is at work there", self.bucket, self.name));
        let claim = |mode| if self.claim(mode)? == Put::Done { Ok(()) } else { Err(taken()) };
        let seen = self.found()?;
        let since = Instant::now();
        while since.elapsed() < DEAD_AFTER {
            let found = self.found()?;
            if found.is_none() {
                return claim(PutMode::Create);
            }
            if found != seen {
                return Err(taken());
            }
            thread::sleep(WATCH_EVERY);
        }
        claim(PutMode::Update(UpdateVersion { e_tag: seen.and_then(|(_, version)| version), version: None }))
    }

    /// Changes what the lock says, if it still is this one's.
    fn renew(&self) -> Result<(), Trouble> {
        let lost = || Trouble::new(format!("{}/{}: another has taken it over, because this one was not heard of", self.bucket, self.name));
        match self.found()? {
            Some(found) if self.is_ours(&found) => {
                // Where it changed between the two requests, the thread beside this one has renewed it.
                let put = self.claim(PutMode::Update(UpdateVersion { e_tag: found.1, version: None }))?;
                if put == Put::Done { Ok(()) } else { Err(lost()) }
            }
            _ if self.exclusive => Err(lost()),
            _ => Ok(()),
        }
    }
}

/// Whether the store does not know the condition it was given.
fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. } | Error::NotSupported { .. }) || error.to_string().contains("NotImplemented")
}
