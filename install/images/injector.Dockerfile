# For those who have Docker; `make images` makes the same without it.
#   make build && docker build -f install/images/injector.Dockerfile -t weft/injector:VERSION .
FROM scratch
COPY bin/injector /usr/local/bin/injector
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/injector"]
