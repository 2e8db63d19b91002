//! The simulated world's state: time, the agenda, listeners, and links with two directions each.

use super::chance::{Chance, mixed};
use super::disk::{DiskOptions, Job, Performed, SimDisk};
use super::{ClientView, SimOptions};
use crate::clock::{MonotonicNs, Now, WallMs};
use crate::kernel::{ConnId, ListenerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's head.
pub(super) struct Net {
    seed: u64,
    now_ns: u64,
    pub(super) options: SimOptions,
    chance: Chance,
    cores: Vec<Core>,
    listeners: BTreeMap<Place, Vec<Listening>>,
    links: Vec<Link>,
    /// What will happen, earliest first; what is due at the same moment happens in the order it was planned.
    agenda: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    planned_count: u64,
    digest: u64,
    port_next: u16,
    /// What the cores of each process write to.
    disks: BTreeMap<u32, SimDisk>,
}

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

struct Listening {
    core: usize,
    listener: ListenerId,
}

/// What the world keeps for one simulated core.
struct Core {
    process: u32,
    /// Connections that may have something for the core, by slab index.
    stirred: BTreeSet<u32>,
    /// Links that wait to be accepted.
    backlog: VecDeque<(ListenerId, usize)>,
    woken: bool,
    /// A wake is on the agenda; another one would tell nothing new.
    wake_planned: bool,
    /// Rung by wakers, which know nothing of the world.
    bell: Arc<AtomicBool>,
    /// When it wants to be turned at the latest.
    wanted: Option<Wanted>,
    /// It has waited until then.
    timed_out: bool,
    /// Requests to files that are under way, by the order in which they were begun.
    jobs: BTreeMap<u64, Job>,
    /// Requests to files that are over, and were not taken yet.
    performed: VecDeque<Performed>,
}

/// When a core wants to be turned at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) at_ns: u64,
    /// It waits until then. Else it is only busy for so long.
    pub(super) waits: bool,
}

/// What can be on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Connect { link: usize },
    Carry { link: usize, way: Way },
    Wake { core: usize },
    File { core: usize, job: u64 },
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToServer,
    ToClient,
}

/// One connection.
struct Link {
    to: Place,
    client_addr: SocketAddr,
    server: ServerEnd,
    client_open: bool,
    reset: bool,
    to_server: Pipe,
    to_client: Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerEnd {
    /// The client's first packet is on the way.
    Expected,
    /// In a core's backlog.
    Waiting,
    Open {
        core: usize,
        conn: ConnId,
    },
    Closed,
}

/// One direction: what the sender's socket holds, and what the receiver's socket holds.
#[derive(Default)]
struct Pipe {
    sending: VecDeque<u8>,
    arrived: VecDeque<u8>,
    /// The sender will not send any more.
    finished: bool,
    end_arrived: bool,
    /// A carry is on the agenda.
    carrying: bool,
}

impl Net {
    pub(super) fn new(seed: u64, options: SimOptions) -> Net {
        Net {
            // Not zero, so that a clock that was never read shows.
            now_ns: 1_000_000_000,
            seed,
            options,
            chance: Chance::new(seed),
            cores: Vec::new(),
            listeners: BTreeMap::new(),
            links: Vec::new(),
            agenda: BinaryHeap::new(),
            planned_count: 0,
            digest: mixed(seed),
            port_next: 20_000,
            disks: BTreeMap::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            monotonic: MonotonicNs(self.now_ns),
            wall: WallMs(self.options.wall_start_ms + self.now_ns / 1_000_000),
            wall_us_part: (self.now_ns / 1_000 % 1_000) as u16,
        }
    }

    pub(super) fn move_wall_clock(&mut self, by_ms: i64) {
        self.options.wall_start_ms = self.options.wall_start_ms.saturating_add_signed(by_ms);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Adds a fact to the history.
    fn note(&mut self, fact: &[u64]) {
        for part in fact {
            self.digest = mixed(self.digest.rotate_left(1) ^ *part);
        }
    }

    pub(super) fn advance_to_next_event(&mut self) -> bool {
        let planned_ns = self.agenda.peek().map(|Reverse((at_ns, ..))| *at_ns);
        let wanted_ns = self.cores.iter().filter_map(|core| Some(core.wanted?.at_ns)).min();
        let Some(next_ns) = planned_ns.into_iter().chain(wanted_ns).min() else { return false };
        self.advance_until(next_ns.max(self.now_ns));
        true
    }

    pub(super) fn advance_until(&mut self, until_ns: u64) {
        while let Some(&Reverse((at_ns, _, happening))) = self.agenda.peek()
            && at_ns <= until_ns
        {
            self.agenda.pop();
            self.now_ns = self.now_ns.max(at_ns);
            match happening {
                Happening::Connect { link } => self.arrive(link),
                Happening::Carry { link, way } => self.carry(link, way),
                Happening::Wake { core } => {
                    self.cores[core].wake_planned = false;
                    self.cores[core].woken = true;
                }
                Happening::File { core, job } => self.perform(core, job),
            }
        }
        self.now_ns = self.now_ns.max(until_ns);
        for core in &mut self.cores {
            // It is told once; it will say anew what it wants when it is turned.
            if let Some(wanted) = core.wanted.take_if(|wanted| wanted.at_ns <= self.now_ns) {
                core.timed_out |= wanted.waits;
            }
        }
    }

    pub(super) fn busy(&self) -> bool {
        self.cores.iter().any(|core| core.is_stirred())
    }

    fn plan(&mut self, delay_ns: RangeInclusive<u64>, happening: Happening) {
        let at_ns = self.now_ns + self.chance.within(&delay_ns);
        self.planned_count += 1;
        self.agenda.push(Reverse((at_ns, self.planned_count, happening)));
    }

    /// As much as could be transferred, or less.
    fn shortened(&mut self, bytes: usize) -> usize {
        if bytes > 1 && self.chance.one_in(self.options.short_one_in) { 1 + self.chance.below(bytes as u64 - 1) as usize } else { bytes }
    }

    // Clients.

    pub(super) fn connect(&mut self, to: Place) -> usize {
        let link = self.links.len();
        self.links.push(Link {
            to,
            client_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 30_000 + (link % 30_000) as u16)),
            server: ServerEnd::Expected,
            client_open: true,
            reset: false,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
        });
        self.plan(self.options.delay_ns.clone(), Happening::Connect { link });
        link
    }

    pub(super) fn client_send(&mut self, link: usize, bytes: &[u8]) -> usize {
        let it = &mut self.links[link];
        if it.reset || !it.client_open || it.to_server.finished {
            return 0;
        }
        let taken = bytes.len().min(self.options.socket_bytes_max - it.to_server.sending.len());
        it.to_server.sending.extend(&bytes[..taken]);
        self.poke(link, Way::ToServer);
        taken
    }

    pub(super) fn client_received(&mut self, link: usize, bytes_max: usize) -> Vec<u8> {
        let arrived = &mut self.links[link].to_client.arrived;
        let count = arrived.len().min(bytes_max);
        let bytes = arrived.drain(..count).collect();
        self.poke(link, Way::ToClient);
        bytes
    }

    pub(super) fn client_view(&self, link: usize) -> ClientView {
        let it = &self.links[link];
        match (it.to_client.arrived.is_empty(), it.to_client.end_arrived, it.reset) {
            (true, true, _) => ClientView::Ended,
            (true, false, true) => ClientView::Reset,
            _ => ClientView::Open,
        }
    }

    pub(super) fn client_finish(&mut self, link: usize) {
        self.links[link].to_server.finished = true;
        self.poke(link, Way::ToServer);
    }

    pub(super) fn client_close(&mut self, link: usize) {
        let it = &mut self.links[link];
        it.client_open = false;
        if it.to_client.arrived.is_empty() {
            self.client_finish(link);
        } else {
            self.reset(link);
        }
    }

    // The network.

    /// The client's first packet arrives.
    fn arrive(&mut self, link: usize) {
        let listening = self.listeners.get(&self.links[link].to).map_or(0, Vec::len);
        if self.links[link].reset || listening == 0 {
            return self.reset(link);
        }
        // As the machine spreads connections over sockets that share a port.
        let chosen = self.chance.below(listening as u64) as usize;
        let Listening { core, listener } = self.listeners[&self.links[link].to][chosen];
        if self.cores[core].backlog.len() >= self.options.backlog_max {
            return self.reset(link);
        }
        self.note(&[1, self.now_ns, link as u64, core as u64]);
        self.links[link].server = ServerEnd::Waiting;
        self.cores[core].backlog.push_back((listener, link));
        self.poke(link, Way::ToServer);
    }

    /// Some of what one end sent arrives at the other.
    fn carry(&mut self, link: usize, way: Way) {
        self.links[link].pipe(way).carrying = false;
        if self.links[link].reset {
            return;
        }
        if self.chance.one_in(self.options.reset_one_in) {
            return self.reset(link);
        }
        let movable = self.links[link].pipe(way).movable(&self.options);
        let bytes = self.shortened(movable);
        self.note(&[2, self.now_ns, link as u64, way as u64, bytes as u64]);
        let it = &mut self.links[link];
        let receiver_gone = match way {
            Way::ToServer => it.server == ServerEnd::Closed,
            Way::ToClient => !it.client_open,
        };
        if bytes > 0 && receiver_gone {
            return self.reset(link);
        }
        let pipe = it.pipe(way);
        pipe.arrived.extend(pipe.sending.drain(..bytes));
        pipe.end_arrived |= pipe.finished && pipe.sending.is_empty();
        // Either way may matter to the server: there are bytes to receive, or there is room for a rest.
        self.stir(link);
        self.poke(link, way);
    }

    pub(super) fn reset(&mut self, link: usize) {
        self.note(&[3, self.now_ns, link as u64]);
        let it = &mut self.links[link];
        it.reset = true;
        // What arrived stays to be read; what is on the way is lost.
        it.to_server.sending.clear();
        it.to_client.sending.clear();
        self.stir(link);
    }

    /// Plans the next arrival, if there is something to arrive and room for it.
    fn poke(&mut self, link: usize, way: Way) {
        let it = &mut self.links[link];
        // Until the connection stands, the sender's socket holds everything.
        if it.reset || it.server == ServerEnd::Expected {
            return;
        }
        let pipe = it.pipe(way);
        let end = pipe.finished && pipe.sending.is_empty() && !pipe.end_arrived;
        if !pipe.carrying && (end || pipe.movable(&self.options) > 0) {
            self.links[link].pipe(way).carrying = true;
            self.plan(self.options.delay_ns.clone(), Happening::Carry { link, way });
        }
    }

    /// Makes the core of a link look at it in its next turn.
    fn stir(&mut self, link: usize) {
        if let ServerEnd::Open { core, conn } = self.links[link].server {
            self.cores[core].stirred.insert(conn.index);
        }
    }

    // Cores.

    pub(super) fn open_core(&mut self, process: u32) -> (usize, Arc<AtomicBool>, Chance) {
        let bell = Arc::new(AtomicBool::new(false));
        self.cores.push(Core {
            process,
            stirred: BTreeSet::new(),
            backlog: VecDeque::new(),
            woken: false,
            wake_planned: false,
            bell: Arc::clone(&bell),
            wanted: None,
            timed_out: false,
            jobs: BTreeMap::new(),
            performed: VecDeque::new(),
        });
        (self.cores.len() - 1, bell, self.chance.fork())
    }

    /// The core is gone; its bell is one that nobody can ring.
    pub(super) fn close_core(&mut self, core: usize) {
        let it = &mut self.cores[core];
        it.bell = Arc::new(AtomicBool::new(false));
        it.stirred.clear();
        it.woken = false;
        (it.wanted, it.timed_out) = (None, false);
        it.performed.clear();
        let (process, jobs) = (it.process, std::mem::take(&mut it.jobs));
        if let Some(disk) = self.disks.get(&process) {
            disk.abandon(jobs.into_values());
            disk.unlock(core);
        }
    }

    // Files.

    /// The disk of a process: the same for all of its kernels, whenever they were opened.
    pub(super) fn disk(&mut self, process: u32) -> SimDisk {
        // A seed of its own, so that a world without files has the history it would have without disks.
        let seed = mixed(self.seed ^ (u64::from(process) << 32) ^ 0xD15C);
        self.disks.entry(process).or_insert_with(|| SimDisk::new(seed, DiskOptions::default())).clone()
    }

    pub(super) fn insert_disk(&mut self, process: u32, disk: SimDisk) {
        let in_use = self.cores.iter().any(|core| core.process == process && !core.jobs.is_empty());
        assert!(!in_use, "a disk is not taken out while it is written to");
        self.disks.insert(process, disk);
    }

    pub(super) fn begin_file(&mut self, core: usize, mut job: Job) {
        let process = self.cores[core].process;
        let delay_ns = self.disk(process).begin(&mut job);
        self.planned_count += 1;
        let number = self.planned_count;
        self.agenda.push(Reverse((self.now_ns + delay_ns, number, Happening::File { core, job: number })));
        self.cores[core].jobs.insert(number, job);
    }

    /// A request to a file takes effect, and is answered.
    fn perform(&mut self, core: usize, job: u64) {
        // Of a core that died meanwhile: it was dealt with then.
        let Some(job) = self.cores[core].jobs.remove(&job) else { return };
        let process = self.cores[core].process;
        self.note(&[6, self.now_ns, core as u64, job.token]);
        let performed = self.disk(process).perform(job);
        self.cores[core].performed.extend(performed);
    }

    pub(super) fn next_performed(&mut self, core: usize) -> Option<Performed> {
        self.cores[core].performed.pop_front()
    }

    pub(super) fn listen(&mut self, core: usize, listener: ListenerId, mut place: Place) -> io::Result<Place> {
        if let Place::Tcp(addr) = &mut place
            && addr.port() == 0
        {
            addr.set_port(self.port_next);
            self.port_next += 1;
        }
        let process = self.cores[core].process;
        let sharers = self.listeners.entry(place.clone()).or_default();
        if sharers.iter().any(|other| self.cores[other.core].process != process) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        sharers.push(Listening { core, listener });
        Ok(place)
    }

    pub(super) fn stop_listening(&mut self, core: usize) {
        for sharers in self.listeners.values_mut() {
            sharers.retain(|listening| listening.core != core);
        }
        self.listeners.retain(|_, sharers| !sharers.is_empty());
        for (_, link) in std::mem::take(&mut self.cores[core].backlog) {
            self.reset(link);
        }
    }

    /// The next link to accept, to be named by [`Net::accepted`].
    pub(super) fn next_in_backlog(&mut self, core: usize) -> Option<(ListenerId, usize)> {
        self.cores[core].backlog.pop_front()
    }

    pub(super) fn accepted(&mut self, core: usize, link: usize, conn: ConnId) {
        self.links[link].server = ServerEnd::Open { core, conn };
        self.stir(link);
    }

    /// Whether the core was woken since it last asked.
    pub(super) fn take_woken(&mut self, core: usize) -> bool {
        let it = &mut self.cores[core];
        let rung = it.bell.swap(false, Ordering::Relaxed);
        std::mem::take(&mut it.woken) || rung
    }

    /// The connections to look at, in an order of chance.
    pub(super) fn take_stirred(&mut self, core: usize) -> Vec<u32> {
        let mut stirred: Vec<u32> = std::mem::take(&mut self.cores[core].stirred).into_iter().collect();
        self.chance.shuffle(&mut stirred);
        stirred
    }

    pub(super) fn stir_conn(&mut self, core: usize, conn: ConnId) {
        self.cores[core].stirred.insert(conn.index);
    }

    /// Whether the core was to be turned by now, whatever happened.
    pub(super) fn take_timed_out(&mut self, core: usize) -> bool {
        std::mem::take(&mut self.cores[core].timed_out)
    }

    /// The core waits until then. Who turns a core that waits already and has nothing for it does not make it wait longer.
    pub(super) fn want_turn(&mut self, core: usize, wanted: Option<Wanted>) {
        let before = &mut self.cores[core].wanted;
        *before = wanted.map(|wanted| before.filter(|before| before.at_ns < wanted.at_ns).unwrap_or(wanted));
    }

    pub(super) fn wake(&mut self, bell: &Arc<AtomicBool>) {
        let Some(core) = self.cores.iter().position(|core| Arc::ptr_eq(&core.bell, bell)) else { return };
        if !std::mem::replace(&mut self.cores[core].wake_planned, true) {
            self.plan(self.options.wake_delay_ns.clone(), Happening::Wake { core });
        }
    }

    pub(super) fn is_reset(&self, link: usize) -> bool {
        self.links[link].reset
    }

    /// The server's socket takes some of `bytes`.
    pub(super) fn server_send(&mut self, link: usize, bytes: &[u8]) -> usize {
        let room = self.options.socket_bytes_max - self.links[link].to_client.sending.len();
        let taken = self.shortened(bytes.len().min(room));
        self.links[link].to_client.sending.extend(&bytes[..taken]);
        self.poke(link, Way::ToClient);
        taken
    }

    /// What the server's socket gives, at most `bytes_max`; nothing when nothing has arrived.
    pub(super) fn server_receive(&mut self, link: usize, bytes_max: usize) -> Vec<u8> {
        let count = self.links[link].to_server.arrived.len().min(bytes_max);
        let count = self.shortened(count);
        let bytes = self.links[link].to_server.arrived.drain(..count).collect();
        self.note(&[4, self.now_ns, link as u64, count as u64]);
        self.poke(link, Way::ToServer);
        bytes
    }

    pub(super) fn has_arrived(&self, link: usize) -> bool {
        !self.links[link].to_server.arrived.is_empty()
    }

    pub(super) fn end_has_arrived(&self, link: usize) -> bool {
        self.links[link].to_server.end_arrived
    }

    pub(super) fn server_close(&mut self, link: usize) {
        self.note(&[5, self.now_ns, link as u64]);
        let it = &mut self.links[link];
        it.server = ServerEnd::Closed;
        if it.to_server.arrived.is_empty() {
            it.to_client.finished = true;
            self.poke(link, Way::ToClient);
        } else {
            // Unread bytes make a close a reset, as on a machine.
            self.reset(link);
        }
    }

    /// The client's address and the one it dialled.
    pub(super) fn addresses(&self, link: usize) -> Option<(SocketAddr, SocketAddr)> {
        let it = &self.links[link];
        match (&it.to, it.reset) {
            (Place::Tcp(local), false) => Some((it.client_addr, *local)),
            _ => None,
        }
    }
}

impl Core {
    /// Whether a turn would find something.
    fn is_stirred(&self) -> bool {
        self.woken
            || self.bell.load(Ordering::Relaxed)
            || !self.stirred.is_empty()
            || !self.backlog.is_empty()
            || !self.performed.is_empty()
    }
}

impl Link {
    fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

impl Pipe {
    /// How many bytes could arrive at once.
    fn movable(&self, options: &SimOptions) -> usize {
        let room = options.socket_bytes_max - self.arrived.len();
        self.sending.len().min(room).min(options.segment_bytes_max)
    }
}
