#!/usr/bin/env bash
# Builds the wheel, installs it where the checkout is not, and evaluates a model of the user's own.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$BIN/python" -m build --wheel --outdir "$work/dist" . >/dev/null
"$PYTHON" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
  -c "$root/constraints.txt" "$work"/dist/*.whl
mkdir "$work/elsewhere"
cd "$work/elsewhere"
cat > models.py <<'PY'
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def logistic():
    data = load_wine(as_frame=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data.data, data.target)
PY
export CRUCIBENCH_CACHE="$work/cache"
crucibench="$work/venv/bin/crucibench"
"$crucibench" --help >/dev/null
"$crucibench" list
"$crucibench" run --model sklearn:models.py:logistic --data sklearn:wine --suite accuracy
"$crucibench" verify latest
# Without the extra [text], the demo leaves its transformer out, and says how to get it.
"$crucibench" demo --out demo 2> told.txt || { cat told.txt >&2; exit 1; }
grep -F 'transformer of the demo is left out' told.txt
test -s demo/*/report.html
"$crucibench" verify latest --out demo
echo "smoke test passed"
