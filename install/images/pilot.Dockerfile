# For those who have Docker; `make images` makes the same without it.
#   make build && docker build -f install/images/pilot.Dockerfile -t weft/pilot:VERSION .
FROM scratch
COPY bin/pilot /usr/local/bin/pilot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/pilot"]
