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
