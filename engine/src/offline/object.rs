//! A file of a directory as a compressed object of a store, there and back. Both lengths and both checksums are in the catalog.

use super::Trouble;
use super::bar::Bar;
use super::catalog::Kept;
use super::store::Store;
use super::stream::read_full;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes handled at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Where zstd gives most of what it can give without slowing a disk down.
const LEVEL: i32 = 3;

/// The checksum of a file's first `bytes`.
pub(super) fn checksum(path: &Path, bytes: u64) -> Result<u32, Trouble> {
    let mut crc = 0;
    each_chunk(path, bytes, |chunk| {
        crc = crc32c::crc32c_append(crc, chunk);
        Ok(())
    })?;
    Ok(crc)
}

/// Makes `kept.object`, in `folder` of the store, of the first `kept.bytes` of a file, and notes what it became.
pub(super) fn pack(path: &Path, store: &Store, folder: &str, kept: &mut Kept, bar: &mut Bar) -> Result<(), Trouble> {
    let name = format!("{folder}/{}", kept.object);
    let place = store.place(&name);
    let trouble = || Trouble::step(format!("cannot write {}", place));
    // What cannot be compressed becomes a little longer.
    let bytes_max = kept.bytes + kept.bytes / 64 + CHUNK_BYTES as u64;
    let (crc, stored) = store.write(&name, bytes_max, |into| {
        let mut encoder = zstd::Encoder::new(Measured::new(into), LEVEL).map_err(trouble())?;
        let mut crc = 0;
        each_chunk(path, kept.bytes, |chunk| {
            crc = crc32c::crc32c_append(crc, chunk);
            bar.add(chunk.len() as u64);
            encoder.write_all(chunk).map_err(trouble())
        })?;
        let Measured { bytes, crc: stored_crc, .. } = encoder.finish().map_err(trouble())?;
        Ok((crc, (bytes, stored_crc)))
    })?;
    if crc != kept.crc32c {
        return Err(Trouble::new(format!("{} changed while it was read, which nothing of ours does", path.display())));
    }
    (kept.stored_bytes, kept.stored_crc32c) = stored;
    Ok(())
}

/// Writes what an object was made of to `into`, called `target` in messages, and checks all of it.
pub(super) fn unpack(store: &Store, name: &str, kept: &Kept, into: &mut dyn Write, target: &Path, bar: &mut Bar) -> Result<(), Trouble> {
    let place = store.place(name);
    let refused = |why: &str| Trouble::new(format!("{} is damaged: {why}", place));
    let mut stored = Measured::new(store.read(name)?);
    let (mut crc, mut bytes) = (0, 0);
    let mut decode = || -> Result<(), Trouble> {
        let trouble = |error: io::Error| refused(&format!("it cannot be read ({error})"));
        let mut decoder = zstd::Decoder::new(&mut stored).map_err(trouble)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = read_full(&mut decoder, &mut chunk).map_err(trouble)?;
            crc = crc32c::crc32c_append(crc, &chunk[..count]);
            bytes += count as u64;
            bar.add(count as u64);
            if bytes > kept.bytes {
                return Err(refused("it holds more than it was made of"));
            }
            into.write_all(&chunk[..count]).map_err(Trouble::step(format!("cannot write {}", target.display())))?;
            if count < chunk.len() {
                return Ok(());
            }
        }
    };
    decode()?;
    io::copy(&mut stored, &mut io::sink()).map_err(Trouble::step(format!("cannot read {}", place)))?;
    if (stored.bytes, stored.crc) != (kept.stored_bytes, kept.stored_crc32c) {
        return Err(refused("its checksum does not hold"));
    }
    if (bytes, crc) != (kept.bytes, kept.crc32c) {
        return Err(refused("it is not what it was made of"));
    }
    Ok(())
}

/// Gives the first `bytes` of a file, piece by piece.
fn each_chunk(path: &Path, bytes: u64, mut take: impl FnMut(&[u8]) -> Result<(), Trouble>) -> Result<(), Trouble> {
    let mut file = File::open(path).map_err(Trouble::step(format!("cannot open {}", path.display())))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let wanted = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = read_full(&mut file, &mut chunk[..wanted]).map_err(Trouble::step(format!("cannot read {}", path.display())))?;
        if count < wanted {
            return Err(Trouble::new(format!("{} is {} bytes shorter than it was", path.display(), left - count as u64)));
        }
        take(&chunk[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// Counts and checksums what passes.
struct Measured<T> {
    inner: T,
    bytes: u64,
    crc: u32,
}

impl<T> Measured<T> {
    fn new(inner: T) -> Measured<T> {
        Measured { inner, bytes: 0, crc: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }
}

impl<T: Write> Write for Measured<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.pass(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Measured<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.pass(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;
    use std::fs;

    #[test]
    fn any_changed_byte_of_an_object_is_found() {
        let folder = Folder::new("object");
        let store = Store::make(folder.text()).unwrap();
        let source = folder.path().join("source");
        let data: Vec<u8> = (0..40_000u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
        fs::write(&source, &data).unwrap();
        let bytes = data.len() as u64 - 1000;
        let mut kept = Kept {
            name: "node".into(),
            bytes,
            crc32c: checksum(&source, bytes).unwrap(),
            object: "id/node.zst".into(),
            stored_bytes: 0,
            stored_crc32c: 0,
        };
        let mut bar = Bar::new("test", bytes);
        pack(&source, &store, "n", &mut kept, &mut bar).unwrap();
        let mut unpacked = |into: &mut Vec<u8>| unpack(&store, "n/id/node.zst", &kept, into, Path::new("memory"), &mut bar);
        let mut whole = Vec::new();
        unpacked(&mut whole).unwrap();
        assert_eq!(whole, data[..bytes as usize]);
        let place = folder.path().join("n/id/node.zst");
        let stored = fs::read(&place).unwrap();
        assert!(stored.len() as u64 == kept.stored_bytes && stored.len() < data.len());
        for at in (0..stored.len()).step_by(97) {
            let mut changed = stored.clone();
            changed[at] ^= 0x10;
            fs::write(&place, &changed).unwrap();
            assert!(unpacked(&mut Vec::new()).unwrap_err().to_string().contains("node.zst is damaged"), "byte {at}");
            fs::write(&place, &stored[..at]).unwrap();
            assert!(unpacked(&mut Vec::new()).is_err(), "cut at {at}");
        }
        fs::write(&place, [&stored[..], b"x"].concat()).unwrap();
        assert!(unpacked(&mut Vec::new()).is_err(), "something behind it");
    }
}
