//! Which addresses a process may listen on and connect to.
//!
//! A rule names a direction, hosts and ports: `connect:10.0.0.0/8:*`, `listen:127.0.0.1:8000-9000`,
//! `db.local:5432` (both directions). Nothing is allowed that no rule allows.
//!
//! **What is checked is the address that the system is about to be given**, never a text of the
//! guest's. It is brought to one form first ([`canonical`]): an IPv4 address inside an IPv6 one is that
//! IPv4 address, and who connects to "no address" (`0.0.0.0`, `::`) means this machine.
//!
//! **A rule by name** covers the addresses that the *runtime* found for that name when the process
//! asked for it, and no others: they are kept with the process ([`Resolved`]), so a name that means
//! something else the next time (rebinding) opens nothing that was not just resolved under the rule.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use lunatic_engine::text::shown;

/// Rules of one configuration; a child's are looked through at every rule that is added.
const RULES_MAX: usize = 256;

/// The longest text that is read as a rule: longer than any with the longest name.
const RULE_BYTES_MAX: usize = 512;

/// Addresses that are remembered for a process's names; the oldest go first.
const RESOLVED_MAX: usize = 256;

/// The one name that means addresses also for those who never asked for it: this machine's own.
const LOCALHOST: &str = "localhost";

/// What a process may do in the network. Clones share the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRules(Arc<Vec<NetworkRule>>);

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    direction: Direction,
    hosts: Hosts,
    ports: Ports,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Listen,
    Connect,
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Any,
    /// Addresses that begin with these bits.
    Net(IpAddr, u8),
    /// In lower case, without a stop behind.
    Name(Box<str>),
    /// All names that end so; it begins with a stop.
    NamesUnder(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
}

/// The addresses that the runtime has found for names which a process has rules about.
#[derive(Debug, Default)]
pub(crate) struct Resolved(Vec<(Box<str>, SocketAddr)>);

/// A rule that is none, or one too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The text is no rule.
    #[error(
        "\"{rule}\" is no network rule: {problem}; write [listen:|connect:]HOST:PORT, for \
             example \"connect:db.local:5432\", \"listen:127.0.0.1:8000-9000\", \"10.0.0.0/8:*\""
    )]
    Syntax {
        /// What was given.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are enough.
    #[error(
        "a configuration has at most {RULES_MAX} network rules; use nets (10.0.0.0/8) and \
             ranges of ports (8000-9000)"
    )]
    TooMany,
}

impl NetworkRules {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Arc::new(vec![NetworkRule::ALL]))
    }

    /// Allows what the rule allows, too.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&mut self, rule: NetworkRule) -> Result<(), RuleError> {
        if self.0.contains(&rule) {
            return Ok(());
        }
        if self.0.len() >= RULES_MAX {
            return Err(RuleError::TooMany);
        }
        Arc::make_mut(&mut self.0).push(rule);
        Ok(())
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        let name = |rule: &NetworkRule| match &rule.hosts {
            Hosts::Name(name) | Hosts::NamesUnder(name) => name.len(),
            Hosts::Any | Hosts::Net(..) => 0,
        };
        self.iter().map(|rule| size_of::<NetworkRule>() + name(rule)).sum()
    }

    /// The rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &NetworkRule> {
        self.0.iter()
    }

    /// Whether a rule about addresses allows to connect there, or to send datagrams there.
    #[must_use]
    pub fn may_connect(&self, to: SocketAddr) -> bool {
        let to = canonical(to, Direction::Connect);
        self.iter().any(|rule| rule.connects() && rule.has_address(to))
    }

    /// Whether a rule about addresses allows to listen there, or to be sent datagrams there.
    #[must_use]
    pub fn may_listen(&self, at: SocketAddr) -> bool {
        let at = canonical(at, Direction::Listen);
        self.iter().any(|rule| rule.listens() && rule.has_address(at))
    }

    /// Whether there is anywhere to connect to.
    #[must_use]
    pub fn may_connect_somewhere(&self) -> bool {
        self.iter().any(NetworkRule::connects)
    }

    /// Whether names may be looked up, which tells the outside of it: for those who have any rule.
    #[must_use]
    pub fn may_resolve(&self) -> bool {
        !self.is_empty()
    }

    /// Whether a rule is about this name.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = lower(host);
        self.iter().any(|rule| rule.hosts.has_name(&host))
    }

    /// Whether a rule of these allows all that `rule` does. (Two rules that do so together are not
    /// found out.)
    #[must_use]
    pub fn cover(&self, rule: &NetworkRule) -> bool {
        let directions: &[Direction] = match rule.direction {
            Direction::Both => &[Direction::Listen, Direction::Connect],
            Direction::Listen => &[Direction::Listen],
            Direction::Connect => &[Direction::Connect],
        };
        directions.iter().all(|&direction| {
            self.iter().any(|mine| {
                (mine.direction == direction || mine.direction == Direction::Both)
                    && mine.hosts.cover(&rule.hosts)
                    && mine.ports.first <= rule.ports.first
                    && mine.ports.last >= rule.ports.last
            })
        })
    }
}

impl Resolved {
    /// The runtime has found these addresses for `host`, as the process has asked it to.
    pub(crate) fn note(&mut self, rules: &NetworkRules, host: &str, found: &[SocketAddr]) {
        if !rules.names(host) {
            return;
        }
        let host = lower(host);
        for address in found {
            let entry = (host.clone(), *address);
            self.0.retain(|known| *known != entry);
            if self.0.len() == RESOLVED_MAX {
                self.0.remove(0);
            }
            self.0.push(entry);
        }
    }

    /// Whether a rule about a name allows to connect to what was found for it.
    pub(crate) fn may_connect(&self, rules: &NetworkRules, to: SocketAddr) -> bool {
        self.allow(rules, to, NetworkRule::connects)
    }

    /// Whether a rule about a name allows to listen at what was found for it.
    pub(crate) fn may_listen(&self, rules: &NetworkRules, at: SocketAddr) -> bool {
        self.allow(rules, at, NetworkRule::listens)
    }

    fn allow(
        &self,
        rules: &NetworkRules,
        address: SocketAddr,
        direction: impl Fn(&NetworkRule) -> bool,
    ) -> bool {
        let same = |found: &SocketAddr| mapped(found.ip()) == mapped(address.ip());
        self.0.iter().filter(|(_, found)| same(found)).any(|(name, _)| {
            rules.iter().any(|rule| {
                direction(rule) && rule.hosts.has_name(name) && rule.ports.contain(address.port())
            })
        })
    }
}

impl NetworkRule {
    /// Allows everything.
    pub const ALL: Self = Self {
        direction: Direction::Both,
        hosts: Hosts::Any,
        ports: Ports { first: 0, last: u16::MAX },
    };

    fn connects(&self) -> bool {
        self.direction != Direction::Listen
    }

    fn listens(&self) -> bool {
        self.direction != Direction::Connect
    }

    fn has_address(&self, address: SocketAddr) -> bool {
        self.ports.contain(address.port()) && self.hosts.has_address(address.ip())
    }
}

impl Ports {
    fn contain(self, port: u16) -> bool {
        RangeInclusive::new(self.first, self.last).contains(&port)
    }
}

impl Hosts {
    fn has_address(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Net(IpAddr::V4(net), bits), IpAddr::V4(address)) => {
                same_bits(net.to_bits().into(), address.to_bits().into(), *bits, 32)
            }
            (Self::Net(IpAddr::V6(net), bits), IpAddr::V6(address)) => {
                same_bits(net.to_bits(), address.to_bits(), *bits, 128)
            }
            (Self::Name(name), address) => **name == *LOCALHOST && address.is_loopback(),
            (Self::Net(..) | Self::NamesUnder(_), _) => false,
        }
    }

    fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Name(mine) => **mine == *name,
            Self::NamesUnder(end) => name.len() > end.len() && name.ends_with(&**end),
            Self::Any | Self::Net(..) => false,
        }
    }

    fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Net(_, mine), Self::Net(address, bits)) => {
                mine <= bits && self.has_address(*address)
            }
            (Self::Name(_) | Self::NamesUnder(_), Self::Name(name)) => self.has_name(name),
            (Self::NamesUnder(mine), Self::NamesUnder(end)) => end.ends_with(&**mine),
            // All addresses of the net begin with those bits of this machine's own.
            (Self::Name(_), Self::Net(IpAddr::V4(address), 8..)) => {
                self.has_address((*address).into())
            }
            (Self::Name(_), Self::Net(IpAddr::V6(address), 128)) => {
                self.has_address((*address).into())
            }
            _ => false,
        }
    }
}

/// Whether two addresses of so many bits begin with the same `bits`.
fn same_bits(a: u128, b: u128, bits: u8, of: u32) -> bool {
    (a ^ b).checked_shr(of - u32::from(bits)).is_none_or(|rest| rest == 0)
}

/// An address as the rules know it.
fn canonical(address: SocketAddr, direction: Direction) -> SocketAddr {
    let ip = mapped(address.ip());
    let ip = match ip {
        IpAddr::V4(v4) if v4.is_unspecified() && direction == Direction::Connect => {
            Ipv4Addr::LOCALHOST.into()
        }
        IpAddr::V6(v6) if v6.is_unspecified() && direction == Direction::Connect => {
            Ipv6Addr::LOCALHOST.into()
        }
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

/// An IPv4 address that is written as an IPv6 one, as what it is.
fn mapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn lower(name: &str) -> Box<str> {
    name.trim_end_matches('.').to_ascii_lowercase().into()
}

impl FromStr for NetworkRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let parsed = if text.len() > RULE_BYTES_MAX {
            Err(format!("it has {} bytes, and a name at most 253", text.len()))
        } else {
            parse(text)
        };
        parsed.map_err(|problem| RuleError::Syntax { rule: shown(text), problem: shown(&problem) })
    }
}

fn parse(text: &str) -> Result<NetworkRule, String> {
    let (direction, rest) = if let Some(rest) = text.strip_prefix("listen:") {
        (Direction::Listen, rest)
    } else if let Some(rest) = text.strip_prefix("connect:") {
        (Direction::Connect, rest)
    } else {
        (Direction::Both, text)
    };
    if rest == "*" {
        return Ok(NetworkRule { direction, ..NetworkRule::ALL });
    }
    let (host, ports) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the '[' is never closed")?;
            (host, rest.strip_prefix(':').ok_or("there is no port behind the ']'")?)
        }
        None => rest.rsplit_once(':').ok_or("there is no port; \":*\" means all")?,
    };
    if host.contains(':') && !rest.starts_with('[') {
        return Err("an IPv6 address stands in brackets, as in \"[::1]:80\"".to_string());
    }
    Ok(NetworkRule { direction, hosts: hosts(host, direction)?, ports: parse_ports(ports)? })
}

fn hosts(text: &str, direction: Direction) -> Result<Hosts, String> {
    if text == "*" {
        return Ok(Hosts::Any);
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    if let Ok(ip) = address.parse::<IpAddr>() {
        return net(ip, bits, direction);
    }
    if bits.is_some() {
        return Err(format!("\"{address}\" is no address, so \"/…\" means nothing"));
    }
    let (name, under) = match text.strip_prefix('*') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain = name.strip_prefix('.').filter(|_| under).unwrap_or(name);
    let parts = plain.strip_suffix('.').unwrap_or(plain);
    if parts.split('.').any(str::is_empty) || (under && plain == name) || !name.chars().all(good) {
        return Err(format!("\"{text}\" is neither an address, a name, \"*.NAME\" nor \"*\""));
    }
    // Else it would be an address to the system and a name to us.
    if parts.ends_with(|c: char| c.is_ascii_digit()) && !under {
        return Err(format!("\"{text}\" is neither an address nor a name"));
    }
    Ok(if under { Hosts::NamesUnder(lower(name)) } else { Hosts::Name(lower(name)) })
}

fn net(ip: IpAddr, bits: Option<&str>, direction: Direction) -> Result<Hosts, String> {
    let ip = mapped(ip);
    let size: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => number(bits)
            .filter(|bits| *bits <= size)
            .ok_or(format!("\"/{bits}\" is not between /0 and /{size}"))?,
        None if ip.is_unspecified() && direction == Direction::Listen => 0,
        None if ip.is_unspecified() => {
            return Err(format!("\"{ip}\" is no address to connect to; \"*\" means all"));
        }
        None => size,
    };
    Ok(Hosts::Net(ip, bits))
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    let port = |text: &str| {
        number::<u16>(text).ok_or_else(|| format!("\"{text}\" is no port between 0 and 65535"))
    };
    if text == "*" {
        return Ok(NetworkRule::ALL.ports);
    }
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("the ports {first}-{last} are none"));
    }
    Ok(Ports { first, last })
}

/// A number in digits, without the plus that Rust's parser would take.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Listen => f.write_str("listen:")?,
            Direction::Connect => f.write_str("connect:")?,
            Direction::Both => {}
        }
        match &self.hosts {
            Hosts::Any => f.write_str("*")?,
            Hosts::Net(IpAddr::V4(ip), 32) => write!(f, "{ip}")?,
            Hosts::Net(IpAddr::V4(ip), bits) => write!(f, "{ip}/{bits}")?,
            Hosts::Net(IpAddr::V6(ip), 128) => write!(f, "[{ip}]")?,
            Hosts::Net(IpAddr::V6(ip), bits) => write!(f, "[{ip}/{bits}]")?,
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::NamesUnder(end) => write!(f, "*{end}")?,
        }
        match self.ports {
            Ports { first: 0, last: u16::MAX } => f.write_str(":*"),
            Ports { first, last } if first == last => write!(f, ":{first}"),
            Ports { first, last } => write!(f, ":{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> NetworkRules {
        let mut rules = NetworkRules::default();
        for text in texts {
            let rule: NetworkRule = text.parse().unwrap_or_else(|error| panic!("{error}"));
            rules.add(rule).expect("they are few");
        }
        rules
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_rule_allows_its_direction_hosts_and_ports_and_nothing_else() {
        for (rule, allowed, denied) in [
            ("connect:10.0.0.0/8:*", "10.255.0.1:0", "11.0.0.1:80"),
            ("connect:10.1.2.3:80", "10.1.2.3:80", "10.1.2.3:81"),
            ("connect:127.0.0.1:8000-9000", "127.0.0.1:9000", "127.0.0.1:9001"),
            ("connect:[::1]:80", "[::1]:80", "127.0.0.1:80"),
            ("connect:[fd00::/8]:*", "[fdff::7]:1", "[fe00::7]:1"),
            ("connect:0.0.0.0/0:80", "1.2.3.4:80", "[::5]:80"),
            ("connect:[::/0]:80", "[::5]:80", "1.2.3.4:80"),
            ("connect:*:443", "1.2.3.4:443", "1.2.3.4:444"),
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.2:80"),
            ("localhost:80", "127.0.0.1:80", "128.0.0.1:80"),
            ("connect:localhost:80", "[::]:80", "127.0.0.1:81"),
            // What is one and the same to the system is so to the rules.
            ("connect:127.0.0.1:80", "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.2]:80"),
            ("connect:127.0.0.1:80", "0.0.0.0:80", "[::]:80"),
            ("connect:[::1]:80", "[::]:80", "0.0.0.0:80"),
            ("connect:[::ffff:10.0.0.1]:80", "10.0.0.1:80", "[::10.0.0.1]:80"),
            ("connect:10.0.0.1:80", "[::ffff:10.0.0.1]:80", "[::ffff:0.0.0.0]:80"),
        ] {
            let these = rules(&[rule]);
            assert!(these.may_connect(at(allowed)), "{rule} allows {allowed}");
            assert!(!these.may_connect(at(denied)), "{rule} denies {denied}");
            let listens = !rule.starts_with("connect:");
            assert_eq!(these.may_listen(at(allowed)), listens, "{rule} and listening at {allowed}");
        }
        assert!(!NetworkRules::default().may_connect(at("127.0.0.1:80")));
        assert!(NetworkRules::all().may_listen(at("0.0.0.0:80")));
    }

    #[test]
    fn listening_everywhere_is_more_than_listening_somewhere() {
        let here = rules(&["listen:127.0.0.1:*"]);
        assert!(here.may_listen(at("127.0.0.1:0")));
        assert!(!here.may_listen(at("0.0.0.0:80")), "that is every interface");
        assert!(!here.may_listen(at("[::ffff:0.0.0.0]:80")));
        let everywhere = rules(&["listen:0.0.0.0:80"]);
        assert!(everywhere.may_listen(at("0.0.0.0:80")));
        assert!(everywhere.may_listen(at("127.0.0.1:80")));
        assert!(!everywhere.may_listen(at("[::]:80")), "that is IPv6, too");
        assert!(!everywhere.may_connect(at("127.0.0.1:80")));
    }

    #[test]
    fn a_name_covers_what_was_resolved_for_it_and_no_more() {
        let these = rules(&["connect:Db.local.:5432", "listen:*.example.org:80-90"]);
        let mut resolved = Resolved::default();
        assert!(!these.may_connect(at("10.0.0.7:5432")));
        assert!(!resolved.may_connect(&these, at("10.0.0.7:5432")));
        resolved.note(&these, "evil.local", &[at("10.0.0.8:5432")]);
        resolved.note(&these, "DB.local", &[at("10.0.0.7:5432")]);
        resolved.note(&these, "a.example.org.", &[at("[::1]:80")]);
        assert!(resolved.may_connect(&these, at("10.0.0.7:5432")));
        assert!(resolved.may_connect(&these, at("[::ffff:10.0.0.7]:5432")));
        assert!(!resolved.may_connect(&these, at("10.0.0.7:5433")));
        assert!(!resolved.may_connect(&these, at("10.0.0.8:5432")));
        assert!(!resolved.may_listen(&these, at("10.0.0.7:5432")));
        assert!(resolved.may_listen(&these, at("[::1]:90")));
        assert!(!resolved.may_connect(&these, at("[::1]:90")));
        for last in 0..=u8::MAX {
            resolved.note(&these, "db.local", &[at(&format!("10.1.0.{last}:1"))]);
        }
        assert_eq!(resolved.0.len(), RESOLVED_MAX);
        assert!(!resolved.may_connect(&these, at("10.0.0.7:5432")), "long ago");
    }

    #[test]
    fn a_child_gets_a_part_of_what_its_parent_has() {
        for (parent, inside, outside) in [
            ("*", "connect:1.2.3.4:5", ""),
            ("connect:*", "connect:a.b:5", "a.b:5"),
            ("10.0.0.0/8:*", "connect:10.1.0.0/16:80", "10.0.0.0/7:80"),
            ("10.0.0.0/8:*", "10.0.0.0/8:*", "connect:a.b:80"),
            ("10.0.0.0/8:1-9", "listen:10.2.3.4:2-9", "listen:10.2.3.4:2-10"),
            ("connect:a.b:80", "connect:A.b:80", "connect:c.a.b:80"),
            ("connect:*.b:80", "connect:*.a.b:80", "connect:b:80"),
            ("connect:*.b:80", "connect:c.a.b:80", "connect:*:80"),
            ("connect:[::/0]:80", "connect:[::1]:80", "connect:127.0.0.1:80"),
            ("listen:0.0.0.0:80", "listen:127.0.0.1:80", "127.0.0.1:80"),
            ("localhost:80", "listen:127.0.0.0/8:80", "connect:126.0.0.0/7:80"),
            ("db.local:80", "db.local:80", "connect:127.0.0.1:80"),
        ] {
            let parent = rules(&[parent]);
            assert!(parent.cover(&inside.parse().expect("a rule")), "{parent:?} {inside}");
            if let Ok(outside) = outside.parse() {
                assert!(!parent.cover(&outside), "{parent:?} {outside}");
            }
        }
        assert!(rules(&["listen:*", "connect:*"]).cover(&NetworkRule::ALL));
    }

    #[test]
    fn rules_are_printed_as_they_are_read() {
        for text in [
            "*:*",
            "listen:*:80",
            "connect:db.local:5432",
            "connect:*.local:1-2",
            "10.0.0.0/8:*",
            "connect:[fd00::/8]:80",
            "[::1]:80",
        ] {
            assert_eq!(text.parse::<NetworkRule>().expect(text).to_string(), text);
        }
        for (text, problem) in [
            ("", "no port"),
            ("localhost", "no port"),
            ("::1:80", "brackets"),
            ("[::1:80", "never closed"),
            ("[::1]", "no port"),
            ("connect:a:65536", "\"65536\""),
            ("connect:a:9-8", "none"),
            ("10.0.0.0/33:1", "/33"),
            ("a.b/8:1", "\"a.b\""),
            ("connect:0.0.0.0:80", "\"*\""),
            ("connect:1.2.3:80", "neither"),
            ("connect:0x7f000001:80", "neither"),
            ("connect:*local:80", "neither"),
            ("connect:*.:80", "neither"),
            ("connect:a..b:1", "neither"),
            ("connect:a..:1", "neither"),
            ("connect:.a:1", "neither"),
            ("connect:*.a..b:1", "neither"),
            ("connect:*..:1", "neither"),
            ("connect:.:1", "neither"),
            ("connect:1.2.3.4.:80", "neither"),
            ("connect:1.2.3.4:+80", "\"+80\""),
            ("connect:a:80-+90", "\"+90\""),
            ("connect:a:", "\"\""),
            ("10.0.0.0/+8:1", "/+8"),
            ("send:a:80", "brackets"),
        ] {
            let error = text.parse::<NetworkRule>().expect_err(text).to_string();
            assert!(error.contains(problem) && error.contains(text), "{text}: {error}");
        }
    }
}
