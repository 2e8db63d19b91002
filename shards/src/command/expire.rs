//! Commands on the time at which keys stop existing, and the one place where clients' times become deadlines.

use super::Call;
use crate::shard::{Deadline, Shard};

/// How a client writes a point in time: in which unit, counted from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since 1970.
    ExAt,
    /// Milliseconds since 1970.
    PxAt,
}

impl TimeForm {
    /// The form that an option of `SET` and `GETEX` names, in any case.
    pub fn of_option(word: &[u8]) -> Option<TimeForm> {
        [("EX", TimeForm::Ex), ("PX", TimeForm::Px), ("EXAT", TimeForm::ExAt), ("PXAT", TimeForm::PxAt)]
            .into_iter()
            .find_map(|(name, form)| word.eq_ignore_ascii_case(name.as_bytes()).then_some(form))
    }

    /// Milliseconds since 1970, below zero for times long past. `None` if it does not fit 64 bits.
    pub fn absolute_ms(self, time: i64, now: u64) -> Option<i64> {
        let time_ms = match self {
            TimeForm::Ex | TimeForm::ExAt => time.checked_mul(1000)?,
            TimeForm::Px | TimeForm::PxAt => time,
        };
        match self {
            TimeForm::Ex | TimeForm::Px => time_ms.checked_add(i64::try_from(now).ok()?),
            TimeForm::ExAt | TimeForm::PxAt => Some(time_ms),
        }
    }
}

/// The deadline that the argument at `index` sets on a value that is being written, past or ahead. Answers the error, which
/// names `command`, and gives `None` if the argument is no number, zero, negative or too large.
pub(super) fn deadline_at(call: &mut Call<'_, '_>, index: usize, form: TimeForm, command: &str) -> Option<Deadline> {
    let time = call.integer_at(index)?;
    let deadline = if time > 0 { form.absolute_ms(time, call.now) } else { None };
    if deadline.is_none() {
        refuse_time(call, command);
    }
    deadline.map(|ms| Deadline(ms as u64))
}

fn refuse_time(call: &mut Call<'_, '_>, command: &str) {
    call.reply.error(&format!("ERR invalid expire time in '{command}' command"));
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub fn expire(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_expiry(shard, call, TimeForm::Ex, "expire");
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub fn pexpire(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_expiry(shard, call, TimeForm::Px, "pexpire");
}

/// `EXPIREAT key unix-seconds [NX | XX | GT | LT]`
pub fn expireat(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_expiry(shard, call, TimeForm::ExAt, "expireat");
}

/// `PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]`
pub fn pexpireat(shard: &mut Shard, call: &mut Call<'_, '_>) {
    set_expiry(shard, call, TimeForm::PxAt, "pexpireat");
}

fn set_expiry(shard: &mut Shard, call: &mut Call<'_, '_>, form: TimeForm, command: &str) {
    let Some(only_if) = OnlyIf::parse(call) else { return };
    let Some(time) = call.integer_at(2) else { return };
    let Some(deadline_ms) = form.absolute_ms(time, call.now) else { return refuse_time(call, command) };
    let Some(found) = shard.peek(call.db, &call.key, call.now) else { return call.reply.integer(0) };
    if !only_if.allows(found.deadline, deadline_ms) {
        return call.reply.integer(0);
    }
    if deadline_ms <= call.now as i64 {
        // A time already past deletes at once: nobody may see the key again.
        shard.delete(call.db, &call.key, call.now);
    } else {
        shard.set_deadline(call.db, &call.key, Some(Deadline(deadline_ms as u64)), call.now);
    }
    call.reply.integer(1);
}

/// What must hold of the deadline a key has. Several may be asked for together.
#[derive(Default)]
struct OnlyIf {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

impl OnlyIf {
    fn parse(call: &mut Call<'_, '_>) -> Option<OnlyIf> {
        let mut only_if = OnlyIf::default();
        for word in call.args.iter_from(3) {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => only_if.none = true,
                b"xx" => only_if.some = true,
                b"gt" => only_if.later = true,
                b"lt" => only_if.earlier = true,
                _ => {
                    call.reply.error(&format!("ERR Unsupported option {}", String::from_utf8_lossy(word)));
                    return None;
                }
            }
        }
        if only_if.none && (only_if.some || only_if.later || only_if.earlier) {
            call.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
            return None;
        }
        if only_if.later && only_if.earlier {
            call.reply.error("ERR GT and LT options at the same time are not compatible");
            return None;
        }
        Some(only_if)
    }

    /// A key without a deadline lives for ever: no time is later than that, every time is earlier.
    fn allows(&self, current: Option<Deadline>, wanted_ms: i64) -> bool {
        match current.map(|deadline| deadline.0 as i64) {
            None => !self.some && !self.later,
            Some(current_ms) => !self.none && (!self.later || current_ms < wanted_ms) && (!self.earlier || wanted_ms < current_ms),
        }
    }
}

/// `TTL key`
pub fn ttl(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let now = call.now;
    tell_deadline(shard, call, |deadline| rounded_seconds(deadline.0.saturating_sub(now)));
}

/// `PTTL key`
pub fn pttl(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let now = call.now;
    tell_deadline(shard, call, |deadline| deadline.0.saturating_sub(now));
}

/// `EXPIRETIME key`
pub fn expiretime(shard: &mut Shard, call: &mut Call<'_, '_>) {
    tell_deadline(shard, call, |deadline| rounded_seconds(deadline.0));
}

/// `PEXPIRETIME key`
pub fn pexpiretime(shard: &mut Shard, call: &mut Call<'_, '_>) {
    tell_deadline(shard, call, |deadline| deadline.0);
}

/// -2 for no key, -1 for no deadline.
fn tell_deadline(shard: &Shard, call: &mut Call<'_, '_>, told: impl FnOnce(Deadline) -> u64) {
    call.reply.integer(match shard.peek(call.db, &call.key, call.now) {
        None => -2,
        Some(found) => found.deadline.map_or(-1, |deadline| told(deadline) as i64),
    });
}

fn rounded_seconds(ms: u64) -> u64 {
    ms / 1000 + u64::from(ms % 1000 >= 500)
}

/// `PERSIST key`
pub fn persist(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let timed = shard.peek(call.db, &call.key, call.now).is_some_and(|found| found.deadline.is_some());
    if timed {
        shard.set_deadline(call.db, &call.key, None, call.now);
    }
    call.reply.integer(i64::from(timed));
}
