//! What a core may decide about its kernel: sizes, and features to do without.

/// Sizes of one core's kernel. The defaults hold for a core that serves thousands of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of one receive buffer. A request that fits is parsed where it arrived.
    pub receive_buffer_bytes: u32,
    /// How many receive buffers one core has; a power of two up to [`RECEIVE_BUFFERS_MAX`].
    /// An idle connection holds none of them.
    pub receive_buffers: u16,
    /// Most events one turn appends. More wait, in order, for the next turn.
    pub events_per_turn_max: usize,
    /// Connections the machine holds for us until they are accepted.
    pub accept_backlog: u32,
    /// io_uring only: what to do without although the machine has it. For measuring and for tests.
    pub without: Without,
}

/// Features of io_uring that are left unused on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// Completions are then made whenever the kernel likes, not only in our own turn.
    pub deferred_task_work: bool,
    /// Every accept and every receive is then asked for one by one.
    pub multishot: bool,
    /// Other cores are then woken through their eventfd.
    pub ring_messages: bool,
    /// The ring's descriptor is then looked up at every call.
    pub registered_ring: bool,
}

/// The kernel's own bound on the entries of a provided-buffer ring.
pub const RECEIVE_BUFFERS_MAX: u16 = 1 << 15;
const RECEIVE_BUFFERS_DEFAULT: u16 = 512;
const _: () = assert!(RECEIVE_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(RECEIVE_BUFFERS_DEFAULT <= RECEIVE_BUFFERS_MAX);

impl Default for Options {
    fn default() -> Options {
        Options {
            receive_buffer_bytes: 16 * 1024,
            receive_buffers: RECEIVE_BUFFERS_DEFAULT,
            events_per_turn_max: 1024,
            accept_backlog: 4096,
            without: Without::default(),
        }
    }
}

impl Options {
    /// # Panics
    /// If a size is impossible: these are our own constants, not a user's input.
    pub(crate) fn assert_possible(&self) {
        assert!(self.receive_buffers.is_power_of_two() && self.receive_buffers <= RECEIVE_BUFFERS_MAX);
        assert!(self.receive_buffer_bytes >= 64 && self.receive_buffer_bytes <= 1 << 24);
        assert!(self.events_per_turn_max >= 2, "one connection may have two events");
        assert!(self.accept_backlog > 0 && self.accept_backlog <= i32::MAX as u32);
    }
}
