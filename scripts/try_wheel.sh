#!/usr/bin/env bash
# A stranger's first five minutes: a wheel into a bare environment, then 200 rows of one's own to a compared
# study with its report, with no network where that can be shut off. Prints how long each part took.
# Usage: scripts/try_wheel.sh WHEEL [EXTRA,...]; PYTHON names the interpreter.
set -euo pipefail
unset PYTHONPATH  # what lies there would count as installed

wheel=$(realpath "$1")
extras=$(tr ',' '\n' <<<"${2:-}" | grep -vx 'wandb\|mlflow' | paste -sd ,) || true
trackers=$(tr ',' '\n' <<<"${2:-}" | grep -x 'wandb\|mlflow' | paste -sd ,) || true
constraints=$(realpath requirements.lock)
begin=$(realpath scripts/begin_environment.sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

part() { # NAME COMMAND...
  local began=$SECONDS name=$1
  shift
  "$@" >"$name.log" 2>&1 || { cat "$name.log"; echo "failed: $name: $*" >&2; exit 1; }
  echo "$name: $((SECONDS - began)) s"
}

"${PYTHON:-python3}" -m venv bare
part begin "$begin" bare/bin/python
# where the constraints have hashes, pip wants the wheel's own too
requirement="paceline${extras:+[$extras]} @ file://$wheel#sha256=$(sha256sum "$wheel" | cut -d ' ' -f 1)"
part install bare/bin/python -m pip install --disable-pip-version-check -c "$constraints" "$requirement"
bare/bin/python - <<'ROWS'
import json
import random

rng = random.Random(0)
with open("own.jsonl", "w") as file:
    for _ in range(200):
        first, second, thing = rng.randint(2, 60), rng.randint(2, 60), rng.choice(["apples", "coins", "maps"])
        question = f"Ada has {first} {thing} and finds {second} more. How many {thing} does she have?"
        answer = f"{first} + {second} = {first + second}, so she has {first + second} {thing}."
        file.write(json.dumps({"question": question, "reply": answer}) + "\n")
ROWS

# a name space without a network, where the kernel lets anybody make one
offline=()
unshare --map-root-user --net true 2>/dev/null && offline=(unshare --map-root-user --net)
export HF_HUB_OFFLINE=1
run() { "${offline[@]}" bare/bin/paceline "$@"; }

began=$SECONDS
part validate run validate own.jsonl --columns '{prompt: question, completion: reply}'
part try run try own.jsonl
tail -n 4 try.log
part report test -s runs/try-own/report.html
part evaluate run evaluate runs/try-own/baseline
part fetch-metrics run fetch-metrics runs/try-own -o metrics.csv
echo "from rows to report: $((SECONDS - began)) s, ${offline[*]:-with HF_HUB_OFFLINE=1}"

# the lock holds nothing of these two, and mlflow wants other versions: they come last, with what fits them, on this torch
bare/bin/python -m pip freeze | grep '^torch==' >torch.txt
if [ -n "$trackers" ]; then
  bare/bin/python - "$trackers" >trackers.txt <<'NEEDS'
import sys
from importlib.metadata import requires

for need in requires("paceline"):
    if any(f'extra == "{extra}"' in need.replace("'", '"') for extra in sys.argv[1].split(",")):
        print(need.partition(";")[0])
NEEDS
  part trackers bare/bin/python -m pip install --disable-pip-version-check -c torch.txt -r trackers.txt
fi

# what each extra brings can be imported
declare -A brings=([quant]=bitsandbytes [judge]=openai [serve]=starlette [ray]=ray [track]=trackio [wandb]=wandb [mlflow]=mlflow)
for extra in $(tr ',' ' ' <<<"${2:-}"); do
  part "extra-$extra" bare/bin/python -c "import ${brings[$extra]}"
done
