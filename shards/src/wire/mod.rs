//! Bytes to requests, replies to bytes: RESP2 and RESP3.

#![forbid(unsafe_code)]

pub mod reply;
pub mod request;

pub use reply::{Proto, Reply};
pub use request::{Args, Limits, Malformed, Parsed, Partial, REQUEST_BYTES_MAX, Span, parse, split_words};
