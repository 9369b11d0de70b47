#!/usr/bin/env bash
# What the tests need beyond Go, make and gcc, from Debian's packages. Prometheus
# is only unpacked, into bin/: its package would start a service.
set -euo pipefail
cd "$(dirname "$0")/.."
install=() unpack=()
command -v dbus-daemon >/dev/null || install+=(dbus)
command -v busybox >/dev/null || install+=(busybox)
command -v tmux >/dev/null || install+=(tmux)
command -v mmdebstrap >/dev/null || install+=(mmdebstrap)
# Chromium looks at the HTML report: the one without a window is the smallest, 100 MB to load.
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || install+=(chromium-headless-shell)
{ [ -x bin/promtool ] && [ -x bin/prometheus ]; } || unpack+=(prometheus)
[ ${#install[@]} -eq 0 ] && [ ${#unpack[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && [ ${#install[@]} -gt 0 ]; }; then
	echo "the tests need Debian's packages ${install[*]} ${unpack[*]}" >&2
	exit 1
fi
[ "$(id -u)" != 0 ] || apt-get update -qq
if [ ${#install[@]} -gt 0 ]; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${install[@]}" >/dev/null
fi
if [ ${#unpack[@]} -gt 0 ]; then
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && chmod 755 . && apt-get download -qq "${unpack[@]}" 2>/dev/null && dpkg -x prometheus_*.deb .)
	mkdir -p bin
	cp "$tmp/usr/bin/promtool" "$tmp/usr/bin/prometheus" bin/
fi
