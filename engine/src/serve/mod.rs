//! Commands the engine answers itself: about connections, settings, counts and the other cores.
//!
//! A file per noun. Each handler is a [`Serve`]; what needs every core's word is a [`Survey`].

mod access;
mod client;
mod cluster;
mod command;
mod config;
mod connection;
mod debug;
mod everywhere;
mod info;
mod latency;
mod memory;
mod monitor;
mod persistence;
mod redaction;
mod replication;
mod server;
mod slowlog;

use crate::connection::Stalls;
use crate::core::Core;
use crate::hold::Request;
use crate::metrics::Metrics;
use crate::parcel::{Item, Ticket};
use crate::peers::Way;
use crate::placement::CoreId;
use crate::survey::{CoreStats, DbStats, Finding, Question};
use netio::{ConnId, Kernel, MonotonicNs};
use shards::command::COMMANDS_BY_NUMBER;
use shards::wire::Reply;

/// The version of Redis whose behaviour clients may expect. Some refuse to work with less; none may see more than there is.
pub(crate) const REDIS_VERSION: &str = "7.4.1";

/// What cluster commands are answered when cores do not show themselves as nodes. Clients look for these very words.
const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

/// Answers one command of one connection.
///
/// Writes exactly one reply to the last argument; or none, if it began a survey, which will.
pub(crate) type Serve<K> = fn(&mut Core<K>, ConnId, &Request, &mut Vec<u8>);

/// A question that was put to every core, at the core that asked.
pub(crate) struct Survey<K: Kernel> {
    waiting: usize,
    findings: Vec<Finding>,
    /// None if the reply was given without waiting any longer.
    then: Option<Then<K>>,
    /// When, and with what reply, that happens.
    patience: Option<(MonotonicNs, Vec<u8>)>,
}

/// A moment that never comes.
pub(crate) const NEVER: MonotonicNs = MonotonicNs(u64::MAX);

/// Makes one reply out of all cores' findings, which come in no particular order; or none, if it began another survey, which will.
pub(crate) type Then<K> = Box<dyn FnOnce(&mut Core<K>, ConnId, Vec<Finding>, &mut Reply<'_>) + Send>;

/// The handlers by command number.
pub(crate) fn table<K: Kernel>() -> Vec<Option<Serve<K>>> {
    COMMANDS_BY_NUMBER.iter().map(|command| serve_of(command.full_name)).collect()
}

/// The handler of a command the engine answers, by full name.
fn serve_of<K: Kernel>(name: &str) -> Option<Serve<K>> {
    Some(match name {
        "acl|cat" => access::cat,
        "acl|genpass" => access::genpass,
        "acl|getuser" => access::getuser,
        "acl|list" => access::list,
        "acl|log" => access::log,
        "acl|users" => access::users,
        "acl|whoami" => access::whoami,
        "asking" | "readonly" | "readwrite" => connection::cluster_word,
        "auth" => connection::auth,
        "bgrewriteaof" => persistence::bgrewriteaof,
        "bgsave" => persistence::bgsave,
        "client|caching" => client::caching,
        "client|getname" => client::getname,
        "client|getredir" => client::getredir,
        "client|id" => client::id,
        "client|info" => client::info,
        "client|kill" => client::kill,
        "client|list" => client::list,
        "client|maint_notifications" => client::maint_notifications,
        "client|no-evict" => client::no_evict,
        "client|no-touch" => client::no_touch,
        "client|pause" => client::pause,
        "client|reply" => client::reply,
        "client|setinfo" => client::setinfo,
        "client|setname" => client::setname,
        "client|tracking" => client::tracking,
        "client|trackinginfo" => client::trackinginfo,
        "client|unblock" => client::unblock,
        "client|unpause" => client::unpause,
        "command" => command::command,
        "command|count" => command::count,
        "command|docs" => command::docs,
        "command|getkeys" => command::getkeys,
        "command|getkeysandflags" => command::getkeysandflags,
        "command|info" => command::info,
        "command|list" => command::list,
        "config|get" => config::get,
        "config|resetstat" => config::resetstat,
        "config|rewrite" => config::rewrite,
        "config|set" => config::set,
        "debug" => debug::debug,
        "echo" => connection::echo,
        "hello" => connection::hello,
        "info" => info::info,
        "lastsave" => persistence::lastsave,
        "latency|doctor" => latency::doctor,
        "latency|graph" => latency::graph,
        "latency|histogram" => latency::histogram,
        "latency|history" => latency::history,
        "latency|latest" => latency::latest,
        "latency|reset" => latency::reset,
        "lolwut" => server::lolwut,
        "memory|doctor" => memory::doctor,
        "memory|malloc-stats" => memory::malloc_stats,
        "memory|purge" => memory::purge,
        "memory|stats" => memory::stats,
        "module|list" => access::modules,
        "module|load" | "module|loadex" | "module|unload" => access::no_modules,
        "monitor" => monitor::monitor,
        "ping" => connection::ping,
        "quit" => connection::quit,
        "psync" => replication::psync,
        "replconf" => replication::replconf,
        "replicaof" | "slaveof" => replication::replicaof,
        "reset" => connection::reset,
        "role" => replication::role,
        "save" => persistence::save,
        "select" => connection::select,
        "shutdown" => server::shutdown,
        "slowlog|get" => slowlog::get,
        "slowlog|len" => slowlog::len,
        "slowlog|reset" => slowlog::reset,
        "sync" => replication::sync,
        "time" => server::time,
        "wait" => replication::wait,
        "waitaof" => server::waitaof,
        _ if name.ends_with("|help") => command::help,
        _ if name.starts_with("cluster|") => cluster::cluster,
        _ => return None,
    })
}

impl<K: Kernel> Core<K> {
    /// Answers a command of the engine.
    pub(crate) fn serve(&mut self, id: ConnId, request: Request, reply: &mut Vec<u8>) {
        let serve = self.serves[usize::from(request.command)].expect("the tests prove that every command of the engine has a handler");
        let started_ns = self.kernel.stamp_ns();
        serve(self, id, &request, reply);
        let ns = self.kernel.stamp_ns().saturating_sub(started_ns);
        let tracking = self.executor.settings.latency_tracking;
        self.executor.metrics.count_run(request.command, ns, tracking);
        if reply.first() == Some(&b'-') {
            self.executor.metrics.commands[usize::from(request.command)].failed += 1;
            self.executor.metrics.count_error(reply);
        }
        if self.executor.is_slow(ns) {
            self.note_slow(id, &request, ns);
        }
    }

    /// Remembers a slow command of the engine, without its secrets.
    #[cold]
    fn note_slow(&mut self, id: ConnId, request: &Request, ns: u64) {
        let words = redaction::shown(request.command, request.args());
        let shown = Request::of(request.command, request.db, request.proto, words.iter().map(|word| &**word));
        let now = self.now_ms();
        let addr = self.connections[id.index as usize].as_deref().map_or_else(String::new, |conn| self.peer_text(conn));
        let name = self.connection(id).and_then(|conn| conn.names.as_ref()).map_or_else(String::new, |names| names.name.clone());
        let noted = self.executor.slowlog.noted();
        self.executor.note_slow(request.command, shown.args(), ns, now);
        if self.executor.slowlog.noted() != noted
            && let Some(slow) = self.executor.slowlog.newest()
        {
            (slow.client_addr, slow.client_name) = (addr, name);
        }
    }

    /// Puts a question to every core, this one included; `then` makes the connection's reply when all have answered.
    /// The connection runs nothing else until then.
    pub(crate) fn survey(&mut self, id: ConnId, question: Question, then: Then<K>) {
        let cores: Vec<CoreId> = self.placement.cores().collect();
        self.survey_cores(id, &cores, question, then);
    }

    /// Puts a question to some cores.
    pub(crate) fn survey_cores(&mut self, id: ConnId, cores: &[CoreId], question: Question, then: Then<K>) {
        let Some(conn) = self.connection(id) else { return };
        let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
        self.stall(id, Stalls::JOINT);
        self.surveys.insert(ticket, Survey { waiting: cores.len(), findings: Vec::new(), then: Some(then), patience: None });
        let mut own = false;
        for core in cores {
            if *core == self.id {
                own = true;
            } else {
                self.peers.put(*core, Way::Ask, Item::Question(ticket, Box::new(question.clone())));
            }
        }
        if own {
            self.take_question(self.id, ticket, &question);
        }
    }

    /// The connection's survey is answered with `reply` at `until`, should it not have come to its end; or before, if nobody is
    /// left to hear it.
    pub(crate) fn limit_survey(&mut self, id: ConnId, until: MonotonicNs, reply: Vec<u8>) {
        let survey = self.surveys.iter_mut().find(|(ticket, survey)| ticket.conn == id && survey.then.is_some());
        if let Some((_, survey)) = survey {
            survey.patience = Some((until, reply));
            self.patience_next = self.patience_next.min(until);
        }
    }

    /// Lets the connection wait for what cannot come: it is answered with `reply` at `until`, and runs nothing else before.
    pub(crate) fn wait_in_vain(&mut self, id: ConnId, until: MonotonicNs, reply: Vec<u8>) {
        self.survey_cores(id, &[], Question::Sync, Box::new(|_, _, _, _| unreachable!("nobody was asked")));
        self.limit_survey(id, until, reply);
    }

    /// The connection's survey, if it is still under way, and will not come to its end by itself: from now on the answer is `reply`
    /// when the time is over, or at once.
    pub(crate) fn answer_in_vain(&mut self, ticket: Ticket, reply: Vec<u8>, at_once: bool) {
        let Some(survey) = self.surveys.get_mut(&ticket).filter(|survey| survey.patience.is_some()) else { return };
        if let Some((until, last)) = &mut survey.patience {
            *last = reply;
            if at_once {
                *until = MonotonicNs(0);
                self.patience_next = MonotonicNs(0);
            }
        }
    }

    /// The survey of this connection that has not been answered.
    pub(crate) fn survey_of(&self, id: ConnId) -> Option<Ticket> {
        self.surveys.iter().find(|(ticket, survey)| ticket.conn == id && survey.then.is_some()).map(|(ticket, _)| *ticket)
    }

    /// Answers those who have waited long enough, who are about to be closed, or who do not listen any more.
    pub(crate) fn end_patience(&mut self) {
        let now = if self.is_draining() { NEVER } else { self.now.monotonic };
        let waiting = self.surveys.iter().filter_map(|(ticket, survey)| Some((*ticket, survey.patience.as_ref()?.0)));
        let (ended, lasting): (Vec<_>, Vec<_>) = waiting.partition(|(ticket, until)| *until <= now || !self.listens(ticket.conn));
        self.patience_next = lasting.iter().map(|(_, until)| *until).min().unwrap_or(NEVER);
        for (ticket, _) in ended {
            let survey = self.surveys.get_mut(&ticket).expect("it was seen a moment ago");
            let (_, reply) = survey.patience.take().expect("it was seen a moment ago");
            survey.then = None;
            if survey.waiting == 0 {
                self.surveys.remove(&ticket);
            }
            self.settle(ticket, &reply);
            self.unstall(ticket.conn, Stalls::JOINT);
        }
    }

    /// Whether the connection is there, and its client has not closed its side.
    fn listens(&self, id: ConnId) -> bool {
        self.connections.get(id.index as usize).and_then(Option::as_deref).is_some_and(|conn| conn.id == id && !conn.ended)
    }

    /// Another core's answer, or this one's own.
    pub(crate) fn take_finding(&mut self, ticket: Ticket, finding: Finding) {
        let survey = self.surveys.get_mut(&ticket).expect("a survey ends with its last finding");
        survey.findings.push(finding);
        survey.waiting -= 1;
        if survey.waiting > 0 {
            return;
        }
        let Survey { findings, then, .. } = self.surveys.remove(&ticket).expect("just seen");
        let Some(then) = then else { return };
        let Some(conn) = self.connection(ticket.conn) else { return };
        let proto = conn.proto;
        let mut reply = Vec::new();
        then(self, ticket.conn, findings, &mut Reply::new(&mut reply, proto));
        if reply.first() == Some(&b'-') {
            self.executor.metrics.count_error(&reply);
        }
        self.settle(ticket, &reply);
        if !reply.is_empty() {
            self.unstall(ticket.conn, Stalls::JOINT);
        }
    }
}

/// The statistics of all cores, in their order.
fn stats_of(findings: Vec<Finding>) -> Vec<CoreStats> {
    let mut cores: Vec<CoreStats> = findings
        .into_iter()
        .map(|finding| match finding {
            Finding::Stats(stats) => *stats,
            _ => unreachable!("the question is for statistics"),
        })
        .collect();
    cores.sort_by_key(|stats| stats.core);
    cores
}

/// What all cores have counted, together.
fn merged_metrics(findings: Vec<Finding>) -> Metrics {
    let mut metrics = Metrics::default();
    stats_of(findings).iter().for_each(|stats| metrics.merge(&stats.metrics));
    metrics
}

/// By database: the keys of all cores together.
fn merged_dbs(cores: &[CoreStats]) -> Vec<DbStats> {
    let mut dbs = vec![DbStats::default(); cores.first().map_or(0, |core| core.dbs.len())];
    for core in cores {
        dbs.iter_mut().zip(&core.dbs).for_each(|(all, one)| all.merge(one));
    }
    dbs
}

/// The sum of the cores' numbers.
fn sum_of(findings: &[Finding]) -> u64 {
    findings.iter().map(|finding| if let Finding::Count(count) = finding { *count } else { 0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::command::Handler;

    #[test]
    fn every_command_of_the_engine_has_a_handler_and_no_other_has() {
        for command in COMMANDS_BY_NUMBER {
            let name = command.full_name;
            let own = matches!(command.handler, Handler::Engine);
            assert_eq!(serve_of::<netio::Uring>(name).is_some(), own, "{name}");
        }
    }
}
