//! Health checks: an upstream that failed is asked at intervals until it answers, whatever it
//! answers.

use std::sync::{Arc, Weak};

use crate::{
    limits,
    upstream::Group,
    wire::{Query, Question, Type},
};

use super::{Shared, tcp, udp, upstream_query};

pub(super) async fn until_healthy(shared: Weak<Shared>, group: Weak<Group>, upstream: usize) {
    loop {
        let Some(interval) = group.upgrade().map(|group| group.settings.health_check.interval)
        else {
            return;
        };
        tokio::time::sleep(interval).await;
        // A reload may have taken the group away.
        let (Some(shared), Some(group)) = (shared.upgrade(), group.upgrade()) else { return };
        let health = &group.upstream(upstream).health;
        if tokio::time::timeout(limits::PROBE_TIME, probe(&shared, &group, upstream)).await
            == Ok(true)
        {
            health.probing_ended();
            return;
        }
        health.probe_failed();
        group.upstream(upstream).metrics(&shared.metrics).count_failed_probe();
    }
}

async fn probe(shared: &Arc<Shared>, group: &Group, upstream: usize) -> bool {
    let check = &group.settings.health_check;
    let query = Query {
        recursion_desired: check.recursion_desired,
        ..Query::internal(Question::new(check.domain.clone(), Type::NS))
    };
    let asked = upstream_query(&query, false);
    let to = group.upstream(upstream);
    if group.settings.force_tcp || to.tls.is_some() {
        tcp::ask(shared, group, to, &asked).await.is_ok()
    } else {
        let strays = to.metrics(&shared.metrics).strays();
        udp::ask(to.address, group.settings.source, &asked, strays).await.is_ok()
    }
}
