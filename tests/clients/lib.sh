# shellcheck shell=bash
# Shared by the client tests: a key manager and a token of their own, checks that count. Sourced, never run.
#
#   tests/clients/NAME.sh              on this module (built by scripts/test: target/debug) and PyKMIP
#   tests/clients/NAME.sh serve        the same on mrhsm serve
#   tests/clients/NAME.sh file         the same on a token whose keys are in its directory
#   tests/clients/NAME.sh reference    the same on SoftHSM2, to tell a fault of ours from a habit of the client

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

store=${1:-pykmip}
work=$(mktemp -d)
passed=0 failed=0 started=() # what finish has to end
pin=98765432 so_pin=12345678 label=clients
export HOME=$work XDG_CONFIG_HOME=$work/.config

# Whatever happens, the servers end, and the last line says how many checks there were; a script that dies has failed.
finish() {
  local status=$?
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  key_manager stop || true
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

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# waits PATTERN FILE [PROCESS]: until the file has such a line, for 20 s and no longer than the process lives.
waits() {
  for _ in $(seq 200); do
    grep -qE -- "$1" "$2" 2>/dev/null && return
    [ -z "${3:-}" ] || kill -0 "$3" 2>/dev/null || break
    sleep 0.1
  done
  cat "$2"
  return 1
}

# key_manager start, key_manager stop: as often as one likes, on one port and one set of keys. A token of files has none.
key_manager() {
  case $store:$1 in
    pykmip:start)
      "$root/scripts/pykmip" start "$work/server" >/dev/null
      kmip_port=$(cat server/port) ;;
    pykmip:stop) "$root/scripts/pykmip" stop "$work/server" ;;
    serve:start)
      mkdir -p server
      rm -f server/out
      # shellcheck disable=SC2086 # several options
      "$mrhsm" serve -listen "127.0.0.1:${kmip_port:-0}" -dir server/certs ${MRHSM_SERVE_OPTIONS:-} >server/out 2>server/log </dev/null &
      served=$!
      waits '^Listening on' server/out $served || { cat server/log; return 1; }
      kmip_port=$(sed -n 's/^Listening on .*://p' server/out) ;;
    serve:stop) if kill "${served:-}" 2>/dev/null; then wait "$served" || true; fi ;;
  esac
}

# engine_config INIT: openssl.cnf for Debian's PKCS#11 engine on the token, initialised when it is loaded (1) or used (0).
engine_config() {
  cat >openssl.cnf <<END
openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $module
PIN = $pin
init = $1
[req]
distinguished_name = name
[name]
END
}

cd "$work"
if [ "$store" = reference ]; then
  module=/usr/lib/softhsm/libsofthsm2.so
  mkdir "$work/tokens"
  export SOFTHSM2_CONF=$work/softhsm2.conf
  say "directories.tokendir = $work/tokens" >"$SOFTHSM2_CONF"
  softhsm2-util --init-token --free --label $label --so-pin $so_pin --pin $pin >/dev/null
else
  module=$target/debug/libmrhsm_pkcs11.so mrhsm=$target/debug/mrhsm
  [ -e "$module" ] || die "$module is missing: cargo build"
  key_manager start
  export MRHSM_TOKEN_DIR=$work/tokens
  settings=(-storetype file)
  if [ "$store" != file ]; then
    settings=(-ip localhost -port "$kmip_port" -cacert server/certs/ca.pem -clientcert server/certs/client.pem -clientkey server/certs/client.key)
  fi
  so_pin=$so_pin pin=$pin "$mrhsm" init -label $label -sopin env:so_pin -userpin env:pin "${settings[@]}" >output 2>&1 || { cat output; exit 1; }
fi
