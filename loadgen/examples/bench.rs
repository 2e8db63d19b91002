//! `corewheel bench` on its own, for trying the generator without building the server.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "bench", version)]
struct Bench {
    #[command(flatten)]
    options: loadgen::Options,
}

fn main() -> ExitCode {
    loadgen::run(Bench::parse().options)
}
