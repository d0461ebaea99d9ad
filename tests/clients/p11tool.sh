#!/usr/bin/env bash
# GnuTLS's p11tool and p11-kit: the token by URI, key pairs, a certificate, a signature checked, AES keys; the module file.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

uri="pkcs11:token=$label"
tool() { GNUTLS_PIN=$pin p11tool --provider "$module" --batch "$@"; }

check "the token is listed" prints "URL: *pkcs11:.*token=$label" tool --list-tokens
check "its mechanisms are listed" prints 'CKM_AES_CBC' tool --list-mechanisms "$uri"
refuse "a wrong PIN is refused" env GNUTLS_PIN=00000000 p11tool --provider "$module" --batch --login --list-privkeys "$uri"

check "an RSA-2048 pair is generated" tool --login --generate-privkey=rsa --bits=2048 --label=rsa --id=01 "$uri"
check "a P-256 pair is generated" tool --login --generate-privkey=ecdsa --curve=secp256r1 --label=ec --id=02 "$uri"
check "both are listed" prints 'Label: *ec' tool --login --list-privkeys "$uri"
for key in rsa ec; do
  check "$key signs and the signature verifies" tool --login --test-sign "$uri;object=$key;type=private"
  check "$key's public key is exported" tool --login --export-pubkey "$uri;object=$key;type=private" --outfile $key.pub
done

# A certificate for a key that never leaves the token.
printf 'cn = "clients"\nca\nexpiration_days = 10\n' >template
self_signed() {
  GNUTLS_PIN=$pin certtool --provider "$module" --generate-self-signed --load-privkey "$uri;object=ec;type=private" \
    --load-pubkey "ec.pub" --template template --outfile cert.pem && openssl verify -CAfile cert.pem cert.pem
}
check "certtool signs a certificate with the token's key" self_signed
check "the certificate is written" tool --login --write --load-certificate=cert.pem --label=ec --id=02 "$uri"
same_certificate() { tool --login --export "$uri;object=ec;type=cert" --outfile again.pem && openssl x509 -in again.pem -outform der | cmp - <(openssl x509 -in cert.pem -outform der); }
check "and read back" same_certificate
check "and deleted" tool --login --delete "$uri;object=ec;type=cert"
check "a private key is deleted" tool --login --delete "$uri;object=rsa;type=private"
check "and gone" silent_about 'Label: *rsa' tool --login --list-privkeys "$uri"

# p11-kit reads the module files of users, but not root's: for root another user has them, with copies of all that they name.
user=$work/user as=()
if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid=65534 --regid=65534 --clear-groups); fi
mkdir -p user/.config/pkcs11/modules
cp -r tokens "$module" user
say "module: $user/${module##*/}" >user/.config/pkcs11/modules/clients.module
if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 user && chmod 711 .; fi
check "p11-kit lists the module and its token" prints "token: $label" \
  env -C "$user" HOME="$user" XDG_CONFIG_HOME="$user/.config" MRHSM_TOKEN_DIR="$user/tokens" "${as[@]}" p11-kit list-modules
