# shellcheck shell=bash
# Shared by the client tests: a PyKMIP server and a token of their own, checks that count. Sourced, never run.
#
#   tests/clients/NAME.sh              on this module (built by scripts/test: target/debug) and PyKMIP
#   tests/clients/NAME.sh reference    the same on SoftHSM2, to tell a fault of ours from a habit of the client

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

work=$(mktemp -d)
passed=0 failed=0
pin=98765432 so_pin=12345678 label=clients
export HOME=$work XDG_CONFIG_HOME=$work/.config

# Whatever happens, the server ends, and the last line says how many checks there were; a script that dies has failed.
finish() {
  local status=$?
  "$root/scripts/pykmip" stop "$work/server"
  rm -rf "$work"
  if [ $status != 0 ]; then say "FAILED ${0##*/} stopped with exit code $status"; failed=$((failed + 1)); fi
  say "$passed passed, $failed failed"
  [ $failed = 0 ] && [ $passed -gt 0 ] || exit 1
}
trap finish EXIT
trap 'exit 130' INT TERM

# check SENTENCE COMMAND...: the command succeeds. refuse SENTENCE COMMAND...: it fails, and not by a signal.
check() { judge "$1" succeed "${@:2}"; }
refuse() { judge "$1" fail "${@:2}"; }
judge() {
  local sentence=$1 expected=$2 status=0; shift 2
  "$@" >"$work/output" 2>&1 </dev/null || status=$?
  if { [ "$expected" = succeed ] && [ $status = 0 ]; } || { [ "$expected" = fail ] && [ $status != 0 ] && [ $status -lt 124 ]; }; then
    passed=$((passed + 1))
    say "ok     $sentence"
  else
    failed=$((failed + 1))
    say "FAILED $sentence (exit code $status, should $expected): $*"
    sed 's/^/         /' "$work/output"
  fi
}

# prints PATTERN COMMAND...: the command succeeds and prints a line that matches.
prints() { "${@:2}" >"$work/printed" 2>&1 || { cat "$work/printed"; return 1; }; cat "$work/printed"; grep -qE -- "$1" "$work/printed"; }
# silent_about PATTERN COMMAND...: the command succeeds and prints no such line.
silent_about() { "${@:2}" >"$work/printed" 2>&1 || { cat "$work/printed"; return 1; }; cat "$work/printed"; ! grep -qE -- "$1" "$work/printed"; }

if [ "${1:-}" = reference ]; then
  module=/usr/lib/softhsm/libsofthsm2.so
  mkdir "$work/tokens"
  export SOFTHSM2_CONF=$work/softhsm2.conf
  say "directories.tokendir = $work/tokens" >"$SOFTHSM2_CONF"
  softhsm2-util --init-token --free --label $label --so-pin $so_pin --pin $pin >/dev/null
else
  module=$target/debug/libmrhsm_pkcs11.so mrhsm=$target/debug/mrhsm
  [ -e "$module" ] || die "$module is missing: cargo build"
  "$root/scripts/pykmip" start "$work/server" >/dev/null
  export MRHSM_TOKEN_DIR=$work/tokens
  so_pin=$so_pin pin=$pin "$mrhsm" init -label $label -sopin env:so_pin -userpin env:pin -ip localhost -port "$(cat "$work/server/port")" \
    -cacert "$work/server/certs/ca.pem" -clientcert "$work/server/certs/client.pem" -clientkey "$work/server/certs/client.key" >"$work/output" 2>&1 || { cat "$work/output"; exit 1; }
fi
cd "$work"
