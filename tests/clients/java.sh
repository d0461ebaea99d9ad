#!/usr/bin/env bash
# Java's SunPKCS11 provider and keytool.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

slot=$(pkcs11-tool --module "$module" --list-token-slots | sed -nE '/^Slot/{s/.*\((0x[0-9a-f]+)\).*/\1/;h};/token label *: '$label'$/{x;p}')
printf 'name = clients\nlibrary = %s\nslot = %d\n' "$module" "$slot" >java.cfg
javac -d . "$root/tests/clients/Client.java"
client() { java -cp . Client java.cfg $pin "$@"; }
tool() { keytool -J-Duser.home="$work" "$@" -storetype PKCS11 -providerClass sun.security.pkcs11.SunPKCS11 -providerArg java.cfg -storepass $pin; }

for name in digest hmac aes-gcm aes-cbc aes-ctr rsa rsa-pss ecdsa-p256 ecdsa-p384 ecdsa-p521 ecdh wrap; do
  check "$name" client $name
done
check "an AES key is stored" client store-aes
check "and listed" prints 'java-aes' client list
check "and used by another process" client use-alias java-aes
check "a key that pkcs11-tool made is generated" pkcs11-tool --module "$module" --token-label $label --login --pin $pin \
  --keygen --key-type AES:32 --label tool-aes --id 31
check "and used by Java" client use-alias tool-aes
check "keytool makes an RSA pair and its certificate" tool -genkeypair -keyalg RSA -keysize 2048 -alias keytool-rsa -dname CN=clients
check "keytool makes a P-256 pair and its certificate" tool -genkeypair -keyalg EC -groupname secp256r1 -alias keytool-ec -dname CN=clients
check "keytool lists them" prints 'keytool-ec, PrivateKeyEntry' tool -list
check "keytool makes a request" tool -certreq -alias keytool-ec -file request.pem
check "and OpenSSL verifies it" openssl req -in request.pem -verify -noout
check "keytool deletes a pair" tool -delete -alias keytool-rsa
check "and it is gone" silent_about 'keytool-rsa' tool -list
