# A static binary on an empty image. It runs as the user nobody (65534).
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ongair-gateway ./cmd/ongair-gateway \
    && mkdir -m 0700 /out/data

FROM scratch
# The gateway calls Ongair over HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ongair-gateway /ongair-gateway
COPY --from=build --chown=65534:65534 /out/data /data
USER 65534:65534
VOLUME /data
# All ports listen on every address, because clients are outside the container.
# The gateway therefore requires ONGAIR_GATEWAY_API_KEY, or callers in a config file.
# Do not publish the admin port, 9091: it is for the orchestrator's probes.
ENV ONGAIR_GATEWAY_DATA_DIR=/data \
    ONGAIR_GATEWAY_GRPC_ADDR=:9090 \
    ONGAIR_GATEWAY_HTTP_ADDR=:8080 \
    ONGAIR_GATEWAY_WEBHOOK_ADDR=:8081 \
    ONGAIR_GATEWAY_ADMIN_ADDR=:9091
EXPOSE 9090 8080 8081
ENTRYPOINT ["/ongair-gateway"]
CMD ["serve"]
