# shellcheck shell=bash
# Shared by the scripts here: words, paths and the set-up of what they need. Sourced, never run.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/pykmip
setup_log=$target/setup.log
mkdir -p "$target"

say() { printf '%s\n' "$@"; } # one line each
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Runs "$@" with its output in a log; on failure shows the end of it with the sentence $1 and stops.
quietly() {
  local sentence=$1; shift
  "$@" >>"$setup_log" 2>&1 </dev/null || { tail -n 25 "$setup_log" >&2; die "$sentence (the whole log: $setup_log)"; }
}

# apt_need COMMAND-OR-FILE PACKAGE ...: installs the packages whose command or file is missing, and only those.
apt_need() {
  local missing=()
  while [ $# -gt 0 ]; do
    case $1 in /*) [ -e "$1" ] ;; *) command -v "$1" >/dev/null ;; esac || missing+=("$2")
    shift 2
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "please install by hand, there is no apt-get here: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || die "please run as root or with sudo: apt-get install ${missing[*]}"
    as_root=(sudo -n)
  fi
  say "Installing ${missing[*]} (apt)"
  quietly "apt-get update failed" "${as_root[@]}" apt-get -q update
  quietly "apt-get could not install ${missing[*]}" \
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
}

# The first Python that is new enough for PyKMIP and can make a virtual environment.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
    "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && { command -v "$python"; return; }
  done
  return 1
}

# PyKMIP, a KMIP server in Python, in a virtual environment of its own under target/.
need_pykmip() {
  local packages=(PyKMIP==0.11.0 cryptography==50.0.2 SQLAlchemy==2.1.9) python # tried together
  [ "$(cat "$venv/packages" 2>/dev/null)" = "${packages[*]}" ] && "$venv/bin/python" -c 'import kmip' 2>/dev/null && return
  find_python >/dev/null || apt_need /nonexistent python3-venv
  python=$(find_python) || die "no Python 3.9 or newer with the venv and ensurepip modules was found: PyKMIP needs one"
  say "Installing PyKMIP (pip, in ${venv#"$root"/})"
  rm -rf "$venv"
  quietly "cannot make a Python virtual environment in $venv" "$python" -m venv "$venv"
  quietly "pip could not install PyKMIP" "$venv/bin/pip" --disable-pip-version-check install "${packages[@]}"
  say "${packages[*]}" >"$venv/packages"
}

need_rust() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or newer"
  command -v cc >/dev/null || apt_need cc gcc
}

need_cargo_deny() {
  cargo deny --version >/dev/null 2>&1 && return
  say "Installing cargo-deny (cargo, some minutes)"
  quietly "cargo could not install cargo-deny" cargo install --locked --target-dir "$target/tools" cargo-deny
}

need_cargo_fuzz() {
  cargo fuzz --version >/dev/null 2>&1 && return
  say "Installing cargo-fuzz (cargo, some minutes)"
  quietly "cargo could not install cargo-fuzz" cargo install --locked --target-dir "$target/tools" cargo-fuzz
}

# The clients of tests/clients. The engine's folder holds the processor's name, so that file is asked for by pattern.
need_clients() {
  apt_need pkcs11-tool opensc openssl openssl p11tool gnutls-bin p11-kit p11-kit certutil libnss3-tools \
    ssh-keygen openssh-client javac openjdk-17-jdk-headless curl curl pgrep procps ods-hsmutil libhsm-bin kzonesign knot-dnssecutils \
    ldns-verify-zone ldnsutils /usr/lib/python3/dist-packages/PyKCS11 python3-pykcs11
  compgen -G '/usr/lib/*/engines-3/pkcs11.so' >/dev/null || apt_need /nonexistent libengine-pkcs11-openssl
}

# The newest PostgreSQL's programs.
postgres_bin() { compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1; }

# PostgreSQL, without the database that its package would start on this machine.
need_postgres() {
  [ -n "$(postgres_bin)" ] && [ -x "$(postgres_bin)/initdb" ] && return
  if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    say "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  fi
  apt_need /nonexistent postgresql setpriv util-linux
}

# need_server FILE PACKAGE: sets $daemon to a server's program, to be run on loopback. It is unpacked under target/ where it is
# missing, because installing the package would start a server on this machine; the libraries that it needs are installed.
need_server() {
  local libraries=() library
  daemon=$1
  if [ -x "$daemon" ]; then return; fi
  daemon=$target/$2$1
  if [ ! -x "$daemon" ]; then
    say "Unpacking $2 (apt, in ${target#"$root"/}/$2)"
    rm -rf "${target:?}/$2" && mkdir "$target/$2"
    quietly "apt-get could not download $2" env -C "$target/$2" apt-get -q download "$2"
    quietly "dpkg could not unpack $2" dpkg -x "$target/$2"/*.deb "$target/$2"
  fi
  if ldd "$daemon" | grep -q 'not found'; then
    for library in $(dpkg-deb -f "$target/$2"/*.deb Depends | tr ',' '\n' | grep -oE '^ *lib[^ (|]+'); do
      dpkg -s "$library" >/dev/null 2>&1 || libraries+=(/nonexistent "$library")
    done
    apt_need "${libraries[@]}"
  fi
}

need_sshd() {
  if [ "$(id -u)" = 0 ]; then # sshd started by root drops its rights to this user
    mkdir -p /run/sshd
    getent passwd sshd >/dev/null || useradd --system --no-create-home --home-dir /run/sshd --shell /usr/sbin/nologin sshd
  fi
  need_server /usr/sbin/sshd openssh-server
}
