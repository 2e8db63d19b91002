//! Which backend to run on, and why not a better one.

use crate::facts::{Facts, machine_release};
use crate::kernel::Kernel;
use crate::options::Options;
use crate::uring::Uring;
use std::fmt;
use std::io;
use std::str::FromStr;

/// What a user asks for with `--io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring where it is to be had, else epoll.
    #[default]
    Auto,
    /// io_uring, or not at all.
    Uring,
    /// epoll, without trying the ring.
    Epoll,
}

/// Which backend every core of this process opens, each in its own thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// [`crate::Uring::open`].
    Uring,
    /// [`crate::Epoll::open`], which is told why it is not a ring.
    Epoll {
        /// One sentence with the way out; `None` if nobody asked for a ring.
        stepped_down: Option<String>,
    },
}

/// Decides once, for the whole process, by trying.
///
/// Fails only for [`Choice::Uring`] on a machine that refuses it.
pub fn choose(choice: Choice) -> Result<Backend, Refused> {
    match choice {
        Choice::Epoll => Ok(Backend::Epoll { stepped_down: None }),
        Choice::Uring => probe().map(|_| Backend::Uring),
        Choice::Auto => Ok(match probe() {
            Ok(_) => Backend::Uring,
            Err(refused) => Backend::Epoll { stepped_down: Some(refused.to_string()) },
        }),
    }
}

/// Opens a small ring, asks what it has, and closes it.
pub fn probe() -> Result<Facts, Refused> {
    let small = Options { receive_buffers: 2, receive_buffer_bytes: 4096, ..Options::default() };
    Uring::open(small).map(|kernel| kernel.facts().clone())
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "uring" | "io_uring" => Ok(Choice::Uring),
            "epoll" => Ok(Choice::Epoll),
            other => Err(format!("`{other}` is none of auto, uring, epoll")),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Auto => "auto",
            Choice::Uring => "uring",
            Choice::Epoll => "epoll",
        })
    }
}

/// Why io_uring cannot be used here. Its text is one sentence with the way out.
#[derive(Debug)]
pub struct Refused {
    /// The step that failed, a verb: `set up a ring`, ….
    pub step: &'static str,
    /// The system's reason.
    pub cause: io::Error,
    sentence: String,
}

impl Refused {
    pub(crate) fn new(step: &'static str, cause: io::Error) -> Refused {
        let sentence = explain(
            step,
            &cause,
            &Surroundings {
                release: machine_release(),
                disabled: read_number("/proc/sys/kernel/io_uring_disabled"),
                seccomp: seccomp_filters(),
            },
        );
        Refused { step, cause, sentence }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refused {}

/// What else is known when io_uring is refused.
struct Surroundings {
    release: String,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    disabled: Option<u32>,
    /// Whether a seccomp filter judges this thread's system calls.
    seccomp: bool,
}

fn explain(step: &str, cause: &io::Error, around: &Surroundings) -> String {
    let Surroundings { release, disabled, seccomp } = around;
    match (cause.raw_os_error(), disabled) {
        (Some(libc::EPERM | libc::EACCES), Some(disabled @ 1..)) => {
            format!("io_uring is switched off by kernel.io_uring_disabled={disabled}; `sysctl kernel.io_uring_disabled=0` switches it on")
        }
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) if *seccomp => String::from(
            "io_uring is forbidden by a seccomp profile, as is usual in containers; allow io_uring_setup, \
             io_uring_enter and io_uring_register in the profile to have it",
        ),
        (Some(libc::EPERM | libc::EACCES), _) => {
            String::from("io_uring is forbidden to this process, probably by a security module; allow it there to have it")
        }
        (Some(libc::ENOSYS), _) => {
            format!("kernel {release} has no io_uring, or one without timeouts; Linux 5.19 or newer has what is needed")
        }
        (Some(libc::EINVAL), _) => {
            format!("kernel {release} is too old for this use of io_uring (cannot {step}); Linux 5.19 or newer has what is needed")
        }
        (Some(libc::ENOMEM), _) => {
            format!("io_uring got no memory (cannot {step}); raise the limit on locked memory (`ulimit -l`) to have it")
        }
        _ => format!("io_uring failed (cannot {step}): {cause}"),
    }
}

fn read_number(path: &str) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn seccomp_filters() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_cause_and_the_way_out() {
        let check = |errno, disabled, seccomp, expected: &str| {
            let around = Surroundings { release: String::from("5.15.0"), disabled, seccomp };
            let sentence = explain("set up a ring", &io::Error::from_raw_os_error(errno), &around);
            assert!(sentence.contains(expected), "{sentence:?} lacks {expected:?}");
            assert!(!sentence.contains('\n'));
        };
        check(libc::EPERM, Some(2), false, "sysctl kernel.io_uring_disabled=0");
        check(libc::EPERM, Some(0), true, "seccomp");
        check(libc::ENOSYS, None, true, "seccomp");
        check(libc::EPERM, None, false, "security module");
        check(libc::ENOSYS, None, false, "kernel 5.15.0");
        check(libc::EINVAL, Some(0), false, "Linux 5.19");
        check(libc::ENOMEM, Some(0), false, "ulimit -l");
        check(libc::EMFILE, Some(0), false, "set up a ring");
    }
}
