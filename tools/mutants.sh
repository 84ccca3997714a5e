#!/usr/bin/env bash
# tools/mutants.sh [argument of cargo mutants…]: changes the sealing code in one place after another and tells which
# change no test notices. By hand; needs `cargo install cargo-mutants`. `src/seal` is taken out of the tree with the
# little it needs, since one change then takes seconds to build. The result is in target/mutants/mutants.out.
# One file: tools/mutants.sh -f src/seal/line.rs; what is left of a run: tools/mutants.sh --iterate.
set -euo pipefail
cd "$(dirname "$0")/.."
crate=target/mutants
mkdir -p $crate/src $crate/tests/vectors
cp -r src/error.rs src/model.rs src/model src/seal.rs src/seal $crate/src/
cp -r tests/support tests/native_seal*.rs tests/native_fuzz.rs $crate/tests/
cp -r tests/vectors/seal $crate/tests/vectors/
rm -f $crate/tests/native_seal_speed.rs $crate/tests/native_sealed_channel.rs

printf '//! Sealing alone.\npub mod error;\npub mod model;\npub mod seal;\n' > $crate/src/lib.rs
# One binary of all tests: linking takes longer than running them.
for test in $crate/tests/native_*.rs; do
  name=$(basename "$test" .rs)
  printf '#[path = "of/%s.rs"]\nmod %s;\n' "$name" "$name"
done > $crate/tests/all.rs
rm -rf $crate/tests/of && mkdir $crate/tests/of
mv $crate/tests/native_*.rs $crate/tests/support $crate/tests/of/
# The parsers of other modules are not here.
sed -i '/^use futures::/d; /^use serde_json::/d; /^use std::/d; /^use settee::{$/,/^};$/d; s/TARGETS.iter().chain(OTHERS)/settee::seal::fuzz::TARGETS.iter()/
  s/&.static Target/\&'"'"'static settee::seal::fuzz::Target/; /^const OTHERS/,$d' $crate/tests/of/support/fuzz_targets.rs

{
  sed -n '/^\[package\]/,/^$/p' Cargo.toml | grep -v "^exclude"
  echo '[workspace]'
  printf '[lib]\ndoctest = false\n'
  sed -n '/^\[dependencies\]/,/^$/p; /^\[dev-dependencies\]/,/^$/p' Cargo.toml
  printf '[profile.dev]\nopt-level = 1\ndebug = false\nincremental = true\n[profile.dev.package."*"]\nopt-level = 3\n'
} > $crate/Cargo.toml
cp Cargo.lock $crate/

cd $crate
status=0
nice -n 19 cargo mutants --file 'src/seal/**' --exclude 'src/seal/**/fuzz.rs' --exclude 'src/seal/**/tests.rs' \
  --exclude src/seal/answers.rs --in-place --baseline run --timeout 60 "$@" || status=$?
# A run that was broken off leaves an incremental build that does not link any more: that is no answer.
if grep -Els 'linking with|undefined hidden symbol' mutants.out/log/* 2>/dev/null; then
  echo "These were not tried, whatever it says of them: remove target/mutants/target and run again." >&2
  exit 1
fi
exit "$status"
