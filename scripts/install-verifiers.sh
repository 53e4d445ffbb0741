#!/usr/bin/env bash
# Installs the verifiers of other people that tests/interop compares us with; where everything is there it takes no time.
#   scripts/install-verifiers.sh
# Debian's packages need root. npm's and Python's packages go, pinned by hash, into $XDG_CACHE_HOME/ai-infra-interop (~/.cache), one folder
# per lock file. What cannot be installed is named: a failure when CI is set, and otherwise the tests that need it skip.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ai-infra-interop
missing=0
left_out() {
  echo "Left out: $*" >&2
  missing=1
}

debian_packages() {
  command -v jq >/dev/null || echo jq
  command -v openssl >/dev/null || echo openssl
  [ -e /usr/lib/softhsm/libsofthsm2.so ] || echo softhsm2
  [ -x /usr/lib/go-1.19/bin/go ] || command -v go >/dev/null || echo golang-1.19-go
  [ -d /usr/share/gocode/src/golang.org/x/mod/sumdb/tlog ] || echo golang-golang-x-mod-dev
}

install_debian() {
  local wanted
  mapfile -t wanted < <(debian_packages)
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    left_out "${wanted[*]}: this is not Debian; install what provides them."
  elif [ "$(id -u)" != 0 ]; then
    left_out "run as root: apt-get install --no-install-recommends ${wanted[*]}"
  else
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${wanted[@]}" </dev/null >/dev/null
  fi
}

# into NAME LOCK_FILE COMMAND: run COMMAND in an empty folder of the cache, once per content of the lock file.
into() {
  local folder
  folder=$cache/$1-$(sha256sum "$2" | cut -c1-16)
  [ ! -e "$folder/.ready" ] || return 0
  echo "Installing into $folder ..."
  rm -rf "$folder"
  mkdir -p "$folder"
  if "$3" "$folder"; then touch "$folder/.ready"; else left_out "$1 could not be installed; see above."; fi
}

install_node() {
  cp tests/interop/node/package.json tests/interop/node/package-lock.json "$1" &&
    npm ci --prefix "$1" --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
}

install_model_signing() {
  "${PYTHON:-python3}" -m venv "$1" &&
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r tests/interop/model_signing-requirements.txt
}

node_is_new_enough() {
  command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 17) ? 0 : 1)' 2>/dev/null
}

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
install_debian
if node_is_new_enough; then
  into node tests/interop/node/package-lock.json install_node
else
  left_out "@sigstore/verify needs node 20.17 or newer and npm (nodejs.org; Debian 12 has an older one)."
fi
into model-signing tests/interop/model_signing-requirements.txt install_model_signing
[ "$missing" = 0 ] || [ -z "${CI:-}" ]
