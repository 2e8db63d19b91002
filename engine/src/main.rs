//! corewheel
use engine::machine::Machine;
use engine::settings::Settings;
use netio::{Listen, Options, Uring};
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|p| p.parse().ok()).unwrap_or(6379);
    let cpus: Vec<usize> = std::env::args().nth(2).map_or(vec![0], |c| c.split(',').map(|x| x.parse().unwrap()).collect());
    let settings = Settings { listens: vec![Listen::Tcp(([127, 0, 0, 1], port).into())], port, cpus, ..Settings::default() };
    let machine =
        Machine::start(settings, |_| Uring::open(Options::default()).map_err(|e| e.to_string())).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("{:?} port {}", machine.facts, machine.settings.port);
    machine.join().unwrap();
}
