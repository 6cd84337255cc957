//! `ipvsadm -Sn`: a line for each virtual server, and one for each real one behind it.

use super::{Endpoint, Endpoints, Frontend, Mode, Proxy, To, end};

pub(super) fn read(text: &str) -> Option<Proxy> {
    let mut frontends: Vec<Frontend> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [verb @ ("-A" | "-a"), kind @ ("-t" | "-u"), server, ..] = words[..] else { continue };
        let Some((address, port)) = end(server) else { continue };
        let protocol = if kind == "-t" { "TCP" } else { "UDP" };
        if verb == "-A" {
            let to = To::Endpoints(Endpoints::default());
            frontends.push(Frontend {
                address: Some(address),
                port,
                protocol: protocol.to_owned(),
                to,
            });
            continue;
        }
        let real =
            words.iter().position(|word| *word == "-r").and_then(|at| end(words.get(at + 1)?));
        let last = frontends
            .iter_mut()
            .find(|it| it.address == Some(address) && it.port == port && it.protocol == protocol);
        if let (Some((address, port)), Some(Frontend { to: To::Endpoints(to), .. })) = (real, last)
        {
            to.endpoints.push(Endpoint { address, port, share: None, hairpin: None });
        }
    }
    (!frontends.is_empty()).then_some(Proxy {
        mode: Mode::Ipvs,
        v4: None,
        frontends,
        gaps: Vec::new(),
    })
}
