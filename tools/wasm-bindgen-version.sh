#!/usr/bin/env bash
# Prints the wasm-bindgen version that Cargo.lock pins. The command line tool
# must be of exactly that version.
set -euo pipefail
lock="$(dirname "$0")/../Cargo.lock"
[ -f "$lock" ] || { echo 'error: Cargo.lock is missing' >&2; exit 1; }
version=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/version = |"/, ""); print; exit }' "$lock")
[ -n "$version" ] || { echo 'error: Cargo.lock names no wasm-bindgen' >&2; exit 1; }
echo "$version"
