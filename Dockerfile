# The operator's image: one static binary and the authorities it trusts.
FROM rust:1.95.0-alpine AS build
# A C compiler for aws-lc, and the certificate authorities for AWS's endpoints.
RUN apk add --no-cache build-base ca-certificates cmake
# The image's own toolchain, whatever rust-toolchain.toml adds for people.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package testkit --bin testkit-operator

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/testkit-operator /testkit-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/testkit-operator"]
