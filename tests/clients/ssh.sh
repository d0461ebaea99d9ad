#!/usr/bin/env bash
# OpenSSH: ssh-keygen lists the token's keys, ssh-agent holds them, and a login on a server of our own works with each.
# shellcheck disable=SC2154,SC2086 # lib.sh sets them; none holds a blank
. "$(dirname "$0")/lib.sh"

need_sshd
tool() { pkcs11-tool --module "$module" --token-label $label --login --pin $pin "$@"; }
check "an RSA-2048 pair is generated" tool --keypairgen --key-type rsa:2048 --label rsa --id 01
check "a P-256 pair is generated" tool --keypairgen --key-type EC:prime256v1 --label ec --id 02

# A token whose PIN is not kept shows its public keys after login only. ssh-keygen and the agent ask for the PIN by a program.
printf '#!/bin/sh\necho %s\n' $pin >askpass
chmod 700 askpass
export SSH_ASKPASS=$work/askpass SSH_ASKPASS_REQUIRE=force DISPLAY=none
check "ssh-keygen lists them" prints 'ecdsa-sha2-nistp256' ssh-keygen -D "$module"
ssh-keygen -D "$module" >authorized_keys 2>/dev/null

eval "$(ssh-agent -P "/usr/lib/*,$(readlink -f "$module")")" >/dev/null
started+=("$SSH_AGENT_PID")
check "ssh-agent takes the token" ssh-add -s "$(readlink -f "$module")"
check "and holds both keys" prints 'ECDSA' ssh-add -l

ssh-keygen -q -t ed25519 -N '' -f host_key
port=$(free_port)
cat >sshd_config <<END
ListenAddress 127.0.0.1:$port
HostKey $work/host_key
AuthorizedKeysFile $work/authorized_keys
AuthenticationMethods publickey
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
END
"$daemon" -D -e -f sshd_config >sshd.log 2>&1 </dev/null &
started+=($!)
waits 'Server listening' sshd.log $! || true
login() {
  grep "$1" authorized_keys >only.pub
  SSH_ASKPASS_REQUIRE=never ssh -F none -p $port -o StrictHostKeyChecking=no -o UserKnownHostsFile=known -o IdentitiesOnly=yes -i only.pub \
    -o BatchMode=yes 127.0.0.1 true || { cat sshd.log; return 1; }
}
check "a login with the RSA key" login ssh-rsa
check "a login with the P-256 key" login ecdsa-sha2-nistp256
check "the agent lets the token go" ssh-add -e "$(readlink -f "$module")"
check "and holds no key" sh -c '! ssh-add -l'
