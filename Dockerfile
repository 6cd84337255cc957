# The image from source: `docker build .`, or `docker buildx build --platform linux/amd64,linux/arm64 .` for both architectures: the compiler
# runs on the builder's own and crosses over, so nothing is emulated. `make image` packs the last stage without a registry.

ARG RUST=1.95.0

FROM --platform=$BUILDPLATFORM rust:${RUST}-bookworm AS build
ARG TARGETARCH
# The image's toolchain as it is: rust-toolchain.toml asks for lints, too.
ARG RUST
ENV RUSTUP_TOOLCHAIN=${RUST}
WORKDIR /ndots
COPY scripts/cross scripts/
RUN scripts/cross "$TARGETARCH"
COPY . .
RUN scripts/image-root "$TARGETARCH" target/image/root

# No shell and no libc; the world's authorities, for upstreams over TLS.
FROM scratch
COPY --from=build /ndots/target/image/root/ /
LABEL org.opencontainers.image.title="ndots" \
      org.opencontainers.image.description="A Kubernetes cluster's DNS server that takes the place of CoreDNS" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, because kubelet refuses a name where runAsNonRoot is set. The binary's file capability lets it bind port 53.
USER 65532:65532
WORKDIR /
EXPOSE 53 53/udp
ENTRYPOINT ["/coredns"]
