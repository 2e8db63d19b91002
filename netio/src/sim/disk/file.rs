//! A simulated file: what is durable of it, and what a loss of power may take back.

use super::super::chance::Chance;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a device writes whole: a write that is cut off leaves each sector old or new, unless it was being written at that moment.
pub(super) const SECTOR_BYTES: usize = 512;

/// See the module's head.
#[derive(Clone)]
pub(super) struct File {
    /// What survives anything.
    durable: Vec<u8>,
    /// How much of `durable` still shows: a file that was cut and grows again shows zeros.
    kept: usize,
    /// What was written since, by sector.
    volatile: BTreeMap<u64, Sector>,
    bytes: usize,
    /// Held by whoever has it open.
    open: Rc<()>,
}

#[derive(Clone)]
struct Sector {
    bytes: [u8; SECTOR_BYTES],
    /// When it was written, in requests performed.
    written: u64,
    /// It was being written when its process died: a loss of power at that moment may leave anything in its place.
    under_way: bool,
    /// A sync that failed gave it up: no later one makes it durable.
    given_up: bool,
}

impl File {
    /// A file of so many zeros, none of them durable.
    pub(super) fn new(bytes: usize) -> File {
        File { durable: Vec::new(), kept: 0, volatile: BTreeMap::new(), bytes, open: Rc::new(()) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A mark that keeps the file for as long as it is held.
    pub(super) fn hold(&self) -> Rc<()> {
        Rc::clone(&self.open)
    }

    pub(super) fn is_open(&self) -> bool {
        Rc::strong_count(&self.open) > 1
    }

    /// A copy that nobody has open.
    pub(super) fn copy(&self) -> File {
        File { open: Rc::new(()), ..self.clone() }
    }

    /// What a reader sees from `at` on, `count` bytes or up to the end.
    pub(super) fn read(&self, at: usize, count: usize) -> Vec<u8> {
        let from = at.min(self.bytes);
        let end = at.saturating_add(count).min(self.bytes);
        let mut seen = vec![0; end - from];
        if from < self.kept {
            let kept = self.kept.min(end);
            seen[..kept - from].copy_from_slice(&self.durable[from..kept]);
        }
        for (number, sector) in self.volatile.range((from / SECTOR_BYTES) as u64..) {
            let starts = *number as usize * SECTOR_BYTES;
            if starts >= end {
                break;
            }
            let (first, last) = (starts.max(from), (starts + SECTOR_BYTES).min(end));
            seen[first - from..last - from].copy_from_slice(&sector.bytes[first - starts..last - starts]);
        }
        seen
    }

    /// Writes whole sectors. `written` is the time of it, `under_way` whether its process died meanwhile.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8], written: u64, under_way: bool) {
        assert!(at.is_multiple_of(SECTOR_BYTES) && bytes.len().is_multiple_of(SECTOR_BYTES));
        for (index, chunk) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let bytes = chunk.try_into().expect("a chunk is a sector");
            let number = (at / SECTOR_BYTES + index) as u64;
            self.volatile.insert(number, Sector { bytes, written, under_way, given_up: false });
        }
        self.bytes = self.bytes.max(at + bytes.len());
    }

    pub(super) fn truncate(&mut self, bytes: usize) {
        self.kept = self.kept.min(bytes);
        self.volatile.split_off(&(bytes.div_ceil(SECTOR_BYTES) as u64));
        if let Some(sector) = self.volatile.get_mut(&((bytes / SECTOR_BYTES) as u64)) {
            sector.bytes[bytes % SECTOR_BYTES..].fill(0);
        }
        self.bytes = bytes;
    }

    /// Makes the size durable, and every sector written before `asked`. What was written since stays as it is.
    pub(super) fn sync(&mut self, asked: u64) {
        self.settle_size();
        let volatile = std::mem::take(&mut self.volatile);
        for (number, sector) in volatile {
            if sector.written < asked && !sector.given_up {
                self.persist(number, &sector.bytes);
            } else {
                self.volatile.insert(number, sector);
            }
        }
    }

    /// A sync failed: some of what was written became durable, the rest never will by a later sync.
    pub(super) fn fail_sync(&mut self, chance: &mut Chance) {
        self.settle_size();
        let volatile = std::mem::take(&mut self.volatile);
        for (number, sector) in volatile {
            if chance.one_in(2) {
                self.persist(number, &sector.bytes);
            } else {
                self.volatile.insert(number, Sector { given_up: true, ..sector });
            }
        }
    }

    /// Its process is gone, the machine is not: what was written stays to be read, except what a failed sync gave up, which a reader
    /// may find as it was before.
    pub(super) fn kill(&mut self, chance: &mut Chance) {
        self.volatile.retain(|_, sector| !sector.given_up || chance.one_in(2));
        for sector in self.volatile.values_mut() {
            (sector.under_way, sector.given_up) = (false, false);
        }
    }

    /// Only what is durable is left, and as much of the rest as chance has it: often all or nothing, else sector by sector.
    pub(super) fn lose_power(&mut self, chance: &mut Chance) {
        if self.kept < self.durable.len() && chance.one_in(2) {
            self.durable.truncate(self.kept);
        }
        if self.bytes > self.durable.len() && chance.one_in(2) {
            self.durable.resize(self.bytes, 0);
        }
        let spread = chance.below(4);
        for (number, sector) in std::mem::take(&mut self.volatile) {
            let survives = match spread {
                0 => false,
                1 => true,
                _ => chance.one_in(2),
            };
            if sector.under_way && chance.one_in(8) {
                let mut garbage = [0; SECTOR_BYTES];
                garbage.iter_mut().for_each(|byte| *byte = chance.bits() as u8);
                self.persist(number, &garbage);
            } else if survives {
                self.persist(number, &sector.bytes);
            }
        }
        self.kept = self.durable.len();
        self.bytes = self.durable.len();
    }

    /// Flips one bit, wherever it is kept.
    pub(super) fn flip(&mut self, at: usize, bit: u32) {
        assert!(at < self.bytes, "byte {at} is not in a file of {} bytes", self.bytes);
        let flipped = 1u8.rotate_left(bit);
        match self.volatile.get_mut(&((at / SECTOR_BYTES) as u64)) {
            Some(sector) => sector.bytes[at % SECTOR_BYTES] ^= flipped,
            None if at < self.kept => self.durable[at] ^= flipped,
            None => {
                let mut bytes: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
                let starts = at / SECTOR_BYTES * SECTOR_BYTES;
                let seen = self.read(starts, SECTOR_BYTES);
                bytes[..seen.len()].copy_from_slice(&seen);
                bytes[at - starts] ^= flipped;
                let sector = Sector { bytes, written: 0, under_way: false, given_up: false };
                self.volatile.insert((at / SECTOR_BYTES) as u64, sector);
            }
        }
    }

    fn settle_size(&mut self) {
        self.durable.truncate(self.kept);
        self.durable.resize(self.bytes, 0);
        self.kept = self.bytes;
    }

    /// What lies beyond the durable size is lost with it.
    fn persist(&mut self, number: u64, bytes: &[u8; SECTOR_BYTES]) {
        let at = number as usize * SECTOR_BYTES;
        let count = SECTOR_BYTES.min(self.durable.len().saturating_sub(at));
        if count > 0 {
            self.durable[at..at + count].copy_from_slice(&bytes[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(byte: u8) -> [u8; SECTOR_BYTES] {
        [byte; SECTOR_BYTES]
    }

    /// A synced file of three sectors, 1, 2 and 3.
    fn synced() -> File {
        let mut file = File::new(0);
        file.write(0, &[sector(1), sector(2), sector(3)].concat(), 0, false);
        file.sync(1);
        file
    }

    #[test]
    fn a_cut_file_that_grows_again_shows_zeros() {
        let mut file = synced();
        file.truncate(700);
        file.truncate(1536);
        let expected = [vec![1; 512], vec![2; 188], vec![0; 836]].concat();
        assert_eq!(file.read(0, 9999), expected);
        file.sync(2);
        file.lose_power(&mut Chance::new(1));
        assert_eq!(file.read(0, 9999), expected);
        assert_eq!(file.read(2000, 10), []);
        assert_eq!(file.read(100, 4), [1; 4]);
    }

    #[test]
    fn only_what_was_written_before_a_sync_was_asked_is_surely_durable() {
        let mut file = synced();
        file.write(0, &sector(7), 5, false);
        file.write(512, &sector(8), 6, false);
        file.sync(6);
        let mut kept = [false; 2];
        for seed in 0..50 {
            let mut lost = file.clone();
            lost.lose_power(&mut Chance::new(seed));
            assert_eq!(lost.read(0, 512), sector(7));
            assert_eq!(lost.read(1024, 512), sector(3));
            kept[usize::from(lost.read(512, 512) == sector(8))] = true;
        }
        assert_eq!(kept, [true; 2], "what was not synced sometimes survives and sometimes does not");
    }

    #[test]
    fn garbage_appears_only_in_sectors_under_way() {
        let mut seen = false;
        for seed in 0..200 {
            let mut file = synced();
            file.write(0, &sector(7), 5, false);
            file.write(512, &sector(8), 6, true);
            file.lose_power(&mut Chance::new(seed));
            assert!(file.read(0, 512) == sector(1) || file.read(0, 512) == sector(7));
            seen |= ![sector(2), sector(8)].concat().chunks(512).any(|legal| legal == file.read(512, 512));
        }
        assert!(seen, "no write was ever torn inside a sector");
    }

    #[test]
    fn a_dead_process_loses_nothing_that_was_written() {
        let mut file = synced();
        file.write(1536, &sector(4), 5, true);
        file.kill(&mut Chance::new(1));
        assert_eq!(file.read(0, 9999), [sector(1), sector(2), sector(3), sector(4)].concat());
        // A later loss of power takes or keeps it whole: it is not under way any more.
        for seed in 0..100 {
            let mut lost = file.clone();
            lost.lose_power(&mut Chance::new(seed));
            let tail = lost.read(1536, 512);
            assert!(tail.is_empty() || tail == sector(4) || tail == sector(0), "{tail:?}");
        }
    }

    #[test]
    fn what_a_failed_sync_gave_up_no_later_sync_saves() {
        let mut lost_after_sync = false;
        for seed in 0..50 {
            let mut file = synced();
            file.write(0, &sector(7), 1, false);
            file.fail_sync(&mut Chance::new(seed));
            assert_eq!(file.read(0, 512), sector(7), "readers see it for now");
            file.sync(9);
            file.lose_power(&mut Chance::new(seed));
            lost_after_sync |= file.read(0, 512) == sector(1);
        }
        assert!(lost_after_sync);
    }

    #[test]
    fn a_flipped_bit_is_one_bit_wherever_it_is_kept() {
        let mut file = synced();
        file.write(512, &sector(8), 5, false);
        file.truncate(2000);
        let before = file.read(0, 9999);
        for at in [3, 600, 1999] {
            file.flip(at, 9);
            let after = file.read(0, 9999);
            let differing: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
            assert_eq!(differing, [at]);
            assert_eq!(before[at] ^ after[at], 2);
            file.flip(at, 9);
            assert_eq!(file.read(0, 9999), before);
        }
    }
}
