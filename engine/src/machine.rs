//! The whole server: starts one thread per core, gives them each other, and waits until all have stopped.

use crate::board::Board;
use crate::core::{Core, Halt};
use crate::ground;
use crate::load::Refusal;
use crate::memory;
use crate::peers::Peers;
use crate::placement::{CoreId, Placement};
use crate::settings::Settings;
use netio::{Facts, Kernel};
use shards::Ground;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

/// A running server.
pub struct Machine {
    /// What all cores see.
    pub shared: Arc<Board>,
    /// What the backend said of itself on the first core.
    pub facts: Facts,
    /// The settings it was started with, ports filled in.
    pub settings: Arc<Settings>,
    threads: Vec<thread::JoinHandle<Result<(), Halt>>>,
}

/// Why a server did not start, or stopped by itself.
#[derive(Debug)]
pub enum Failure {
    /// A core could not open its ring or its epoll instance.
    Open(CoreId, String),
    /// An address could not be listened on.
    Listen(netio::ListenError),
    /// A thread could not be started.
    Thread(io::Error),
    /// A core stopped by itself while it ran.
    Turn(CoreId, Halt),
    /// A core's thread ended without a word.
    Lost(CoreId),
    /// The directory cannot be served as it is.
    Refused(Refusal),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Open(core, why) => write!(f, "core {}: {why}", core.0),
            Failure::Listen(error) => {
                write!(f, "{error}")?;
                if error.cause.kind() == io::ErrorKind::AddrInUse {
                    write!(f, "\n  Another server listens there. Choose another port with --port, or stop the other server.")?;
                }
                Ok(())
            }
            Failure::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Failure::Turn(core, halt) => write!(f, "core {}: {halt}", core.0),
            Failure::Lost(core) => write!(f, "core {}: its thread ended unexpectedly", core.0),
            Failure::Refused(refusal) => write!(f, "{refusal}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What a core's thread tells the starter.
enum Word<W> {
    Open(CoreId, W, Facts),
    Listening(CoreId, Option<u16>, Ground),
    Failed(Failure),
}

impl Machine {
    /// Starts a server on kernels that `open` makes, each on its own core's thread.
    pub fn start<K, F>(settings: Settings, open: F) -> Result<Machine, Failure>
    where
        K: Kernel + 'static,
        F: Fn(CoreId) -> Result<K, String> + Clone + Send + 'static,
    {
        let placement = Placement::new(settings.cpus.len() as u16);
        let mut settings = settings;
        if settings.memory_bytes_max == 0 {
            settings.memory_bytes_max = memory::default_bytes_max();
        }
        let settings = Arc::new(settings);
        let now = crate::start_clock::now();
        let shared = Arc::new(Board::new(placement, now.wall, now.monotonic, crate::start_clock::entropy));
        let (words, heard) = mpsc::channel();
        let mut gates = Vec::new();
        let mut threads = Vec::new();
        for (core, peers) in placement.cores().zip(Peers::<K::Waker>::all(placement)) {
            let (gate, opened) = mpsc::channel::<Vec<K::Waker>>();
            gates.push(gate);
            let words = words.clone();
            let (settings, shared, open) = (settings.clone(), shared.clone(), open.clone());
            let thread = thread::Builder::new()
                .name(format!("core-{}", core.0))
                .spawn(move || run_core(core, placement, settings, shared, peers, open, &words, &opened))
                .map_err(Failure::Thread)?;
            threads.push(thread);
        }
        drop(words);
        let mut wakers: Vec<Option<K::Waker>> = placement.cores().map(|_| None).collect();
        let mut facts = None;
        for _ in placement.cores() {
            match heard.recv() {
                Ok(Word::Open(core, waker, told)) => {
                    wakers[usize::from(core.0)] = Some(waker);
                    if core.0 == 0 {
                        facts = Some(told);
                    }
                }
                Ok(Word::Failed(failure)) => return Err(failure),
                Ok(Word::Listening(..)) | Err(_) => return Err(Failure::Lost(CoreId(0))),
            }
        }
        let wakers: Vec<K::Waker> = wakers.into_iter().flatten().collect();
        let mut port = settings.port;
        let mut grounds = Vec::new();
        // One after the other: the first core finds out whether another process has the port.
        for gate in &gates {
            let _ = gate.send(wakers.clone());
            match heard.recv() {
                Ok(Word::Listening(core, bound, ground)) => {
                    grounds.push(ground);
                    if core.0 == 0 {
                        port = bound.unwrap_or(port);
                    }
                }
                Ok(Word::Failed(failure)) => {
                    shared.stop();
                    return Err(failure);
                }
                Ok(Word::Open(..)) | Err(_) => return Err(Failure::Lost(CoreId(0))),
            }
        }
        ground::start(grounds, settings.cpus.clone()).map_err(Failure::Thread)?;
        let settings = Arc::new(Settings { port, ..(*settings).clone() });
        Ok(Machine { shared, facts: facts.expect("core 0 opened"), settings, threads })
    }

    /// Waits until every core has stopped. The first failure, if any.
    pub fn join(self) -> Result<(), Failure> {
        let mut failure = None;
        for (index, thread) in self.threads.into_iter().enumerate() {
            let core = CoreId(index as u16);
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(halt)) => {
                    failure.get_or_insert(Failure::Turn(core, halt));
                }
                Err(_) => {
                    self.shared.fail();
                    failure.get_or_insert(Failure::Lost(core));
                }
            }
        }
        let refused = self.shared.loading.refusal().map(Failure::Refused);
        refused.or(failure).map_or(Ok(()), Err)
    }
}

#[expect(clippy::too_many_arguments, reason = "everything a thread is born with")]
fn run_core<K: Kernel>(
    id: CoreId,
    placement: Placement,
    settings: Arc<Settings>,
    shared: Arc<Board>,
    mut peers: Peers<K::Waker>,
    open: impl Fn(CoreId) -> Result<K, String>,
    words: &mpsc::Sender<Word<K::Waker>>,
    opened: &mpsc::Receiver<Vec<K::Waker>>,
) -> Result<(), Halt> {
    pin(settings.cpus[usize::from(id.0)]);
    // The ring is opened on the thread that will use it: only that thread may.
    let kernel = match open(id) {
        Ok(kernel) => kernel,
        Err(why) => {
            let _ = words.send(Word::Failed(Failure::Open(id, why)));
            return Ok(());
        }
    };
    let _ = words.send(Word::Open(id, kernel.waker(), kernel.facts().clone()));
    let Ok(wakers) = opened.recv() else { return Ok(()) };
    peers.set_wakers(&wakers);
    let mut core = Core::new(id, placement, kernel, settings, shared, peers);
    match core.listen() {
        Ok(()) => {
            let _ = words.send(Word::Listening(id, core.main_port(), core.ground()));
        }
        Err(error) => {
            let _ = words.send(Word::Failed(Failure::Listen(error)));
            return Ok(());
        }
    }
    let ended = core.run();
    if let Err(halt) = &ended {
        // A core that failed serves nobody; the others must not pretend that all is well.
        tracing::error!(core = id.0, "{halt}");
        core.shared.fail();
    }
    ended
}

/// Keeps this thread on one processor. Refused in some containers; then the scheduler decides, which is slower and not wrong.
fn pin(cpu: usize) {
    if let Err(error) = netio::placement::pin_thread(&[cpu]) {
        tracing::warn!(cpu, %error, "cannot pin a core's thread; the scheduler will move it about");
    }
}
