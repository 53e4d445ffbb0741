#!/usr/bin/env bash
# Fuzzes every parser of evidence with atheris, guided by coverage; where one fails, the input that did it is kept and named.
#   scripts/fuzz.sh [SECONDS]      so long for each parser, 30 unless told
# Where atheris cannot be installed it says so and does nothing; the tests fuzz the same parsers with hypothesis.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
lock=tests/fuzz/requirements.txt
library=${XDG_CACHE_HOME:-$HOME/.cache}/ai-infra-interop/atheris-$(sha256sum "$lock" | cut -c1-16)
if [ ! -e "$library/.ready" ]; then
  rm -rf "$library"
  if ! .venv/bin/uv pip install --quiet --python .venv/bin/python --target "$library" --require-hashes -r "$lock"; then
    echo "Left out: atheris cannot be installed here; see above."
    exit 0
  fi
  touch "$library/.ready"
fi

fuzz() { PYTHONPATH=$library:. .venv/bin/python tests/fuzz/atheris_parsers.py "$@"; }
scratch=$(mktemp -d)
fuzz 2>/dev/null >"$scratch/parsers"
while read -r parser; do
  mkdir "$scratch/$parser"
  if ! fuzz "$parser" -max_total_time="$seconds" -max_len=8192 -timeout=20 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$scratch/failed-" "$scratch/$parser" >"$scratch/log" 2>&1 </dev/null; then
    cat "$scratch/log"
    echo "FAILED $parser: the input is in $scratch"
    exit 1
  fi
  echo "$parser: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log") inputs"
done <"$scratch/parsers"
rm -rf "$scratch"
