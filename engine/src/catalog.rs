//! The command table by number, as the engine uses it.
use shards::command::{COMMANDS, Command, Keys};
use shards::wire::Args;

pub(crate) const COUNT: usize = 512;
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Resolved {
    Command(u16),
    Unknown,
}
impl Resolved {
    pub(crate) fn error_text(self, args: Args<'_>) -> String {
        format!("ERR unknown command '{}'", String::from_utf8_lossy(args.get(0)))
    }
}
pub(crate) fn command(number: u16) -> &'static Command {
    &COMMANDS[usize::from(number)]
}
pub(crate) fn resolve(args: Args<'_>) -> Resolved {
    shards::command::find(args.get(0)).map_or(Resolved::Unknown, |(n, _)| Resolved::Command(n))
}
pub(crate) fn full_name(number: u16) -> String {
    COMMANDS[usize::from(number)].name.to_owned()
}
pub(crate) fn keys_of(command: &Command, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => {
            (first as usize, if last < 0 { (args.len() as i64 + i64::from(last)) as usize } else { last as usize }, step as usize)
        }
        _ => (1, 0, 1),
    };
    (first..=last.min(args.len() - 1)).step_by(step)
}
