#!/usr/bin/env bash
# The embedded server's suites on PostgreSQL, with one, two and three servers: scripts/test postgres
#
# A database of its own runs on a free port of this machine, with TLS and a password, and is removed at the end.
. "$(dirname "$0")/../../scripts/lib.sh"
cd "$root"

need_postgres
mrhsm=$target/debug/mrhsm
[ -e "$mrhsm" ] || die "$mrhsm is missing: cargo build"

work=$(mktemp -d) bin=$(postgres_bin)
# PostgreSQL refuses to run as root.
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; else "$@"; fi; }
stop() { as "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap stop EXIT

port=$("$(find_python)" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$mrhsm" certs -dir "$work/ca" -name database -san localhost,127.0.0.1 >/dev/null
printf 'the password of the database\n' >"$work/password"
chmod 755 "$work"; chmod 600 "$work/password"
mkdir "$work/data"
cp "$work/ca/database.pem" "$work/ca/database.key" "$work/ca/ca.pem" "$work/password" "$work/data" 2>/dev/null
mkdir "$work/server" && mv "$work/data/"* "$work/server"
if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$work/data" "$work/server"; fi
chmod 700 "$work/data"
quietly "initdb failed" as "$bin/initdb" -D "$work/data" -U mrhsm --pwfile "$work/server/password" -A scram-sha-256
cat >>"$work/data/postgresql.conf" <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$work/server'
ssl = on
ssl_cert_file = '$work/server/database.pem'
ssl_key_file = '$work/server/database.key'
max_connections = 300
CONF
start="'$bin/pg_ctl' -D '$work/data' -l '$work/server/log' -w"
quietly "PostgreSQL does not start: $work/server/log" as sh -c "$start start"

export PGHOST=127.0.0.1 PGPORT=$port PGUSER=mrhsm PGPASSFILE=$work/pgpass
printf '127.0.0.1:%s:*:mrhsm:the password of the database\n' "$port" >"$PGPASSFILE"
chmod 600 "$PGPASSFILE"
cp "$work/server/ca.pem" "$work/database-ca.pem"
export MRHSM_STORE_PASSWORD_FILE=$work/password
export MRHSM_TEST_PSQL=$bin/psql MRHSM_TEST_POSTGRES_PORT=$port
export MRHSM_TEST_POSTGRES="postgres://mrhsm@localhost:$port/DATABASE"
export MRHSM_TEST_POSTGRES_CA=$work/database-ca.pem
run_as=
if [ "$(id -u)" = 0 ]; then run_as='setpriv --reuid=65534 --regid=65534 --clear-groups --'; fi
export MRHSM_TEST_POSTGRES_RESTART="$run_as $start -m immediate restart >/dev/null"

suite() { cargo test --locked -p mrhsm --test postgres -- "$@"; }
# Alone: the others would lose the database.
restarts=a_database_that_restarts_is_used_again
if [ $# -gt 0 ]; then suite "$@"; exit; fi
suite --skip "$restarts"
suite "$restarts"

# The module on a server on PostgreSQL, and PyKMIP's client.
for client in pkcs11-tool pykmip-client; do
  "$bin/psql" -qd postgres -c "CREATE DATABASE ${client%-*}"
  MRHSM_SERVE_OPTIONS="-storeca $MRHSM_TEST_POSTGRES_CA -store ${MRHSM_TEST_POSTGRES/DATABASE/${client%-*}}" "tests/clients/$client.sh" serve
done
