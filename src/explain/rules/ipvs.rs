//! Parses `ipvsadm -Sn`: a line for each virtual server, and one for each real server behind it.

use super::{Endpoint, Endpoints, Frontend, FrontendTarget, Mode, ProxyRules, endpoint_address};

pub(super) fn read(text: &str) -> Option<ProxyRules> {
    let mut frontends: Vec<Frontend> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [verb @ ("-A" | "-a"), kind @ ("-t" | "-u"), server, ..] = words[..] else { continue };
        let Some((address, port)) = endpoint_address(server) else { continue };
        let protocol = if kind == "-t" { "TCP" } else { "UDP" };
        if verb == "-A" {
            let to = FrontendTarget::Endpoints(Endpoints::default());
            frontends.push(Frontend {
                address: Some(address),
                port,
                protocol: protocol.to_owned(),
                to,
            });
            continue;
        }
        let real = words
            .iter()
            .position(|word| *word == "-r")
            .and_then(|at| endpoint_address(words.get(at + 1)?));
        let last = frontends
            .iter_mut()
            .find(|it| it.address == Some(address) && it.port == port && it.protocol == protocol);
        if let (Some((address, port)), Some(Frontend { to: FrontendTarget::Endpoints(to), .. })) =
            (real, last)
        {
            to.endpoints.push(Endpoint { address, port, share: None, hairpin: None });
        }
    }
    (!frontends.is_empty()).then_some(ProxyRules {
        mode: Mode::Ipvs,
        v4: None,
        frontends,
        gaps: Vec::new(),
    })
}
