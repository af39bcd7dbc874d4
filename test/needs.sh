#!/usr/bin/env bash
# Says in one line what to install, where something is missing without which nothing can be built.
go=${GO:-go}
missing=()
command -v "$go" >/dev/null || missing+=("Go 1.25 or later (https://go.dev/dl)")
cxx=${CXX:-$(command -v "$go" >/dev/null && "$go" env CXX)}
command -v "${cxx%% *}" >/dev/null || missing+=("a C++17 compiler (Debian: apt-get install g++)")
[ ${#missing[@]} -eq 0 ] && exit
echo "To install: ${missing[*]}" >&2
exit 1
