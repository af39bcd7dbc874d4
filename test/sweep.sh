#!/usr/bin/env bash
# Removes the shared segments that tests left behind when a time-out or a crash ended them: those with the number of a
# process in their names that is no more.
set -u
for file in /dev/shm/judemap-test-* /dev/shm/judemap-core-test-* /dev/shm/judemap-command-*; do
  pid=${file##*/judemap-}
  pid=${pid#core-}
  pid=${pid#*-}
  pid=${pid%%-*}
  [ -e "$file" ] && ! kill -0 "$pid" 2>/dev/null && rm -f "$file"
done
true
