//! Keys to records: reads and writes of a shard, one by one and in prefetched batches.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shards::shard::Expiry;
use shards::{Db, KeySeed, Kind, Shard, ShardConfig};
use std::hint::black_box;

/// As many requests as one pipeline of 16 on 32 connections brings.
const BATCH: u64 = 512;

fn filled(keys: u64) -> Shard {
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(1), chance_seed: 2, db_count: 1 });
    for number in 0..keys {
        let name = key(number);
        let hashed = shard.key(&name);
        shard.put(Db(0), &hashed, Kind::String, &[b'v'; 16], Expiry::Never, 0);
    }
    shard
}

fn key(number: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = number;
    for digit in name[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// A walk that visits keys in no order a prefetcher could guess.
fn scattered(step: u64, keys: u64) -> u64 {
    step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11 & (keys - 1)
}

fn reads(c: &mut Criterion) {
    // The small one fits the cache, the large one does not; a test run makes do with the small one.
    let sizes: &[u64] = if std::env::args().any(|arg| arg == "--bench") { &[1 << 17, 1 << 23] } else { &[1 << 12] };
    let mut group = c.benchmark_group("table/read");
    group.throughput(Throughput::Elements(BATCH));
    for &keys in sizes {
        let mut shard = filled(keys);
        let mut step = 0;
        group.bench_function(format!("alone/{keys}"), |b| {
            b.iter(|| {
                for _ in 0..BATCH {
                    step += 1;
                    let name = key(scattered(step, keys));
                    let hashed = shard.key(&name);
                    assert!(black_box(shard.read(Db(0), &hashed, 0)).is_some());
                }
            });
        });
        let mut names = Vec::new();
        group.bench_function(format!("batch/{keys}"), |b| {
            b.iter(|| {
                names.clear();
                for _ in 0..BATCH {
                    step += 1;
                    let name = key(scattered(step, keys));
                    let hashed = shard.key(&name);
                    shard.prefetch_bucket(Db(0), hashed.slot, hashed.hash);
                    names.push((name, hashed.hash, hashed.slot));
                }
                for (_, hash, slot) in &names {
                    shard.prefetch_record(Db(0), *slot, *hash);
                }
                for (name, hash, slot) in &names {
                    let hashed = shards::Key { bytes: name, hash: *hash, slot: *slot };
                    assert!(black_box(shard.read(Db(0), &hashed, 0)).is_some());
                }
            });
        });
    }
    group.finish();
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("table/write");
    group.throughput(Throughput::Elements(1));
    let mut shard = filled(1 << 12);
    let mut step = 0;
    group.bench_function("overwrite", |b| {
        b.iter(|| {
            step += 1;
            let name = key(scattered(step, 1 << 12));
            let hashed = shard.key(&name);
            shard.put(Db(0), &hashed, Kind::String, black_box(&[b'w'; 16]), Expiry::Never, 0);
        });
    });
    group.bench_function("insert_and_delete", |b| {
        b.iter(|| {
            step += 1;
            let name = key(1 << 20 | step & 0xFFFF);
            let hashed = shard.key(&name);
            shard.put(Db(0), &hashed, Kind::String, black_box(&[b'w'; 16]), Expiry::Never, 0);
            assert!(shard.delete(Db(0), &hashed, 0));
        });
    });
    group.finish();
}

criterion_group!(benches, reads, writes);
criterion_main!(benches);
