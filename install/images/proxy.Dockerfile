# For those who have Docker; `make images` makes the same without it, with the
# glibc of the machine it runs on.
#   make build && docker build -f install/images/proxy.Dockerfile -t weft/proxy:VERSION .
FROM envoyproxy/envoy:distroless-v1.40.0 AS envoy
FROM gcr.io/distroless/base-nossl-debian12
COPY --from=envoy /usr/local/bin/envoy /usr/local/bin/envoy
COPY bin/agent bin/capture /usr/local/bin/
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/agent"]
