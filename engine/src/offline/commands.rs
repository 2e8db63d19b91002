//! What a source's commands mean for the target: which are passed on as they are, which are about the stream itself, and which are
//! left out. Only commands that change data leave here, whatever a file says.

use super::Trouble;
use super::peer::put_request;
use super::pipeline::Pipeline;
use super::tally::Tally;
use shards::command::{COMMANDS_BY_NUMBER, Flags, Resolved, resolve};
use shards::rdb;
use shards::wire::Args;

/// A transaction is kept until its end has come; one that is longer is refused.
const TRANSACTION_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What the caller still has to do about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing.
    Done,
    /// A master wants to know how far we are.
    Acknowledge,
}

/// A stream of commands on its way to the target.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Selected in the stream.
    pub(super) db: u32,
    /// Between `MULTI` and `EXEC`.
    held: Option<Held>,
}

/// A transaction of which the end has not come. If it never does, nothing of it happened.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    commands: Vec<HeldCommand>,
    db_before: u32,
}

#[derive(Debug)]
struct HeldCommand {
    end: usize,
    db: u32,
    name: Vec<u8>,
}

impl Commands {
    pub(super) fn new(db: u32) -> Commands {
        Commands { db, held: None }
    }

    /// Whether a transaction has begun and not ended.
    pub(super) fn in_transaction(&self) -> bool {
        self.held.is_some()
    }

    /// Forgets a transaction whose end never came; how many commands it had.
    pub(super) fn abandon(&mut self) -> usize {
        let held = self.held.take();
        self.db = held.as_ref().map_or(self.db, |held| held.db_before);
        held.map_or(0, |held| held.commands.len())
    }

    /// Takes one command, which came as `raw`.
    pub(super) fn take(&mut self, raw: &[u8], args: Args<'_>, pipeline: &mut Pipeline, tally: &mut Tally) -> Result<Meaning, Trouble> {
        let name = args.get(0);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if is("SELECT") && args.len() == 2 {
            self.db = std::str::from_utf8(args.get(1))
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Trouble::new("SELECT of no number"))?;
        } else if is("MULTI") {
            self.held = Some(Held { db_before: self.db, ..Held::default() });
        } else if is("EXEC") {
            self.commit(pipeline, tally)?;
        } else if is("REPLCONF") && args.len() > 1 && args.get(1).eq_ignore_ascii_case(b"GETACK") {
            return Ok(Meaning::Acknowledge);
        } else if !is("PING") && !is("REPLCONF") {
            self.change(raw, args, pipeline, tally)?;
        }
        Ok(Meaning::Done)
    }

    fn change(&mut self, raw: &[u8], args: Args<'_>, pipeline: &mut Pipeline, tally: &mut Tally) -> Result<(), Trouble> {
        let name = args.get(0);
        let skip = |tally: &mut Tally, reason| tally.skip(&format!("command {}", name.to_ascii_uppercase().escape_ascii()), reason);
        let refused = match resolve(args) {
            Resolved::Command(number) if COMMANDS_BY_NUMBER[usize::from(number)].flags.has(Flags::WRITE) => None,
            Resolved::Command(_) => Some("it changes no data"),
            Resolved::UnknownCommand => Some("there is no such command here"),
            Resolved::UnknownSubcommand { .. } | Resolved::WrongArity { .. } => Some("it has other arguments here"),
        };
        if let Some(reason) = refused {
            skip(tally, reason);
            return Ok(());
        }
        // What is there must not outlive what replaced it and cannot come along.
        let mut gone = Vec::new();
        let raw = if is_unreadable_replacement(args) {
            skip(tally, "a kind of value that there is none of here");
            put_request(&mut gone, &[b"DEL", args.get(1)]);
            &gone
        } else {
            raw
        };
        let Some(held) = &mut self.held else { return pipeline.command(self.db, name, raw, tally) };
        if held.bytes.len() + raw.len() > TRANSACTION_BYTES_MAX {
            return Err(Trouble::new("a transaction is longer than 1 GiB"));
        }
        held.bytes.extend_from_slice(raw);
        held.commands.push(HeldCommand { end: held.bytes.len(), db: self.db, name: name.to_vec() });
        Ok(())
    }

    fn commit(&mut self, pipeline: &mut Pipeline, tally: &mut Tally) -> Result<(), Trouble> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let mut from = 0;
        for command in &held.commands {
            pipeline.command(command.db, &command.name, &held.bytes[from..command.end], tally)?;
            from = command.end;
        }
        Ok(())
    }
}

/// `RESTORE key ttl payload REPLACE` of something that there is none of here: a stream, a hash whose fields expire.
fn is_unreadable_replacement(args: Args<'_>) -> bool {
    args.len() > 4
        && args.get(0).eq_ignore_ascii_case(b"RESTORE")
        && args.iter_from(4).any(|word| word.eq_ignore_ascii_case(b"REPLACE"))
        && rdb::decode(args.get(3)).is_err()
}
