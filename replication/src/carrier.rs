//! The replication shard: one thread, one glommio executor, one bounded inbox.
//!
//! Everything glommio is behind this module, so that the choice stays reversible and the simulator can replace it.

use glommio::{LocalExecutorBuilder, Placement};
use std::fmt;
use std::thread;

/// Messages that may wait for the carrier. Entries travel in batches, so this bounds batches, not records.
pub const INBOX_MESSAGES_MAX: usize = 1024;

/// What a core sends.
#[derive(Debug)]
pub enum Message<T> {
    /// Something to carry.
    Carry(T),
    /// Carry what came before, then end.
    Stop,
}

/// The replication shard's thread.
pub struct Carrier<T: Send + 'static> {
    inbox: flume::Sender<Message<T>>,
    thread: thread::JoinHandle<Result<(), Failure>>,
}

/// Why a carrier does not run.
#[derive(Debug)]
pub enum Failure {
    /// No thread could be started.
    Thread(std::io::Error),
    /// glommio could not start its executor: io_uring is refused, or there is too little lockable memory.
    Executor(String),
    /// The thread ended by itself.
    Lost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Thread(error) => write!(f, "cannot start the replication shard's thread: {error}"),
            Failure::Executor(why) => write!(f, "cannot start the replication shard's executor: {why}"),
            Failure::Lost => f.write_str("the replication shard's thread ended unexpectedly"),
        }
    }
}

impl std::error::Error for Failure {}

impl<T: Send + 'static> Carrier<T> {
    /// Starts the thread. `carry` gets every message, in order, on the carrier's executor.
    pub fn start(mut carry: impl FnMut(T) + Send + 'static) -> Result<Carrier<T>, Failure> {
        let (inbox, messages) = flume::bounded(INBOX_MESSAGES_MAX);
        let spawned = thread::Builder::new().name("replication".into()).spawn(move || {
            let executor = LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|error| Failure::Executor(error.to_string()))?;
            executor.run(async move {
                while let Ok(Message::Carry(message)) = messages.recv_async().await {
                    carry(message);
                }
            });
            Ok(())
        });
        Ok(Carrier { inbox, thread: spawned.map_err(Failure::Thread)? })
    }

    /// Hands a message over; waits while [`INBOX_MESSAGES_MAX`] are waiting. For threads that may wait; a core uses [`Carrier::offer`].
    pub fn hand(&self, message: T) -> Result<(), Failure> {
        self.inbox.send(Message::Carry(message)).map_err(|_| Failure::Lost)
    }

    /// Hands a message over if there is room, else gives it back: the caller keeps it and pushes back to its own source.
    pub fn offer(&self, message: T) -> Result<(), T> {
        self.inbox.try_send(Message::Carry(message)).map_err(|refused| match refused.into_inner() {
            Message::Carry(message) => message,
            Message::Stop => unreachable!("a message was offered"),
        })
    }

    /// Carries what was handed over, ends the thread, waits for it.
    pub fn stop(self) -> Result<(), Failure> {
        // If nobody receives any more, the thread has ended and says why itself.
        let _ = self.inbox.send(Message::Stop);
        self.thread.join().map_err(|_| Failure::Lost)?
    }
}
