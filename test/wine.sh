#!/usr/bin/env bash
# wine.sh PROGRAM ARGUMENT...: runs a program for Windows by the Wine of another Debian, in the folder WINE_ROOT, where
# this machine's processes, devices, temporary files and the repository are seen under the same paths. For
# test/platforms.sh.
#
# With WINE=wineserver64 it runs that: -p starts the server, to stay until -k ends it. A server that comes with a program
# and goes with it costs two seconds each time, and keeps the program's output open for as long as it stays.
export WINE=${WINE:-wine64}
export WINEDEBUG=${WINEDEBUG:--all} XDG_RUNTIME_DIR=/tmp
repository=$(cd "$(dirname "$0")/.." && pwd)
exec unshare -m --propagation private bash -ec '
  repository=$1
  shift
  mkdir -p "$WINE_ROOT$repository"
  mount --bind "$repository" "$WINE_ROOT$repository"
  for folder in /proc /dev /tmp; do mount --rbind "$folder" "$WINE_ROOT$folder"; done
  exec chroot "$WINE_ROOT" /bin/sh -c "cd \"\$1\" && shift && exec /usr/lib/wine/$WINE \"\$@\"" sh "$PWD" "$@"
' bash "$repository" "$@"
