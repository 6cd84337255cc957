//! Kubernetes' own DNS tests (test/e2e/network of 1.36), replayed in network namespaces: a real
//! control plane and kube-proxy, ndots in the place of CoreDNS behind `kube-dns`, and Pods whose
//! programs ask by kubelet's resolv.conf, with glibc and with musl, over UDP and TCP.
//!
//! The originals ask until the answer is right, for up to ten minutes. Here a change may take a
//! moment to show; then everything is asked once.
//!
//! Needs what `make setup lab` gets, and root. Without it the tests say what they left out; with
//! `CI=true` that is a failure.

mod clients;
mod cluster;
mod names;
mod scale;
mod searches;
mod services;
mod upstreams;
