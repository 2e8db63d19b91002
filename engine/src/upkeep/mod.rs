//! What the program does with a directory that no server uses: `corewheel check` and `corewheel repair`.
//!
//! Both read files by the rules of recovery, those of `shards::log`, and show what it would find. Checking changes nothing.
//! Repairing decides what recovery refuses to decide, writes the decision down as the opening of a generation, and keeps
//! every file it replaces.

mod check;
mod home;
mod repair;
mod survey;

#[cfg(test)]
mod tests;

use crate::{EXIT_USAGE, complain};
use check::Verdict;
use clap::Args;
use engine::options::read_given_keys;
use home::Home;
use repair::Way;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `corewheel check`.
#[derive(Args)]
pub(crate) struct CheckOptions {
    /// The directory given to a server with --dir.
    directory: PathBuf,

    /// File of keys, if the files are encrypted; as for the server. Without them, checksums are checked and nothing more.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
}

/// Flags of `corewheel repair`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub(crate) struct RepairOptions {
    /// The directory given to a server with --dir.
    directory: PathBuf,

    /// End each damaged core's log before the damage. What other cores did with commands that are lost by this goes too.
    #[arg(long, group = "way")]
    truncate: bool,

    /// Leave out only what cannot be read, and go on behind it.
    #[arg(long, group = "way")]
    skip: bool,

    /// File of keys, if the files are encrypted; as for the server.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
}

/// A directory about which nothing can be said, or done; and why.
#[derive(Debug)]
pub(crate) struct Unusable(String);

/// `corewheel check`: shows every file, says what a server would do. Exits with 0 if all is whole, 1 if a crash tore what nobody
/// was promised, 3 if something is damaged, 2 if that cannot be told.
pub(crate) fn check(options: CheckOptions) -> ExitCode {
    let keys = read_given_keys(options.encryption_key_file.as_deref()).map_err(|why| Unusable(why.to_string()));
    match keys.and_then(|keys| Home::read(&options.directory, keys)) {
        Ok(home) => {
            let examined = check::examine(&home);
            print!("{}", examined.report());
            ExitCode::from(match examined.verdict() {
                Verdict::Clean => 0,
                Verdict::Torn => 1,
                Verdict::Damaged => 3,
            })
        }
        Err(Unusable(why)) => complain(EXIT_USAGE, &why),
    }
}

/// `corewheel repair`: exits with 0 if a server starts now, 2 if nothing was changed.
pub(crate) fn repair(options: RepairOptions) -> ExitCode {
    let way = if options.skip { Way::Skip } else { Way::Truncate };
    let keys = read_given_keys(options.encryption_key_file.as_deref()).map_err(|why| Unusable(why.to_string()));
    match keys.and_then(|keys| Home::read(&options.directory, keys)).and_then(|home| repair::repair(home, way)) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(Unusable(why)) => complain(EXIT_USAGE, &why),
    }
}
