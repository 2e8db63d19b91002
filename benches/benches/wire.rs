//! Bytes to requests and replies to bytes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shards::command::resolve;
use shards::wire::{Args, Limits, Parsed, Proto, Reply, parse};
use std::hint::black_box;

fn requests(c: &mut Criterion) {
    let get = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";
    let set = [&b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n$64\r\n"[..], &[b'x'; 64], b"\r\n"].concat();
    let mut group = c.benchmark_group("wire/request");
    for (name, request) in [("get", &get[..]), ("set_64b", &set)] {
        group.throughput(Throughput::Bytes(request.len() as u64));
        let mut spans = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                spans.clear();
                let parsed = parse(black_box(request), &Limits::OPEN, &mut spans);
                assert!(matches!(parsed, Parsed::Request { .. }));
                resolve(Args::new(request, &spans))
            });
        });
    }
    group.finish();
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/reply");
    let mut out = Vec::with_capacity(256);
    group.bench_function("bulk_64b", |b| {
        b.iter(|| {
            out.clear();
            Reply::new(&mut out, Proto::Resp2).bulk(black_box(&[b'x'; 64]));
        });
    });
    group.bench_function("integer", |b| {
        b.iter(|| {
            out.clear();
            Reply::new(&mut out, Proto::Resp2).integer(black_box(1_234_567));
        });
    });
    group.finish();
}

criterion_group!(benches, requests, replies);
criterion_main!(benches);
