//! An object on its way to the store: in one piece if it is small, else in parts that become one with the last.

use super::{Bucket, Trouble};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use std::io::{self, Write};

/// The smallest part; stores want no less than 5 MiB.
const PART_BYTES_MIN: usize = 8 << 20;

/// Stores take no more than ten thousand parts.
const PARTS_MAX: u64 = 1000;

pub(super) fn write<T, E: From<Trouble>>(
    bucket: &Bucket,
    name: &str,
    bytes_max: u64,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut upload = Upload { bucket, name, part_bytes: part_bytes(bytes_max), part: Vec::new(), parts: None, failed: None };
    let filled = fill(&mut upload);
    // Whoever fills says only that it could not be written.
    let failed = upload.failed.take();
    let made = failed.map_or(filled, |trouble| Err(trouble.into()));
    match made.and_then(|made| upload.finish().map(|()| made).map_err(E::from)) {
        Ok(made) => Ok(made),
        Err(error) => {
            upload.abandon();
            Err(error)
        }
    }
}

/// All parts but the last have the same length: not every store takes others.
fn part_bytes(bytes_max: u64) -> usize {
    let part = usize::try_from(bytes_max.div_ceil(PARTS_MAX)).unwrap_or(usize::MAX);
    part.max(PART_BYTES_MIN).checked_next_multiple_of(1 << 20).unwrap_or(PART_BYTES_MIN)
}

struct Upload<'a> {
    bucket: &'a Bucket,
    name: &'a str,
    part_bytes: usize,
    /// What has not been sent.
    part: Vec<u8>,
    /// Once there is more than one.
    parts: Option<Box<dyn MultipartUpload>>,
    failed: Option<Trouble>,
}

impl Upload<'_> {
    fn trouble(&self, error: &object_store::Error) -> Trouble {
        self.bucket.trouble("write", self.name, error)
    }

    fn send_part(&mut self) -> Result<(), Trouble> {
        let inner = &self.bucket.inner;
        if self.parts.is_none() {
            let begun = inner.runtime.block_on(inner.store.put_multipart(&self.bucket.path(self.name)));
            self.parts = Some(begun.map_err(|error| self.trouble(&error))?);
        }
        let payload = PutPayload::from(std::mem::take(&mut self.part));
        let sent = inner.runtime.block_on(self.parts.as_mut().expect("just begun").put_part(payload));
        sent.map_err(|error| self.trouble(&error))
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        let inner = &self.bucket.inner;
        if self.parts.is_none() {
            let payload = PutPayload::from(std::mem::take(&mut self.part));
            let put = inner.runtime.block_on(inner.store.put(&self.bucket.path(self.name), payload));
            return put.map(drop).map_err(|error| self.trouble(&error));
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        let whole = inner.runtime.block_on(self.parts.as_mut().expect("seen above").complete());
        whole.map(drop).map_err(|error| self.trouble(&error))
    }

    /// Parts without a whole take room that nobody sees. What cannot be removed now is for the store's own rule to remove.
    fn abandon(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            let _ = self.bucket.inner.runtime.block_on(parts.abort());
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() == self.part_bytes
            && let Err(trouble) = self.send_part()
        {
            self.failed.get_or_insert(trouble.clone());
            return Err(io::Error::other(trouble));
        }
        let count = bytes.len().min(self.part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// A part is sent when it is full, and the last with the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_for_what_is_to_come() {
        let tib = 1u64 << 40;
        for bytes in [0, 1, 100 << 20, 8 << 30, tib, 5 * tib] {
            let part = part_bytes(bytes) as u64;
            assert!(part >= 5 << 20 && part.is_multiple_of(1 << 20) && bytes.div_ceil(part) <= PARTS_MAX, "{bytes}: {part}");
        }
        assert_eq!(part_bytes(u64::MAX) % (1 << 20), 0);
    }
}
