//! The `corewheel` program: reads what is wanted, starts it, says what happened.

mod demo;
mod offline;
mod upkeep;

use clap::{CommandFactory, Parser, Subcommand};
use engine::banner::banner;
use engine::machine::{Failure, Machine};
use engine::options::{IoChoice, ServerConfig, ServerOptions};
use engine::placement::CoreId;
use engine::settings::Settings;
use netio::signals::StopSignals;
use netio::{Backend, Choice, Epoll, Options, Uring};
use offline::archive::Archiver;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes: a wrong command line, and a server that could not start or failed.
const EXIT_USAGE: u8 = 2;
const EXIT_FAILED: u8 = 1;

/// A thread-per-core data engine that any Redis client can use.
#[derive(Parser)]
#[command(name = "corewheel", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Program {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "Examples:
  corewheel server                         serve port 6379 on every core
  corewheel server --cores 0-3 --maxmemory 4gb --maxmemory-policy allkeys-lfu
  corewheel demo                           try it: a free port, sample data, a gentle load
  corewheel bench --rate 50k --duration 10s    how fast is it, told truthfully
  corewheel import dump.rdb --to 127.0.0.1:6379    move here from Redis
  corewheel export rdb dump.rdb --from 127.0.0.1:6379    and away
  corewheel backup create --dir /var/lib/corewheel --to /mnt/backups
  corewheel completions bash > /etc/bash_completion.d/corewheel";

#[derive(Subcommand)]
enum What {
    /// Serve Redis clients until stopped.
    #[command(after_help = SERVER_EXAMPLES)]
    Server(Box<ServerOptions>),
    /// Try it: an in-memory server on a free port with sample data and a gentle load.
    Demo(demo::DemoOptions),
    /// Measure a server: this one, Redis, Valkey or memcached.
    Bench(Box<loadgen::Options>),
    /// Bring the data of a Redis or Valkey server into this one.
    Import(Box<offline::import::ImportOptions>),
    /// Look through a server's directory: what is whole, what a crash tore, what is damaged. Changes nothing.
    #[command(after_help = CHECK_HELP)]
    Check(upkeep::CheckOptions),
    /// Decide about a damaged directory, so that a server starts on it again.
    #[command(after_help = REPAIR_HELP)]
    Repair(upkeep::RepairOptions),
    /// Write what a running server holds into a file.
    Export(Box<offline::export::ExportOptions>),
    /// Take, list, verify and prune backups of a server's directory.
    Backup(offline::backup::BackupOptions),
    /// Make a directory from a backup, as it was at any moment.
    Restore(offline::restore::RestoreOptions),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    Man {
        /// The directory; it must exist.
        directory: std::path::PathBuf,
    },
}

const SERVER_EXAMPLES: &str = "Examples:
  corewheel server --port 6380 --bind 0.0.0.0 --requirepass-file /etc/corewheel/password
  corewheel server --unixsocket /run/corewheel.sock --io epoll
  corewheel server --config /etc/corewheel/corewheel.toml --set timeout=300

Every setting of CONFIG GET may be given by --set or in the file. SIGTERM and SIGINT stop gracefully; a second one at once.";

const CHECK_HELP: &str = "No server may use the directory meanwhile.
Exit status: 0 whole, 1 a crash tore a write that nobody was promised, 3 damaged, 2 cannot tell.";

const REPAIR_HELP: &str =
    "Copy the directory first. Nothing is deleted: files that are replaced stay, with .damaged behind their names. Says what is lost.
Where a server starts by itself, nothing is changed.";

fn main() -> ExitCode {
    let program = Program::parse();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    // What the store's client tries again is said when it has failed for good.
    log.with_env_filter(EnvFilter::try_from_env("COREWHEEL_LOG").unwrap_or_else(|_| EnvFilter::new("info,object_store=error"))).init();
    match program.what {
        What::Server(options) => match options.into_config() {
            Ok(config) => serve(config),
            Err(unusable) => complain(EXIT_USAGE, &unusable),
        },
        What::Demo(options) => demo::run(options),
        What::Bench(options) => loadgen::run(*options),
        What::Import(options) => offline::import::run(*options),
        What::Check(options) => upkeep::check(options),
        What::Repair(options) => upkeep::repair(options),
        What::Export(options) => offline::export::run(*options),
        What::Backup(options) => offline::backup::run(options),
        What::Restore(options) => offline::restore::run(options),
        What::Completions { shell } => {
            clap_complete::generate(shell, &mut Program::command(), "corewheel", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        What::Man { directory } => match clap_mangen::generate_to(Program::command(), &directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(EXIT_FAILED, &format!("cannot write into {}: {error}", directory.display())),
        },
    }
}

/// The life of a server: start, banner, wait for a signal, drain, end.
fn serve(config: ServerConfig) -> ExitCode {
    let signals = match StopSignals::block() {
        Ok(signals) => signals,
        Err(error) => return complain(EXIT_FAILED, &format!("cannot block signals: {error}")),
    };
    let archive = config.archive.clone();
    let machine = match start(config) {
        Ok(machine) => machine,
        Err(failure) => return complain(EXIT_FAILED, &failure),
    };
    let archiver = match archive.map(|archive| Archiver::begin(archive, machine.shared.clone())).transpose() {
        Ok(archiver) => archiver,
        Err(why) => {
            machine.shared.stop();
            let _ = machine.join();
            return complain(EXIT_USAGE, &why);
        }
    };
    print!("{}", banner(&machine));
    stop_on_signal(&machine, signals);
    let ended = machine.join();
    if let Some(archiver) = archiver {
        archiver.end(ended.is_ok());
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(EXIT_FAILED, &failure),
    }
}

/// Starts the server on the kernel interface asked for, or on the best there is.
pub(crate) fn start(config: ServerConfig) -> Result<Machine, Failure> {
    let ServerConfig { mut settings, io, archive: _ } = config;
    fit_descriptors(&mut settings);
    let choice = match io {
        IoChoice::Auto => Choice::Auto,
        IoChoice::Uring => Choice::Uring,
        IoChoice::Epoll => Choice::Epoll,
    };
    match netio::choose(choice).map_err(|refused| Failure::Open(CoreId(0), refused.to_string()))? {
        Backend::Uring => Machine::start(settings, |_| Uring::open(Options::default()).map_err(|refused| refused.to_string())),
        Backend::Epoll { stepped_down } => {
            Machine::start(settings, move |_| Epoll::open(Options::default(), stepped_down.clone()).map_err(|error| error.to_string()))
        }
    }
}

/// Sees to it that every client can have a descriptor, or lowers the number of clients to what there are.
fn fit_descriptors(settings: &mut Settings) {
    /// For listeners, rings and eventfds: a few of each core.
    const OWN_EACH_CORE: u64 = 32;
    let own = OWN_EACH_CORE * (settings.cpus.len() as u64 + 1);
    let wanted = u64::from(settings.clients_max) + own;
    match netio::placement::raise_descriptor_limit(wanted) {
        Ok(limit) if limit < wanted => {
            settings.clients_max = u32::try_from(limit.saturating_sub(own)).unwrap_or(u32::MAX).max(1);
            tracing::warn!(
                "this process may have {limit} descriptors, which is enough for {} clients; raise `ulimit -n` to {wanted} for all",
                settings.clients_max
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot tell how many descriptors there may be"),
    }
}

/// The first signal asks the cores to stop, the second does not wait for them.
pub(crate) fn stop_on_signal(machine: &Machine, signals: StopSignals) {
    let shared = machine.shared.clone();
    let waiter = std::thread::Builder::new().name("signals".into());
    let spawned = waiter.spawn(move || {
        if let Ok(name) = signals.wait() {
            tracing::info!("{name}: taking no more clients, answering what is under way");
            shared.stop();
        }
        if signals.wait().is_ok() {
            std::process::exit(i32::from(EXIT_FAILED));
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for signals; stop the server with SHUTDOWN");
    }
}

pub(crate) fn complain(code: u8, what: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("corewheel: {what}");
    ExitCode::from(code)
}
