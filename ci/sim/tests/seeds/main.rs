//! Random histories of a whole server, seed by seed. `COREWHEEL_SIM_SEED` is the first, `COREWHEEL_SIM_SEEDS` how many.

use netio::sim::{Chance, SimOptions};
use simulation::history::{Operation, apply, explain};
use simulation::{Client, Recipe, World};

/// When a request was asked, and its words.
type Asked = (u64, Vec<String>);

const KEYS: u64 = 5;
const CLIENTS: usize = 4;
const OPERATIONS: usize = 60;

fn seeds() -> std::ops::Range<u64> {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")));
    let first: u64 = number("COREWHEEL_SIM_SEED", 1);
    first..first + number("COREWHEEL_SIM_SEEDS", 8)
}

fn key(chance: &mut Chance) -> String {
    format!("k{}", chance.below(KEYS))
}

/// One command of the kinds that the model knows; many of them on keys of several cores.
fn command(chance: &mut Chance, number: usize) -> Vec<String> {
    let pairs =
        |chance: &mut Chance| -> Vec<String> { (0..1 + chance.below(3)).flat_map(|_| [key(chance), format!("v{number}")]).collect() };
    let keys = |chance: &mut Chance| -> Vec<String> { (0..1 + chance.below(4)).map(|_| key(chance)).collect() };
    let (name, words) = match chance.below(13) {
        0 | 1 => ("GET", vec![key(chance)]),
        2 => ("SET", vec![key(chance), format!("v{number}")]),
        3 => ("APPEND", vec![key(chance), format!("+{number}")]),
        4 | 5 => ("MGET", keys(chance)),
        6 | 7 => ("MSET", pairs(chance)),
        8 => ("MSETNX", pairs(chance)),
        9 => ("DEL", keys(chance)),
        10 => ("EXISTS", keys(chance)),
        11 if chance.one_in(2) => ("SWAPDB", vec!["0".to_owned(), "1".to_owned()]),
        11 => (if chance.one_in(2) { "FLUSHALL" } else { "FLUSHDB" }, vec![]),
        _ if chance.one_in(2) => ("COPY", vec![key(chance), "k9".to_owned()]),
        _ => ("RENAME", vec![key(chance), key(chance)]),
    };
    std::iter::once(name.to_owned()).chain(words).collect()
}

/// Commands on keys of all cores and on everything there is, beside writes and reads of single keys that tell them apart.
fn wide_command(chance: &mut Chance, number: usize) -> Vec<String> {
    let all = || (0..KEYS).map(|number| format!("k{number}"));
    let (name, words): (&str, Vec<String>) = match chance.below(16) {
        0..4 => ("MSET", all().flat_map(|key| [key, format!("v{number}")]).collect()),
        4..8 => ("MGET", all().collect()),
        8 => ("FLUSHALL", vec![]),
        9 => ("FLUSHDB", vec![]),
        10 | 11 => ("SWAPDB", vec!["0".to_owned(), "1".to_owned()]),
        12 => ("MSETNX", all().flat_map(|key| [key, format!("v{number}")]).collect()),
        13 => ("COPY", vec![key(chance), "k9".to_owned()]),
        14 => ("RENAME", vec![key(chance), key(chance)]),
        _ => ("SET", vec![key(chance), format!("v{number}")]),
    };
    std::iter::once(name.to_owned()).chain(words).collect()
}

/// Several clients, one request each under way, on the same few keys: what they see must be explained by one map.
#[test]
fn histories_of_several_clients_are_linearizable() {
    histories_are_linearizable(&SimOptions::default(), command);
}

/// The same of commands that hold keys of all cores, or all cores whole.
#[test]
fn histories_of_wide_commands_are_linearizable() {
    // Near clients: requests come close together, so that the steps of one command fall between those of another.
    let near = SimOptions { delay_ns: 1_000..=5_000, ..SimOptions::default() };
    histories_are_linearizable(&near, wide_command);
}

fn histories_are_linearizable(network: &SimOptions, command: impl Fn(&mut Chance, usize) -> Vec<String>) {
    for seed in seeds() {
        let mut chance = Chance::new(seed);
        let cores = 1 + chance.below(4) as u16;
        let mut world = World::new(Recipe { network: network.clone(), ..Recipe::new(seed, cores) });
        let mut clients: Vec<(Client, u16, Option<Asked>)> = (0..CLIENTS).map(|_| (world.client(), 0, None)).collect();
        for (index, (client, db, _)) in clients.iter_mut().enumerate() {
            // Databases 0 and 1 change places now and then. Most clients share one, so that they meet.
            *db = u16::from(index == 0);
            assert_eq!(world.ask(client, &format!("SELECT {db}")).to_string(), "+OK");
        }
        let mut history = Vec::new();
        let (mut step, mut asked) = (0, 0);
        while history.len() < OPERATIONS {
            for (client, db, under_way) in &mut clients {
                step += 1;
                client.pump();
                if let Some(reply) = client.take_reply() {
                    let (called, words) = under_way.take().expect("a reply to something");
                    history.push(Operation { called, returned: step, db: *db, words, reply: reply.to_string() });
                } else if under_way.is_none() && asked < OPERATIONS && chance.one_in(3) {
                    let words = command(&mut chance, asked);
                    let parts: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
                    client.send_words(&parts);
                    *under_way = Some((step, words));
                    asked += 1;
                }
            }
            world.turn_all();
            if !world.net.busy() {
                world.net.advance_to_next_event();
            }
            assert!(step < 4_000_000, "stuck after {} operations; seed {seed}, {cores} cores", history.len());
        }
        assert!(explain(&history).is_some(), "no order explains this; seed {seed}, {cores} cores:\n{history:#?}");
    }
}

/// One client with a deep pipeline: every reply is what a map gives that does one thing after the other.
#[test]
fn a_pipeline_sees_its_own_effects_in_order() {
    for seed in seeds() {
        let mut chance = Chance::new(seed ^ 0xF00D);
        let cores = 1 + chance.below(5) as u16;
        let mut world = World::new(Recipe::new(seed, cores));
        let mut client = world.client();
        let mut model = simulation::history::State::new();
        let mut expected = Vec::new();
        for number in 0..300 {
            let words = command(&mut chance, number);
            let parts: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            client.send_words(&parts);
            expected.push((apply(&mut model, 0, &words), words));
        }
        for (position, (wanted, words)) in expected.iter().enumerate() {
            let got = world.reply(&mut client).to_string();
            assert_eq!(&got, wanted, "reply {position} to {words:?}; seed {seed}, {cores} cores");
        }
    }
}
