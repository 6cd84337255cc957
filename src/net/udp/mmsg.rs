//! recvmmsg and sendmmsg: many datagrams in one system call. A reply leaves from the address that
//! its query was sent to.
#![expect(unsafe_code, reason = "no safe wrapper of the batch calls reuses its buffers")]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use libc::{
    c_int, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_storage, socklen_t,
};
use socket2::SockAddr;

use crate::limits;

/// Space for one control message: 40 octets for IPv6 packet information, and some spare.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The addresses of a datagram: its sender, and which local address it was sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramAddresses {
    pub(super) peer: SocketAddr,
    /// The local address, and the index of its interface (0: the routing table decides). `None` if
    /// the system does not report it, or if it is a multicast or broadcast address.
    destination: Option<(IpAddr, u32)>,
}

impl DatagramAddresses {
    /// The local address that the datagram was sent to, or else the one that the socket is bound
    /// to.
    pub(super) fn local(&self, bound: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.destination.map_or(bound.ip(), |(address, _)| address), bound.port())
    }
}

/// The buffers of one thread.
pub(super) struct Batch {
    packets: Vec<[u8; limits::REQUEST_OCTETS]>,
    lengths: [usize; limits::UDP_BATCH],
    names: [sockaddr_storage; limits::UDP_BATCH],
    controls: [Control; limits::UDP_BATCH],
    addresses: [Option<DatagramAddresses>; limits::UDP_BATCH],
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            packets: vec![[0; limits::REQUEST_OCTETS]; limits::UDP_BATCH],
            lengths: [0; limits::UDP_BATCH],
            // SAFETY: all zeros is a valid sockaddr_storage.
            names: unsafe { mem::zeroed() },
            controls: [Control([0; 64]); limits::UDP_BATCH],
            addresses: [None; limits::UDP_BATCH],
        }
    }

    /// Waits for datagrams, at most for the read timeout of the socket (200 ms), and returns how
    /// many arrived.
    ///
    /// # Errors
    /// `WouldBlock` if none arrived in that time, and other errors of the system.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: all zeros is a valid mmsghdr and iovec.
        let mut iovecs: [iovec; limits::UDP_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [mmsghdr; limits::UDP_BATCH] = unsafe { mem::zeroed() };
        for (at, packet) in self.packets.iter_mut().enumerate() {
            iovecs[at] = iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
            let header = &mut headers[at].msg_hdr;
            header.msg_iov = &raw mut iovecs[at];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size::<sockaddr_storage>();
            header.msg_control = (&raw mut self.controls[at]).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: every pointer in `headers` points to a buffer of the length beside it, and the
        // buffers outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                limits::UDP_BATCH as _,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (at, header) in headers.iter().take(count).enumerate() {
            self.lengths[at] = header.msg_len as usize;
            self.addresses[at] = addresses(&header.msg_hdr, &self.names[at]);
        }
        Ok(count)
    }

    /// A datagram of the last batch. One that is longer than [`limits::REQUEST_OCTETS`] is cut off.
    /// If the sender's address cannot be read, its port is 0, and `answer` ignores it.
    pub(super) fn get(&self, index: usize) -> (&[u8], DatagramAddresses) {
        let unknown =
            DatagramAddresses { peer: (Ipv4Addr::UNSPECIFIED, 0).into(), destination: None };
        (&self.packets[index][..self.lengths[index]], self.addresses[index].unwrap_or(unknown))
    }

    /// Sends all replies. A datagram that cannot be sent is skipped.
    pub(super) fn send(&mut self, socket: &UdpSocket, replies: &[(Vec<u8>, DatagramAddresses)]) {
        for chunk in replies.chunks(limits::UDP_BATCH) {
            send_chunk(
                socket,
                chunk.iter().map(|(reply, addresses)| (reply.as_slice(), *addresses)),
                0,
            );
        }
    }
}

/// Sends one reply from a task, which must not block: if the socket's buffer is full, the reply is
/// lost.
pub(super) fn send_one(socket: &UdpSocket, reply: &[u8], addresses: DatagramAddresses) {
    send_chunk(socket, std::iter::once((reply, addresses)), libc::MSG_DONTWAIT);
}

/// At most [`limits::UDP_BATCH`] replies.
fn send_chunk<'r>(
    socket: &UdpSocket,
    replies: impl Iterator<Item = (&'r [u8], DatagramAddresses)>,
    flags: c_int,
) {
    // SAFETY: all zeros is a valid iovec and mmsghdr.
    let mut iovecs: [iovec; limits::UDP_BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; limits::UDP_BATCH] = unsafe { mem::zeroed() };
    let mut names: [Option<SockAddr>; limits::UDP_BATCH] = [const { None }; limits::UDP_BATCH];
    let mut controls = [Control([0; 64]); limits::UDP_BATCH];
    let mut count = 0;
    for (at, (reply, addresses)) in replies.take(limits::UDP_BATCH).enumerate() {
        iovecs[at] = iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
        let name = names[at].insert(SockAddr::from(addresses.peer));
        let header = &mut headers[at].msg_hdr;
        header.msg_iov = &raw mut iovecs[at];
        header.msg_iovlen = 1;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        if let Some((address, interface)) = addresses.destination {
            header.msg_control = (&raw mut controls[at]).cast();
            header.msg_controllen = put_source(&mut controls[at], address, interface) as _;
        }
        count = at + 1;
    }
    let mut sent = 0;
    while sent < count {
        // SAFETY: the headers from `sent` on point to buffers of the lengths beside them, which
        // outlive the call; the kernel only reads.
        let done = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[sent..count].as_mut_ptr(),
                (count - sent) as _,
                flags as _,
            )
        };
        sent += match usize::try_from(done) {
            Ok(done) => done,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => 0,
            // The call fails if its first datagram cannot be sent: skip that one.
            Err(_) => 1,
        };
    }
}

/// Reads the sender's address, and the control message that holds the local address.
fn addresses(header: &msghdr, name: &sockaddr_storage) -> Option<DatagramAddresses> {
    // SAFETY: the kernel has written an address of this length to `name`.
    let ((), peer) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<sockaddr_storage>().copy_from_nonoverlapping(name, 1);
            *length = header.msg_namelen;
            Ok(())
        })
    }
    .ok()?;
    let mut destination = None;
    // SAFETY: the kernel has filled `header`, so its control messages lie within its control
    // buffer, and `info` reads only complete ones.
    unsafe {
        let mut control: *const cmsghdr = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            if let Some(v4) = info::<in_pktinfo>(message, libc::IPPROTO_IP, libc::IP_PKTINFO) {
                destination =
                    Some((IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.ipi_addr.s_addr))), 0));
            } else if let Some(v6) =
                info::<in6_pktinfo>(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
            {
                let address = Ipv6Addr::from(v6.ipi6_addr.s6_addr);
                // Only a link-local address needs its interface.
                destination = Some((
                    IpAddr::V6(address),
                    if address.is_unicast_link_local() { v6.ipi6_ifindex } else { 0 },
                ));
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    let destination = destination.filter(|(address, _)| {
        !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
    });
    Some(DatagramAddresses { peer: without_flow_label(peer.as_socket()?), destination })
}

/// The content of a control message of this kind. `None` for another kind, or if its end is
/// missing.
///
/// # Safety
/// The octets that `message` announces follow it, and every value of these octets is a valid `T`.
unsafe fn info<T>(message: &cmsghdr, level: c_int, kind: c_int) -> Option<T> {
    // SAFETY: the length is arithmetic only.
    let is_complete = message.cmsg_len >= unsafe { libc::CMSG_LEN(size::<T>()) } as _;
    let is_wanted = (message.cmsg_level, message.cmsg_type) == (level, kind) && is_complete;
    // SAFETY: the caller guarantees that the data is there.
    is_wanted.then(|| unsafe { libc::CMSG_DATA(message).cast::<T>().read_unaligned() })
}

/// The flow label of a query must not be copied into the reply.
fn without_flow_label(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        v4 @ SocketAddr::V4(_) => v4,
    }
}

/// Writes the control message that sets the source address, and returns its length.
fn put_source(control: &mut Control, address: IpAddr, interface: u32) -> usize {
    match address {
        IpAddr::V4(v4) => {
            let zero = libc::in_addr { s_addr: 0 };
            let source = libc::in_addr { s_addr: u32::from(v4).to_be() };
            put(
                control,
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: zero },
            )
        }
        IpAddr::V6(v6) => {
            let source = libc::in6_addr { s6_addr: v6.octets() };
            put(
                control,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                in6_pktinfo { ipi6_addr: source, ipi6_ifindex: interface as _ },
            )
        }
    }
}

fn put<T>(control: &mut Control, level: c_int, kind: c_int, info: T) -> usize {
    let message: *mut cmsghdr = (&raw mut *control).cast();
    // SAFETY: the buffer is aligned for a cmsghdr, and its 64 octets hold one with either kind of
    // information (40 at most).
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size::<T>()) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(info);
        libc::CMSG_SPACE(size::<T>()) as usize
    }
}

fn size<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

/// Makes the system report the local address of each datagram, and ignore the path MTU: a forged
/// ICMP message must not make replies smaller.
pub(super) fn prepare(socket: &impl AsFd, v6: bool) {
    let fd = socket.as_fd().as_raw_fd();
    // If an option is not available, the routing table chooses the source address. An IPv6 socket
    // reports the address of IPv4 datagrams as a mapped one, so it needs the IPv6 option only.
    if v6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT);
    } else {
        set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    }
    set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT);
}

fn set(fd: c_int, level: c_int, option: c_int, value: c_int) {
    // SAFETY: the option's value is an int that lives through the call.
    unsafe {
        libc::setsockopt(fd, level, option, (&raw const value).cast(), size::<c_int>());
    }
}

/// Distributes datagrams at random among the `count` sockets that share the address of `first`. By
/// default the kernel keeps a client's flow on one socket, and in a cluster a few flows are most of
/// the load. If the kernel refuses the filter, this default stays.
pub(super) fn distribute(first: &UdpSocket, count: usize) {
    const LOAD_RANDOM: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut steps = [
        step(LOAD_RANDOM, (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32),
        step(MODULO, count as u32),
        step(RETURN, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live through the call, which copies them.
    unsafe {
        libc::setsockopt(
            first.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size::<libc::sock_fprog>(),
        );
    }
}
