#!/usr/bin/env bash
# PyKMIP's client library on `mrhsm serve`: every call that it has, in every version that it speaks.
. "$(dirname "$0")/../../scripts/lib.sh"

need_pykmip
mrhsm=$target/debug/mrhsm
[ -e "$mrhsm" ] || die "$mrhsm is missing: cargo build"
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

"$mrhsm" serve -listen 127.0.0.1:0 -dir "$work/kms" >"$work/out" 2>"$work/err" </dev/null &
server=$!
for _ in $(seq 100); do
  grep -q '^Listening on' "$work/out" && break
  kill -0 $server 2>/dev/null || die "mrhsm serve did not start: $(cat "$work/err")"
  sleep 0.1
done
"$mrhsm" certs -dir "$work/kms" -name stranger >/dev/null 2>&1
"$venv/bin/python" "$root/tests/clients/pykmip-client.py" "$(sed -n 's/^Listening on .*://p' "$work/out")" "$work/kms"
