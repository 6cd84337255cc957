//! The kinds that make Pods from a template. Only `explain` reads them.

use std::ops::Range;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;
use serde_json::Value;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static DEPLOYMENT: KindDescriptor = KindDescriptor {
    // The cluster's DNS server is a Deployment, and `explain` reads more of it than its template.
    store: |object, objects| {
        if object.namespace == "kube-system" {
            store_as::<Deployment>(object, objects)?;
        }
        store_as::<Workload>(object, objects)
    },
    ..workload("Deployment", "deployments", APPS)
};
pub static STATEFUL_SET: KindDescriptor = workload("StatefulSet", "statefulsets", APPS);
pub static DAEMON_SET: KindDescriptor = workload("DaemonSet", "daemonsets", APPS);
pub static REPLICA_SET: KindDescriptor = workload("ReplicaSet", "replicasets", APPS);
pub static REPLICATION_CONTROLLER: KindDescriptor =
    workload("ReplicationController", "replicationcontrollers", &[Version::new("v1")]);
pub static JOB: KindDescriptor = workload("Job", "jobs", BATCH);
pub static CRON_JOB: KindDescriptor = workload("CronJob", "cronjobs", BATCH);

pub static ROLLOUT: KindDescriptor =
    workload("Rollout", "rollouts", &[Version::new("argoproj.io/v1alpha1")]);
pub static DEPLOYMENT_CONFIG: KindDescriptor =
    workload("DeploymentConfig", "deploymentconfigs", &[Version::new("apps.openshift.io/v1")]);
pub static CLONE_SET: KindDescriptor =
    workload("CloneSet", "clonesets", &[Version::new("apps.kruise.io/v1alpha1")]);

const APPS: &[Version] = &[
    Version::new("apps/v1"),
    Version::new("apps/v1beta2"),
    Version::new("apps/v1beta1"),
    Version::new("extensions/v1beta1"),
];
const BATCH: &[Version] = &[Version::new("batch/v1"), Version::new("batch/v1beta1")];

const fn workload(
    name: &'static str,
    plural: &'static str,
    versions: &'static [Version],
) -> KindDescriptor {
    KindDescriptor {
        name,
        plural,
        scope: Scope::Namespaced,
        versions,
        dns: DnsUse::None,
        decode: decode_name,
        store: store_as::<Workload>,
    }
}

/// The fields that all of these kinds have, and some that only a few have.
#[derive(Clone, Debug, Deserialize)]
pub struct Workload {
    /// `StatefulSet`.
    pub kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WorkloadSpec,
    pub status: Option<WorkloadStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    pub conditions: Option<Vec<WorkloadCondition>>,
    /// DaemonSet.
    pub desired_number_scheduled: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkloadCondition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub message: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    /// Deployment, StatefulSet, ReplicaSet.
    pub replicas: Option<i32>,
    /// A map of labels for a ReplicationController, a `LabelSelector` for the others.
    pub selector: Option<Value>,
    pub template: Option<PodTemplateSpec>,
    /// CronJob.
    pub job_template: Option<JobTemplate>,
    /// StatefulSet.
    pub service_name: Option<String>,
    /// StatefulSet.
    pub ordinals: Option<Ordinals>,
}

/// The numbers in the names of a StatefulSet's Pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    pub start: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobTemplate {
    pub spec: JobTemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobTemplateSpec {
    pub template: Option<PodTemplateSpec>,
}

impl Workload {
    /// The template of its Pods.
    pub fn template(&self) -> Option<&PodTemplateSpec> {
        let of_job = self.spec.job_template.as_ref().and_then(|it| it.spec.template.as_ref());
        self.spec.template.as_ref().or(of_job)
    }

    /// How many Pods it should have; 1 if the kind has no such field.
    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// The numbers in the names of a StatefulSet's Pods.
    pub fn ordinals(&self) -> Range<i32> {
        let start = self.spec.ordinals.as_ref().map_or(0, |it| it.start);
        start..start.saturating_add(self.replicas())
    }

    /// Why the controller cannot create Pods, if it says so: the condition `ReplicaFailure`.
    pub fn failure(&self) -> Option<&str> {
        let conditions = self.status.as_ref()?.conditions.as_deref()?;
        let failed =
            conditions.iter().find(|it| it.kind == "ReplicaFailure" && it.status == "True");
        failed?.message.as_deref()
    }

    /// Whether it is a DaemonSet, and no node fits its Pods.
    pub fn fits_no_node(&self) -> bool {
        let desired = self.status.as_ref().and_then(|it| it.desired_number_scheduled);
        self.kind == "DaemonSet" && desired == Some(0)
    }

    /// Whether its Pods end by themselves.
    pub fn ends(&self) -> bool {
        ["Job", "CronJob"].contains(&self.kind.as_str())
    }
}

impl k8s_openapi::Resource for Workload {
    const API_VERSION: &'static str = "apps/v1";
    const GROUP: &'static str = "apps";
    const KIND: &'static str = "Workload";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "workloads";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Workload {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
