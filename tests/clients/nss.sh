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

# TLS as NSS's servers and browsers do it: keys of both sides are on the token, and the client has to show its certificate.
# The server writes whom it has seen; the client has nothing to say.
authority="certutil -S -d sql:database -h $label -f pin -z noise -k rsa -g 2048 -m 3 -n ca -s CN=authority -x -t CT,C,C -v 12"
signed() { certutil -S -d sql:database -h $label -f pin -z noise -c $label:ca -t u,u,u -v 12 "$@"; }
check "an authority is made" $authority
check "it signs a server's RSA certificate" signed -k rsa -g 2048 -m 4 -n server-rsa -s CN=localhost -8 localhost
check "and its P-256 certificate" signed -k ec -q nistp256 -m 5 -n server-ec -s CN=localhost -8 localhost
check "and certificates of clients" signed -k ec -q nistp256 -m 6 -n client-ec -s CN=client-ec
check "RSA too" signed -k rsa -g 2048 -m 7 -n client-rsa -s CN=client-rsa
port=$(free_port)
selfserv -d sql:database -p $port -n $label:server-rsa -e $label:server-ec -w $pin -r -r -v -V tls1.2:tls1.3 >>selfserv.log 2>&1 </dev/null &
started+=($!)
waits 'About to call accept' selfserv.log $! || true
handshake() { # KEY VERSION OPTIONS...
  local client status=0
  : >selfserv.log
  tstclnt -d sql:database -h 127.0.0.1 -a localhost -p $port -n "$label:client-$1" -w $pin -V $2:$2 -Q "${@:3}" &
  client=$!
  waits "Subject: CN=client-$1" selfserv.log || status=1
  kill $client 2>/dev/null || true
  return $status
}
for key in rsa ec; do
  suite=$([ $key = rsa ] && say :C02F || say :C02B)
  check "a client with its $key key at NSS's server with its $key key, TLS 1.2" handshake $key tls1.2 -c $suite
  check "and TLS 1.3" handshake $key tls1.3
done

openssl req -x509 -newkey rsa:2048 -nodes -keyout import.key -out import.pem -subj /CN=import -days 10 2>/dev/null
openssl pkcs12 -export -in import.pem -inkey import.key -passout pass:secret -out import.p12 -name import
check "pk12util puts a key and its certificate on the token" pk12util -i import.p12 -d sql:database -h $label -k pin -W secret
check "where they are" prints "import$" certutil -K -d sql:database -h $label -f pin
check "certutil deletes a certificate and its key" certutil -F -d sql:database -h $label -f pin -n "$label:$label-rsa"
check "and gone" silent_about "$label-rsa" certutil -L -d sql:database -h $label -f pin
