# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags nethttpomithttp2 -ldflags "-s -w -X main.version=$VERSION" -o /rebootd ./cmd/rebootd

# One static binary and nothing else: no shell, no libraries. The API server's CA comes with the service account.
FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="rebootd" \
      org.opencontainers.image.description="Reboots the nodes of a Kubernetes cluster safely" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /rebootd /rebootd
# logind lets root reboot without asking polkit.
USER 0
ENTRYPOINT ["/rebootd"]
