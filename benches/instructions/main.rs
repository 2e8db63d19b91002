//! One function a boundary, run a thousand times: `ci/perf/instructions` counts their instructions under callgrind.
//!
//! No harness of ours or of a library: the functions are never inlined, so that the tool can count each by its name.

use shards::command::{Resolved, resolve};
use shards::shard::Expiry;
use shards::wire::{Args, Limits, Parsed, Proto, Reply, Span, parse};
use shards::{Db, KeySeed, Kind, Shard, ShardConfig};
use std::hint::black_box;

const ROUNDS: usize = 1000;
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";

fn main() {
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(1), chance_seed: 2, db_count: 1 });
    let mut spans = Vec::with_capacity(8);
    let mut out = Vec::with_capacity(256);
    table_write(&mut shard);
    for _ in 0..ROUNDS {
        wire_request(&mut spans);
        table_write(&mut shard);
        table_read(&mut shard);
        wire_reply(&mut out);
    }
    println!("{ROUNDS}");
}

#[inline(never)]
fn wire_request(spans: &mut Vec<Span>) {
    spans.clear();
    assert!(matches!(parse(black_box(GET), &Limits::OPEN, spans), Parsed::Request { .. }));
    assert!(matches!(resolve(Args::new(GET, spans)), Resolved::Command(_)));
}

#[inline(never)]
fn wire_reply(out: &mut Vec<u8>) {
    out.clear();
    Reply::new(out, Proto::Resp2).bulk(black_box(&[b'x'; 64]));
}

#[inline(never)]
fn table_read(shard: &mut Shard) {
    let key = shard.key(black_box(b"key:000000012345"));
    assert!(shard.read(Db(0), &key, 0).is_some());
}

#[inline(never)]
fn table_write(shard: &mut Shard) {
    let key = shard.key(black_box(b"key:000000012345"));
    shard.put(Db(0), &key, Kind::String, black_box(&[b'w'; 64]), Expiry::Never, 0);
}
