//! One core to another: what a parcel costs both ends, without the wait in between.

use criterion::{Criterion, criterion_group, criterion_main};
use engine::lane::lane;
use std::hint::black_box;

fn crossing(c: &mut Criterion) {
    let (mut sender, mut receiver) = lane::<Box<u64>>(16);
    let mut element = Some(Box::new(1));
    c.bench_function("lane/send_and_receive", |b| {
        b.iter(|| {
            assert!(sender.send(black_box(element.take().expect("given back below"))).is_ok());
            element = receiver.receive();
        });
    });
}

criterion_group!(benches, crossing);
criterion_main!(benches);
