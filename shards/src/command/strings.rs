//! Commands on strings.

use super::Call;
use crate::shard::{Expiry, Kind, Shard};

/// `GET key`
pub fn get(shard: &mut Shard, call: &mut Call<'_, '_>) {
    match shard.read(call.db, &call.key, call.now) {
        Some(found) => call.reply.bulk(found.value),
        None => call.reply.null(),
    }
}

/// `SET key value`
pub fn set(shard: &mut Shard, call: &mut Call<'_, '_>) {
    shard.put(call.db, &call.key, Kind::String, call.args.get(2), Expiry::Never, call.now);
    call.reply.ok();
}
