//! The two things that Rust's safe interfaces do not offer: making a tap, and closing descriptors
//! that a careless ancestor let slip through. No other file of this crate may contain `unsafe`.
#![expect(unsafe_code, reason = "TUNSETIFF and descriptors known by number only have no safe interface")]

use std::fs::{File, OpenOptions};
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::ioctl::{Setter, ioctl, opcode};

use crate::{Error, Result};

/// Linux' `struct ifreq` as far as `TUNSETIFF` reads and writes it; the rest of its union is padding.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    padding: [u8; 22],
}

// `linux/if_tun.h`
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;

pub(crate) const TUN: &str = "/dev/net/tun";

/// Makes the tap `name`, which must not exist yet, in the network namespace of the caller.
pub(crate) fn open_tap(name: &str) -> Result<OwnedFd> {
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL,
        padding: [0; 22],
    };
    // The last byte stays zero: the kernel wants a terminated string.
    let (room, _) = request.name.split_at_mut(15);
    let fits = room
        .get_mut(..name.len())
        .ok_or_else(|| Error::invalid(format!("interface name {name:?} is too long")))?;
    fits.copy_from_slice(name.as_bytes());
    let file = open_tun()?;
    // SAFETY: TUNSETIFF takes a pointer to a whole `struct ifreq` (40 bytes on 64-bit Linux), which
    // `InterfaceRequest` is as large as; the kernel keeps no reference to it.
    let made = unsafe { ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) };
    made.map_err(|error| Error::io("make a tap with", TUN, error))?;
    Ok(file.into())
}

pub(crate) fn open_tun() -> Result<File> {
    OpenOptions::new().read(true).write(true).open(TUN).map_err(|error| {
        let fix = match error.kind() {
            std::io::ErrorKind::PermissionDenied => format!(
                "let your user open it: `sudo chmod 0666 {TUN}`, or lastingly a udev rule \
                 KERNEL==\"tun\", MODE=\"0666\" in /etc/udev/rules.d/99-tun.rules"
            ),
            _ => "load the kernel's module: `sudo modprobe tun`".into(),
        };
        Error::Missing { what: format!("cannot open {TUN}: {error}"), fix }
    })
}

/// Closes every descriptor but standard input, output and error. To be called first of all.
pub(crate) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    // Listed first, closed afterwards: the list itself is read through one of them.
    let numbers: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        let path = format!("/proc/self/fd/{number}");
        if std::fs::symlink_metadata(path).is_ok() {
            // SAFETY: the number is open (just seen), nothing of this process owns it: a holder calls
            // this before it opens anything or starts a thread.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_is_as_large_as_the_kernel_expects() {
        assert_eq!(size_of::<super::InterfaceRequest>(), 40);
    }
}
