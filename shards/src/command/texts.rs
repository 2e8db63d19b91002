//! Error texts that several commands answer with. They are part of the interface: clients match them byte for byte.

/// The arguments do not fit the command's grammar.
pub const SYNTAX: &str = "ERR syntax error";
/// A number was expected, or it does not fit 64 bits.
pub const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
/// A count was expected, not below zero.
pub const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
/// A fraction was expected.
pub const NOT_FLOAT: &str = "ERR value is not a valid float";
/// The key holds something this command does not work on.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// The result would be longer than a bulk may be.
pub const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// The source of a rename.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// Source and destination are one key.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
/// There is no database of that number.
pub const DB_OUT_OF_RANGE: &str = "ERR DB index is out of range";
/// A bit's position is negative, no number, or past the longest string.
pub const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
