#!/usr/bin/env bash
# Type-checks the package. mypy cannot follow setuptools' package-dir mapping (dialects/ and passes/
# are parts of rtmobile_iree), so it reads a tree of links shaped like the installed package.
# Usage: tools/typecheck.sh [PYTHON]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(realpath --no-symlinks "${1:-$root/.venv/bin/python}")
tree=$root/build/types
rm -rf "$tree"
mkdir -p "$tree/rtmobile_iree"
for part in "$root"/rtmobile_iree/*.py "$root"/rtmobile_iree/*/ "$root/dialects" "$root/passes"; do
  case $part in */__pycache__/) ;; *) ln -s "${part%/}" "$tree/rtmobile_iree/" ;; esac
done
cd "$tree"
exec "$python" -m mypy --config-file "$root/pyproject.toml" -p rtmobile_iree
