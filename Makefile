# The commands of ndots. `make` prints them.

CARGO := cargo
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
FUZZ_SECONDS := 60
COREDNS_VERSION := v1.15.0
ARCH := $(subst aarch64,arm64,$(subst x86_64,amd64,$(shell uname -m)))
IMAGE := ndots/coredns:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

.PHONY: help run test lint lab diff bench fuzz soak image tools

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve examples/cafe on 127.0.0.1:1053
	$(CARGO) run -- serve --manifests examples/cafe

test: tools lint lab ## everything that must hold: lints, the pure build, documentation, licences, all tests
	$(CARGO) check --locked --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(CARGO) fetch --locked
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	elif [ "$$CI" = true ]; then echo "cargo-deny is not here" >&2; exit 1; else echo "LEFT OUT: cargo deny (not installed)"; fi
	$(CARGO) test --locked

lint: ## formatting and clippy, with the bans of clippy.toml
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

tools: ## install what the tests use: Debian packages (as root) and cargo-deny
	@scripts/tools $(DENY_VERSION)

bench: lab ## ndots beside CoreDNS and an echoing socket: CPU time a query, memory, first answer (NDOTS_BENCH_SNAPSHOT: a large cluster)
	@scripts/packages dnsperf:dnsperf zstd:zstd etcdctl:etcd-client taskset:util-linux
	$(CARGO) bench --locked --bench compare

fuzz: ## every fuzz target for FUZZ_SECONDS (nightly toolchain and cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked --version $(FUZZ_VERSION)
	@mkdir -p target/fuzz-new
	for target in query encode_fits corefile index_equals_rebuild; do mkdir -p target/fuzz-new/$$target; \
	  $(CARGO) +nightly fuzz run --fuzz-dir fuzz $$target target/fuzz-new/$$target fuzz/corpora/$$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

diff: lab ## CoreDNS and ndots on one control plane, asked the same: minutes
	$(CARGO) test --locked --test diff --test consistency -- --include-ignored --nocapture --test-threads=1

lab: ## build the lab, once: a real control plane and CoreDNS to compare with (Go)
	@scripts/packages iptables:iptables nft:nftables conntrack:conntrack curl:curl
	@scripts/lab $(COREDNS_VERSION)

soak: ## minutes of load: 1,000 reloads
	NDOTS_RELOADS=1000 $(CARGO) test --locked --test reload -- --nocapture

image: ## a container image, target/image/ndots.tar, run as kubeadm runs CoreDNS (as root)
	@scripts/packages setcap:libcap2-bin update-ca-certificates:ca-certificates buildah:buildah crun:crun dig:bind9-dnsutils ip:iproute2 dnsmasq:dnsmasq-base curl:curl
	scripts/image-root $(ARCH) target/image/root
	scripts/image $(IMAGE) target/image/ndots.tar
	NDOTS_IMAGE=$(CURDIR)/target/image/ndots.tar $(CARGO) test --locked --test image -- --nocapture
