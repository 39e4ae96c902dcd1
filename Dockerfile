# A static binary, run as nobody. The configuration is mounted at /etc/coexist, data at /var/lib/coexist.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/ ./cmd/coexist ./cmd/fakemta ./cmd/smtpdialog && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/coexist /out/fakemta /out/smtpdialog /usr/bin/
COPY --from=build --chown=65534:65534 /out/data /var/lib/coexist
USER 65534:65534
VOLUME /var/lib/coexist
EXPOSE 2525 8025
HEALTHCHECK --interval=10s --timeout=3s CMD ["/usr/bin/coexist", "check", "--running", "--config", "/etc/coexist/coexist.toml"]
ENTRYPOINT ["/usr/bin/coexist"]
CMD ["serve", "--config", "/etc/coexist/coexist.toml"]
