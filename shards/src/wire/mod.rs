//! Bytes to requests, replies to bytes: RESP2 and RESP3.

pub mod reply;
pub mod request;

pub use reply::{Proto, Reply};
pub use request::{Args, Limits, Malformed, Parsed, Partial, Span, parse};
