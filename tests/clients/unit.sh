#!/usr/bin/env bash
# conf/mrhsm-serve.service: systemd accepts every line, and rates what it leaves the server.
. "$(dirname "$0")/../../scripts/lib.sh"

apt_need systemd-analyze systemd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unit=$work/mrhsm-serve.service
# The command where it is built; there need be no man page.
sed -e "s|^ExecStart=/usr/bin/mrhsm|ExecStart=$target/debug/mrhsm|" -e '/^Documentation=/d' "$root/conf/mrhsm-serve.service" >"$unit"

passed=0 failed=0
check() { if "${@:2}" >"$work/out" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); say "FAILED: $1"; cat "$work/out"; fi; }
silent() { "$@" >"$work/said" 2>&1 && [ ! -s "$work/said" ] || { cat "$work/said"; return 1; }; }
check "systemd accepts the unit without a word" silent systemd-analyze verify --man=no --recursive-errors=no "$unit"
# 0 is the safest; a service without any protection has 9.6.
check "its exposure is below 2.0" systemd-analyze security --offline=true --threshold=20 "$unit"
say "$passed passed, $failed failed"
[ $failed = 0 ]
