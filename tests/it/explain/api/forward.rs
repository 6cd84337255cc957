//! The port-forward of an API server: a WebSocket with two channels for a port, one for data and
//! one for the error. A frame begins with the number of its channel. The first frame of each
//! channel contains the port.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tungstenite::{Bytes, Error, Message, WebSocket, handshake::derive_accept_key, protocol::Role};

use super::PodPort;

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Relays one connection to the socket that stands for the Pod's port.
pub(super) fn serve(mut stream: &TcpStream, path: &str, key: &str, ports: &[PodPort]) {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\nsec-websocket-protocol: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let pod = path.split("/pods/").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let port: u16 = path.rsplit('=').next().unwrap().parse().unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    for channel in [DATA, ERROR] {
        send(&mut socket, channel, &port.to_le_bytes());
    }
    let target = ports.iter().find(|it| it.pod == pod && it.port == port);
    let target = target.map(|it| TcpStream::connect_timeout(&it.address, Duration::from_secs(1)));
    match target {
        Some(Ok(target)) => relay(&mut socket, stream, &target),
        Some(Err(error)) => fail(&mut socket, pod, port, &error.to_string().to_lowercase()),
        None => fail(&mut socket, pod, port, "connection refused"),
    }
}

fn send(socket: &mut WebSocket<&TcpStream>, channel: u8, octets: &[u8]) -> bool {
    let frame: Vec<u8> = [&[channel], octets].concat();
    socket.send(Message::Binary(Bytes::from(frame))).is_ok()
}

/// Ends the connection with the message of a container runtime.
fn fail(socket: &mut WebSocket<&TcpStream>, pod: &str, port: u16, reason: &str) {
    let text = format!(
        "error forwarding port {port} to pod {pod}: failed to connect to localhost:{port} inside its network namespace: dial tcp4 127.0.0.1:{port}: connect: {reason}"
    );
    send(socket, ERROR, text.as_bytes());
    let _ = socket.close(None);
}

/// Copies in both directions until one side ends, for 20 s at most.
fn relay(socket: &mut WebSocket<&TcpStream>, stream: &TcpStream, mut target: &TcpStream) {
    let pause = Some(Duration::from_millis(10));
    stream.set_read_timeout(pause).unwrap();
    target.set_read_timeout(pause).unwrap();
    let is_idle = |kind: ErrorKind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    let end = Instant::now() + Duration::from_secs(20);
    let mut octets = [0; 4096];
    while Instant::now() < end {
        match socket.read() {
            Ok(Message::Binary(frame)) if frame[0] == DATA => {
                target.write_all(&frame[1..]).unwrap();
            }
            Ok(_) => {}
            Err(Error::Io(error)) if is_idle(error.kind()) => {}
            Err(_) => return,
        }
        match target.read(&mut octets) {
            Ok(0) => return drop(socket.close(None)),
            Ok(count) if !send(socket, DATA, &octets[..count]) => return,
            Ok(_) => {}
            Err(error) if is_idle(error.kind()) => {}
            Err(_) => return,
        }
    }
}
