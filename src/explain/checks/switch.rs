//! Checks of `ndots check --cluster`, beside those that it shares with `ndots explain`.

use super::{Check, checks, fact};

checks! {
    SWITCH_DEPLOYMENT_NONE = fact("deployment.none", "There is no Deployment of the DNS server");
    SWITCH_DEPLOYMENT_TWO = fact("deployment.two", "There are two Deployments of the DNS server");
    SWITCH_DEPLOYMENT_RECONCILED = fact("deployment.reconciled", "The platform writes its own image again");
    SWITCH_DEPLOYMENT_MANAGED = fact("deployment.managed", "Another program manages the Deployment");
    SWITCH_DEPLOYMENT_PAUSED = fact("deployment.paused", "The rollout is paused");
    SWITCH_STRATEGY_RECREATE = fact("strategy.recreate", "Every server stops before a new one starts");
    SWITCH_CONTAINER_NAME = fact("container.name", "No container is named coredns");
    SWITCH_CONTAINER_COMMAND = fact("container.command", "The command is not in the image of ndots");
    SWITCH_CONTAINER_ARGS = fact("container.args", "ndots does not have a flag of the container");
    SWITCH_CONTAINER_EXEC = fact("container.exec", "A hook or a probe runs a program that the image does not have");
    SWITCH_IMAGE_NOW = fact("image.now", "The current image");
    SWITCH_IMAGE_TAG = fact("image.tag", "The tag of the image is not a version, which kubeadm needs");
    SWITCH_KUBEADM_IMAGE = fact("kubeadm.image", "kubeadm would write CoreDNS's image again");
    SWITCH_PROBE_PORT = fact("probe.port", "A probe names a port that the container does not have");
    SWITCH_PROBE_PAGE = fact("probe.page", "A probe requests a page that no plugin serves");
    SWITCH_CAPABILITY_PORT = fact("capability.port", "The server may not listen on its port");
    SWITCH_SERVICE_SELECTOR = fact("service.selector", "The DNS Service does not select the Deployment's Pods");
    SWITCH_BUDGET_TWO = fact("budget.two", "Two disruption budgets select the Pods");
    SWITCH_BUDGET_BLOCKS = fact("budget.blocks", "A disruption budget allows no eviction");
    SWITCH_NODE_LOCAL = fact("node-local.front", "NodeLocal DNSCache is in front of the server");
}
