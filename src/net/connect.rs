//! Tries a TCP connection, and distinguishes the ways in which it fails.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// How long a new connection is watched for a reset.
const RESET_TIME: Duration = Duration::from_millis(200);

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted, and not reset.
    Connected,
    /// The other side answered with a reset: nothing listens at the port, or a rule rejects it.
    Refused,
    /// It was accepted and then reset.
    Reset,
    /// There was no reply at all.
    TimedOut,
    /// Another error, for example that there is no route.
    Failed(String),
}

/// Connects, and closes the connection again without sending anything.
pub async fn attempt(address: SocketAddr, limit: Duration) -> Outcome {
    let mut stream = match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => return Outcome::TimedOut,
        Ok(Err(error)) => {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => Outcome::Refused,
                io::ErrorKind::ConnectionReset => Outcome::Reset,
                io::ErrorKind::TimedOut => Outcome::TimedOut,
                _ => Outcome::Failed(error.to_string()),
            };
        }
        Ok(Ok(stream)) => stream,
    };
    // A proxy in front of the server may accept first and reset afterwards.
    match timeout(RESET_TIME, stream.read(&mut [0; 1])).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Outcome::Reset,
        _ => Outcome::Connected,
    }
}
