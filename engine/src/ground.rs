//! The thread that prepares memory for all shards, out of the cores' way; see [`shards::Ground`].

use shards::Ground;
use std::io;
use std::thread;

/// Starts it. It ends with the last shard, so nobody waits for it.
pub(crate) fn start(grounds: Vec<Ground>, cores: Vec<usize>) -> io::Result<()> {
    thread::Builder::new().name("ground".to_owned()).spawn(move || keep(&grounds, &cores)).map(drop)
}

fn keep(grounds: &[Ground], cores: &[usize]) {
    if let Err(error) = keep_apart(cores) {
        tracing::warn!(%error, "cannot keep a thread out of the cores' way; memory is not prepared ahead of need");
        return;
    }
    for ground in grounds {
        let keeper = thread::current();
        ground.on_need(move || keeper.unpark());
    }
    while !grounds.iter().all(Ground::is_over) {
        // One step each in turn, so that no shard waits for another's second.
        let worked = grounds.iter().fold(false, |worked, ground| worked | ground.prepare_next());
        if !worked {
            thread::park();
        }
    }
}

/// To a processor without a core, else where and when a core sleeps.
fn keep_apart(cores: &[usize]) -> io::Result<()> {
    let mut free = netio::placement::allowed_cpus()?;
    free.retain(|cpu| !cores.contains(cpu));
    if free.is_empty() { netio::placement::run_when_idle() } else { netio::placement::pin_thread(&free) }
}
