//! What every core answers about itself.

use crate::core::Core;
use crate::hold::Request;
use crate::placement::CoreId;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};

impl<K: Kernel> Core<K> {
    /// This core's answer to a question put to all.
    pub(crate) fn answer_question(&mut self, question: &Question) -> Finding {
        match question {
            Question::Run(request, _) => self.run_everywhere(request),
            _ => Finding::Done,
        }
    }

    /// The address at which this connection's client reaches a core.
    pub(crate) fn node_address(&mut self, id: ConnId, core: CoreId) -> (String, u16) {
        let host = self.kernel.local_addr(id).map_or_else(|| "127.0.0.1".to_owned(), |addr| addr.ip().to_string());
        (host, self.executor.settings.cluster_port_first.unwrap_or(self.executor.settings.port) + core.0)
    }

    /// Shows a request to those who watch.
    pub(crate) fn show_monitors(&mut self, _id: ConnId, _request: &Request) {}
}
