//! One simulated core's kernel.

use super::chance::Chance;
use super::disk::{Answer, Handle, Job, Performed};
use super::net::{Net, Place, Wanted};
use crate::clock::Now;
use crate::facts::Facts;
use crate::file::{FILE_REQUESTS_MAX, FileDone, FileFailure, FileId, FileRequest, answered_bytes};
use crate::kernel::{BufferId, ConnId, Event, Kernel, Listen, ListenError, ListenerId, Sent, Wait, Wake};
use crate::options::Options;
use crate::slab::Slab;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a turn takes in which there was something to do.
const TURN_NS: u64 = 1_000;

/// A core in a simulated world, see [`super::SimNet::kernel`].
pub struct Sim {
    net: Rc<RefCell<Net>>,
    core: usize,
    options: Options,
    bell: Arc<AtomicBool>,
    chance: Chance,
    conns: Slab<Conn>,
    conns_count: usize,
    listeners: Vec<Option<Place>>,
    /// Per buffer: the bytes lent in it.
    lent: Vec<Option<Vec<u8>>>,
    free: Vec<u32>,
    ready: Vec<Event>,
    rest_bytes: usize,
    files: Slab<Handle, FileId>,
    files_under_way: usize,
    file_buffer_bytes: usize,
    now: Now,
    facts: Facts,
}

struct Conn {
    link: usize,
    rest: Option<Rest>,
    receive_wanted: bool,
    ended: bool,
}

struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

/// Wakes a simulated core.
#[derive(Clone, Debug)]
pub struct SimWaker(Arc<AtomicBool>);

impl Sim {
    pub(super) fn open(net: Rc<RefCell<Net>>, process: u32, options: Options) -> Sim {
        options.assert_possible();
        let (core, bell, chance) = net.borrow_mut().open_core(process);
        let now = net.borrow().now();
        let buffers = u32::from(options.receive_buffers);
        Sim {
            net,
            core,
            bell,
            chance,
            conns: Slab::new(),
            conns_count: 0,
            listeners: Vec::new(),
            lent: (0..buffers).map(|_| None).collect(),
            free: (0..buffers).rev().collect(),
            ready: Vec::new(),
            rest_bytes: 0,
            files: Slab::new(),
            files_under_way: 0,
            file_buffer_bytes: 0,
            now,
            facts: Facts { backend: "sim", release: String::from("simulated"), stepped_down: None, features: Vec::new() },
            options,
        }
    }

    fn accept(&mut self, events: &mut Vec<Event>, events_max: usize) {
        let mut net = self.net.borrow_mut();
        while events.len() < events_max && self.conns_count < net.options.conns_per_core_max {
            let Some((listener, link)) = net.next_in_backlog(self.core) else { return };
            let conn = self.conns.insert(Conn { link, rest: None, receive_wanted: true, ended: false });
            self.conns_count += 1;
            net.accepted(self.core, link, conn);
            events.push(Event::Accepted { listener, conn });
        }
    }

    fn take_performed(&mut self, events: &mut Vec<Event>, events_max: usize) {
        while events.len() < events_max {
            let Some(Performed { token, outcome }) = self.net.borrow_mut().next_performed(self.core) else { return };
            let outcome = outcome.map(|answer| match answer {
                Answer::Done(done) => done,
                Answer::Opened(handle) => {
                    let traits = handle.traits();
                    FileDone::Opened { file: self.files.insert(handle), traits }
                }
            });
            self.files_under_way -= 1;
            self.file_buffer_bytes -= answered_bytes(&outcome);
            events.push(Event::File { token, outcome });
        }
    }

    /// Does what can be done for one connection, at most two events. True if more is left for another turn.
    fn look_at(&mut self, id: ConnId, events: &mut Vec<Event>) -> bool {
        self.send_more(id, events);
        self.receive(id, events)
    }

    fn send_more(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let conn = self.conns.get_mut(id).expect("found a moment ago");
        let Some(rest) = &mut conn.rest else { return };
        let mut net = self.net.borrow_mut();
        let result = if net.is_reset(conn.link) {
            Err(io::ErrorKind::ConnectionReset)
        } else {
            rest.sent += net.server_send(conn.link, &rest.bytes[rest.sent..]);
            if rest.sent < rest.bytes.len() {
                // What the socket holds will be carried away, and that stirs the connection again.
                return;
            }
            Ok(())
        };
        let Rest { bytes, .. } = conn.rest.take().expect("seen a moment ago");
        self.rest_bytes -= bytes.capacity();
        events.push(Event::SentRest { conn: id, bytes, result });
    }

    fn receive(&mut self, id: ConnId, events: &mut Vec<Event>) -> bool {
        let conn = self.conns.get_mut(id).expect("found a moment ago");
        if !conn.receive_wanted || conn.ended {
            return false;
        }
        let mut net = self.net.borrow_mut();
        if net.has_arrived(conn.link) {
            if let Some(piece) = self.free.pop() {
                let bytes = net.server_receive(conn.link, self.options.receive_buffer_bytes as usize);
                self.lent[piece as usize] = Some(bytes);
                events.push(Event::Received { conn: id, buffer: BufferId(piece) });
            }
            return true;
        }
        let error = match (net.end_has_arrived(conn.link), net.is_reset(conn.link)) {
            (true, _) => None,
            (false, true) => Some(io::ErrorKind::ConnectionReset),
            (false, false) => return false,
        };
        conn.ended = true;
        events.push(Event::Ended { conn: id, error });
        false
    }
}

impl Kernel for Sim {
    type Waker = SimWaker;

    fn listen(&mut self, at: &Listen) -> Result<ListenerId, ListenError> {
        let place = match at {
            Listen::Tcp(addr) => Place::Tcp(*addr),
            Listen::Unix { path, .. } => Place::Unix(path.clone()),
        };
        let listener = ListenerId(self.listeners.len() as u32);
        let listening = self.net.borrow_mut().listen(self.core, listener, place);
        let place = listening.map_err(|cause| ListenError { at: at.clone(), step: "bind", cause })?;
        self.listeners.push(Some(place));
        Ok(listener)
    }

    fn listener_addr(&self, listener: ListenerId) -> Option<SocketAddr> {
        match self.listeners.get(listener.0 as usize)? {
            Some(Place::Tcp(addr)) => Some(*addr),
            _ => None,
        }
    }

    fn stop_listening(&mut self) {
        self.listeners.fill(None);
        self.net.borrow_mut().stop_listening(self.core);
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        let events_before = events.len();
        let events_max = events_before + self.options.events_per_turn_max;
        events.append(&mut self.ready);
        self.now = self.net.borrow().now();
        if self.net.borrow_mut().take_woken(self.core) {
            events.push(Event::Woken);
        }
        self.take_performed(events, events_max);
        self.accept(events, events_max);
        let stirred = self.net.borrow_mut().take_stirred(self.core);
        for index in stirred {
            let Some(id) = self.conns.id_at(index) else { continue };
            if events.len() + 2 > events_max || self.look_at(id, events) {
                self.net.borrow_mut().stir_conn(self.core, id);
            }
        }
        let mut net = self.net.borrow_mut();
        // On a machine this would have waited until now.
        let waited = net.take_timed_out(self.core) || events.len() > events_before;
        let now_ns = self.now.monotonic.0;
        let wanted = match wait {
            Wait::AtMost(bound) if !waited => Some(Wanted { at_ns: now_ns.saturating_add(bound.as_nanos() as u64), waits: true }),
            Wait::Forever if !waited => None,
            // It says how long it will wait next when it has dealt with what it has; on a machine that is soon.
            _ => Some(Wanted { at_ns: now_ns + TURN_NS, waits: false }),
        };
        net.want_turn(self.core, wanted);
        Ok(())
    }

    fn bytes(&self, buffer: BufferId) -> &[u8] {
        self.lent[buffer.0 as usize].as_deref().expect("the buffer is lent")
    }

    fn release(&mut self, buffer: BufferId) {
        let lent = self.lent[buffer.0 as usize].take();
        assert!(lent.is_some(), "buffer {} was released twice", buffer.0);
        self.free.push(buffer.0);
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        let Some(open) = self.conns.get(conn) else { return Sent::Gone };
        assert!(open.rest.is_none(), "a direct send would overtake the rest under way");
        let mut net = self.net.borrow_mut();
        if net.is_reset(open.link) {
            return Sent::Gone;
        }
        match net.server_send(open.link, bytes) {
            taken if taken == bytes.len() => Sent::All,
            taken_bytes => Sent::Part { taken_bytes },
        }
    }

    fn send_rest(&mut self, conn: ConnId, bytes: Vec<u8>, from: usize) {
        assert!(from <= bytes.len());
        let (Some(open), true) = (self.conns.get_mut(conn), from < bytes.len()) else {
            let result = if from == bytes.len() { Ok(()) } else { Err(io::ErrorKind::NotConnected) };
            return self.ready.push(Event::SentRest { conn, bytes, result });
        };
        assert!(open.rest.is_none(), "one rest at a time");
        self.rest_bytes += bytes.capacity();
        open.rest = Some(Rest { bytes, sent: from });
        self.net.borrow_mut().stir_conn(self.core, conn);
    }

    fn pause_receive(&mut self, conn: ConnId) {
        if let Some(open) = self.conns.get_mut(conn) {
            open.receive_wanted = false;
        }
    }

    fn resume_receive(&mut self, conn: ConnId) {
        if let Some(open) = self.conns.get_mut(conn) {
            open.receive_wanted = true;
            self.net.borrow_mut().stir_conn(self.core, conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(open) = self.conns.remove(conn) else { return };
        self.conns_count -= 1;
        if let Some(Rest { bytes, .. }) = open.rest {
            self.rest_bytes -= bytes.capacity();
            self.ready.push(Event::SentRest { conn, bytes, result: Err(io::ErrorKind::ConnectionAborted) });
        }
        self.net.borrow_mut().server_close(open.link);
    }

    fn file(&mut self, token: u64, request: FileRequest) {
        let handle = match request.file() {
            None => None,
            Some(id) => {
                let closes = matches!(request, FileRequest::Close { .. });
                let handle = if closes { self.files.remove(id) } else { self.files.get(id).cloned() };
                if handle.is_none() {
                    return self.ready.push(Event::File { token, outcome: Err(FileFailure::not_open(request.into_buffer())) });
                }
                handle
            }
        };
        request.assert_possible(handle.as_ref().map_or(1, |handle| handle.traits().align_bytes));
        assert!(self.files_under_way < FILE_REQUESTS_MAX, "more than {FILE_REQUESTS_MAX} file requests under way");
        self.files_under_way += 1;
        self.file_buffer_bytes += request.buffer_bytes();
        self.net.borrow_mut().begin_file(self.core, Job { core: self.core, token, begun: 0, request, handle });
    }

    fn peer_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        self.net.borrow().addresses(self.conns.get(conn)?.link).map(|(peer, _)| peer)
    }

    fn local_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        self.net.borrow().addresses(self.conns.get(conn)?.link).map(|(_, local)| local)
    }

    fn descriptor(&self, _conn: ConnId) -> i32 {
        -1
    }

    fn now(&self) -> Now {
        self.now
    }

    fn precise_now(&self) -> Now {
        self.net.borrow().now()
    }

    fn entropy(&mut self) -> u64 {
        self.chance.bits()
    }

    fn waker(&self) -> SimWaker {
        SimWaker(Arc::clone(&self.bell))
    }

    fn wake(&mut self, core: &SimWaker) {
        self.net.borrow_mut().wake(&core.0);
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn memory_bytes(&self) -> usize {
        self.lent.len() * self.options.receive_buffer_bytes as usize + self.conns.memory_bytes() + self.rest_bytes + self.file_buffer_bytes
    }
}

impl Drop for Sim {
    /// As when its process dies: nobody listens, and every peer sees a close.
    fn drop(&mut self) {
        self.stop_listening();
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            self.close(id);
        }
        self.net.borrow_mut().close_core(self.core);
    }
}

impl Wake for SimWaker {
    /// At once: the world does not see who rings.
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
