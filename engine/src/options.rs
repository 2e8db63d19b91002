//! How a server is asked for: flags, and a configuration file of the same names. Flags win.

use crate::archive::{ArchiveConfig, ArchiveOptions};
use crate::keys::Keys;
use crate::placement::CORE_COUNT_MAX;
use crate::settings::{Secret, Settings, parse_bytes, read_keys};
use clap::{Args, ValueEnum};
use netio::Listen;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where keys may stand instead of in a file.
const KEY_VARIABLE: &str = "COREWHEEL_ENCRYPTION_KEY";

/// Flags of `corewheel server`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerOptions {
    /// TCP port for every client; 0 picks a free one.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Address to listen on; may be given several times. Default: the loopback addresses.
    #[arg(long, value_name = "ADDR")]
    pub bind: Vec<IpAddr>,

    /// Unix socket to listen on as well.
    #[arg(long, value_name = "PATH")]
    pub unixsocket: Option<PathBuf>,

    /// Permission bits of the Unix socket, in octal, such as 770: whoever may write to it may connect. Default: as the umask says.
    #[arg(long, value_name = "MODE", value_parser = permission_bits)]
    pub unixsocketperm: Option<u32>,

    /// Processors to use, one shard each, such as 0-3 or 0,2,4. Default: all this process may use.
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CpuList>,

    /// Memory everything together may take, such as 4gb. Default: 80 % of the machine or the container.
    #[arg(long, value_name = "BYTES")]
    pub maxmemory: Option<String>,

    /// What to remove when memory is full: noeviction, allkeys-lru, allkeys-lfu, allkeys-random, volatile-lru,
    /// volatile-lfu, volatile-random, volatile-ttl.
    #[arg(long, value_name = "POLICY")]
    pub maxmemory_policy: Option<String>,

    /// Directory for the log and the snapshots. Without it nothing is kept.
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,

    /// What a crash may take back of what was acknowledged: none (everything), periodic:MILLISECONDS, every:WRITES, batch
    /// (nothing). NUMBER=LEVEL for namespaces that differ. Default with --dir: batch.
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<String>,

    /// Bytes of one file of the log, such as 64mb.
    #[arg(long, value_name = "BYTES")]
    pub log_segment_bytes: Option<String>,

    /// How the log is compressed: none, lz4, zstd.
    #[arg(long, value_name = "HOW")]
    pub log_compression: Option<String>,

    /// File of keys to encrypt what is kept with: lines of a number and 64 hexadecimal digits, the highest number for new files.
    /// COREWHEEL_ENCRYPTION_KEY may hold the same lines instead.
    #[arg(long, value_name = "FILE")]
    pub encryption_key_file: Option<PathBuf>,

    /// Bytes of log after which a snapshot is made by itself, such as 1gb; 0 for never.
    #[arg(long, value_name = "BYTES")]
    pub snapshot_log_bytes: Option<String>,

    /// Seconds after which a snapshot is made if something was written; 0 for never.
    #[arg(long, value_name = "SECONDS")]
    pub snapshot_interval_s: Option<u32>,

    /// Snapshots that are kept.
    #[arg(long, value_name = "COUNT")]
    pub snapshot_keep: Option<u32>,

    /// Whether and where the log is archived.
    #[command(flatten)]
    pub archive: ArchiveOptions,

    /// File that holds the password clients must give. Its first line counts.
    #[arg(long, value_name = "FILE")]
    pub requirepass_file: Option<PathBuf>,

    /// How to talk to the kernel.
    #[arg(long, value_enum, value_name = "BACKEND")]
    pub io: Option<IoChoice>,

    /// Whether every core also listens on its own port and shows itself as a cluster node. Default: on with several cores.
    #[arg(long, value_enum, value_name = "on|off")]
    pub cluster_ports: Option<Switch>,

    /// First of the cores' own ports. Default: the main port + 100.
    #[arg(long, value_name = "PORT")]
    pub cluster_port_first: Option<u16>,

    /// TOML file with settings; names as in CONFIG GET.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Any other setting by its name in CONFIG, such as --set timeout=300. May be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub sets: Vec<String>,
}

/// Which kernel interface to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IoChoice {
    /// io_uring where it is allowed, else epoll, with one line that says why.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Processors, in the order given. The same one may be named twice, to try several cores on a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl std::str::FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<CpuList, String> {
        let number = |word: &str| {
            word.trim().parse::<usize>().map_err(|_| format!("'{word}' is no processor number; write a list such as 0-3 or 0,2,4"))
        };
        let mut cpus = Vec::new();
        for word in text.split(',') {
            match word.split_once('-') {
                None => cpus.push(number(word)?),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(format!("'{word}' counts down; write {last}-{first}"));
                    }
                    if last - first >= usize::from(CORE_COUNT_MAX) {
                        return Err(format!("'{word}' names more than {CORE_COUNT_MAX} processors"));
                    }
                    cpus.extend(first..=last);
                }
            }
        }
        if cpus.len() > usize::from(CORE_COUNT_MAX) {
            return Err(format!("more than {CORE_COUNT_MAX} cores"));
        }
        Ok(CpuList(cpus))
    }
}

/// Why a configuration cannot be used. One sentence, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// A server as asked for: its settings, and how to talk to the kernel.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Everything that can be set.
    pub settings: Settings,
    /// How to talk to the kernel.
    pub io: IoChoice,
    /// Where the log is archived, if it is.
    pub archive: Option<ArchiveConfig>,
}

impl ServerOptions {
    /// Reads the file, applies the flags, checks everything.
    pub fn into_config(mut self) -> Result<ServerConfig, Unusable> {
        let mut settings = Settings { dir: self.dir.clone(), ..Settings::default() };
        if let Some(path) = self.config.clone() {
            let text = fs::read_to_string(&path).map_err(|error| Unusable(format!("cannot read {}: {error}", path.display())))?;
            self.apply_file(&mut settings, &text).map_err(|why| Unusable(format!("{}: {why}", path.display())))?;
            settings.config_file = Some(fs::canonicalize(&path).unwrap_or(path));
        }
        for set in &self.sets {
            let Some((name, value)) = set.split_once('=') else {
                return Err(Unusable(format!("--set {set}: write NAME=VALUE")));
            };
            settings = change(&settings, name, value).map_err(|why| Unusable(format!("--set {set}: {why}")))?;
        }
        for (name, value) in self.flags_of_settings() {
            settings = change(&settings, name, &value).map_err(|why| Unusable(format!("--{name} {value}: {why}")))?;
        }
        if let Some(path) = &self.requirepass_file {
            settings.password = Some(read_password(path)?);
        }
        self.unlock(&mut settings, std::env::var_os(KEY_VARIABLE))?;
        self.place(&mut settings)?;
        let archive = self.archive.into_config(settings.dir.clone())?;
        Ok(ServerConfig { settings, io: self.io.unwrap_or_default(), archive })
    }

    /// Flags that are settings by the same name, where given.
    fn flags_of_settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("maxmemory", self.maxmemory.clone()),
            ("maxmemory-policy", self.maxmemory_policy.clone()),
            ("durability", self.durability.clone()),
            ("log-segment-bytes", self.log_segment_bytes.clone()),
            ("log-compression", self.log_compression.clone()),
            ("snapshot-log-bytes", self.snapshot_log_bytes.clone()),
            ("snapshot-interval-s", self.snapshot_interval_s.map(|seconds| seconds.to_string())),
            ("snapshot-keep", self.snapshot_keep.map(|count| count.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// Takes what the file says and no flag has said.
    fn apply_file(&mut self, settings: &mut Settings, text: &str) -> Result<(), String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        // First, because whether `durability` can be met depends on it.
        if let Some(dir) = table.get("dir") {
            keep(&mut self.dir, dir.as_str().ok_or("dir: write a path in quotes")?.into());
            settings.dir.clone_from(&self.dir);
        }
        for (name, value) in table {
            let name = name.replace('_', "-");
            let text = match &value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
                toml::Value::Array(words) => {
                    words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect::<Vec<_>>().join(",")
                }
                _ => return Err(format!("{name}: write text, a number, true, false or a list")),
            };
            let failed = |why: &str| format!("{name} = {text}: {why}");
            match name.as_str() {
                "dir" => {}
                "port" => keep(&mut self.port, text.parse().map_err(|_| failed("a port is a number below 65536"))?),
                "cores" => keep(&mut self.cores, text.parse().map_err(|why: String| failed(&why))?),
                "unixsocket" => keep(&mut self.unixsocket, text.clone().into()),
                "unixsocketperm" => keep(&mut self.unixsocketperm, permission_bits(&text).map_err(|why| failed(&why))?),
                "requirepass-file" => keep(&mut self.requirepass_file, text.clone().into()),
                "encryption-key-file" => keep(&mut self.encryption_key_file, text.clone().into()),
                "archive" => keep(&mut self.archive.store, text.clone()),
                "archive-every-s" => keep(&mut self.archive.every_s, text.parse().map_err(|_| failed("a number of seconds"))?),
                "archive-kept-bytes" => keep(&mut self.archive.kept_bytes, text.clone()),
                "cluster-port-first" => {
                    keep(&mut self.cluster_port_first, text.parse().map_err(|_| failed("a port is a number below 65536"))?)
                }
                "io" => keep(&mut self.io, IoChoice::from_str(&text, true).map_err(|_| failed("write auto, uring or epoll"))?),
                "cluster-ports" => {
                    let text = match text.as_str() {
                        "yes" => "on",
                        "no" => "off",
                        other => other,
                    };
                    keep(&mut self.cluster_ports, Switch::from_str(text, true).map_err(|_| failed("write on or off"))?);
                }
                "bind" if self.bind.is_empty() => {
                    self.bind =
                        text.split(',').map(|word| word.trim().parse().map_err(|_| failed("not an address"))).collect::<Result<_, _>>()?;
                }
                "bind" => {}
                "requirepass" => {
                    return Err("requirepass: a password does not belong into this file; name a file with requirepass-file".into());
                }
                _ => *settings = change(settings, &name, &text).map_err(|why| failed(&why))?,
            }
        }
        Ok(())
    }

    /// Reads the keys, from the file or from the environment.
    fn unlock(&self, settings: &mut Settings, variable: Option<OsString>) -> Result<(), Unusable> {
        match keys_of(self.encryption_key_file.as_deref(), variable)? {
            Some(keys) => settings.keys = keys,
            None => return Ok(()),
        }
        if settings.dir.is_none() {
            return Err(Unusable("a key is given, and nothing is kept that it could encrypt; start the server with --dir".into()));
        }
        settings.encryption_key_file.clone_from(&self.encryption_key_file);
        Ok(())
    }

    /// Processors and addresses.
    fn place(&self, settings: &mut Settings) -> Result<(), Unusable> {
        let allowed =
            netio::placement::allowed_cpus().map_err(|error| Unusable(format!("cannot tell which processors may be used: {error}")))?;
        settings.cpus = match &self.cores {
            None => allowed.clone(),
            Some(CpuList(cpus)) => {
                if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                    return Err(Unusable(format!(
                        "--cores: processor {cpu} is not one of those this process may use ({})",
                        ranges(&allowed)
                    )));
                }
                cpus.clone()
            }
        };
        settings.cpus.truncate(usize::from(CORE_COUNT_MAX));
        settings.port = self.port.unwrap_or(settings.port);
        if !self.bind.is_empty() {
            settings.bind = self.bind.iter().map(IpAddr::to_string).collect();
        }
        let port = settings.port;
        let addresses: Vec<IpAddr> = settings.bind.iter().map(|text| text.parse().expect("addresses were parsed once already")).collect();
        settings.listens = addresses.iter().map(|ip| Listen::Tcp(SocketAddr::new(*ip, port))).collect();
        if self.bind.is_empty() && !ipv6_loopback_exists() {
            settings.listens.retain(|at| !matches!(at, Listen::Tcp(addr) if addr.is_ipv6()));
            settings.bind.retain(|text| text != "::1");
        }
        if port == 0 {
            // One free port for all: two addresses would get two different ones.
            settings.listens.truncate(1);
        }
        settings.unix_socket.clone_from(&self.unixsocket);
        settings.unix_socket_mode = self.unixsocketperm;
        settings.listens.extend(self.unixsocket.clone().map(|path| Listen::Unix { path, mode: self.unixsocketperm }));
        let cores = settings.cpus.len() as u16;
        let wanted = self.cluster_ports.map_or(cores > 1 && port != 0, |switch| switch == Switch::On);
        if wanted {
            let Some(first) = self.cluster_port_first.or_else(|| if port == 0 { None } else { port.checked_add(100) }) else {
                return Err(Unusable("--cluster-ports on needs --cluster-port-first when --port is 0 or above 65435".into()));
            };
            if first.checked_add(cores - 1).is_none() {
                return Err(Unusable(format!("the ports of {cores} cores do not fit above {first}; choose a lower --cluster-port-first")));
            }
            if (first..first + cores).contains(&port) {
                return Err(Unusable(format!("the cores' ports {first} to {} include the main port {port}", first + cores - 1)));
            }
            settings.cluster_port_first = Some(first);
        }
        Ok(())
    }
}

fn change(settings: &Settings, name: &str, value: &str) -> Result<Settings, String> {
    settings.changed(&[(name.to_owned(), value.to_owned())]).map_err(|why| match why.split_once(" - ") {
        Some((_, reason)) if !reason.starts_with('\'') => reason.to_owned(),
        _ => format!("no such setting{}", did_you_mean(name)),
    })
}

/// The nearest known name, for people who mistyped.
fn did_you_mean(name: &str) -> String {
    let known =
        crate::settings::SETTINGS.iter().map(|setting| setting.name).chain(["port", "cores", "io", "cluster-ports", "requirepass-file"]);
    let nearest = known.map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate)).min();
    match nearest {
        Some((edits, candidate)) if edits <= 3 => format!("; did you mean {candidate}?"),
        _ => String::new(),
    }
}

/// Levenshtein's distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

fn keep<T>(flag: &mut Option<T>, from_file: T) {
    flag.get_or_insert(from_file);
}

fn permission_bits(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| (1..=0o777).contains(mode))
        .ok_or_else(|| "write permission bits in octal, such as 770".to_owned())
}

fn read_password(path: &PathBuf) -> Result<Secret, Unusable> {
    let text = fs::read(path).map_err(|error| Unusable(format!("cannot read {}: {error}", path.display())))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Unusable(format!("{}: the first line, which is the password, is empty", path.display())));
    }
    Ok(Secret::new(line))
}

fn ipv6_loopback_exists() -> bool {
    fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| text.lines().any(|line| line.ends_with(" lo")))
}

/// `0-3,8` for people.
pub fn ranges(cpus: &[usize]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut at = 0;
    while at < cpus.len() {
        let mut end = at;
        while end + 1 < cpus.len() && cpus[end + 1] == cpus[end] + 1 {
            end += 1;
        }
        words.push(if end > at { format!("{}-{}", cpus[at], cpus[end]) } else { cpus[at].to_string() });
        at = end + 1;
    }
    words.join(",")
}

/// The keys of a file or of the environment, for commands that read what a server has encrypted; none if neither is given.
///
/// # Errors
/// If both are given, or what is given holds no keys.
pub fn read_given_keys(file: Option<&Path>) -> Result<Keys, Unusable> {
    Ok(keys_of(file, std::env::var_os(KEY_VARIABLE))?.unwrap_or_default())
}

fn keys_of(file: Option<&Path>, variable: Option<OsString>) -> Result<Option<Keys>, Unusable> {
    let variable = variable.map(|text| Zeroizing::new(text.into_encoded_bytes()));
    match (file, variable) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Unusable(format!("keys are given by --encryption-key-file and by {KEY_VARIABLE}: one of the two must go")))
        }
        (Some(path), None) => read_keys(path).map(Some).map_err(Unusable),
        (None, Some(text)) => {
            let text = std::str::from_utf8(&text).map_err(|_| Unusable(format!("{KEY_VARIABLE}: not text")))?;
            Keys::parse(text).map(Some).map_err(|why| Unusable(format!("{KEY_VARIABLE}: {why}")))
        }
    }
}

/// Bytes for people: `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Checks that a memory flag can be read, for clap.
pub fn check_bytes(text: &str) -> Result<String, String> {
    parse_bytes(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: &str, options: ServerOptions) -> Result<(ServerOptions, Settings), String> {
        let mut settings = Settings::default();
        let mut options = options;
        options.apply_file(&mut settings, file)?;
        Ok((options, settings))
    }

    #[test]
    fn flags_win_over_the_file() {
        let (options, settings) =
            config("port = 7000\nio = \"epoll\"\ntimeout = 5\n", ServerOptions { port: Some(1), ..Default::default() }).expect("valid");
        assert_eq!((options.port, options.io, settings.idle_timeout_s), (Some(1), Some(IoChoice::Epoll), 5));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (file, expected) in [
            ("maxmemry = \"1gb\"", "did you mean maxmemory?"),
            ("port = 70000", "below 65536"),
            ("cores = \"3-1\"", "counts down"),
            ("io = \"windows\"", "auto, uring or epoll"),
            ("requirepass = \"x\"", "requirepass-file"),
            ("timeout = \"soon\"", "integer"),
            ("port = ", "TOML"),
        ] {
            let error = config(file, ServerOptions::default()).expect_err(file);
            assert!(error.contains(expected), "{file}: {error}");
        }
    }

    #[test]
    fn keys_come_from_one_place_and_need_a_directory() {
        const KEY: &str = "1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let unlock = |options: ServerOptions, variable: Option<&str>| {
            let mut settings = Settings { dir: options.dir.clone(), ..Settings::default() };
            options.unlock(&mut settings, variable.map(OsString::from)).map(|()| settings.keys.newest()).map_err(|why| why.to_string())
        };
        let kept = || ServerOptions { dir: Some("/data".into()), ..ServerOptions::default() };
        assert_eq!(unlock(kept(), None), Ok(None));
        assert_eq!(unlock(kept(), Some(KEY)), Ok(Some(1)));
        let (file, _) = config("encryption_key_file = \"/nowhere/keys\"", kept()).expect("valid");
        assert_eq!(file.encryption_key_file, Some("/nowhere/keys".into()));
        for (options, variable, expected) in [
            (ServerOptions::default(), Some(KEY), "start the server with --dir"),
            (file.clone(), Some(KEY), "one of the two must go"),
            (file, None, "cannot read /nowhere/keys: No such file"),
            (kept(), Some("1 0011"), "COREWHEEL_ENCRYPTION_KEY: line 1: a key is 64 hexadecimal digits"),
        ] {
            let error = unlock(options, variable).expect_err(expected);
            assert!(error.contains(expected) && !error.contains("0011"), "{error}");
        }
    }

    #[test]
    fn cpu_lists_are_read_and_shown() {
        assert_eq!("0-2,5".parse(), Ok(CpuList(vec![0, 1, 2, 5])));
        assert_eq!("1,1".parse(), Ok(CpuList(vec![1, 1])));
        assert!("".parse::<CpuList>().is_err() && "a".parse::<CpuList>().is_err() && "0-99999".parse::<CpuList>().is_err());
        assert_eq!(ranges(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(human_bytes(1536 * 1024), "1.5 MiB");
    }
}
