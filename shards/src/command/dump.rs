//! `DUMP` and `RESTORE`: a value as bytes that Redis and Valkey understand, and back.

use super::{Call, texts};
use crate::key::{Db, Key};
use crate::rdb::{self, Decoded};
use crate::shard::{Deadline, Expiry, Kind, Shard, Usage};

/// `DUMP key`
pub fn dump(shard: &mut Shard, call: &mut Call<'_, '_>) {
    if shard.read(call.db, &call.key, call.now).is_none() {
        return call.reply.null();
    }
    let mut payload = Vec::new();
    shard.encode_value(call.db, &call.key, call.now, &mut payload);
    call.reply.bulk(&payload);
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
pub fn restore(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Some(options) = RestoreOptions::parse(call) else { return };
    if !options.replace && shard.peek(call.db, &call.key, call.now).is_some() {
        return call.reply.error("BUSYKEY Target key name already exists.");
    }
    let expiry = match call.integer_at(2) {
        None => return,
        Some(..0) => return call.reply.error("ERR Invalid TTL value, must be >= 0"),
        Some(0) => Expiry::Never,
        Some(ttl) if options.absolute => Expiry::At(Deadline(ttl as u64)),
        Some(ttl) => Expiry::At(Deadline((ttl as u64).saturating_add(call.now).min(i64::MAX as u64))),
    };
    let value = match rdb::decode(call.args.get(3)) {
        Ok(value) => value,
        Err(error) => return call.reply.error_static(error.text()),
    };
    match expiry {
        Expiry::At(deadline) if deadline.0 <= call.now => {
            shard.delete(call.db, &call.key, call.now);
        }
        _ => {
            let (kind, value) = match &value {
                Decoded::String(text) => (Kind::String, &text[..]),
                Decoded::Collection { kind, packed } => (*kind, &packed[..]),
            };
            shard.put_packed(call.db, &call.key, kind, value, expiry, call.now);
            if let Some(usage) = options.usage {
                shard.set_usage(call.db, &call.key, usage, call.now);
            }
        }
    }
    call.reply.ok();
}

impl Shard {
    /// Appends the payload of a live key.
    pub(crate) fn encode_value(&self, db: Db, key: &Key<'_>, now: u64, out: &mut Vec<u8>) {
        let Some(record) = self.live_record(db, key, now) else { return };
        let flattened = self.flattened(record);
        rdb::encode(record.kind(), flattened.as_deref().unwrap_or(record.value()), out);
    }
}

#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    /// The time to live is a point in time.
    absolute: bool,
    usage: Option<Usage>,
}

impl RestoreOptions {
    /// Answers the error and gives `None` if an option is wrong. A value has been idle or was used so often, not both.
    fn parse(call: &mut Call<'_, '_>) -> Option<RestoreOptions> {
        let mut options = RestoreOptions::default();
        let mut index = 4;
        while index < call.args.len() {
            let valued = index + 1 < call.args.len();
            if call.arg_is(index, "REPLACE") {
                options.replace = true;
            } else if call.arg_is(index, "ABSTTL") {
                options.absolute = true;
            } else if valued && call.arg_is(index, "IDLETIME") && !matches!(options.usage, Some(Usage::Frequency(_))) {
                index += 1;
                let seconds = call.integer_at(index)?;
                let Ok(seconds) = u64::try_from(seconds) else {
                    call.reply.error("ERR Invalid IDLETIME value, must be >= 0");
                    return None;
                };
                options.usage = Some(Usage::IdleMs(seconds.saturating_mul(1000)));
            } else if valued && call.arg_is(index, "FREQ") && !matches!(options.usage, Some(Usage::IdleMs(_))) {
                index += 1;
                let frequency = call.integer_at(index)?;
                let Ok(frequency) = u8::try_from(frequency) else {
                    call.reply.error("ERR Invalid FREQ value, must be >= 0 and <= 255");
                    return None;
                };
                options.usage = Some(Usage::Frequency(frequency));
            } else {
                call.reply.error(texts::SYNTAX);
                return None;
            }
            index += 1;
        }
        Some(options)
    }
}
