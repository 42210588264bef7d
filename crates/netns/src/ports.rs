//! Who has a port of this host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The program that listens where `wanted` would, if that can be found out.
pub(crate) fn owner(wanted: SocketAddr) -> Option<String> {
    let inode = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| listens(line, wanted))
    })?;
    let socket = format!("socket:[{inode}]");
    // Programs of other users cannot be looked into, unless we are root.
    let pid = std::fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut fds = std::fs::read_dir(entry.path().join("fd")).ok()?.filter_map(Result::ok);
        let has = fds.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&socket)));
        has.then_some(pid)
    })?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).take(3).map(String::from_utf8_lossy).collect::<Vec<_>>();
    Some(format!("{} (process {pid})", words.join(" ").trim().chars().take(200).collect::<String>()))
}

/// The inode of a listening socket that excludes `wanted`, from a line such as
/// `0: 0100007F:1F90 00000000:0000 0A …`; numbers are hexadecimal, addresses in host order.
fn listens(line: &str, wanted: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let listening = fields.nth(1)? == "0A";
    if !listening || u16::from_str_radix(port, 16).ok()? != wanted.port() {
        return None;
    }
    let clashes = match u32::from_str_radix(address, 16) {
        Ok(bits) => {
            let bound = Ipv4Addr::from_bits(bits.to_be());
            bound.is_unspecified() || wanted.ip().is_unspecified() || wanted.ip() == IpAddr::V4(bound)
        }
        // IPv6: taken for a clash, the kernel said already that there is one.
        Err(_) => true,
    };
    // Behind the state: queues, timer, retransmits, uid, timeout, inode.
    let inode = fields.nth(5)?.parse().ok()?;
    clashes.then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let owner = owner(address).unwrap();
        assert!(owner.contains(&format!("(process {})", std::process::id())), "{owner}");
        drop(listener);
        assert_eq!(super::owner(address), None);
    }
}
