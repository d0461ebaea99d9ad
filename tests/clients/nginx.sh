#!/usr/bin/env bash
# nginx with an RSA and an EC key on the token: workers that are forked, reloaded and killed; a key manager that goes and comes back.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

need_server /usr/sbin/nginx nginx
nginx=(env OPENSSL_CONF=$work/openssl.cnf "$daemon" -p "$work/" -c nginx.conf -e error.log)
tool() { pkcs11-tool --module "$module" --token-label $label --login --pin $pin "$@"; }
uri() { say "pkcs11:token=$label;object=$1;type=private"; }
# nginx wants the engine initialised.
engine_config 1
port=$(free_port)
# Workers of another user than root's would need a token directory of theirs.
cat >nginx.conf <<END
$([ "$(id -u)" != 0 ] || say 'user root;')
worker_processes 2;
pid nginx.pid;
env MRHSM_TOKEN_DIR;
env SOFTHSM2_CONF;
env OPENSSL_CONF;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  server {
    listen 127.0.0.1:$port ssl;
    ssl_session_cache off;
    ssl_session_tickets off;
    ssl_certificate rsa.pem;
    ssl_certificate_key "engine:pkcs11:$(uri rsa)";
    ssl_certificate ec.pem;
    ssl_certificate_key "engine:pkcs11:$(uri ec)";
    location / { return 200 "worker \$pid\n"; }
  }
}
END

check "an RSA-2048 pair is generated" tool --keypairgen --key-type rsa:2048 --label rsa --id 01
check "a P-256 pair is generated" tool --keypairgen --key-type EC:prime256v1 --label ec --id 02
for key in rsa ec; do
  check "$key: a certificate" env OPENSSL_CONF=openssl.cnf openssl req -new -x509 -engine pkcs11 -keyform engine -key "$(uri $key)" \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost -days 10 -out $key.pem
done

# Each request is a handshake of its own; curl takes the certificate that the cipher suite stands for, and no other.
get() {
  curl -sS --max-time 20 --cacert $1.pem --resolve "localhost:$port:127.0.0.1" --tls-max 1.2 --ciphers ECDHE-${2}-AES128-GCM-SHA256 \
    "https://localhost:$port/" || { tail -n 5 error.log; return 1; }
}
rsa() { get rsa RSA; }
ec() { get ec ECDSA; }
answers() { rsa && ec; }
many() { (for _ in $(seq 10); do rsa & ec & done >many; wait); cat many; [ "$(grep -c '^worker' many)" = 20 ]; }
workers() { pgrep -P "$(cat nginx.pid)" | sort; }
reloaded() {
  local before; before=$(workers)
  kill -HUP "$(cat nginx.pid)" && for _ in $(seq 100); do
    [ -n "$(comm -13 <(say "$before") <(workers))" ] && return
    sleep 0.1
  done
  tail -n 5 error.log
  return 1
}
kill_workers() { pkill -KILL -P "$(cat nginx.pid)"; }

check "nginx finds its configuration good" "${nginx[@]}" -t
"${nginx[@]}"
started+=("$(cat nginx.pid)")
check "its workers sign with the RSA key" rsa
check "and with the EC key" ec
check "twenty handshakes at a time" many
check "a reload makes new workers" reloaded
check "and they answer" answers
check "workers are killed" kill_workers
check "and their successors answer" answers
key_manager stop
answers >away 2>&1 || true # a worker can only with keys that it has fetched
key_manager start
check "all is well when the key manager is back" answers
check "nginx is reloaded" reloaded
check "and answers" answers
