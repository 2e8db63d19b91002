//! `MONITOR`: every core's commands, shown to those who watch, wherever they are connected.
//!
//! What a core shows in a turn travels to each watching core in one message at the turn's end. It is bounded: when a turn shows
//! more, or a lane is full, lines are left out and counted. A watcher that does not read is closed by its output limit.

use crate::connection::Modes;
use crate::core::Core;
use crate::hold::Request;
use crate::parcel::Item;
use crate::peers::Way;
use crate::serve::redaction;
use crate::survey::Question;
use netio::{ConnId, Kernel};
use shards::command::{COMMANDS_BY_NUMBER, Flags};
use std::io::Write;
use std::sync::Arc;

/// What one core shows the others in one turn.
const FEED_BYTES_MAX: usize = 1024 * 1024;

/// `MONITOR`: answered once every core knows that somebody watches, so that nothing after the answer is missed.
pub(super) fn monitor<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    let Some(conn) = core.connection(id) else { return };
    if !conn.modes.has(Modes::MONITOR) {
        conn.modes.set(Modes::MONITOR, true);
        core.monitors.push(id);
        core.shared.publish_monitors(core.id, core.monitors.len());
    }
    core.survey(id, Question::Monitored, Box::new(|_, _, _, reply| reply.ok()));
}

impl<K: Kernel> Core<K> {
    /// Ends `MONITOR` for a connection. The cores find out in their next round that nobody watches any more.
    pub(super) fn stop_monitoring(&mut self, id: ConnId) {
        if let Some(position) = self.monitors.iter().position(|monitor| *monitor == id) {
            self.monitors.swap_remove(position);
            self.shared.publish_monitors(self.id, self.monitors.len());
        }
        if let Some(conn) = self.connection(id) {
            conn.modes.set(Modes::MONITOR, false);
        }
    }

    /// Shows a request to those who watch.
    #[cold]
    pub(crate) fn show_monitors(&mut self, id: ConnId, request: &Request) {
        let flags = COMMANDS_BY_NUMBER[usize::from(request.command)].flags;
        if flags.has(Flags::ADMIN) || flags.has(Flags::SKIP_MONITOR) {
            return;
        }
        if self.feed.len() > FEED_BYTES_MAX {
            self.monitor_lines_dropped += 1;
            return;
        }
        let Some(conn) = self.connections.get(id.index as usize).and_then(|slot| slot.as_deref()) else { return };
        let addr = match &self.executor.settings.unix_socket {
            Some(path) if conn.modes.has(Modes::UNIX) => format!("unix:{}", path.display()),
            _ => self.peer_text(conn),
        };
        let (ms, us_part) = (self.now.wall.0, self.now.wall_us_part);
        let us = ms % 1000 * 1000 + u64::from(us_part);
        let _ = write!(self.feed, "+{}.{us:06} [{} {addr}]", ms / 1000, request.db.0);
        for word in redaction::shown(request.command, request.args()) {
            self.feed.push(b' ');
            redaction::quote(&word, &mut self.feed);
        }
        self.feed.extend_from_slice(b"\r\n");
    }

    /// Hands what this turn has shown to the cores where somebody watches.
    pub(crate) fn send_feed(&mut self) {
        if self.feed.is_empty() {
            return;
        }
        let feed: Arc<[u8]> = std::mem::take(&mut self.feed).into();
        for core in self.peers.others().collect::<Vec<_>>() {
            if self.shared.monitor_count_of(core) == 0 {
                continue;
            }
            if self.peers.is_congested(core) {
                self.monitor_lines_dropped += feed.split(|byte| *byte == b'\n').count() as u64 - 1;
            } else {
                self.peers.put(core, Way::Ask, Item::Feed(feed.clone()));
            }
        }
        self.take_feed(&feed);
    }

    /// Gives lines to this core's watchers.
    pub(crate) fn take_feed(&mut self, feed: &[u8]) {
        for id in self.monitors.clone() {
            let Some(conn) = self.connection(id) else { continue };
            conn.output.extend_from_slice(feed);
            self.dirty.push(id);
        }
    }
}
