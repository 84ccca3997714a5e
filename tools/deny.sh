#!/usr/bin/env bash
# What came in with a dependency: sources, licences, versions, and known faults
# (deny.toml). Builds cargo-deny once, under target/tools. The list of known
# faults is on GitHub; without a way there the rest is still checked.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
root="${CARGO_TARGET_DIR:-target}/tools/cargo-deny-$version"
if [ ! -x "$root/bin/cargo-deny" ]; then
  echo "==> Building cargo-deny $version (once, a few minutes)"
  cargo install cargo-deny --version "=$version" --locked --root "$root" --quiet
fi
deny() { "$root/bin/cargo-deny" --log-level error "$@"; }

# It looks at the crates of every platform, and a build brings only those of its own.
cargo fetch --locked --quiet
deny --offline check bans licenses sources
if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then
  deny check advisories
else
  echo 'note: github.com is not reachable; known faults (advisories) were not looked up'
fi
