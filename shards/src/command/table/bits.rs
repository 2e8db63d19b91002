//! The table: commands on the bits of a string.

use crate::command::spec::Command;

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[];
