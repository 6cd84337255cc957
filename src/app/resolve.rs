//! Looks up the host names that a Corefile names as upstreams, when a server is built on them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use crate::{
    limits,
    plugin::Host,
    wire::{Query, Question, Rcode, Response, Type, reply},
};

/// The addresses of a host, by whoever is named to know them, or by the machine's own resolver.
///
/// # Errors
/// Why there are none.
pub(super) fn addresses(host: &Host) -> Result<Vec<IpAddr>, String> {
    let mut failure = "no addresses found".to_owned();
    if host.resolvers.is_empty() {
        let name = host.name.trim_end_matches('.');
        // With its final dot no search path is tried; without it /etc/hosts is read.
        let found =
            (format!("{name}."), 0).to_socket_addrs().or_else(|_| (name, 0).to_socket_addrs());
        return Ok(found.map_err(|error| error.to_string())?.map(|address| address.ip()).collect());
    }
    for resolver in &host.resolvers {
        match ask(host, *resolver) {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => failure = format!("{resolver} knows no address"),
            Err(error) => failure = format!("{resolver}: {error}"),
        }
    }
    Err(failure)
}

fn ask(host: &Host, resolver: SocketAddr) -> io::Result<Vec<IpAddr>> {
    let any = if resolver.is_ipv4() {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(resolver)?;
    socket.set_read_timeout(Some(limits::RESOLVE_TIME))?;
    let mut addresses = Vec::new();
    for qtype in [Type::A, Type::AAAA] {
        let response = exchange(&socket, host, qtype)?;
        let rdatas = response
            .answer
            .iter()
            .filter(|set| set.rtype == qtype)
            .flat_map(|set| set.rdatas.iter());
        addresses.extend(rdatas.filter_map(|rdata| {
            let v4 = <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from);
            v4.or_else(|| <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from))
        }));
    }
    Ok(addresses)
}

/// What is no reply to the question is passed over.
fn exchange(socket: &UdpSocket, host: &Host, qtype: Type) -> io::Result<Response> {
    let name = host.name.parse().map_err(|_| io::Error::other("no host name"))?;
    let asked = Query { id: rand::random(), ..Query::internal(Question::new(name, qtype)) };
    let mut packet = Vec::new();
    asked.encode(&mut packet);
    socket.send(&packet)?;
    let mut buffer = vec![0; limits::UDP_REPLY_OCTETS];
    for _ in 0..limits::STRAY_REPLIES {
        let length = socket.recv(&mut buffer)?;
        if reply::matches(&buffer[..length], &asked) == reply::Match::No {
            continue;
        }
        let incoming = reply::read(&buffer[..length], &asked)
            .map_err(|_| io::Error::other("a reply that cannot be read"))?;
        return match incoming.response.rcode {
            Rcode::NOERROR => Ok(incoming.response),
            rcode => Err(io::Error::other(format!("it says {rcode}"))),
        };
    }
    Err(io::Error::other("what comes back is no reply"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn without_a_resolver_the_machines_own_is_asked() {
        let host = |name: &str| Host { name: name.to_owned(), resolvers: Vec::new() };
        let found = addresses(&host("localhost")).unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
    }

    #[test]
    fn the_resolvers_that_are_named_are_asked_in_their_order() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (known, silent) = (server.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let serving = thread::Builder::new().spawn(move || {
            for turn in 0..2 {
                let mut packet = [0; 512];
                let (length, from) = server.recv_from(&mut packet).unwrap();
                // QR, one answer, no OPT: A or AAAA of the question's name.
                let question_end =
                    12 + packet[12..length].windows(5).position(|tail| tail[0] == 0).unwrap() + 5;
                let mut reply = packet[..question_end].to_vec();
                (reply[2], reply[7], reply[11]) = (0x81, 1 - turn, 0);
                if turn == 0 {
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                }
                server.send_to(&reply, from).unwrap();
            }
        });
        let host = Host { name: "dns.example.".to_owned(), resolvers: vec![silent, known] };
        assert_eq!(addresses(&host), Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        serving.unwrap().join().unwrap();
        let nobody = Host { resolvers: vec![silent], ..host };
        assert!(addresses(&nobody).unwrap_err().starts_with("127.0.0.1:1: "));
    }
}
