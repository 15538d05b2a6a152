#!/bin/bash
# A coverage-guided campaign: scripts/fuzz.sh [TARGET|all] [SECONDS] [FOLDER]; SECONDS are for each target.
# FOLDER (default .fuzz) keeps the corpus; what was found lies in FOLDER/found. PYTHON chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."
target=${1:-all} seconds=${2:-60} folder=${3:-.fuzz}
python=${PYTHON:-.venv/bin/python}
if [ "$target" = all ]; then
    target=$("$python" -c 'import sys; sys.path[:0] = ["tests/fuzz", "tests", "src"]; import fuzz_table; print(*fuzz_table.TARGETS)')
fi
code=0
for name in $target; do
    echo "fuzzing $name for $seconds s"
    "$python" -W ignore tests/fuzz/campaign.py "$name" "$seconds" "$folder" || code=$?
done
exit $code
