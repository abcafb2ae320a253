//! A TUN device: whole IP packets, read and written like a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Opens a TUN device of this name for packets without a header of its own; creates it if need be.
///
/// # Errors
///
/// When the name is too long, `/dev/net/tun` cannot be opened, or the kernel refuses.
pub(super) fn open(name: &str) -> io::Result<AsyncFd<File>> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device name has 1 to 15 bytes"));
    }
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    attach(&file, name)?;
    watched(file)
}

/// Lets the runtime tell when there is something to read.
#[allow(unsafe_code)]
fn watched(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor and hands out the same one for as long as it lives;
    // nobody takes it out of the `AsyncFd` or replaces it.
    unsafe { Ok(AsyncFd::register_with_interest(file, Interest::READABLE)?) }
}

/// Makes `file` the device: there is no way to say it but this system call.
#[allow(unsafe_code)]
fn attach(file: &File, name: &str) -> io::Result<()> {
    let mut named = [0; libc::IFNAMSIZ];
    for (to, from) in named.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let request =
        libc::ifreq { ifr_name: named, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: the descriptor is open for as long as `file` is, and `request` is a whole `ifreq`,
    // which is what TUNSETIFF reads and writes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
