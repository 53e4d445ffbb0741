#!/usr/bin/env bash
# Runs a command where Prometheus is installed, whose tests are skipped elsewhere.
#   scripts/with-prometheus.sh COMMAND [ARGUMENT ...]
# Without Debian's package it says so and does nothing; with CI=true it installs it, and fails where it cannot.
set -euo pipefail

if ! command -v prometheus >/dev/null; then
  if [ "${CI:-}" != true ]; then
    echo "Left out: Prometheus is not installed (apt-get install prometheus)."
    exit 0
  fi
  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null
fi
"$@"
