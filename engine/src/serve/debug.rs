//! `DEBUG`: for tests. Only who sits on this machine may use it, unless `enable-debug-command` says otherwise.

use crate::connection::Modes;
use crate::core::Core;
use crate::hold::Request;
use crate::survey::{Finding, Question};
use netio::{ConnId, Kernel};
use shards::command::{COMMANDS_BY_NUMBER, object};
use shards::glob;
use shards::number;
use shards::wire::{Args, Reply};

/// The longest that `DEBUG SLEEP` stops everything.
const SLEEP_S_MAX: f64 = 60.0;

/// `DEBUG subcommand [arg ...]`
pub(super) fn debug<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    if !core.may_debug(id) {
        return reply.error(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
             connection, otherwise you need to set this option in the configuration file, and then restart the server.",
        );
    }
    let name = args.get(1).to_ascii_lowercase();
    match (name.as_slice(), args.len()) {
        (b"sleep", 3) => match number::parse_f64(args.get(2)).filter(|seconds| (0.0..=SLEEP_S_MAX).contains(seconds)) {
            Some(seconds) => {
                let ns = (seconds * 1e9) as u64;
                core.survey(id, Question::Sleep { ns }, Box::new(|_, _, _, reply| reply.ok()));
            }
            None => reply.error("ERR the time to sleep must be between 0 and 60 seconds"),
        },
        (b"object", 3 | 4) => core.debug_object(id, request),
        (b"set-active-expire", 3) => {
            let on = args.get(2) != b"0";
            core.survey(id, Question::ActiveExpire(on), Box::new(|_, _, _, reply| reply.ok()));
        }
        (b"stringmatch-len", 4) => match number::parse_u64(args.get(2)) {
            Some(bytes) if bytes <= 1 << 24 => {
                let text = vec![b'a'; bytes as usize];
                reply.integer(i64::from(glob::matches(args.get(3), &text)));
            }
            _ => reply.error("ERR the length must be a number up to 16777216"),
        },
        (b"digest", 2) => core.survey(
            id,
            Question::Digest,
            Box::new(|_, _, findings, reply| {
                let digest = findings.iter().fold(0, |all, finding| all ^ if let Finding::Count(part) = finding { *part } else { 0 });
                reply.status(&format!("{digest:040x}"));
            }),
        ),
        (b"quicklist-packed-threshold" | b"listpack-entries" | b"change-repl-id", _) => reply.ok(),
        (b"reload" | b"loadaof", _) => {
            reply.error("ERR nothing can be loaded: this server keeps its data in memory only (durability none)");
        }
        (b"help", 2) => help(&mut reply),
        _ => {
            reply.error_bytes(&[b"ERR unknown subcommand or wrong number of arguments for '", args.get(1), b"'. Try DEBUG HELP."].concat())
        }
    }
}

fn help(reply: &mut Reply<'_>) {
    const LINES: &[&str] = &[
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DIGEST",
        "    A number that two servers share exactly if they hold the same data.",
        "OBJECT <key>",
        "    Tells how a key is kept.",
        "SET-ACTIVE-EXPIRE (0|1)",
        "    Whether keys are removed when their time comes; reads never see them either way.",
        "SLEEP <seconds>",
        "    Stops every core for some seconds.",
        "STRINGMATCH-LEN <length> <pattern>",
        "    Matches a pattern against so many letters a.",
        "HELP",
        "    Prints this help.",
    ];
    reply.array(LINES.len());
    LINES.iter().for_each(|line| reply.status(line));
}

impl<K: Kernel> Core<K> {
    fn may_debug(&mut self, id: ConnId) -> bool {
        let local = match self.kernel.peer_addr(id) {
            Some(addr) => addr.ip().to_canonical().is_loopback(),
            None => self.connection(id).is_some_and(|conn| conn.modes.has(Modes::UNIX)),
        };
        match self.executor.settings.debug_command.as_str() {
            "yes" => true,
            "local" => local,
            _ => false,
        }
    }

    fn debug_object(&mut self, id: ConnId, request: &Request) {
        let slot = shards::Slot::of(request.args().get(2));
        let owner = self.placement.core_of(slot);
        let now = self.now_ms();
        self.survey_cores(
            id,
            &[owner],
            Question::DebugObject(request.clone(), now),
            Box::new(|_, _, findings, reply| match findings.into_iter().next() {
                Some(Finding::Reply { bytes, .. }) => reply.raw(&bytes),
                _ => unreachable!("the question is for a reply"),
            }),
        );
    }

    /// Runs `DEBUG OBJECT` on this core's shard.
    pub(super) fn run_debug_object(&mut self, request: &Request, now: u64) -> Finding {
        debug_assert_eq!(COMMANDS_BY_NUMBER[usize::from(request.command)].full_name, "debug");
        let mut bytes = Vec::new();
        let args: Args<'_> = request.args();
        let shard = &mut self.executor.shard;
        let key = shard.key(args.get(2));
        let reply = Reply::new(&mut bytes, request.proto);
        object::debug_object(shard, &mut shards::command::Call { args, key, db: request.db, now, reply });
        Finding::Reply { bytes, keys: 0 }
    }
}
