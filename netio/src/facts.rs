//! What the backend is, and what the machine lacks: for the banner, `INFO` and people who ask why it is slow.

/// One property of the machine that the backend looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's own word for it, such as `multishot receive`.
    pub name: &'static str,
    /// Whether it is there and in use.
    pub present: bool,
    /// If absent: what is done instead, or what would bring it.
    pub remark: &'static str,
}

/// What a backend says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `io_uring`, `epoll` or `sim`.
    pub backend: &'static str,
    /// The kernel's release, such as `6.12.8`.
    pub release: String,
    /// Why a better backend was refused, in one sentence with the way out. `None` when nothing was refused.
    pub stepped_down: Option<String>,
    /// Every feature looked for, in a fixed order.
    pub features: Vec<Feature>,
}

/// The running kernel's release.
pub(crate) fn machine_release() -> String {
    // SAFETY: an all-zero utsname is a valid value of that plain struct, and valid for writing.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::uname(&mut name) } < 0 {
        return String::from("unknown");
    }
    let release = name.release.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8(release).unwrap_or_else(|_| String::from("unknown"))
}
