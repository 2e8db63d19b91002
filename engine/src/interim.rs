//! Interim.
use crate::placement::CoreId;
use shards::{Db, Shard, Slot};
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    #[default]
    NoEviction,
}
impl Policy {
    pub const NAMES: &'static [&'static str] = &["noeviction"];
    pub fn name(self) -> &'static str {
        "noeviction"
    }
    pub fn from_name(n: &str) -> Option<Policy> {
        (n == "noeviction").then_some(Policy::NoEviction)
    }
}
pub(crate) trait Interim {
    fn prefetch_bucket(&self, _: Db, _: Slot, _: u32) {}
    fn prefetch_record(&self, _: Db, _: Slot, _: u32) {}
    fn set_memory_budget(&mut self, _: usize) {}
    fn set_policy(&mut self, _: Policy, _: u8, _: u16) {}
    fn used_bytes(&self) -> usize {
        0
    }
}
impl Interim for Shard {}
pub(crate) type _C = CoreId;
