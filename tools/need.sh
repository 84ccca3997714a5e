#!/usr/bin/env bash
# need.sh COMMAND:PACKAGE[:VARIABLE] ...
# Sees to it that each command is there, and installs its Debian package if it
# is not: as root, or through sudo when sudo asks no password. Otherwise names
# what is missing and the line that installs it. A VARIABLE that is set names
# the program to use instead.
set -euo pipefail

missing=()
for spec in "$@"; do
  IFS=: read -r command package variable <<<"$spec"
  if [ -n "${variable:-}" ] && [ -n "${!variable:-}" ]; then
    [ -x "${!variable}" ] && continue
    echo "error: $variable is set to ${!variable}, which is not a program" >&2
    exit 1
  fi
  command -v "$command" >/dev/null || [ -x "/usr/bin/$command" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
packages=${packages% }
run=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then run=(sudo -n); else run=(false); fi
fi
if ! command -v apt-get >/dev/null || [ "${run[0]:-}" = false ]; then
  echo "error: missing: $packages. Install it with:" >&2
  echo "    sudo apt-get update && sudo apt-get install --no-install-recommends -y $packages" >&2
  exit 1
fi

echo "==> Installing $packages (Debian packages)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt=("${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600)
# shellcheck disable=SC2086
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends -y $packages; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "error: apt-get could not install $packages (its last lines are above)" >&2
  exit 1
fi
