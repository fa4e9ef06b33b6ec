# syntax=docker/dockerfile:1
# An image for each program, with nothing in it but the program and the certificates of public authorities:
#
#   docker build --target operator -t hookswitch-operator:0.1.0 .
#   docker build --target receiver -t hookswitch-receiver:0.1.0 .
#   docker build --target cli      -t hookswitch:0.1.0 .
#
# All three share the build. `.ci/static` does what the build does without a container engine, and runs the
# programs as the images would.

# Rust's own target on Alpine is musl, which links statically. SQLite, ring and Zstandard are C: its compiler
# is in the image.
FROM rust:1.95-alpine AS build
WORKDIR /src
COPY . .
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=hookswitch-target-$TARGETARCH,sharing=locked \
    cargo build --locked --release -p hookswitch-operator -p hookswitch-receiver -p hookswitch-cli --bins \
 && mkdir /out \
 && cp target/release/hookswitch-operator target/release/hookswitch-receiver target/release/hookswitch /out/

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE /LICENSE
# By number: there is no /etc/passwd, and Kubernetes' runAsNonRoot wants a number.
USER 65532:65532
LABEL org.opencontainers.image.licenses=Apache-2.0

FROM base AS operator
COPY --from=build /out/hookswitch-operator /hookswitch-operator
EXPOSE 9090
ENTRYPOINT ["/hookswitch-operator"]

FROM base AS receiver
COPY --from=build /out/hookswitch-receiver /hookswitch-receiver
EXPOSE 8080 8443 9090
ENTRYPOINT ["/hookswitch-receiver"]

# The user's tool, and everything on one machine: docker run -v ./conf:/conf -v hookswitch:/data hookswitch
# run -f /conf --data /data --listen 0.0.0.0:8080. The volume must be writable for 65532.
FROM base AS cli
COPY --from=build /out/hookswitch /hookswitch
EXPOSE 8080 9090
ENTRYPOINT ["/hookswitch"]
