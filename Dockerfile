# Builds the image from source: `docker build .`, or for both architectures
# `docker buildx build --platform linux/amd64,linux/arm64 .`. The compiler runs on the builder's own
# architecture and cross-compiles, so nothing is emulated. `make image` packs the last stage without
# a registry.

ARG RUST=1.95.0

FROM --platform=$BUILDPLATFORM rust:${RUST}-bookworm AS build
ARG TARGETARCH
# Use the toolchain of the image: rust-toolchain.toml would install clippy and rustfmt, too.
ARG RUST
ENV RUSTUP_TOOLCHAIN=${RUST}
WORKDIR /ndots
COPY scripts/cross scripts/machine scripts/
RUN scripts/cross "$TARGETARCH"
COPY . .
RUN scripts/image-root "$TARGETARCH" target/image/root

# The image has no shell and no libc. It has the certificate authorities that Debian trusts, for
# upstreams over TLS.
FROM scratch
COPY --from=build /ndots/target/image/root/ /
LABEL org.opencontainers.image.title="ndots" \
      org.opencontainers.image.description="\
A Kubernetes cluster's DNS server that takes the place of CoreDNS" \
      org.opencontainers.image.licenses="Apache-2.0"
# kubelet refuses a user name if runAsNonRoot is set, so this is a number. The binary's file
# capability lets it bind port 53.
USER 65532:65532
WORKDIR /
EXPOSE 53 53/udp
ENTRYPOINT ["/coredns"]
