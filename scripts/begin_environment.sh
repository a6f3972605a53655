#!/usr/bin/env bash
# Gives an environment the lock's pip, setuptools (with setuptools-scm, that a package of the lock is built by) and
# torch: what must be there before the rest is installed with
# `-c requirements.lock`. The pip of older Pythons reads no hashes of constraints, and of torch the build for CPUs
# is taken where pip is told of a place that has it, else the index's own.
# Usage: scripts/begin_environment.sh PYTHON
set -euo pipefail

lock=$(dirname "$0")/../requirements.lock
install=("$1" -m pip install --quiet --disable-pip-version-check --require-hashes)
sed -n '/^pip==/,/[^\\]$/p' "$lock" | "${install[@]}" -r /dev/stdin
torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$lock")
"${install[@]}" -c "$lock" --upgrade setuptools setuptools-scm
"${install[@]}" -c "$lock" "$torch+cpu" 2>/dev/null || "${install[@]}" -c "$lock" torch
