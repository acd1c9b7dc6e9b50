# For those who have Docker; `make images` makes the same without it.
#   make build && docker build -f install/images/bookshop.Dockerfile -t localhost/weft/bookshop:dev .
FROM scratch
COPY bin/bookshop /bin/bookshop
USER 65532:65532
ENTRYPOINT ["/bin/bookshop"]
