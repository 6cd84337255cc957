//! Kubernetes' own DNS tests (test/e2e/network of 1.36), replayed in network namespaces: a real
//! control plane and kube-proxy, ndots behind the Service `kube-dns`, and Pods whose
//! programs resolve names with kubelet's resolv.conf, with glibc and musl, over UDP and TCP.
//!
//! The originals repeat queries until the answer is right, for up to ten minutes. Here a test waits
//! for a change to appear, and then sends each query once.

mod clients;
mod cluster;
mod names;
mod scale;
mod searches;
mod services;
mod upstreams;
