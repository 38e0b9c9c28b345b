//! What a program is given and how much it may have: on the command line, in a file (`--config`) with
//! the same names, and as printed by `--print-rights`.
//!
//! Nothing of the outside is given by default; what programs do among themselves (spawn, kill, …) is
//! allowed unless it is denied. What the command line says comes behind what a file says: lists become
//! longer, and of two amounts the command line's counts.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use lunatic_engine::text::shown;
use lunatic_host_api::{Limit, NetworkRule, NetworkRules, Overflow, ProcessConfig, Right};
use serde::{Deserialize, Serialize};

use crate::grants::{self, DirArgument, dir_argument};
use crate::input;

/// What `run` is told about a program's rights and limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rights and limits")]
pub(crate) struct Rights {
    /// A directory for the program, as HOST, HOST::GUEST, and with :ro behind to read only
    ///
    /// The program knows it as GUEST, or as HOST, and reaches nothing outside of it. May be given
    /// several times.
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]", value_parser = dir_argument)]
    dirs: Vec<DirArgument>,

    /// An address to listen on for the program; may be given several times
    ///
    /// The listening sockets have the descriptors behind those of the directories: 3, if there are
    /// none.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Vec<String>,

    /// Where the program may listen and connect: [listen:|connect:]HOST:PORT; alone: everywhere
    ///
    /// HOST is an address (IPv6 in brackets), a net (10.0.0.0/8), a name, *.NAME or *; PORT is a
    /// number, a range (8000-9000) or *. Without listen: or connect: a rule is about both. A rule by
    /// name holds for what the runtime finds when the program asks for that name. Who listens at all
    /// IPv6 addresses (::) serves IPv4, too, if it may listen at 0.0.0.0 as well. May be given several
    /// times, or with several rules between commas.
    #[arg(
        long, value_name = "RULE", value_delimiter = ',',
        num_args = 0..=1, require_equals = true, default_missing_value = "*"
    )]
    allow_net: Vec<NetworkRule>,

    /// An environment variable for the program; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = OsStringValueParser::new().try_map(key_value))]
    env: Vec<(Vec<u8>, Vec<u8>)>,

    /// Give the program all of this process's environment variables
    #[arg(long)]
    env_inherit: bool,

    /// What the program's processes may not do, several between commas
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', value_enum)]
    deny: Vec<Denial>,

    /// Most linear memory of a process: bytes, or with K, M or G [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory: Option<u64>,

    /// Fuel of a process, in units of 100,000 instructions; it ends when it has used it up
    #[arg(long, value_name = "N")]
    max_fuel: Option<u64>,

    /// Most living children of a process; a spawn beyond it answers an error
    #[arg(long, value_name = "N")]
    max_children: Option<u64>,

    /// Most open resources of a process: channels, sockets, timers, … [default: 1000000]
    #[arg(long, value_name = "N")]
    max_resources: Option<u64>,

    /// Most open descriptors of a process: files, directories, … [default: 1024]
    #[arg(long, value_name = "N")]
    max_descriptors: Option<u64>,

    /// Most stack of a process: bytes, or with K, M or G [default: 8M for the main one, others 120K]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_stack: Option<u64>,

    /// Most messages that wait for a process; then senders wait, or :drop, or :kill the process
    #[arg(long, value_name = "N[:block|drop|kill]")]
    max_mailbox: Option<Mailbox>,

    /// Most bytes of messages that wait for a process; then the same becomes of one more
    ///
    /// A mailbox takes messages as long as those in it take fewer, each with its envelope.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_mailbox_bytes: Option<u64>,

    /// Largest message between processes: bytes, or with K, M or G [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_message: Option<u64>,

    /// A file in TOML with rights and limits, by the names of these options
    ///
    /// For example: dir = ["data:ro"], allow-net = ["connect:db.local:5432"], max-memory = "64M".
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the rights and limits as a file for --config, and run nothing
    #[arg(long)]
    pub(crate) print_rights: bool,
}

/// `N[:block|drop|kill]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mailbox {
    messages: u64,
    overflow: Overflow,
}

impl std::str::FromStr for Mailbox {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, overflow) = text.split_once(':').unwrap_or((text, "block"));
        let messages = number.parse().map_err(|_| format!("\"{}\" is no number", shown(number)))?;
        let known = Overflow::ALL.into_iter().find(|known| known.name() == overflow);
        let overflow =
            known.ok_or_else(|| format!("\"{}\" is not block, drop or kill", shown(overflow)))?;
        Ok(Self { messages, overflow })
    }
}

impl std::fmt::Display for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.messages, self.overflow.name())
    }
}

/// A right that can be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Denial(Right);

impl ValueEnum for Denial {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Denial; Right::ALL.len()] = {
            let mut all = [Denial(Right::Spawn); Right::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = Denial(Right::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

/// A file of configuration, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dir: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<String>,
    allow_net: Vec<String>,
    deny: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_children: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_resources: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_descriptors: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_stack: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_mailbox: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_mailbox_bytes: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message: Option<Amount>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    env_inherit: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
}

/// Bytes: a number, or a text with a unit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "give a number, or a text as \"64M\"")]
enum Amount {
    Bytes(u64),
    Text(String),
}

impl Amount {
    fn text(&self) -> String {
        match self {
            Self::Bytes(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => size(text).map_err(|error| format!("\"{}\": {error}", shown(text))),
        }
    }
}

impl Rights {
    /// With what the file says that is named by `--config`.
    pub(crate) fn with_file(self) -> anyhow::Result<Self> {
        let Some(path) = &self.config else { return Ok(self) };
        let context = || format!("cannot use \"{}\" (--config)", path.display());
        read(path)
            .and_then(|file| file.rights())
            .map(|rights| rights.then(&self))
            .with_context(context)
    }

    /// With what older versions gave to every test: the environment, the current directory and,
    /// unless there are rules for it, the network.
    pub(crate) fn for_tests(mut self) -> Self {
        self.env_inherit = true;
        let current = DirArgument::current();
        if !self.dirs.iter().any(|dir| dir.guest() == current.guest()) {
            self.dirs.insert(0, current);
        }
        if self.allow_net.is_empty() {
            self.allow_net.extend("*".parse());
        }
        self
    }

    /// These, and behind them what others say; of two directories of one name, theirs.
    fn then(mut self, other: &Self) -> Self {
        self.dirs.retain(|dir| !other.dirs.iter().any(|theirs| theirs.guest() == dir.guest()));
        self.dirs.extend(other.dirs.iter().cloned());
        self.listen.extend(other.listen.iter().cloned());
        self.allow_net.extend(other.allow_net.iter().cloned());
        self.env.extend(other.env.iter().cloned());
        self.env_inherit |= other.env_inherit;
        self.deny.extend(&other.deny);
        self.max_memory = other.max_memory.or(self.max_memory);
        self.max_fuel = other.max_fuel.or(self.max_fuel);
        self.max_children = other.max_children.or(self.max_children);
        self.max_resources = other.max_resources.or(self.max_resources);
        self.max_descriptors = other.max_descriptors.or(self.max_descriptors);
        self.max_stack = other.max_stack.or(self.max_stack);
        self.max_mailbox = other.max_mailbox.or(self.max_mailbox);
        self.max_mailbox_bytes = other.max_mailbox_bytes.or(self.max_mailbox_bytes);
        self.max_message = other.max_message.or(self.max_message);
        self.print_rights = other.print_rights;
        self
    }

    fn amount(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Memory => self.max_memory,
            Limit::Fuel => self.max_fuel,
            Limit::Children => self.max_children,
            Limit::Resources => self.max_resources,
            Limit::Message => self.max_message,
            Limit::Descriptors => self.max_descriptors,
            Limit::Stack => self.max_stack,
            Limit::Mailbox => self.max_mailbox.map(|mailbox| mailbox.messages),
            Limit::MailboxBytes => self.max_mailbox_bytes,
        }
    }

    /// Opens and grants it all.
    pub(crate) fn grant(&self, config: &mut ProcessConfig) -> anyhow::Result<()> {
        config.env = self.variables();
        for (number, dir) in self.dirs.iter().enumerate() {
            let named = |other: &&DirArgument| other.guest() == dir.guest() && *other != dir;
            if let Some(other) = self.dirs[..number].iter().find(named) {
                anyhow::bail!(
                    "two directories that the program would know as \"{}\": \"{other}\" and \"{dir}\"; \
                     give each a name of its own (--dir HOST::GUEST)",
                    dir.guest()
                );
            }
            config.dirs.push(dir.open()?);
        }
        for address in &self.listen {
            let grant = grants::listen(address)?;
            let fd = 3 + config.dirs.len() + config.listeners.len();
            if let Ok(address) = grant.address() {
                tracing::info!("listening on {address}, descriptor {fd}");
            }
            config.listeners.push(grant);
        }
        config.network = NetworkRules::default();
        for rule in &self.allow_net {
            config.network.add(rule.clone())?;
        }
        for right in Right::ALL {
            config.set_right(right, !self.deny.contains(&Denial(right)));
        }
        for limit in Limit::ALL {
            if let Some(amount) = self.amount(limit) {
                config.set_limit(limit, amount);
            }
        }
        if let Some(mailbox) = self.max_mailbox {
            config.mailbox_overflow = mailbox.overflow;
        }
        Ok(())
    }

    fn variables(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut variables = Vec::new();
        if self.env_inherit {
            variables.extend(env::vars_os().map(|(key, value)| (key.into_vec(), value.into_vec())));
        }
        for (key, value) in &self.env {
            variables.retain(|(known, _)| known != key);
            variables.push((key.clone(), value.clone()));
        }
        variables
    }

    /// As a file that says the same about a program with this configuration.
    pub(crate) fn print(&self, config: &ProcessConfig) -> anyhow::Result<String> {
        let some = |limit| Some(config.limit(limit)).filter(|amount| *amount != u64::MAX);
        let denied = Right::ALL.iter().filter(|right| !config.has(**right));
        let file = File {
            dir: self.dirs.iter().map(ToString::to_string).collect(),
            listen: self.listen.clone(),
            allow_net: config.network.iter().map(ToString::to_string).collect(),
            deny: denied.map(|right| right.name().to_string()).collect(),
            max_memory: some(Limit::Memory).map(Amount::Bytes),
            max_fuel: some(Limit::Fuel),
            max_children: some(Limit::Children),
            max_resources: some(Limit::Resources),
            max_descriptors: some(Limit::Descriptors),
            max_stack: config.stack_bytes_max.map(|bytes| Amount::Bytes(bytes as u64)),
            max_mailbox: some(Limit::Mailbox).map(|messages| {
                let mailbox = Mailbox { messages, overflow: config.mailbox_overflow };
                Amount::Text(mailbox.to_string())
            }),
            max_mailbox_bytes: some(Limit::MailboxBytes).map(Amount::Bytes),
            max_message: some(Limit::Message).map(Amount::Bytes),
            env_inherit: false,
            env: config.env.iter().map(|(key, value)| (written(key), written(value))).collect(),
        };
        Ok(toml::to_string(&file)?)
    }
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = String::from_utf8(input::read(path, FILE_BYTES_MAX)?)?;
    let table: toml::Table = text.parse().map_err(|error| no_toml(&text, &error))?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let near = KEYS
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, key), known))
            .min()
            .filter(|(distance, _)| *distance <= 3);
        match near {
            Some((_, known)) => bail!("there is no \"{}\"; is it \"{known}\"?", shown(key)),
            None => bail!("there is no \"{}\"; there are {}", shown(key), KEYS.join(", ")),
        }
    }
    table.try_into().map_err(|error: toml::de::Error| {
        let all = error.to_string();
        // Which key it is about is on a line of its own.
        let key = all.trim_end().rsplit_once('\n').map_or("", |(_, key)| key);
        let separator = if key.is_empty() { "" } else { ", " };
        anyhow!("{}{separator}{}", shown(error.message()), shown(key))
    })
}

/// Where a text is no TOML, and what stands there: a little of it, as a line may have no end.
fn no_toml(text: &str, error: &toml::de::Error) -> anyhow::Error {
    /// Characters that are quoted, half of them before the place.
    const QUOTED: usize = 60;
    let problem = shown(error.message());
    let Some(span) = error.span() else { return anyhow!("{problem}") };
    let before = &text[..text.floor_char_boundary(span.start)];
    let number = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[begin..].chars().count();
    let line = text[begin..].lines().next().unwrap_or_default();
    let quoted: String =
        line.chars().skip(column.saturating_sub(QUOTED / 2)).take(QUOTED).collect();
    anyhow!("line {number}, column {}: {problem}, at \"{}\"", column + 1, shown(&quoted))
}

/// Far more than rights take: what is longer is another file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// What a file may say.
const KEYS: [&str; 15] = [
    "dir",
    "listen",
    "allow-net",
    "env",
    "env-inherit",
    "deny",
    "max-memory",
    "max-fuel",
    "max-children",
    "max-resources",
    "max-descriptors",
    "max-stack",
    "max-mailbox",
    "max-mailbox-bytes",
    "max-message",
];

impl File {
    fn rights(self) -> anyhow::Result<Rights> {
        let text = |key: &'static str| move |error: String| anyhow::anyhow!("{key}: {error}");
        let bytes = |key, amount: Option<Amount>| {
            amount.map(|amount| amount.bytes()).transpose().map_err(text(key))
        };
        Ok(Rights {
            dirs: self
                .dir
                .iter()
                .map(|dir| dir_argument(dir).map_err(text("dir")))
                .collect::<anyhow::Result<_>>()?,
            listen: self.listen,
            allow_net: self
                .allow_net
                .iter()
                .map(|rule| rule.parse().context("allow-net"))
                .collect::<anyhow::Result<_>>()?,
            env: self
                .env
                .into_iter()
                .map(|(key, value)| (key.into_bytes(), value.into_bytes()))
                .collect(),
            env_inherit: self.env_inherit,
            deny: self
                .deny
                .iter()
                .map(|name| denial(name).map_err(text("deny")))
                .collect::<anyhow::Result<_>>()?,
            max_memory: bytes("max-memory", self.max_memory)?,
            max_fuel: self.max_fuel,
            max_children: self.max_children,
            max_resources: self.max_resources,
            max_descriptors: self.max_descriptors,
            max_stack: bytes("max-stack", self.max_stack)?,
            max_mailbox: self
                .max_mailbox
                .map(|amount| amount.text().parse().map_err(text("max-mailbox")))
                .transpose()?,
            max_mailbox_bytes: bytes("max-mailbox-bytes", self.max_mailbox_bytes)?,
            max_message: bytes("max-message", self.max_message)?,
            config: None,
            print_rights: false,
        })
    }
}

fn denial(name: &str) -> Result<Denial, String> {
    let known = Denial::value_variants().iter().find(|denial| denial.0.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = Right::ALL.iter().map(|right| right.name()).collect();
        format!("there is no right \"{}\"; there are {}", shown(name), names.join(", "))
    })
}

/// A variable as a file says it: a file is text, and what is none is shown.
fn written(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn key_value(text: OsString) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut key = text.into_vec();
    match key.iter().position(|&byte| byte == b'=') {
        Some(0) => Err("the name before '=' is empty".to_string()),
        Some(at) => {
            let value = key.split_off(at + 1);
            key.truncate(at);
            Ok((key, value))
        }
        None => Err(format!(
            "there is no '=' in it; write {}=VALUE, or --env-inherit for the variables set here",
            shown(&String::from_utf8_lossy(&key))
        )),
    }
}

/// Bytes, with an optional binary unit.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1_u64),
    };
    let number: u64 =
        number.parse().map_err(|_| "give a number of bytes, or one with K, M or G".to_string())?;
    number.checked_mul(unit).ok_or_else(|| format!("more than {} bytes", u64::MAX))
}

/// `--allow-net` takes a rule or none, and what follows may be the program: an argument that begins with
/// `-`, or names a file, is not a rule. Written out, so that the parser need not guess.
pub(crate) fn with_rules_attached(
    arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Vec<std::ffi::OsString> {
    let mut all: Vec<std::ffi::OsString> = Vec::new();
    let mut is_guests = false;
    for argument in arguments {
        let follows = !is_guests && all.last().is_some_and(|last| last == "--allow-net");
        let is_option = argument.as_encoded_bytes().starts_with(b"-");
        is_guests |= argument == "--";
        if follows && !is_option && !Path::new(&argument).is_file() {
            let option = all.last_mut().expect("just seen");
            option.push("=");
            option.push(argument);
        } else {
            all.push(argument);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2K"), Ok(2048));
        assert_eq!(size("64M"), Ok(64 << 20));
        assert!(size("").is_err());
        assert!(size("M").is_err());
        assert!(size("-1").is_err());
        assert!(size("99999999999G").is_err());
    }

    #[test]
    fn a_rule_is_attached_to_its_option_and_a_program_is_not() {
        let attached = |line: &str| {
            let words = line.split(' ').map(std::ffi::OsString::from);
            let words = with_rules_attached(words);
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("run --allow-net connect:a:1 a.wasm", "run --allow-net=connect:a:1 a.wasm"),
            ("run --allow-net Cargo.toml", "run --allow-net Cargo.toml"),
            ("run --allow-net --stats Cargo.toml", "run --allow-net --stats Cargo.toml"),
            ("run --allow-net=a:1 b", "run --allow-net=a:1 b"),
            ("run a -- --allow-net b", "run a -- --allow-net b"),
            ("run a --allow-net", "run a --allow-net"),
        ] {
            assert_eq!(attached(line), expected);
        }
    }

    #[test]
    fn a_file_says_what_options_say() {
        let text = "dir = ['a::b:ro']\nallow-net = ['connect:a:1', '*']\ndeny = ['spawn']\n\
                    max-memory = '1M'\nmax-message = 7\nmax-fuel = 3\nenv = { A = 'B' }";
        let file: File = toml::from_str(text).expect("a file");
        let rights = file.rights().expect("rights");
        assert_eq!((rights.max_memory, rights.max_message), (Some(1 << 20), Some(7)));
        assert_eq!((rights.max_fuel, rights.env.len()), (Some(3), 1));
        assert_eq!((rights.dirs.len(), rights.allow_net.len()), (1, 2));
        assert_eq!(rights.deny, [Denial(Right::Spawn)]);
        let more =
            Rights { max_fuel: Some(4), deny: vec![Denial(Right::Kill)], ..Rights::default() };
        let both = rights.then(&more);
        assert_eq!((both.max_fuel, both.max_memory, both.deny.len()), (Some(4), Some(1 << 20), 2));
    }

    #[test]
    fn the_keys_of_a_file_are_known() {
        let file = File {
            dir: vec![String::new()],
            listen: vec![String::new()],
            env_inherit: true,
            env: BTreeMap::from([(String::new(), String::new())]),
            max_memory: Some(Amount::Bytes(0)),
            max_fuel: Some(0),
            max_children: Some(0),
            max_resources: Some(0),
            max_descriptors: Some(0),
            max_stack: Some(Amount::Bytes(0)),
            max_mailbox: Some(Amount::Bytes(0)),
            max_mailbox_bytes: Some(Amount::Bytes(0)),
            max_message: Some(Amount::Bytes(0)),
            ..File::default()
        };
        let table: toml::Table = toml::to_string(&file).expect("text").parse().expect("a table");
        let mut keys = KEYS.to_vec();
        keys.sort_unstable();
        assert_eq!(table.keys().collect::<Vec<_>>(), keys);
    }
}
