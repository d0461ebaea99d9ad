#!/usr/bin/env bash
# DNSSEC: OpenDNSSEC's tools for an HSM, whose own test asks for every kind of key, and zones signed by Knot DNS.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

# PyKMIP signs no digests, as OpenDNSSEC wants it: its keys must be such that they may be fetched.
cat >opendnssec.xml <<END
<Configuration>
  <RepositoryList>
    <Repository name="hsm">
      <Module>$module</Module>
      <TokenLabel>$label</TokenLabel>
      <PIN>$pin</PIN>
      $([ $store != pykmip ] || say '<AllowExtraction/>')
    </Repository>
  </RepositoryList>
  <Common>
    <Logging><Syslog><Facility>local0</Facility></Syslog></Logging>
    <PolicyFile>$work/kasp.xml</PolicyFile>
    <ZoneListFile>$work/zonelist.xml</ZoneListFile>
  </Common>
  <Enforcer><Datastore><SQLite>$work/kasp.db</SQLite></Datastore></Enforcer>
</Configuration>
END
hsm() { ods-hsmutil -c opendnssec.xml "$@"; }
# What the test says, line by line; its exit code is the number of kinds that failed, and we have no DSA, GOST or short RSA keys.
hsm_test() { hsm test hsm >test.out 2>&1; cat test.out; }
# Of its ECDSA signatures it says neither OK nor a new line.
works() { grep -qE "Generating $1.*OK$" test.out; }
signs() { [ "$(grep -cE '^Signing [^.]*\.\.\. OK$' test.out)" = 13 ] && ! grep -E '^(Signing|Extracting|Deleting) .*Failed' test.out; }
rejects() { ! grep 'Failed$' test.out | grep -vE 'Generating (512|768)-bit RSA|-bit (DSA|GOST)|ED448'; }

check "ods-hsmutil sees the token" prints "Token Label: +$label" hsm info
check "it generates an RSA pair" prints 'generation successful' hsm generate hsm rsa 2048
check "and lists it" prints 'RSA/2048' hsm list
id=$(hsm list | awk '/RSA\/2048/ { print $2 }')
check "and prints its DNSKEY record" prints 'IN[[:space:]]DNSKEY[[:space:]]256 3 8' hsm dnskey $id example.com 256 8
check "and removes it" hsm remove $id
check "and it is gone" prints '^0 keys found' hsm list hsm
hsm_test >/dev/null || true
for kind in '1024-bit RSA' '1536-bit RSA' '2048-bit RSA' '4096-bit RSA' 'ECDSA Curve P-256' 'ECDSA Curve P-384' ED25519 '1024 bytes of random'; do
  check "ods-hsmutil test: $kind" works "$kind"
done
check "ods-hsmutil test: its keys sign, have identifiers and are deleted" signs
check "ods-hsmutil test: nothing else failed than we say" rejects
check "ods-hsmutil purges the token" hsm -f purge hsm
check "and it is empty" prints '^0 keys found' hsm list hsm
check "ods-hsmspeed signs in two threads" silent_about 'error' ods-hsmspeed -c opendnssec.xml -r hsm -i 50 -t 2 -s 2048

# Two zones; the second run is another process with the same keys.
cat >knot.conf <<END
database:
  storage: $work/kasp
keystore:
  - id: hsm
    backend: pkcs11
    config: "pkcs11:token=$label;pin-value=$pin $module"
    key-label: on
policy:
  - id: rsa
    keystore: hsm
    algorithm: RSASHA256
    ksk-size: 2048
    zsk-size: 2048
  - id: ec
    keystore: hsm
    algorithm: ECDSAP256SHA256
template:
  - id: default
    storage: $work
    file: zone
zone:
  - domain: rsa.example
    dnssec-policy: rsa
  - domain: ec.example
    dnssec-policy: ec
END
mkdir kasp signed
cat >zone <<'END'
$TTL 300
@ IN SOA ns root 1 3600 600 86400 300
@ IN NS ns
ns IN A 127.0.0.1
END
for zone in rsa.example ec.example; do
  check "kzonesign makes keys for $zone and signs" kzonesign -c knot.conf -o signed $zone
  check "and the zone verifies" ldns-verify-zone signed/zone
  keys=$(grep DNSKEY signed/zone | grep -v RRSIG | sort)
  check "another process signs it again" kzonesign -c knot.conf -o signed $zone
  check "by the same keys" [ "$keys" = "$(grep DNSKEY signed/zone | grep -v RRSIG | sort)" ]
done
