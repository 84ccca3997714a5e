#!/usr/bin/env bash
# fuzz/run.sh [seconds] [target…]: each parser under libFuzzer for so long (60 s), from valid inputs on. Needs a
# nightly toolchain and `cargo install cargo-fuzz`. What fails is left in fuzz/artifacts/parsers/, and the others go on.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(grep -ho 'Target { name: "[a-z-]*"' src/seal/fuzz.rs tests/support/fuzz_targets.rs | cut -d'"' -f2)
fi
cargo +nightly fuzz build parsers
failed=()
for target in "${targets[@]}"; do
  corpus=fuzz/corpus/$target
  mkdir -p "$corpus" fuzz/artifacts/parsers
  run=(fuzz/target/*/release/parsers)
  SETTEE_TARGET=$target SETTEE_SEEDS_TO=$corpus "${run[0]}" -runs=1 -artifact_prefix=fuzz/artifacts/ > /dev/null 2>&1 || true
  echo "==> $target, $(find "$corpus" -type f | wc -l) inputs"
  SETTEE_TARGET=$target "${run[0]}" "$corpus" -artifact_prefix="fuzz/artifacts/parsers/$target-" -seed=1 -timeout=10 \
    -rss_limit_mb=1024 -malloc_limit_mb=64 -max_total_time="$seconds" -max_len=200000 -print_final_stats=1 2>&1 | tail -n 12 || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
