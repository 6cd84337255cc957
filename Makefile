# The commands of ndots. `make` prints them.

CARGO := cargo
FUZZ_VERSION := 0.13.2
FUZZ_SECONDS := 60
FUZZ_TARGETS := query encode_fits corefile index_equals_rebuild upstream_reply template zone_file zone_update \
  doh_request api_page kubeconfig explain_objects
COREDNS_VERSION := v1.15.0
HELM_VERSION := v3.18.6
MDBOOK_VERSION := 0.5.4
ARCH := $(subst aarch64,arm64,$(subst x86_64,amd64,$(shell uname -m)))
IMAGE := ndots/coredns:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
IMAGE_ARCHIVE := target/image/ndots.tar

.PHONY: help run setup test checks lint lab diff bench fuzz soak audit image dist reproduce docs fresh

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve examples/cafe on 127.0.0.1:1053
	$(CARGO) run -- serve --manifests examples/cafe

setup: ## install the programs that the tests need (Debian packages as root, cargo-deny)
	@scripts/setup table test lab
	@scripts/setup install test lab

# The Go and Rust builds run at the same time, because both have long parts that use one core only.
# Lines that begin with "== " name the phase that begins; `make fresh` takes its times from them.
test: ## must pass before a commit: lint, pure build, documentation, licences, all tests
	@echo "== setup"
	@scripts/setup install test lab
	@echo "== lint, other checks and builds"
	@$(MAKE) --no-print-directory lab & lab=$$!; \
	  $(MAKE) --no-print-directory checks; checks=$$?; \
	  wait $$lab && [ $$checks = 0 ]
	@echo "== tests"
	$(CARGO) test --locked
	@echo "== end"
	@scripts/setup missing test lab

checks: lint
	$(CARGO) check --locked --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@# cargo deny needs the crates of all platforms, also those that no build here uses.
	$(CARGO) fetch --locked
	@! $(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) deny --offline check bans licenses sources
	$(CARGO) test --locked --no-run

lint: ## check the formatting, and run clippy with the rules of clippy.toml
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

lab: ## build a control plane, CoreDNS and Helm for the tests (Go; once, about 17 minutes)
	@scripts/setup install lab
	@scripts/lab $(COREDNS_VERSION) $(HELM_VERSION)

diff: lab ## compare ndots with CoreDNS on one control plane (minutes)
	$(CARGO) test --locked --test it -- diff:: consistency:: small::small alike:: --include-ignored \
	  --nocapture --test-threads=1

bench: lab ## measure CPU time and memory beside CoreDNS (NDOTS_BENCH_SNAPSHOT: a large cluster)
	@scripts/setup install bench
	$(CARGO) bench --locked --bench compare

fuzz: ## run each fuzz target for FUZZ_SECONDS (nightly toolchain, cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || \
	  $(CARGO) install cargo-fuzz --locked --version $(FUZZ_VERSION)
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p target/fuzz-new/$$target; \
	  $(CARGO) +nightly fuzz run --fuzz-dir fuzz $$target target/fuzz-new/$$target \
	    fuzz/corpora/$$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

soak: ## reload 1,000 times, forward 10,000 names, attack ndots and CoreDNS, draw a page
	@scripts/setup install soak
	$(CARGO) test --locked --test it -- explain_page:: --ignored
	NDOTS_RELOADS=1000 $(CARGO) test --locked --test it -- reload:: --nocapture
	$(CARGO) test --locked --test it -- forwarding:: --ignored --nocapture --test-threads=1
	$(CARGO) build --locked --release
	NDOTS_PROGRAM=$(CURDIR)/target/release/ndots $(CARGO) test --locked --test it -- hostile:: \
	  --include-ignored --nocapture --test-threads=1

audit: ## check the dependencies against the advisory database of RustSec (needs the network)
	$(CARGO) deny check advisories

image: ## build the container image and test it in a container (as root)
	@scripts/setup install test image
	scripts/image-root $(ARCH) target/image/root
	scripts/image $(IMAGE) $(IMAGE_ARCHIVE)
	NDOTS_IMAGE=$(CURDIR)/$(IMAGE_ARCHIVE) $(CARGO) test --locked --test it -- image:: \
	  --include-ignored --nocapture

dist: ## build what a release consists of, into target/dist (as root)
	@scripts/setup install image
	@scripts/dist

reproduce: ## build the release twice and compare the octets (two release builds)
	@scripts/reproduce

docs: ## build the site of the documentation into target/book (mdbook)
	@command -v mdbook >/dev/null || $(CARGO) install mdbook --locked --version $(MDBOOK_VERSION)
	mdbook build

fresh: ## run README's commands in a fresh clone with empty caches (about 20 minutes)
	@scripts/fresh
