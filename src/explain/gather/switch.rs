//! Reads the objects around the cluster's DNS server.

use crate::{
    explain::{SwitchEvidence, switch::NAMESPACE},
    source::api::ClusterConfig,
};

use super::reader::Reader;

/// # Errors
/// If the API server does not answer, or does not know the account.
pub async fn read(cluster: &ClusterConfig) -> anyhow::Result<SwitchEvidence> {
    let mut reader = Reader::open(cluster).await?;
    let mut evidence = SwitchEvidence::default();
    let core = format!("/api/v1/namespaces/{NAMESPACE}");
    let apps = format!("/apis/apps/v1/namespaces/{NAMESPACE}");
    let budgets = format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets");
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let lists = [
        (format!("{apps}/deployments"), &mut evidence.deployments),
        (format!("{apps}/daemonsets"), &mut evidence.daemon_sets),
        (format!("{core}/configmaps"), &mut evidence.config_maps),
        (format!("{core}/services"), &mut evidence.services),
        (budgets, &mut evidence.budgets),
        (format!("{rbac}/clusterroles"), &mut evidence.roles),
        (format!("{rbac}/clusterrolebindings"), &mut evidence.bindings),
    ];
    for (path, items) in lists {
        match reader.items(&path).await? {
            Ok(found) => *items = found,
            Err(why) => evidence.unread.push(format!("cannot list {path}: {why}")),
        }
    }
    Ok(evidence)
}
