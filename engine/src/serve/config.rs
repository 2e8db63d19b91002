//! `CONFIG`: reading and changing settings, on all cores at once.

use crate::core::Core;
use crate::durability::Level;
use crate::hold::Request;
use crate::serve::Then;
use crate::settings::Settings;
use crate::survey::Question;
use netio::{ConnId, Kernel};
use shards::Db;
use shards::glob;
use shards::wire::Reply;
use std::sync::Arc;

/// `CONFIG GET parameter [parameter ...]`
pub(super) fn get<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let patterns: Vec<&[u8]> = args.iter_from(2).collect();
    let found: Vec<(&str, String)> = core
        .executor
        .settings
        .pairs()
        .filter(|(name, _)| patterns.iter().any(|pattern| glob::matches_in_any_case(pattern, name.as_bytes())))
        .collect();
    let mut reply = Reply::new(out, request.proto);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// `CONFIG SET parameter value [parameter value ...]`: all or none, and on every core before the answer.
pub(super) fn set<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    if !args.len().is_multiple_of(2) {
        return reply.error("ERR wrong number of arguments for 'config|set' command");
    }
    let mut changes: Vec<(String, String)> = Vec::new();
    for index in (2..args.len()).step_by(2) {
        let name = String::from_utf8_lossy(args.get(index)).into_owned();
        // A password that is not what was sent would lock everybody out.
        let Ok(value) = std::str::from_utf8(args.get(index + 1)) else {
            return reply.error(&format!("ERR CONFIG SET failed (possibly related to argument '{name}') - argument must be UTF-8 text"));
        };
        changes.push((name, value.to_owned()));
    }
    match core.executor.settings.changed(&changes) {
        Err(why) => reply.error(&why),
        Ok(next) if core.logs_newly(&next) && core.executor.journal.ladder().logs() => reply.error(
            "ERR CONFIG SET failed (possibly related to argument 'durability') - a namespace that was not logged, beside others that \
             are, can only be logged from a start on: what it holds is in no log. Take all to none first, or start again",
        ),
        Ok(next) if core.logs_newly(&next) => core.begin_to_log(id, next),
        Ok(next) => core.survey(id, Question::Settings(Arc::new(next)), Box::new(|_, _, _, reply| reply.ok())),
    }
}

impl<K: Kernel> Core<K> {
    /// Whether these settings log a namespace of which nothing was logged so far.
    fn logs_newly(&self, next: &Settings) -> bool {
        let (before, after) = (self.executor.journal.ladder(), next.ladder());
        (0..next.db_count).map(Db).any(|db| before.level(db) == Level::None && after.level(db) != Level::None)
    }

    /// Logs from now on what was in memory only. That counts once a snapshot has what was there before, which is begun when every
    /// core logs, and nothing is on its way that was begun before. A crash until then leaves what it would have left before.
    fn begin_to_log(&mut self, id: ConnId, next: Settings) {
        self.shared.snapshots.need_base();
        let all_log: Then<K> = Box::new(|core, id, _, _| {
            core.survey(
                id,
                Question::Stats,
                Box::new(|core, _, _, reply| {
                    core.shared.snapshots.want_base();
                    reply.ok();
                }),
            );
        });
        self.survey(id, Question::Settings(Arc::new(next)), all_log);
    }
}

/// `CONFIG RESETSTAT`
pub(super) fn resetstat<K: Kernel>(core: &mut Core<K>, id: ConnId, _request: &Request, _out: &mut Vec<u8>) {
    core.survey(id, Question::ResetStats, Box::new(|_, _, _, reply| reply.ok()));
}

/// `CONFIG REWRITE`: puts what differs from the defaults into the configuration file; what else the file says stays.
pub(super) fn rewrite<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let settings = &core.executor.settings;
    let Some(path) = settings.config_file.clone() else {
        return reply.error("ERR The server is running without a config file");
    };
    match settings.rewrite(&path) {
        Ok(()) => reply.ok(),
        Err(why) => {
            tracing::warn!(path = %path.display(), %why, "CONFIG REWRITE failed");
            reply.error(&format!("ERR Rewriting config file: {why}"));
        }
    }
}
