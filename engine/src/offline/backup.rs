//! `corewheel backup`: takes backups of a directory while a server writes to it, lists, verifies and prunes them.

use super::bar::Bar;
use super::catalog::{Catalog, Kept, catalog_names, node_text};
use super::gather::{Gathered, Scope, Source};
use super::history::{Keep, catalogs, unneeded};
use super::object::{checksum, pack, unpack};
use super::store::Store;
use super::{Trouble, moment, now_ms};
use crate::{EXIT_FAILED, EXIT_USAGE, complain};
use clap::{Args, Subcommand};
use engine::options::human_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of `corewheel backup`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupOptions {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "Examples:
  corewheel backup create --dir /var/lib/corewheel --to /mnt/backups
  corewheel backup list --from /mnt/backups
  corewheel backup verify --from /mnt/backups
  corewheel backup prune --from /mnt/backups --keep 7d
  corewheel backup create --dir /var/lib/corewheel --to s3://bucket/prefix

A store is a directory, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, where it is not Amazon's,
AWS_ENDPOINT_URL in the environment. A backup that was interrupted is none; the next one removes what is left of it.";

#[derive(Subcommand)]
enum What {
    /// Take a backup of a server's directory, whether the server runs or not.
    Create {
        /// The directory of the server.
        #[arg(long, value_name = "PATH")]
        dir: PathBuf,
        /// The store to put it in: a directory, made if it is not there, or s3://BUCKET/PREFIX.
        #[arg(long, value_name = "STORE")]
        to: String,
        /// Copy everything, also what earlier backups hold already.
        #[arg(long)]
        full: bool,
    },
    /// Show what backups there are.
    List {
        /// The store.
        #[arg(long, value_name = "STORE")]
        from: String,
    },
    /// Read everything again and compare it with what was written.
    Verify {
        /// The store.
        #[arg(long, value_name = "STORE")]
        from: String,
        /// Only this backup.
        #[arg(long, value_name = "ID")]
        backup: Option<String>,
    },
    /// Delete old backups; the newest of each directory always stays.
    Prune {
        /// The store.
        #[arg(long, value_name = "STORE")]
        from: String,
        /// How many backups of each directory stay, or how old they may be: 30, 7d, 12h.
        #[arg(long, value_name = "RULE", value_parser = Keep::parse)]
        keep: Keep,
    },
}

/// Runs the command.
pub(crate) fn run(options: BackupOptions) -> ExitCode {
    let done = match options.what {
        What::Create { dir, to, full } => create(&dir, &to, full),
        What::List { from } => list(&from),
        What::Verify { from, backup } => verify(&from, backup.as_deref()),
        What::Prune { from, keep } => prune(&from, keep),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => complain(if trouble.usage { EXIT_USAGE } else { EXIT_FAILED }, &trouble),
    }
}

pub(super) fn create(dir: &Path, to: &str, full: bool) -> Result<(), Trouble> {
    let store = Store::make(to)?;
    let lock = store.lock()?;
    let known = catalogs(&store)?;
    remove(&store, &unneeded(&store, &known)?)?;
    let gathered = Gathered::of(dir, &Scope::default())?;
    let node = node_text(gathered.node);
    // Backups of a directory follow each other, whatever the wall clock does.
    let newest = known.iter().filter(|catalog| catalog.node == node).map(|catalog| catalog.created_ms).max();
    let created_ms = now_ms().max(newest.map_or(0, |newest| newest + 1));
    let mut catalog = Catalog::new(gathered.node, created_ms, gathered.clock_ms, full);
    let held = if full { BTreeMap::new() } else { held(&known, &node) };
    catalog.full = full || held.is_empty();
    let (mut packed, mut packed_bytes) = (0, 0);
    let mut bar = Bar::new("backup", gathered.files.iter().map(|file| 2 * file.bytes).sum());
    for file in &gathered.files {
        let crc32c = checksum(&file.path, file.bytes)?;
        bar.add(file.bytes);
        let kept = match held.get(&(file.name.as_str(), file.bytes, crc32c)) {
            Some(kept) => {
                bar.add(file.bytes);
                (*kept).clone()
            }
            None => {
                let kept = put(&store, &catalog, file, crc32c, &mut bar)?;
                (packed, packed_bytes) = (packed + 1, packed_bytes + kept.stored_bytes);
                kept
            }
        };
        catalog.files.push(kept);
    }
    lock.confirm()?;
    catalog.commit(&store)?;
    drop(bar);
    println!("{}", catalog.id);
    eprintln!(
        "everything until {}: {packed} of {} files were copied, {} compressed",
        moment::show(catalog.clock_ms),
        catalog.files.len(),
        human_bytes(packed_bytes)
    );
    Ok(())
}

/// Copies a file into a backup that is being made.
fn put(store: &Store, catalog: &Catalog, file: &Source, crc32c: u32, bar: &mut Bar) -> Result<Kept, Trouble> {
    let object = format!("{}/{}.zst", catalog.id, file.name);
    put_as(store, catalog, file, crc32c, object, bar)
}

/// The same, under a name of the caller's.
pub(super) fn put_as(store: &Store, catalog: &Catalog, file: &Source, crc32c: u32, object: String, bar: &mut Bar) -> Result<Kept, Trouble> {
    let mut kept = Kept { name: file.name.clone(), bytes: file.bytes, crc32c, object, stored_bytes: 0, stored_crc32c: 0 };
    pack(&file.path, store, &catalog.node, &mut kept, bar)?;
    Ok(kept)
}

/// What earlier backups of a directory hold.
pub(super) fn held<'a>(known: &'a [Catalog], node: &str) -> BTreeMap<(&'a str, u64, u32), &'a Kept> {
    let files = known.iter().filter(|catalog| catalog.node == node).flat_map(|catalog| &catalog.files);
    files.map(|file| ((file.name.as_str(), file.bytes, file.crc32c), file)).collect()
}

fn list(from: &str) -> Result<(), Trouble> {
    let store = Store::open(from)?;
    let names = catalog_names(&store)?;
    let mut damaged = 0;
    println!("{:<20}{:<13}{:>7}{:>11}{:>11}  {:<26}node", "backup", "kind", "files", "data", "stored", "until");
    for name in &names {
        match Catalog::read(&store, name) {
            Ok(catalog) => {
                let (bytes, stored) = catalog.bytes();
                println!(
                    "{:<20}{:<13}{:>7}{:>11}{:>11}  {:<26}{}",
                    catalog.id,
                    if catalog.full { "full" } else { "incremental" },
                    catalog.files.len(),
                    human_bytes(bytes),
                    human_bytes(stored),
                    moment::show(catalog.clock_ms),
                    catalog.node
                );
            }
            Err(trouble) => {
                damaged += 1;
                eprintln!("{trouble}");
            }
        }
    }
    if damaged > 0 { Err(Trouble::new(format!("{damaged} of {} backups cannot be read", names.len()))) } else { Ok(()) }
}

pub(super) fn verify(from: &str, backup: Option<&str>) -> Result<(), Trouble> {
    let store = Store::open(from)?;
    let (mut troubles, mut catalogs) = (Vec::new(), Vec::new());
    for name in catalog_names(&store)?.iter().filter(|name| backup.is_none_or(|id| name.split('/').nth(1) == Some(id))) {
        match Catalog::read(&store, name) {
            Ok(catalog) => catalogs.push(catalog),
            Err(trouble) => troubles.push(trouble),
        }
    }
    if catalogs.is_empty() && troubles.is_empty() {
        return Err(Trouble::new(format!("there is no such backup in {from}; `corewheel backup list` shows what there is")));
    }
    // An object that several backups share is read once, for each of what they say of it.
    let mut objects: BTreeMap<(String, u64, u32, u64, u32), &Kept> = BTreeMap::new();
    for catalog in &catalogs {
        for file in &catalog.files {
            objects.insert((catalog.place(file), file.bytes, file.crc32c, file.stored_bytes, file.stored_crc32c), file);
        }
    }
    let mut bar = Bar::new("verify", objects.values().map(|file| file.bytes).sum());
    let mut damaged = BTreeSet::new();
    for ((name, ..), file) in &objects {
        if let Err(trouble) = unpack(&store, name, file, &mut io::sink(), Path::new("nowhere"), &mut bar) {
            damaged.insert(name.clone());
            troubles.push(trouble);
        }
    }
    drop(bar);
    for catalog in &catalogs {
        let lost = catalog.files.iter().filter(|file| damaged.contains(&catalog.place(file))).count();
        let state = if lost == 0 { "whole".to_owned() } else { format!("DAMAGED: {lost} of {} files", catalog.files.len()) };
        println!("{:<20}{state}", catalog.id);
    }
    for trouble in &troubles {
        eprintln!("{trouble}");
    }
    if troubles.is_empty() { Ok(()) } else { Err(Trouble::new(format!("{} objects in {from} are not what was written", troubles.len()))) }
}

pub(super) fn prune(from: &str, keep: Keep) -> Result<(), Trouble> {
    let store = Store::open(from)?;
    let lock = store.lock()?;
    let (now, mut kept, mut old) = (now_ms(), Vec::new(), Vec::new());
    let mut later: BTreeMap<String, usize> = BTreeMap::new();
    for catalog in catalogs(&store)?.into_iter().rev() {
        let later = later.entry(catalog.node.clone()).or_default();
        if keep.keeps(&catalog, *later, now) {
            kept.push(catalog)
        } else {
            old.push(catalog)
        }
        *later += 1;
    }
    lock.confirm()?;
    // A backup ends with its catalog, and what it shared with others stays.
    for catalog in &old {
        store.delete(&catalog.object())?;
        println!("{:<20}deleted", catalog.id);
    }
    store.tidy()?;
    lock.confirm()?;
    remove(&store, &unneeded(&store, &kept)?)?;
    eprintln!("{} backups stay", kept.len());
    Ok(())
}

pub(super) fn remove(store: &Store, names: &[String]) -> Result<(), Trouble> {
    for name in names {
        store.delete(name)?;
    }
    store.tidy()
}
