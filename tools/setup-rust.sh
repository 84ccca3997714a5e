#!/usr/bin/env bash
# The WebAssembly target, and the wasm-bindgen command line of exactly the
# version in Cargo.lock, under target/tools (a second run finds both there).
set -euo pipefail
cd "$(dirname "$0")/.."

command -v cargo >/dev/null || { echo 'error: cargo is missing; install Rust from https://rustup.rs' >&2; exit 1; }
tools/need.sh cc:build-essential

target=wasm32-unknown-unknown
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  if ! command -v rustup >/dev/null; then
    echo "error: this Rust has no $target target and there is no rustup to add it; Debian has it as libstd-rust-dev-wasm32" >&2
    exit 1
  fi
  echo "==> Adding the Rust target $target"
  rustup target add "$target"
fi

version=$(tools/wasm-bindgen-version.sh)
root="${CARGO_TARGET_DIR:-target}/tools/wasm-bindgen-$version"
if [ ! -x "$root/bin/wasm-bindgen-test-runner" ] || [ ! -x "$root/bin/wasm-bindgen" ]; then
  echo "==> Building wasm-bindgen-cli $version (once, a few minutes)"
  quiet=--quiet
  [ -t 1 ] && quiet=
  # shellcheck disable=SC2086
  cargo install wasm-bindgen-cli --version "=$version" --root "$root" $quiet
fi
