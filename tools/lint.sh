#!/usr/bin/env bash
# Formatting, clippy for both targets, JavaScript syntax, TypeScript
# declarations. Runs all of it, then fails if anything did.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
check() {
  local name=$1
  shift
  echo "==> $name"
  "$@" || failed+=("$name")
}

javascript() {
  local bad=0
  while IFS= read -r -d '' file; do
    # A file deleted but not yet committed is not an error.
    [ -f "$file" ] || continue
    node --check "$file" || bad=1
  done < <(git ls-files -z --cached --others --exclude-standard -- '*.js' '*.mjs')
  return $bad
}

check 'cargo fmt --check' cargo fmt --all --check
check 'cargo clippy (native)' cargo clippy --all-targets --quiet -- -D warnings
check 'cargo clippy (wasm32)' cargo clippy --all-targets --target wasm32-unknown-unknown --quiet -- -D warnings
check 'dependencies (cargo-deny)' tools/deny.sh
check 'JavaScript syntax' javascript
check 'TypeScript declarations (tests/types)' node_modules/.bin/tsc --project tests/types
check 'bash syntax' bash -n .ci/run tools/*.sh

if [ ${#failed[@]} -gt 0 ]; then
  echo "==> Failed: $(IFS=,; echo "${failed[*]}")" >&2
  exit 1
fi
echo '==> No complaints'
