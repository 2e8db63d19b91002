//! Which backup answers a wish, and which files of it and of those before it belong together.

use super::Trouble;
use super::catalog::{Catalog, Kept, What, catalog_names};
use super::moment;
use super::point::Wanted;
use super::store::Store;
use shards::log::{Generation, StreamId};
use std::collections::{BTreeMap, BTreeSet};

/// Every backup of a store, by node and time.
pub(super) fn catalogs(store: &Store) -> Result<Vec<Catalog>, Trouble> {
    let names = catalog_names(store)?;
    names.iter().map(|name| Catalog::read(store, name)).collect()
}

/// The backup to begin with: the one that is named, else for a moment the first that reaches it, else the newest.
pub(super) fn choose<'a>(
    catalogs: &'a [Catalog],
    node: Option<&str>,
    backup: Option<&str>,
    wanted: Wanted,
) -> Result<&'a Catalog, Trouble> {
    let candidates: Vec<&Catalog> = catalogs
        .iter()
        .filter(|catalog| node.is_none_or(|node| catalog.node.starts_with(node)) && backup.is_none_or(|id| catalog.id == id))
        .collect();
    let nodes: BTreeSet<&str> = candidates.iter().map(|catalog| catalog.node.as_str()).collect();
    if nodes.len() > 1 {
        let nodes: Vec<&str> = nodes.into_iter().collect();
        return Err(Trouble::usage(format!(
            "the store has backups of {} directories; choose with --node: {}",
            nodes.len(),
            nodes.join(", ")
        )));
    }
    let Some(newest) = candidates.last() else {
        return Err(Trouble::new("the store has no such backup; `corewheel backup list` shows what there is"));
    };
    let Wanted::Time(time) = wanted else { return Ok(newest) };
    candidates.iter().find(|catalog| catalog.clock_ms >= time).copied().ok_or_else(|| {
        Trouble::new(format!(
            "{} is later than what was backed up, which reaches until {}",
            moment::show(time),
            moment::show(newest.clock_ms)
        ))
    })
}

/// The files of `base`, and those of earlier backups of the same history: what a server has compacted since.
pub(super) fn files(base: &Catalog, catalogs: &[Catalog]) -> BTreeMap<String, Kept> {
    let mut files: BTreeMap<String, Kept> = base.files.iter().map(|file| (file.name.clone(), file.clone())).collect();
    for earlier in catalogs.iter().filter(|catalog| is_before(catalog, base)) {
        for file in &earlier.files {
            let is_longer =
                files.get(&file.name).is_none_or(|known| matches!(file.what(), Some(What::Segment(..))) && file.bytes > known.bytes);
            if is_longer {
                files.insert(file.name.clone(), file.clone());
            }
        }
    }
    files
}

/// Whether a backup's directory became that of `base`. A directory that was restored goes on under the same name, and so may the one
/// it was made from; which generations they opened, and how, tells them apart.
fn is_before(catalog: &Catalog, base: &Catalog) -> bool {
    if catalog.node != base.node || catalog.id >= base.id || catalog.generation() > base.generation() {
        return false;
    }
    let openings = |catalog: &Catalog| -> BTreeMap<Generation, u32> {
        let opening = |file: &Kept| match file.what() {
            Some(What::Opening(generation)) => Some((generation, file.crc32c)),
            _ => None,
        };
        catalog.files.iter().filter_map(opening).collect()
    };
    let known = openings(base);
    openings(catalog).iter().all(|(generation, crc)| known.get(generation).is_none_or(|other| other == crc))
}

/// The files of each stream.
pub(super) fn streams(files: &BTreeMap<String, Kept>) -> BTreeMap<StreamId, BTreeMap<u64, &Kept>> {
    let mut streams: BTreeMap<StreamId, BTreeMap<u64, &Kept>> = BTreeMap::new();
    for file in files.values() {
        if let Some(What::Segment(stream, seq)) = file.what() {
            streams.entry(stream).or_default().insert(seq, file);
        }
    }
    streams
}

/// Objects of a node that no backup needs: of one that was never finished, or of one whose catalog is gone.
pub(super) fn unneeded(store: &Store, catalogs: &[Catalog]) -> Result<Vec<String>, Trouble> {
    let needed: BTreeSet<String> =
        catalogs.iter().flat_map(|catalog| catalog.files.iter().map(|file| catalog.place(file)).chain([catalog.object()])).collect();
    let is_ours = |name: &str| {
        let node = name.split('/').next().unwrap_or_default();
        node.len() == 32 && node.bytes().all(|byte| byte.is_ascii_hexdigit()) && name.ends_with(".zst")
    };
    let names = store.objects()?.into_iter().map(|object| object.name);
    Ok(names.filter(|name| is_ours(name) && !needed.contains(name)).collect())
}

/// Which of a node's backups, by time, a rule keeps: the newest `count`, or those not older than `age_ms`. The newest is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Count(usize),
    AgeMs(u64),
}

impl Keep {
    pub(super) fn parse(text: &str) -> Result<Keep, String> {
        let count = text.parse().ok().filter(|count| *count > 0).map(Keep::Count);
        count
            .or_else(|| moment::parse_span(text).map(Keep::AgeMs))
            .ok_or_else(|| format!("`{text}` is no rule: give a number of backups, at least 1, or an age such as 7d, 12h, 30m"))
    }

    /// Whether the backup that is `later` places before the newest is kept.
    pub(super) fn keeps(self, catalog: &Catalog, later: usize, now_ms: u64) -> bool {
        later == 0
            || match self {
                Keep::Count(count) => later < count,
                Keep::AgeMs(age_ms) => catalog.created_ms.saturating_add(age_ms) >= now_ms,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::log::NodeId;

    fn catalog(created_ms: u64, files: &[(&str, u64, u32)]) -> Catalog {
        let mut catalog = Catalog::new(NodeId([7; 16]), created_ms, created_ms, false);
        let kept = |(name, bytes, crc32c): &(&str, u64, u32)| Kept {
            name: (*name).into(),
            bytes: *bytes,
            crc32c: *crc32c,
            object: format!("{}/{name}.zst", catalog.id),
            stored_bytes: 1,
            stored_crc32c: 1,
        };
        let files = files.iter().map(kept).collect();
        catalog.files = files;
        catalog
    }

    const OPEN: [&str; 3] = ["log/g00000001.open", "log/g00000002.open", "log/g00000003.open"];
    const SEGMENT: [&str; 2] = ["log/g00000001-c0000-00000000.log", "log/g00000001-c0000-00000001.log"];

    #[test]
    fn a_moment_is_answered_by_the_first_backup_that_reaches_it() {
        let all = [catalog(10, &[]), catalog(20, &[]), catalog(30, &[])];
        let chosen = |wanted| choose(&all, None, None, wanted).map(|catalog| catalog.created_ms).map_err(|trouble| trouble.to_string());
        assert_eq!(chosen(Wanted::Everything), Ok(30));
        assert_eq!([5, 10, 11, 30].map(|time| chosen(Wanted::Time(time))), [10, 10, 20, 30].map(Ok));
        assert!(chosen(Wanted::Time(31)).unwrap_err().contains("reaches until 1970-01-01T00:00:00.030Z"));
        let named = choose(&all, None, Some(&all[1].id), Wanted::Everything).unwrap();
        assert_eq!(named.created_ms, 20);
        assert!(choose(&all, Some("08"), None, Wanted::Everything).is_err());
        let mut two = all.to_vec();
        two[0].node = "ff".into();
        assert!(choose(&two, None, None, Wanted::Everything).unwrap_err().to_string().contains("choose with --node"));
        assert_eq!(choose(&two, Some("f"), None, Wanted::Everything).unwrap().created_ms, 10);
    }

    #[test]
    fn what_was_compacted_comes_from_earlier_backups_and_the_longest_of_a_file_counts() {
        let first = catalog(10, &[(OPEN[0], 1, 1), (SEGMENT[0], 100, 5), (SEGMENT[1], 50, 6)]);
        let second = catalog(20, &[(OPEN[0], 1, 1), (SEGMENT[1], 80, 7)]);
        let all = [first, second];
        let found = files(&all[1], &all);
        assert_eq!(
            found.values().map(|file| (file.name.as_str(), file.bytes)).collect::<Vec<_>>(),
            [(SEGMENT[0], 100), (SEGMENT[1], 80), (OPEN[0], 1)]
        );
        assert_eq!(files(&all[0], &all).values().map(|file| file.bytes).collect::<Vec<_>>(), [100, 50, 1], "nothing later");
        assert_eq!(streams(&found).into_values().map(|segments| segments.into_keys().collect::<Vec<_>>()).collect::<Vec<_>>(), [[0, 1]]);
    }

    #[test]
    fn a_history_that_was_left_by_a_restore_is_not_mixed_in() {
        let other_opening = catalog(10, &[(OPEN[0], 1, 1), (OPEN[1], 1, 2), (SEGMENT[0], 100, 5)]);
        let further_on = catalog(11, &[(OPEN[0], 1, 1), (OPEN[1], 1, 9), (OPEN[2], 1, 3), (SEGMENT[0], 101, 5)]);
        let base = catalog(20, &[(OPEN[0], 1, 1), (OPEN[1], 1, 9), (SEGMENT[0], 50, 6)]);
        let all = [other_opening, further_on, base];
        assert_eq!(files(&all[2], &all)[SEGMENT[0]].bytes, 50);
    }

    #[test]
    fn the_newest_backup_is_always_kept() {
        let old = catalog(1000, &[]);
        let keeps = |text: &str, now_ms| [0, 1, 2].map(|later| Keep::parse(text).unwrap().keeps(&old, later, now_ms));
        assert_eq!(keeps("1", 5000), [true, false, false]);
        assert_eq!(keeps("2", 5000), [true, true, false]);
        assert_eq!(keeps("4s", 5000), [true, true, true]);
        assert_eq!(keeps("4s", 5001), [true, false, false]);
        for text in ["0", "", "x", "-1", "7"] {
            assert_eq!(Keep::parse(text).is_ok(), text == "7", "{text}");
        }
    }
}
