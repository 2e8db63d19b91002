//! How a core ends that was not told to.

use std::fmt;
use std::io;

/// Why a core stopped by itself.
#[derive(Debug)]
pub enum Halt {
    /// Its kernel failed.
    Kernel(io::Error),
    /// Its log could not be written or synced: the step, the file, and the system's reason. Nothing that waited for it was told.
    Log(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        Halt::Kernel(error)
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Kernel(error) => write!(f, "waiting for the kernel failed: {error}"),
            Halt::Log(why) => write!(f, "the log cannot go on: {why}"),
        }
    }
}

impl std::error::Error for Halt {}
