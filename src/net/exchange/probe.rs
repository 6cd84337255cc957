//! Health probes: an upstream that failed is queried at intervals until it replies. The content of
//! the reply does not matter.
//!
//! A probe takes the same path as queries. With an encrypted protocol or over TCP it uses the kept
//! connections. So it tests such a connection, or opens one that the next queries can use. Over UDP
//! it is one datagram, and the next probe is its retransmission. If there is no reply over UDP, the
//! probe is also sent over TCP, for an upstream that replies over TCP only.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::{Arc, Weak},
};

use futures_util::future::{Either, select};

use crate::{
    limits,
    upstream::{Group, QueryForm, Upstream},
    wire::{Query, Question, Type},
};

use super::{Shared, multiplex, send::upstream_query, sockets::over_own_port};

/// The client address whose share of the sockets probes use.
const NO_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

pub(super) async fn until_healthy(shared: Weak<Shared>, group: Weak<Group>, upstream: usize) {
    if is_up_now(&shared, &group, upstream).await {
        return;
    }
    loop {
        let Some(interval) = group.upgrade().map(|group| group.settings.health_check.interval)
        else {
            return;
        };
        tokio::time::sleep(interval).await;
        // A reload may have dropped the group.
        let (Some(shared), Some(group)) = (shared.upgrade(), group.upgrade()) else { return };
        let health = &group.upstream(upstream).health;
        if tokio::time::timeout(limits::PROBE_TIME, probe(&shared, &group, upstream)).await
            == Ok(true)
        {
            end(&shared, &group, upstream);
            return;
        }
        health.probe_failed();
        health.suspect();
        let (to, down) = (group.upstream(upstream), health.is_down(group.settings.max_fails));
        to.metrics(&shared.metrics).count_failed_probe();
        // Replies to queries count, too, so the upstream may be up again.
        show(&shared, to, down);
    }
}

/// Shows in the metrics and the log whether the upstream is down.
fn show(shared: &Shared, to: &Upstream, down: bool) {
    let metrics = to.metrics(&shared.metrics);
    let plugin = metrics.plugin();
    match (metrics.set_down(down), down) {
        (true, true) => tracing::warn!(plugin, "{} is down: it does not reply", to.address),
        (true, false) => tracing::info!(plugin, "{} replies again", to.address),
        (false, _) => {}
    }
}

/// The upstream has replied to a probe.
fn end(shared: &Shared, group: &Group, upstream: usize) {
    let to = group.upstream(upstream);
    to.health.probing_ended();
    show(shared, to, false);
}

/// The first probe, which decides fast whether a client gets a stale reply. It does not count as a
/// failed health check. It is also true if the group is gone.
async fn is_up_now(shared: &Weak<Shared>, group: &Weak<Group>, upstream: usize) -> bool {
    let (Some(shared), Some(group)) = (shared.upgrade(), group.upgrade()) else { return true };
    let health = &group.upstream(upstream).health;
    let reply = tokio::time::timeout(limits::SUSPECT_TIME, probe(&shared, &group, upstream)).await;
    if reply == Ok(true) {
        end(&shared, &group, upstream);
        return true;
    }
    health.suspect();
    false
}

async fn probe(shared: &Arc<Shared>, group: &Group, upstream: usize) -> bool {
    let check = &group.settings.health_check;
    let query = Query {
        recursion_desired: check.recursion_desired,
        ..Query::internal(Question::new(check.domain.clone(), Type::NS))
    };
    let to = group.upstream(upstream);
    let asked = upstream_query(&query, QueryForm::PLAIN, to);
    if group.settings.force_tcp || !to.protocol.has_udp() {
        multiplex::ask(shared, group, to, (&asked, NO_CLIENT)).await.is_ok()
    } else {
        let strays = to.metrics(&shared.metrics).strays();
        let udp = pin!(over_own_port(to.address, group.settings.source, &asked, strays));
        let tcp = pin!(async {
            tokio::time::sleep(limits::TCP_CLIENT_PATIENCE).await;
            multiplex::ask(shared, group, to, (&asked, NO_CLIENT)).await
        });
        match select(udp, tcp).await {
            Either::Left((Err(_), tcp)) => tcp.await.is_ok(),
            Either::Right((Err(_), udp)) => udp.await.is_ok(),
            _ => true,
        }
    }
}
