//! A region's way out: a TUN device, a network card whose cable ends in this process. The kernel takes it away when this
//! process closes it, however it ends.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Where the kernel hands devices out.
pub(super) const DEVICE: &str = "/dev/net/tun";
const NAME: &CStr = c"wan0";
const LOOPBACK: &CStr = c"lo";
/// A second address of the loopback device has a name of its own.
const LOOPBACK_ALIAS: &CStr = c"lo:0";
/// Packets that may wait for the forwarder: what is lost is to be lost by the terms of a link.
const WAITING_PACKETS: i32 = 10_000;
/// Larger than any packet of a device whose largest is 1500 bytes.
const LARGEST_PACKET: usize = 2048;

nix::ioctl_write_ptr_bad!(
    /// Makes this descriptor a device.
    set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// Gives an interface its address.
    set_address,
    libc::SIOCSIFADDR,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// Says which addresses are reached by an interface.
    set_mask,
    libc::SIOCSIFNETMASK,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// Switches an interface on.
    set_flags,
    libc::SIOCSIFFLAGS,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// How many packets may wait in it.
    set_queue,
    libc::SIOCSIFTXQLEN,
    libc::ifreq
);

/// This process's end of the device.
pub(super) struct Tun {
    file: File,
    broken: bool,
}

impl Tun {
    /// Makes the device in the network namespace of the calling thread.
    pub fn open() -> io::Result<Tun> {
        let options = libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).write(true).custom_flags(options).open(DEVICE)?;
        let mut request = request(NAME);
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        // SAFETY: the descriptor is open, and the kernel copies the request.
        unsafe { set_interface(file.as_raw_fd(), &request) }?;
        Ok(Tun { file, broken: false })
    }

    /// A packet, if there is one.
    pub fn receive(&mut self, buffer: &mut [u8; LARGEST_PACKET]) -> Option<usize> {
        let read = self.file.read(buffer);
        // Somebody in the region has removed the device: there is nothing to wait for any more.
        self.broken |= read.as_ref().is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        read.ok()
    }

    /// Whether nothing will come from here any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Hands a packet to the region's kernel, which may drop it as any kernel may.
    pub fn send(&mut self, packet: &[u8]) {
        let _ = self.file.write(packet);
    }

    /// To wait for packets.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Room for one.
    pub fn buffer() -> [u8; LARGEST_PACKET] {
        [0; LARGEST_PACKET]
    }
}

/// Switches the devices of the calling thread's namespace on: all of `own`/24 is here, the rest of its /16 behind the TUN device.
pub(super) fn configure(own: Ipv4Addr) -> io::Result<()> {
    let [whole, region] = [Ipv4Addr::new(255, 255, 0, 0), Ipv4Addr::new(255, 255, 255, 0)];
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let fd = socket.as_raw_fd();
    // SAFETY: the descriptor is open, and the kernel copies each request.
    unsafe {
        set_flags(fd, &up(LOOPBACK))?;
        set_address(fd, &addressed(LOOPBACK_ALIAS, own))?;
        set_mask(fd, &addressed(LOOPBACK_ALIAS, region))?;
        // Root of a user namespace may not: there the kernel may lose some of a burst.
        let _ = set_queue(fd, &queued(NAME));
        set_address(fd, &addressed(NAME, own))?;
        set_mask(fd, &addressed(NAME, whole))?;
        set_flags(fd, &up(NAME))?;
    }
    Ok(())
}

fn request(name: &CStr) -> libc::ifreq {
    // SAFETY: plain data, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.to_bytes().iter();
    request.ifr_name.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte as libc::c_char);
    request
}

fn up(name: &CStr) -> libc::ifreq {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    request
}

fn queued(name: &CStr) -> libc::ifreq {
    let mut request = request(name);
    // The kernel's `ifr_qlen` is the same number in the same place.
    request.ifr_ifru.ifru_metric = WAITING_PACKETS;
    request
}

fn addressed(name: &CStr, address: Ipv4Addr) -> libc::ifreq {
    let mut request = request(name);
    // An IPv4 socket address begins with two bytes of port, which an interface has none of.
    let mut data = [0; 14];
    data[2..6].iter_mut().zip(address.octets()).for_each(|(to, byte)| *to = byte as libc::c_char);
    request.ifr_ifru.ifru_addr = libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data: data };
    request
}
