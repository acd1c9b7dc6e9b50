# For those who have Docker; `make images` makes the same without it.
#   make build && docker build -f install/images/ca.Dockerfile -t weft/ca:VERSION .
FROM scratch
COPY bin/ca /usr/local/bin/ca
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/ca"]
