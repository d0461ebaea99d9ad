#!/usr/bin/env bash
# A database that encrypts its tables under a master key on the token, as Oracle's TDE does: see tde.py.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

database=(/usr/bin/python3 "$root/tests/clients/tde.py" "$module" "$label" "$pin")
tde() { timeout 60 "${database[@]}" "$@"; }
check "the wallet opens: login, no master key yet" prints '^0 master keys' tde list
check "a master key is set" tde set-key 1
check "a table key is encrypted under it" tde encrypt 1 table
check "and decrypted by another process" tde decrypt 1 table
check "eight processes of one that had the wallet open use it at once" tde workers 1 table
check "the master key is replaced" tde set-key 2
check "the old one still decrypts" tde decrypt 1 table
check "the table key is encrypted under the new one" tde encrypt 2 table2
check "and decrypted" tde decrypt 2 table2
check "both are listed with what belongs to them" prints '^2 master keys, 2 records' tde list
check "the key does not leave the token" tde locked 1
"${database[@]}" stay 2 table2 >stay.out 2>&1 &
started+=($!) instance=$!
check "an instance has its wallet open" waits '^open' stay.out $instance
key_manager stop
kill -USR1 $instance
check "its key manager goes: it is told so" waits '^away' stay.out $instance
key_manager start
kill -USR1 $instance
check "and goes on when it is back" waits '^back' stay.out $instance
