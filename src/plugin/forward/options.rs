//! The options of `forward`.

use std::{net::IpAddr, time::Duration};

use crate::{
    corefile::{Arguments, Token},
    upstream::HttpMethod,
    wire::Rcode,
};

use super::{
    super::{
        OptionSpec, OptionTable, ScopedAddress,
        upstreams::{read_policy, read_server_name},
    },
    ForwardSettings, targets,
};

pub(super) static OPTIONS: OptionTable<ForwardSettings> = OptionTable(&[
    OptionSpec::repeated(
        "except",
        "ZONE…",
        "Passes names in these zones to the next plugin.",
        |forward, option| forward.names.read_except(option),
    ),
    OptionSpec::new("force_tcp", "", "Queries upstreams over TCP only.", |forward, _| {
        forward.settings.force_tcp = true;
    }),
    OptionSpec::new(
        "prefer_udp",
        "",
        "Has no effect: without `force_tcp`, plain upstreams are queried over UDP first, except those that do not reply over UDP.",
        |forward, _| forward.settings.prefer_udp = true,
    ),
    OptionSpec::new(
        "expire",
        "DURATION",
        "Closes an upstream connection after it was idle for this long; the default is 10s.",
        |forward, option| {
            let expire = option.duration("expire");
            forward.settings.expire = expire.unwrap_or(forward.settings.expire);
        },
    ),
    OptionSpec::new(
        "max_age",
        "DURATION",
        "Closes an upstream connection at this age; 0 sets no limit.",
        |forward, option| {
            forward.settings.max_age = option.duration("max_age").filter(|age| !age.is_zero());
        },
    ),
    OptionSpec::new(
        "max_idle_conns",
        "NUMBER",
        "Limits the idle connections to an upstream; the default and the maximum are 16, also for 0.",
        |forward, option| {
            let most = option.number("max_idle_conns", 0, u32::MAX).filter(|most| *most > 0);
            forward.settings.max_idle = most.map(|most| most as usize);
        },
    ),
    OptionSpec::new(
        "read_timeout",
        "DURATION",
        "A query without a reply is sent again after this time at the latest. If all upstreams are down, it fails after this time. A later reply is still used. The default is 2s.",
        |forward, option| {
            let timeout =
                option.duration_between("the timeout", Duration::from_nanos(1), Duration::MAX);
            forward.settings.read_timeout = timeout.unwrap_or(forward.settings.read_timeout);
        },
    ),
    OptionSpec::new(
        "max_fails",
        "NUMBER",
        "Skips an upstream after more than this number of failed health checks in a row; 0 never skips one. The default is 2.",
        |forward, option| {
            let fails = option.number("max_fails", 0, u32::MAX);
            forward.settings.max_fails = fails.unwrap_or(forward.settings.max_fails);
        },
    ),
    OptionSpec::new(
        "max_connect_attempts",
        "NUMBER",
        "Limits how many times a query is sent to the next upstream; with 0, only time limits it. The default is twice the number of upstreams, and at least 3.",
        |forward, option| {
            forward.settings.max_attempts = option.number("max_connect_attempts", 0, u32::MAX);
        },
    ),
    OptionSpec::new(
        "tls",
        "[CERT KEY] [CA]",
        "Sets the client certificate and the authority for encrypted upstreams.",
        |forward, option| forward.tls = forward.root.read_upstream_tls(option),
    ),
    OptionSpec::new(
        "tls_servername",
        "NAME",
        "Sets the name that the certificates of upstreams must have.",
        |forward, option| read_server_name(&mut forward.server_name, option),
    ),
    OptionSpec::new(
        "policy",
        "random|round_robin|sequential",
        "Sets the order in which upstreams are tried; the default is random.",
        |forward, option| read_policy(&mut forward.settings.policy, option),
    ),
    OptionSpec::new(
        "health_check",
        "DURATION [no_rec] [domain NAME]",
        "Sets the interval, flags and name of health checks; the default is 0.5s.",
        read_health_check,
    ),
    OptionSpec::new(
        "max_concurrent",
        "NUMBER",
        "Answers REFUSED while this number of queries waits for upstreams; 0 sets no limit.",
        |forward, option| {
            let most = option.number("max_concurrent", 0, u32::MAX);
            forward.settings.max_concurrent = most.filter(|most| *most > 0);
        },
    ),
    OptionSpec::repeated(
        "next",
        "RCODE…",
        "Tries the next `forward` line if a reply has one of these codes.",
        |forward, option| {
            let rcodes = read_rcodes(option);
            forward.next.extend(rcodes.into_iter().map(|(_, rcode)| rcode));
        },
    ),
    OptionSpec::new(
        "next_on_nodata",
        "",
        "Tries the next `forward` line if a reply has the code NOERROR and no records in its answer section.",
        |forward, _| forward.next_on_nodata = true,
    ),
    OptionSpec::repeated(
        "failover",
        "RCODE…",
        "Tries the next upstream if a reply has one of these codes; SERVFAIL, REFUSED, NOTIMP and FORMERR always count.",
        read_failover,
    ),
    OptionSpec::new(
        "failfast_all_unhealthy_upstreams",
        "",
        "Fails at once while all upstreams are unhealthy.",
        |forward, _| forward.settings.failfast = true,
    ),
    OptionSpec::new(
        "source_address",
        "ADDRESS[%INTERFACE]",
        "Sends queries from this address.",
        |forward, option| {
            let Some(token) = option.required("the source address") else { return };
            // An address has no port here.
            let is_address = token.text.split('%').next().is_some_and(is_ip);
            forward.source = ScopedAddress::parse(&token.text, 0).filter(|_| is_address);
            if forward.source.is_none() {
                let message = format!("the source address is not an IP address: {}", token.text);
                option
                    .error(token.span, &message)
                    .help("such as `10.0.0.10`, `fd00::10` or `fe80::10%eth0`");
            }
        },
    ),
    OptionSpec::new(
        "resolver",
        "ADDRESS…",
        "Resolves upstream host names with these servers.",
        read_resolver,
    ),
    OptionSpec::new(
        "use_caps_for_id",
        "",
        "Sends queries over UDP in random letter case, which a forger must guess.",
        |forward, _| forward.settings.random_case = true,
    ),
    OptionSpec::new(
        "doh_method",
        "POST|GET",
        "Sets the method of queries to upstreams over HTTPS; the default is POST.",
        |forward, option| {
            let methods = [("POST", HttpMethod::Post), ("GET", HttpMethod::Get)];
            forward.http_method = option.one_of("doh_method", &methods);
        },
    ),
]);

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn read_health_check(forward: &mut ForwardSettings, option: &mut Arguments<'_>) {
    let check = &mut forward.settings.health_check;
    check.interval = option.duration("the interval").unwrap_or(check.interval);
    while let Some(token) = option.optional() {
        match &*token.text {
            "no_rec" => check.recursion_desired = false,
            "domain" => match option.required("a domain").map(|domain| domain.text.parse()) {
                Some(Ok(domain)) => check.domain = domain,
                Some(Err(reason)) => {
                    option.error(token.span, &format!("the domain is not a name: {reason}"));
                }
                None => {}
            },
            other => {
                option
                    .error(token.span, &format!("health_check: unknown option {other}"))
                    .help("valid options: no_rec, domain");
            }
        }
    }
}

fn read_failover(forward: &mut ForwardSettings, option: &mut Arguments<'_>) {
    for (token, rcode) in read_rcodes(option) {
        if rcode == Rcode::NOERROR {
            option.error(token.span, "failover: NOERROR is not a failure");
        } else {
            forward.settings.failover.push(rcode);
        }
    }
}

fn read_resolver(forward: &mut ForwardSettings, option: &mut Arguments<'_>) {
    let Some(first) = option.required("the address of a resolver") else { return };
    forward.resolvers.clear();
    for token in [first].into_iter().chain(option.rest()) {
        // The address is used before the interfaces of this machine are known.
        match ScopedAddress::parse(&token.text, targets::DNS).filter(|read| read.zone.is_none()) {
            Some(read) => forward.resolvers.push(read.address),
            None => {
                option.error(
                    token.span,
                    &format!("resolver must be an IP address or IP:port: \"{}\"", token.text),
                );
            }
        }
    }
}

/// Reads one or more response codes by name.
fn read_rcodes<'w>(option: &mut Arguments<'w>) -> Vec<(&'w Token, Rcode)> {
    let Some(first) = option.required("a response code") else { return Vec::new() };
    let mut rcodes = Vec::new();
    for token in [first].into_iter().chain(option.rest()) {
        match token.text.parse() {
            Ok(rcode) => rcodes.push((token, rcode)),
            Err(_) => {
                let message = format!("{} is not a valid rcode", token.text);
                option.error(token.span, &message).help("such as SERVFAIL, REFUSED or NXDOMAIN");
            }
        }
    }
    rcodes
}
