//! Which backend to run on, and why not a better one.

use crate::facts::machine_release;
use std::fmt;
use std::io;

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
    /// Whether a seccomp filter judges this process' system calls.
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
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
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
