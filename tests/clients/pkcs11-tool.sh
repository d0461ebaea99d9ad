#!/usr/bin/env bash
# OpenSC's pkcs11-tool: token, PIN, AES keys, encryption, digests, random bytes, objects.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

tool() { pkcs11-tool --module "$module" --token-label $label "$@"; }
user() { tool --login --pin $pin "$@"; }

check "the module names itself" prints 'Cryptoki version 2\.40|Cryptoki version 3\.' pkcs11-tool --module "$module" --show-info
check "the token is listed with its label" prints "token label *: $label" pkcs11-tool --module "$module" --list-token-slots
check "the token is ready for use" prints 'login required.*token initialized, PIN initialized' tool --list-token-slots
check "the mechanisms are listed" prints 'AES-CBC-PAD.*encrypt, decrypt' tool --list-mechanisms
check "login works" user --list-objects
refuse "a wrong PIN is refused" tool --login --pin 00000000 --list-objects

# Keys that stay on the server, and keys that may be fetched.
id=0
for length in 16 24 32; do
  id=$((id + 1))
  check "AES-$((length * 8)) is generated" user --keygen --key-type AES:$length --label "kept $length" --id 0$id --sensitive --private
  check "it is found again" prints "label: *kept $length" user --list-objects --type secrkey
done
check "it is sensitive" prints 'Access: *sensitive, always sensitive, never extractable, local' user --list-objects --type secrkey --id 03
check "it is private: not shown before login" silent_about 'kept 32' tool --list-objects
check "an extractable AES-256 is generated" user --keygen --key-type AES:32 --label "fetched" --id 0a --extractable

iv=000102030405060708090a0b0c0d0e0f
# there_and_back ID MECHANISM BYTES: encrypt, decrypt, same bytes, and the ciphertext is something else.
there_and_back() {
  head -c "$3" /dev/urandom >plain
  user --encrypt -m "$2" --iv $iv --id "$1" -i plain -o secret || return
  user --decrypt -m "$2" --iv $iv --id "$1" -i secret -o again || return
  cmp plain again && ! cmp -s plain secret
}
for bytes in 1 15 16 17 1024 5000 100000; do
  check "AES-CBC-PAD, $bytes bytes, a key that stays there" there_and_back 03 AES-CBC-PAD $bytes
done
for mechanism in AES-ECB AES-CBC AES-CBC-PAD; do
  check "$mechanism, 4096 bytes, a key that may be fetched" there_and_back 0a $mechanism 4096
done
check "AES-128 encrypts too" there_and_back 01 AES-CBC-PAD 100
check "AES-192 too" there_and_back 02 AES-CBC-PAD 100

# The same ciphertext as OpenSSL's: the value comes out of an extractable key.
same_as_openssl() {
  user --read-object --type secrkey --id 0a -o value || return
  head -c 4096 /dev/urandom >plain
  user --encrypt -m AES-CBC-PAD --iv $iv --id 0a -i plain -o secret || return
  openssl enc -aes-256-cbc -K "$(od -An -v -tx1 value | tr -d ' \n')" -iv $iv -in plain -out expected && cmp secret expected
}
check "the ciphertext is the one OpenSSL makes" same_as_openssl
refuse "a sensitive value is not read" user --read-object --type secrkey --id 03 -o value
refuse "a damaged ciphertext is refused" sh -c "head -c 20 secret >damaged; exec pkcs11-tool --module $module --token-label $label \
  --login --pin $pin --decrypt -m AES-CBC-PAD --iv $iv --id 0a -i damaged -o again"
refuse "a key that does not exist is refused" user --encrypt -m AES-CBC-PAD --iv $iv --id 77 -i plain -o secret

for hash in SHA-1:sha1sum SHA256:sha256sum SHA384:sha384sum SHA512:sha512sum; do
  same_digest() { tool --hash -m "${hash%:*}" -i plain -o digest && [ "$(od -An -v -tx1 digest | tr -d ' \n')" = "$("${hash#*:}" plain | cut -d' ' -f1)" ]; }
  check "${hash%:*} is the digest ${hash#*:} makes" same_digest
done
random() { tool --generate-random 64 -o random && [ "$(stat -c %s random)" = 64 ]; }
check "random bytes" random

say "some bytes with a name" >data
check "a data object is written" user --write-object data --type data --label "note" --application-label app
same_data() { user --read-object --type data --label note -o again && cmp data again; }
check "and read back" same_data
check "and deleted" user --delete-object --type data --label note
check "and gone" silent_about 'note' user --list-objects --type data

head -c 32 /dev/urandom >value
check "a secret key is imported" user --write-object value --type secrkey --key-type AES:32 --label imported --id 0b --extractable
imported() { user --read-object --type secrkey --id 0b -o again && cmp value again; }
check "and has its value" imported
check "its ID is changed" user --set-id 0c --type secrkey --id 0b
check "and found by the new one" prints 'label: *imported' user --list-objects --type secrkey --id 0c
check "a key is deleted" user --delete-object --type secrkey --id 0c
check "and gone" silent_about 'imported' user --list-objects --type secrkey

check "the PIN is changed" tool --login --pin $pin --change-pin --new-pin 11112222
refuse "the old PIN is refused" user --list-objects
check "the new one works" tool --login --pin 11112222 --list-objects
check "and back" tool --login --pin 11112222 --change-pin --new-pin $pin

check "a forked child can start again" pkcs11-tool --module "$module" --test-fork
check "an RSA-2048 pair is generated" user --keypairgen --key-type rsa:2048 --label rsa --id 0d
check "a P-256 pair is generated" user --keypairgen --key-type EC:prime256v1 --label ec --id 0e
# For signatures it looks for CKF_HW, which a token of files has not.
check "pkcs11-tool's own test, signatures too" prints "$([ $store = file ] && say 'No errors' || say 'all 4 signature functions seem to work')" user --test
