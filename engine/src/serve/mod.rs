//! Commands the engine answers itself: about connections, settings, counts and the other cores.
//!
//! A file per noun. Each handler is a [`Serve`]; what needs every core's word is a [`Survey`].

mod connection;
mod everywhere;
mod server;

use crate::connection::Stalls;
use crate::core::Core;
use crate::hold::Request;
use crate::parcel::{Item, Ticket};
use crate::peers::Way;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::command::COMMANDS_BY_NUMBER;
use shards::wire::Reply;

/// Answers one command of one connection.
///
/// Writes exactly one reply to the last argument; or none, if it began a survey, which will.
pub type Serve<K> = fn(&mut Core<K>, ConnId, &Request, &mut Vec<u8>);

/// A question that was put to every core, at the core that asked.
pub struct Survey<K: Kernel> {
    waiting: usize,
    findings: Vec<Finding>,
    then: Then<K>,
}

/// Makes one reply out of all cores' findings, which come in no particular order.
pub(crate) type Then<K> = Box<dyn FnOnce(&mut Core<K>, ConnId, Vec<Finding>, &mut Reply<'_>) + Send>;

/// The handlers by command number.
pub(crate) fn table<K: Kernel>() -> Vec<Option<Serve<K>>> {
    COMMANDS_BY_NUMBER.iter().map(|command| serve_of(command.full_name)).collect()
}

/// The handler of a command the engine answers, by full name.
fn serve_of<K: Kernel>(name: &str) -> Option<Serve<K>> {
    Some(match name {
        "ping" => connection::ping,
        _ => return None,
    })
}

impl<K: Kernel> Core<K> {
    /// Answers a command of the engine.
    pub(crate) fn serve(&mut self, id: ConnId, request: Request, reply: &mut Vec<u8>) {
        let Some(serve) = self.serves[usize::from(request.command)] else {
            Reply::new(reply, request.proto).error("ERR not yet");
            return;
        };
        let started_ns = self.kernel.stamp_ns();
        serve(self, id, &request, reply);
        let ns = self.kernel.stamp_ns().saturating_sub(started_ns);
        let tracking = self.executor.settings.latency_tracking;
        self.executor.metrics.count_run(request.command, ns, tracking);
        if reply.first() == Some(&b'-') {
            self.executor.metrics.commands[usize::from(request.command)].failed += 1;
            self.executor.metrics.count_error(reply);
        }
    }

    /// Puts a question to every core, this one included; `then` makes the connection's reply when all have answered.
    /// The connection runs nothing else until then.
    pub(crate) fn survey(&mut self, id: ConnId, question: Question, then: Then<K>) {
        let Some(conn) = self.connection(id) else { return };
        let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
        self.stall(id, Stalls::JOINT);
        let others: Vec<_> = self.peers.others().collect();
        self.surveys.insert(ticket, Survey { waiting: others.len() + 1, findings: Vec::new(), then });
        for core in others {
            self.peers.put(core, Way::Ask, Item::Question(ticket, Box::new(question.clone())));
        }
        let finding = self.answer_question(&question);
        self.take_finding(ticket, finding);
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
        let Some(conn) = self.connection(ticket.conn) else { return };
        let proto = conn.proto;
        let mut reply = Vec::new();
        then(self, ticket.conn, findings, &mut Reply::new(&mut reply, proto));
        if reply.first() == Some(&b'-') {
            self.executor.metrics.count_error(&reply);
        }
        self.settle(ticket, &reply);
        self.unstall(ticket.conn, Stalls::JOINT);
    }
}
