#!/usr/bin/env bash
# Runs a command with AI_INFRA_DATABASE_URL set to a throw-away server of Debian's PostgreSQL, another release than the embedded one.
#   scripts/on-debian-postgres.sh COMMAND [ARGUMENT ...]
# Without that package it says so and does nothing; with CI=true it installs it, and fails where it cannot.
set -euo pipefail

binaries() { find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1; }

if [ -z "$(binaries)" ]; then
  if [ "${CI:-}" != true ]; then
    echo "Left out: Debian's PostgreSQL is not installed (apt-get install postgresql)."
    exit 0
  fi
  apt-get update -qq && apt-get install -y -qq postgresql >/dev/null
fi

bin=$(binaries)
folder=$(mktemp -d /tmp/aiinfra-pg-XXXXXX)
as=()
if [ "$(id -u)" = 0 ]; then as=(unshare --user --map-user=1000 --map-group=1000); fi
stop() {
  "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap stop EXIT

"${as[@]}" "$bin/initdb" -D "$folder/data" -U aiinfra -A trust -E UTF8 --locale=C >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w \
  -o "-k $folder -p 5432 -c listen_addresses= -c fsync=off -c max_connections=200" start >/dev/null
echo "On $("$bin/postgres" --version):"
AI_INFRA_DATABASE_URL="postgresql://aiinfra@/postgres?host=$folder&port=5432" "$@"
