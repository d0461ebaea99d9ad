#!/usr/bin/env bash
# NSS: modutil adds the module, certutil makes keys, requests and certificates on its token.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

mkdir database
say $pin >pin
head -c 64 /dev/urandom >noise
check "a database is made" certutil -N -d sql:database --empty-password
check "modutil adds the module" modutil -force -dbdir sql:database -add clients -libfile "$module"
check "and lists its token" prints "Token Name: $label" modutil -dbdir sql:database -list clients
check "certutil makes an RSA pair and a certificate" certutil -S -d sql:database -h $label -f pin -z noise -k rsa -g 2048 -m 1 \
  -n $label-rsa -s CN=localhost -x -t u,u,u -v 12
check "certutil makes a P-256 pair and a certificate" certutil -S -d sql:database -h $label -f pin -z noise -k ec -q nistp256 -m 2 \
  -n $label-ec -s CN=localhost -x -t u,u,u -v 12
check "its keys are listed" prints 'rsa' certutil -K -d sql:database -h $label -f pin
check "its certificates are listed" prints "$label:$label-ec" certutil -L -d sql:database -h $label -f pin
check "a request is signed by a new key" certutil -R -d sql:database -h $label -f pin -z noise -k rsa -g 2048 -s CN=request -o request.der
check "and OpenSSL verifies it" openssl req -inform der -in request.der -verify -noout
check "a certificate and its key are deleted" certutil -F -d sql:database -h $label -f pin -n "$label:$label-rsa"
check "and gone" silent_about "$label-rsa" certutil -L -d sql:database -h $label -f pin
