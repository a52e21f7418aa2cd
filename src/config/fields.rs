//! What single values look like: names, devices, addresses, ports, statuses.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use http::Uri;
use toml::de::DeValue;

use crate::model::Cidr;
use crate::model::Mac;
use crate::model::PortRange;

use super::value::Value;

/// The longest name of a network interface (`IFNAMSIZ` of Linux less the final zero).
const MAX_INTERFACE: usize = 15;

/// The longest name of anything of ours: names are labels of metrics and words of commands.
const MAX_NAME: usize = 63;

/// A name of ours. Letters, digits and `-_.` alone: names are typed in commands and are labels of metrics.
pub(super) fn name(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(allowed) {
        let rule = format!("write 1 to {MAX_NAME} letters, digits, \"-\", \"_\" or \".\"");
        return value.wrong(format!("{} {text:?} is not a name; {rule}", value.key));
    }
    Some(text.to_owned())
}

/// A word of a command.
pub(super) fn word(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() || text.contains('\0') {
        return value.wrong(format!("{} has a word that no program can be given: {text:?}", value.key));
    }
    Some(text.to_owned())
}

/// Where an HTTP request is sent, without TLS.
pub(super) fn http_address(value: Value<'_>) -> Option<Uri> {
    let text = value.text()?;
    let address = text.parse::<Uri>().ok();
    let address = address.filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    address.or_else(|| {
        let key = value.key;
        value.wrong(format!(
            "{key} {text:?} is no http address; write one, as \"http://127.0.0.1:8080/changes\""
        ))
    })
}

/// A PCI address, brought to the form with a domain, or a DPDK vdev; either with arguments.
pub(super) fn device(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    let (address, arguments) = text.split_at(text.find(',').unwrap_or(text.len()));
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return value.wrong(format!("device {text:?} has a space in it; remove it"));
    }
    if address.strip_prefix("net_").is_some_and(|driver| !driver.is_empty()) {
        return Some(text.to_owned());
    }
    if let Some(address) = pci(address) {
        return Some(address + arguments);
    }
    let iface = if address.is_empty() || address.contains(':') { "eth0" } else { address };
    value.wrong(format!(
        "device {text:?} is neither a PCI address nor a DPDK vdev; write one, as \"0000:03:00.0\" or \"net_af_packet0,iface={iface}\""
    ))
}

/// `text` as `domain:bus:device.function` in lower case, if it is a PCI address.
fn pci(text: &str) -> Option<String> {
    let hex = |part: &str, width: RangeInclusive<usize>| {
        width.contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let (slot, function) = text.rsplit_once('.')?;
    let (bus, device) = slot.rsplit_once(':')?;
    let (domain, bus) = bus.rsplit_once(':').unwrap_or(("0000", bus));
    let right = hex(domain, 4..=8)
        && hex(bus, 2..=2)
        && hex(device, 2..=2)
        && matches!(function, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7");
    right.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

/// `"auto"` or the Ethernet address of a host.
pub(super) fn mac_or_auto(value: Value<'_>) -> Option<Option<Mac>> {
    if value.is("auto") { Some(None) } else { mac(value).map(Some) }
}

/// The Ethernet address of a host.
pub(super) fn mac(value: Value<'_>) -> Option<Mac> {
    let mac = match value.text()?.parse::<Mac>() {
        Ok(mac) => mac,
        Err(error) => return value.wrong(format!("{} {error}", value.key)),
    };
    if mac.is_multicast() {
        return value.wrong(format!(
            "{} {mac} is a multicast address; write one whose first octet is even",
            value.key
        ));
    }
    if mac == Mac::default() {
        return value.wrong(format!("{} {mac} is no host's address; write the host's", value.key));
    }
    Some(mac)
}

/// `"none"` or a name that Linux takes for a network interface (`dev_valid_name`, and no `%`, which is a pattern).
pub(super) fn interface_or_none(value: Value<'_>) -> Option<Option<String>> {
    let text = value.text()?;
    if text == "none" {
        return Some(None);
    }
    if text.len() > MAX_INTERFACE {
        let length = text.len();
        return value
            .wrong(format!("{} {text:?} is {length} octets long; write at most {MAX_INTERFACE}", value.key));
    }
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if text.is_empty() || text == "." || text == ".." || text.contains(refused) {
        let rule = "write letters, digits, \"-\", \"_\" or \".\", or \"none\"";
        return value.wrong(format!("{} {text:?} is not an interface name; {rule}", value.key));
    }
    Some(Some(text.to_owned()))
}

/// An address that a single host can have and that means the same on every link.
pub(super) fn address(value: Value<'_>) -> Option<IpAddr> {
    let (key, text) = (value.key, value.text()?);
    if let Ok(address) = text.parse() {
        return host_address(value, address);
    }
    if text.parse::<Cidr>().is_ok() {
        let bare = text.split('/').next().unwrap_or(text);
        return value.wrong(format!("{key} {text:?} has a prefix length; leave it out: \"{bare}\""));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let (ip, port) = (socket.ip(), socket.port());
        return value.wrong(format!("{key} {text:?} has a port; write {key} = \"{ip}\" and port = {port}"));
    }
    let example = "write one, as \"192.0.2.1\" or \"2001:db8::1\"";
    value.wrong(format!("{key} {text:?} is not an IP address; {example}"))
}

fn host_address(value: Value<'_>, address: IpAddr) -> Option<IpAddr> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return value
            .wrong(format!("{} {address} is an IPv4 address written as IPv6; write \"{v4}\"", value.key));
    }
    let kind = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(_) | IpAddr::V6(_) => return Some(address),
    };
    value.wrong(format!("{} {address} is {kind}; write an address that a host has", value.key))
}

/// `"any"` or an address that a single host can have.
pub(super) fn address_or_any(value: Value<'_>) -> Option<Option<IpAddr>> {
    if value.is("any") { Some(None) } else { address(value).map(Some) }
}

/// A host's address with the length of its network's prefix.
pub(super) fn interface_address(value: Value<'_>) -> Option<(IpAddr, u8)> {
    let (key, text) = (value.key, value.text()?);
    let parts = text.split_once('/').and_then(|(address, length)| Some((address.parse().ok()?, length)));
    let Some((address, length)): Option<(IpAddr, _)> = parts else {
        let bare = text.parse::<IpAddr>().map(|bare| if bare.is_ipv4() { "24" } else { "64" });
        return match bare {
            Ok(length) => value.wrong(format!(
                "{key} {text:?} has no prefix length; write it with its network's, as \"{text}/{length}\""
            )),
            Err(_) => value.wrong(format!(
                "{key} {text:?} is not an address with a prefix length; write one, as \"192.0.2.10/24\" or \"2001:db8::10/64\""
            )),
        };
    };
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = length.parse().ok().filter(|length| (1..=bits).contains(length)) else {
        return value
            .wrong(format!("{key} {text:?} has a wrong prefix length; write 1 to {bits} after the slash"));
    };
    // Link-local addresses make sense here: the interface is known.
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if !link_local {
        host_address(value, address)?;
    }
    // RFC 3021 and RFC 6164: networks of two addresses and of one have neither.
    let network = Cidr::new(address, length)?;
    if length < bits - 1 && network.address() == address {
        return value
            .wrong(format!("{key} {text:?} is the network itself; write the address of this host in it"));
    }
    if let IpAddr::V4(v4) = address
        && length < 31
        && v4.to_bits() | (u32::MAX << (32 - length)) == u32::MAX
    {
        return value.wrong(format!(
            "{key} {text:?} is the network's broadcast address; write the address of this host in it"
        ));
    }
    Some((address, length))
}

/// A prefix without host bits; a bare address is the prefix that holds it alone.
pub(super) fn prefix(value: Value<'_>) -> Option<Cidr> {
    prefix_of(value.text()?).map_or_else(|error| value.wrong(format!("{} {error}", value.key)), Some)
}

/// The prefix that `text` is; else what is wrong with it.
pub(super) fn prefix_of(text: &str) -> Result<Cidr, String> {
    let Ok(prefix) = text.parse::<Cidr>() else {
        let example = "write an address and a length, as \"10.0.9.0/24\" or \"fd00:9::/64\"";
        return Err(format!("{text:?} is not a prefix; {example}"));
    };
    if let Some(v4) = unmapped(prefix) {
        return Err(format!("{text:?} is an IPv4 prefix written as IPv6; write \"{v4}\""));
    }
    let address = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
    if address != Some(prefix.address()) {
        return Err(format!("{text:?} has host bits set; write \"{prefix}\""));
    }
    Ok(prefix)
}

/// The IPv4 prefix that a prefix of IPv4-mapped addresses (RFC 4291, section 2.5.5.2) stands for. No packet has such an
/// address.
fn unmapped(prefix: Cidr) -> Option<Cidr> {
    let IpAddr::V6(address) = prefix.address() else { return None };
    let length = prefix.length().checked_sub(96)?;
    Cidr::new(address.to_ipv4_mapped()?.into(), length)
}

/// Where to listen for HTTP, or `"none"`.
pub(super) fn listen_or_none(value: Value<'_>) -> Option<Option<SocketAddr>> {
    let text = value.text()?;
    if text == "none" {
        return Some(None);
    }
    let example = "write one, as \"127.0.0.1:9180\" or \"[::1]:9180\", or \"none\"";
    match text.parse() {
        Ok(address) => Some(Some(address)),
        Err(_) => value.wrong(format!("{} {text:?} is not an address with a port; {example}", value.key)),
    }
}

/// A port number, or two with a hyphen as a string, or `"*"` for all.
pub(super) fn port_range(value: Value<'_>) -> Option<PortRange> {
    let DeValue::String(text) = value.inner() else {
        let port = value.integer(1..=u16::MAX)?;
        return Some(PortRange { first: port, last: port });
    };
    if text == "*" {
        return Some(PortRange::ALL);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else {
        return value.wrong(format!(
            "{} {text:?} is no range of ports; write a number, or as \"8000-8009\", or \"*\" for all",
            value.key
        ));
    };
    if first == 0 {
        return value.wrong(format!("{} {text:?} holds port 0, which nobody can use; start at 1", value.key));
    }
    if first > last {
        return value.wrong(format!("{} {text:?} runs backwards; write \"{last}-{first}\"", value.key));
    }
    Some(PortRange { first, last })
}

/// HTTP status codes: a number, a range as a string, or a list of these.
pub(super) fn statuses(value: Value<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let DeValue::Array(elements) = value.inner() else {
        return Some(vec![status(value)?]);
    };
    if elements.is_empty() {
        return value.wrong(format!("{} is an empty list; write codes, as \"200-399\"", value.key));
    }
    Some(value.each(status)?.into_values())
}

fn status(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    const CODES: RangeInclusive<u16> = 100..=599;
    let DeValue::String(text) = value.inner() else {
        let code = value.integer(CODES)?;
        return Some(code..=code);
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if CODES.contains(&first) && CODES.contains(&last) && first <= last => {
            Some(first..=last)
        }
        (Ok(first), Ok(last)) if first > last => {
            value.wrong(format!("{} {text:?} runs backwards; write \"{last}-{first}\"", value.key))
        }
        _ => value.wrong(format!(
            "{} {text:?} is no range of status codes; write codes from 100 to 599, as 200 or \"200-399\"",
            value.key
        )),
    }
}

/// The target of an HTTP request. Nothing in it may end the request line.
pub(super) fn path(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if !text.starts_with('/') {
        return value.wrong(format!("{} {text:?} does not start with a slash; write \"/{text}\"", value.key));
    }
    request_word(value, text)
}

/// The value of the Host header.
pub(super) fn host(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() {
        return value.wrong(format!("{} is empty; write a host name, or leave the key out", value.key));
    }
    request_word(value, text)
}

fn request_word(value: Value<'_>, text: &str) -> Option<String> {
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(c) => value.wrong(format!(
            "{} {text:?} has the character {c:?} in it; percent-encode it or leave it out",
            value.key
        )),
        None => Some(text.to_owned()),
    }
}

/// A text of at least one character, taken as it is.
pub(super) fn some_text(value: Value<'_>) -> Option<String> {
    match value.text()? {
        "" => value.wrong(format!("{} is empty; write a text, or leave the key out", value.key)),
        text => Some(text.to_owned()),
    }
}

/// The path of a file, from the root.
pub(super) fn absolute_path(value: Value<'_>, example: &str) -> Option<PathBuf> {
    let text = value.text()?;
    if !text.starts_with('/') || text.contains('\0') {
        let way_out = format!("write one that starts with a slash, as {example:?}");
        return value.wrong(format!("{} {text:?} is not an absolute path; {way_out}", value.key));
    }
    Some(PathBuf::from(text))
}

/// The name in a certificate: a domain name or an address.
pub(super) fn server_name(value: Value<'_>) -> Option<String> {
    match value.text()?.parse::<IpAddr>() {
        Ok(address) => Some(address.to_string()),
        Err(_) if value.is(".") => value.wrong(format!("{} is the root; write a host's name", value.key)),
        Err(_) => domain(value),
    }
}

/// A domain name without its final dot; empty for the root (RFC 1035, 2.3.4).
pub(super) fn domain(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    let name = text.strip_suffix('.').unwrap_or(text);
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    let root = text == ".";
    if !root && (name.len() > 253 || !name.split('.').all(label)) {
        let rule =
            "write labels of letters, digits, \"-\" or \"_\" with dots between, as \"www.example.net\"";
        return value.wrong(format!("{} {text:?} is not a domain name; {rule}", value.key));
    }
    Some(name.to_owned())
}
