# The binary, the libraries it is linked to, certificates, and nothing else: no shell, no package manager.
# Read-only root: only /data is written. `tests/dockerfile` replays these steps without a container engine.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin bursar
# The final image is put together here, where there are tools to do so.
RUN mkdir -p /rootfs/usr/local/bin /rootfs/etc/ssl/certs /rootfs/etc/bursar /rootfs/data /rootfs/tmp \
 && cp target/release/bursar /rootfs/usr/local/bin/ \
 && ldd target/release/bursar | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /rootfs/ \
 && cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ \
 && echo 'bursar:x:65532:65532::/data:/none' > /rootfs/etc/passwd \
 && echo 'bursar:x:65532:' > /rootfs/etc/group \
 && chown 65532:65532 /rootfs/data && chmod 700 /rootfs/data && chmod 1777 /rootfs/tmp

FROM scratch
COPY --from=build /rootfs /
USER 65532:65532
WORKDIR /data
VOLUME /data
# Agents; and metrics, probes and administration. Both are what /etc/bursar/bursar.toml says.
EXPOSE 7070 7071
ENTRYPOINT ["/usr/local/bin/bursar"]
CMD ["serve", "--config", "/etc/bursar/bursar.toml"]
