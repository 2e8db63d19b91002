//! What a server says when it starts: everything an operator would otherwise have to ask.

use crate::durability::Level;
use crate::machine::Machine;
use crate::options::{human_bytes, ranges};
use crate::settings::Settings;
use std::fmt::Write;

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a crash may take back, in words.
fn durability(settings: &Settings) -> String {
    let ladder = settings.ladder();
    let Some(dir) = &settings.dir else { return "none: a restart forgets everything".to_owned() };
    let means = match ladder.default_level() {
        Level::None => "what was written since the last snapshot may be lost".to_owned(),
        Level::Periodic { ms } => format!("a crash may take back the last {ms} ms"),
        Level::Every { n } => format!("a crash may take back the last {n} writes of each core"),
        Level::Batch => "nothing acknowledged is ever lost".to_owned(),
    };
    format!("{ladder} in {}: {means}", dir.display())
}

/// The banner of a running server.
pub fn banner(machine: &Machine) -> String {
    let Machine { facts, settings, .. } = machine;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    let missing: Vec<String> = facts
        .features
        .iter()
        .filter(|feature| !feature.present)
        .map(|feature| if feature.remark.is_empty() { feature.name.to_owned() } else { format!("{} ({})", feature.name, feature.remark) })
        .collect();
    line("io", format!("{} on Linux {}", facts.backend, facts.release));
    if let Some(why) = &facts.stepped_down {
        line("", why.clone());
    }
    if !missing.is_empty() {
        line("without", missing.join(", "));
    }
    line("cores", format!("{} (processors {})", settings.cpus.len(), ranges(&settings.cpus)));
    line("listening", format!("{} port {}", settings.bind.join(" and "), settings.port));
    if let Some(path) = &settings.unix_socket {
        line("", format!("unix socket {}", path.display()));
    }
    if let Some(first) = settings.cluster_port_first {
        let last = first + settings.cpus.len() as u16 - 1;
        line("cluster", format!("one port a core, {first} to {last}: a cluster client needs no hop"));
    }
    line("memory", format!("at most {}, then {}", human_bytes(settings.memory_bytes_max), settings.policy.name()));
    line("durability", durability(settings));
    line("password", (if settings.password.is_some() { "required" } else { "none" }).to_owned());
    format!("corewheel {VERSION}\n{text}")
}
