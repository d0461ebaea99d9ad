#!/usr/bin/env bash
# OpenSSL with Debian's PKCS#11 engine: requests, signatures, CMS, and a TLS server whose keys live on the token.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

engine_config 0
export OPENSSL_CONF=$work/openssl.cnf
engine="-engine pkcs11 -keyform engine"
tool() { pkcs11-tool --module "$module" --token-label $label --login --pin $pin "$@"; }
uri() { say "pkcs11:token=$label;object=$1;type=$2"; }

check "an RSA-2048 pair is generated" tool --keypairgen --key-type rsa:2048 --label rsa --id 01
check "a P-256 pair is generated" tool --keypairgen --key-type EC:prime256v1 --label ec --id 02
say "a message" >message

for key in rsa ec; do
  private=$(uri $key private)
  check "$key: a request is signed" openssl req -new $engine -key "$private" -subj "/CN=localhost" -out $key.csr
  check "$key: and verifies" openssl req -in $key.csr -verify -noout
  check "$key: a self-signed certificate" openssl req -new -x509 $engine -key "$private" -subj "/CN=localhost" \
    -addext "subjectAltName=DNS:localhost" -days 10 -out $key.pem
  check "$key: the public key" openssl x509 -in $key.pem -pubkey -noout -out $key.pub
  check "$key: dgst -sign" openssl dgst $engine -sha256 -sign "$private" -out signature message
  check "$key: dgst -verify" openssl dgst -sha256 -verify $key.pub -signature signature message
  check "$key: cms -sign" openssl cms -sign $engine -inkey "$private" -signer $key.pem -in message -out $key.cms
  check "$key: cms -verify" openssl cms -verify -in $key.cms -CAfile $key.pem -out again
done
check "rsa: a PSS signature" openssl dgst $engine -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 \
  -sign "$(uri rsa private)" -out signature message
check "rsa: and verifies" openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 -verify rsa.pub -signature signature message
check "rsa: cms -encrypt, to the certificate" openssl cms -encrypt -aes256 -in message -out encrypted.cms rsa.pem
cms_decrypt() { openssl cms -decrypt $engine -inkey "$(uri rsa private)" -in encrypted.cms -out again && tr -d '\r' <again | cmp - message; }
check "rsa: cms -decrypt, by the token" cms_decrypt

# A TLS server with the token's key; the client checks the chain and the name.
tls() {
  local key=$1 version=$2 port server status=0
  port=$(free_port)
  : >server.log # or the last server's ACCEPT is taken for this one's
  openssl s_server -accept 127.0.0.1:$port $engine -key "$(uri $key private)" -cert $key.pem -www >server.log 2>&1 </dev/null &
  server=$!
  waits ACCEPT server.log $server
  printf 'GET / HTTP/1.0\r\n\r\n' | OPENSSL_CONF='' timeout 20 openssl s_client -connect 127.0.0.1:$port -servername localhost \
    -verify_hostname localhost -verify_return_error -CAfile $key.pem -$version -quiet >reply 2>&1 || status=$?
  kill $server
  cat server.log reply
  [ $status = 0 ] && grep -q '200 ok' reply
}
for key in rsa ec; do
  for version in tls1_2 tls1_3; do
    check "$key: a server, $version" tls $key $version
  done
done
