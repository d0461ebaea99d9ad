#!/usr/bin/env bash
# The mrhsm command on a real KMIP server: every form of client key, enable, adoption, import, rekey, copies, races, kill -9.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

certs=$work/server/certs port=$(cat "$work/server/port")
(umask 077; say $so_pin >so.pin; say passphrase >passphrase)
export MRHSM_SO_PIN_FILE=$work/so.pin
unset MRHSM_TOKEN_DIR

# on DIRECTORY COMMAND...: mrhsm on that token directory.
on() { "$mrhsm" "$2" -tokendir "$work/$1" "${@:3}"; }
server="-ip localhost -port $port -cacert $certs/ca.pem"
client="-clientcert $certs/client.pem -clientkey $certs/client.key"
# The lines of info -kmip that stay when only the Core KEK changes, and those that never may.
keys() { on "$1" info -kmip; }
checksums() { on "$1" info -kmip | sed -n 's/.*SHA-256 checksum *: *//p'; }
role() { on "$1" info -kmip | sed -n "/^$2/,/checksum/p" | sed -n "s/.*$3 *: *//p"; }
same() { [ -n "$1" ] && [ "$1" = "$2" ] || { say "'$1' is not '$2'"; return 1; }; }
different() { [ -n "$1" ] && [ "$1" != "$2" ] || { say "'$1' is '$2'"; return 1; }; }

# How many keys of a cluster the server holds, counted by PyKMIP's own client.
held() {
  "$venv/bin/python" - $1 <<END
import logging, sys
from kmip.core import enums
from kmip.core.factories.attributes import AttributeFactory
from kmip.pie.client import ProxyKmipClient
logging.disable(logging.CRITICAL)
group = AttributeFactory().create_attribute(enums.AttributeType.OBJECT_GROUP, "mrhsm:" + sys.argv[1])
with ProxyKmipClient("127.0.0.1", $port, "$certs/client.pem", "$certs/client.key", "$certs/ca.pem") as client:
    print(len(client.locate(attributes=[group])))
END
}

# Every form of client identity reaches the server.
identity() {
  rm -rf forms
  on forms init -label forms $server "$@" && prints 'localhost Active' on forms info -config
}
check "EC key, PKCS#8" identity $client
check "EC key, SEC1" identity -clientcert $certs/client.pem -clientkey $certs/client-sec1.key
check "EC key, encrypted PKCS#8" identity -clientcert $certs/client.pem -clientkey $certs/client-encrypted.key -clientkeypass file:passphrase
check "PKCS#12" identity -p12 $certs/client.p12 -clientkeypass file:passphrase
check "RSA key, PKCS#8" identity -clientcert $certs/client-rsa.pem -clientkey $certs/client-rsa.key
check "RSA key, PKCS#1" identity -clientcert $certs/client-rsa.pem -clientkey $certs/client-rsa-pkcs1.key
for version in 1.0 1.1 1.2 1.3 1.4 2.0; do
  check "KMIP $version" identity $client -kmipversion $version
done

# What is wrong is said, and nothing is made of it.
refuse "a key of another certificate is refused" identity -clientcert $certs/client.pem -clientkey $certs/other.key
refuse "an expired certificate is refused" identity -clientcert $certs/expired.pem -clientkey $certs/expired.key
refuse "a wrong passphrase is refused" identity -p12 $certs/client.p12 -clientkeypass pass:wrong
inactive() { rm -rf forms; on forms init -label forms "$@" && silent_about 'Active' on forms info -config; }
check "a server we do not trust is not Active" inactive -ip localhost -port $port -cacert $certs/other-ca.pem $client
check "a server that does not trust us is not Active" inactive $server -clientcert $certs/other.pem -clientkey $certs/other.key
check "a closed port is not Active" inactive -ip localhost -port 1 -cacert $certs/ca.pem $client
check "an unknown host is not Active" inactive -ip nowhere.invalid -port $port -cacert $certs/ca.pem $client
check "a host is found by its address" identity -ip 127.0.0.1 $client
check "the next host serves when the first is down" identity -ip nowhere.invalid,localhost $client

# A fresh cluster: keys made on the server; enable again changes nothing.
check "init" on a init -label a
refuse "enable before set is refused" on a enable -dare -cluster fresh
check "set" on a set $server $client
check "enable -dare" on a enable -dare -cluster fresh
check "it is enabled" prints '^Enabled *: Yes' keys a
keys a >before
check "the server holds four keys" same "$(held fresh)" 4
check "enable again" on a enable -dare -cluster fresh
check "it changed nothing" sh -c "'$mrhsm' info -kmip -tokendir '$work/a' | cmp - before"

# The token directory is lost, or made on another node: the same keys.
check "another token adopts the keys" on b configure -label b -dare -cluster fresh $server $client
check "all checksums are equal" same "$(checksums a)" "$(checksums b)"
check "and all identifiers" same "$(role a CLDB UUID) $(role a 'Core KEK' UUID)" "$(role b CLDB UUID) $(role b 'Core KEK' UUID)"

# A copy works in another place.
cp -a a copied
check "a copied directory works" on copied info -config
check "with the same keys" same "$(checksums a)" "$(checksums copied)"

# Rekey: new Core KEK, everything else stays.
core=$(role a 'Core KEK' UUID) cldb=$(role a CLDB checksum) wrapped=$(role a CLDB 'Encrypted Key') uid=$(role a CLDB UUID)
check "rekey -keytype core" on a rekey -keytype core
check "the Core KEK is another" different "$core" "$(role a 'Core KEK' UUID)"
check "the CLDB key is wrapped anew" different "$wrapped" "$(role a CLDB 'Encrypted Key')"
check "the CLDB key is the same" same "$cldb $uid" "$(role a CLDB checksum) $(role a CLDB UUID)"
common=$(role a 'Common KEK' UUID)
check "rekey -keytype common" on a rekey -keytype common
check "the Common KEK is another" different "$common" "$(role a 'Common KEK' UUID)"
check "enable after rekey changes nothing" prints 'nothing is changed' on a enable -dare -cluster fresh

# Existing keys are imported: raw, hexadecimal, base64.
head -c 32 /dev/urandom >raw
mkdir import
checksum=$(sha256sum raw | cut -d' ' -f1 | tr a-f A-F)
for form in raw hex base64; do
  case $form in raw) cat raw ;; hex) od -An -v -tx1 raw | tr -d ' \n' ;; base64) base64 raw ;; esac >import/cldb.key
  cp import/cldb.key import/dare.master.key
  check "$form keys: a token" on i-$form init -label i $server $client
  refuse "$form keys: enable without -dare is refused" on i-$form enable -cluster $form -confdir import
  check "$form keys: enable -dare imports them" on i-$form enable -dare -cluster $form -confdir import
  check "$form keys: the CLDB key is that one" same "$(role i-$form CLDB checksum)" $checksum
  check "$form keys: the DARE key too" same "$(role i-$form DARE checksum)" $checksum
done

# Two at once end with one set of keys.
for node in left right; do on $node init -label $node $server $client >/dev/null 2>&1; done
on left enable -dare -cluster race >left.log 2>&1 </dev/null & first=$!
on right enable -dare -cluster race >right.log 2>&1 </dev/null & second=$!
check "two enables at once: the first" wait $first
check "two enables at once: the second" wait $second
check "two enables at once: one set of keys" same "$(checksums left)" "$(checksums right)"
check "two enables at once: four keys are left on the server" same "$(held race)" 4

# Killed at any point, the next run completes it: no second key, no key that nobody uses; another node agrees.
for delay in 0.03 0.06 0.08 0.10 0.12 0.14 0.17 0.20 1; do
  rm -rf killed witness
  on killed init -label killed $server $client >/dev/null 2>&1
  "$mrhsm" enable -tokendir "$work/killed" -dare -cluster killed-$delay >/dev/null 2>&1 </dev/null & run=$! # the command itself, no shell
  sleep $delay
  kill -KILL $run 2>/dev/null || true
  wait $run 2>/dev/null || true
  left=$(held killed-$delay)
  check "killed after $delay s, $left keys made: enable completes" on killed enable -dare -cluster killed-$delay
  check "killed after $delay s: the server holds four keys" same "$(held killed-$delay)" 4
  on witness configure -label witness -dare -cluster killed-$delay $server $client >/dev/null 2>&1
  check "killed after $delay s: another node finds the same" same "$(checksums killed)" "$(checksums witness)"
done

check "sopin" on a sopin -newsopin pass:another-pin
refuse "the old SO PIN is refused" on a rekey -keytype core
check "the new one works" on a rekey -keytype core -sopin pass:another-pin
check "-active false" on a enable -active false -sopin pass:another-pin
check "it is not enabled" prints '^Enabled *: No' keys a
chmod 755 a
refuse "a directory that others can read is refused" on a info -kmip
