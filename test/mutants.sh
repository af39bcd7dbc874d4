# For test/mutants_cpp.sh and test/mutants_go.sh, which source it. A mutant is the code, broken in one way, which a test
# must notice: a test that can't fail proves nothing.
#
# Every run finds each mutant's line; which mutants are then built and tested, MUTANTS says: "all", or "1/3", the first
# of every three, and so on. Without it the third is chosen by the number of commits up to this one, so that the same
# commit has the same ones, and three in a row have all. An argument of the script picks the mutants with that word in
# their names instead. Two run at a time.

build=${BUILD:-build}
mkdir -p "$build"
build=$(cd "$build" && pwd)
work=$(mktemp -d)
trap 'wait; test/sweep.sh; rm -rf "$work"' EXIT
only=${1:-}
part=${MUTANTS:-$(($(git rev-list --count HEAD) % 3 + 1))/3}
[ "$part" = all ] && part=1/1
number=0 running=0

# replace FILE OLD NEW: OLD is text of FILE from the beginning of a line on, without its indentation.
replace() {
  OLD=$2 NEW=$3 perl -0pi -e 's/^(\s*)\Q$ENV{OLD}\E/$1$ENV{NEW}/m or exit 1' "$1"
}

# in_background NAME FILE OLD NEW TRY...: runs TRY in a folder of its own, NAME's, if NAME is one of those to run, with a
# copy of what copy_sources copies, in which OLD is replaced. TRY says what came of it in its last line, and fails if
# the mutant was not caught.
in_background() {
  local name=$1 file=$2 old=$3 new=$4 chosen=
  shift 4
  number=$((number + 1))
  if [ -n "$only" ]; then
    [[ $name == *"$only"* ]] || return 0
    chosen=yes
  elif [ $((number % ${part#*/})) -eq $((${part%/*} % ${part#*/})) ]; then
    chosen=yes
  fi
  local folder="$work/$number"
  mkdir "$folder"
  echo "$name" >"$folder/name"
  cp --parents "$file" "$folder"
  if ! replace "$folder/$file" "$old" "$new"; then
    echo "the line to break is not in $file" >"$folder/log"
    touch "$folder/failed"
    report "$folder"
    return 0
  fi
  [ -n "$chosen" ] || return 0
  if [ $running -ge 2 ]; then
    wait -n || true
    running=$((running - 1))
  fi
  (
    mv "$folder/$file" "$folder/mutated"
    copy_sources "$folder"
    mv "$folder/mutated" "$folder/$file"
    "$@" "$folder" >"$folder/log" 2>&1 || touch "$folder/failed"
    report "$folder"
    for made in "$folder"/*; do
      case ${made##*/} in name | log | failed) ;; *) rm -rf "$made" ;; esac
    done
  ) &
  running=$((running + 1))
}

report() { # report FOLDER
  if [ -e "$1/failed" ]; then
    cat "$1/log"
    echo "mutant $(cat "$1/name"): FAILED: $(tail -1 "$1/log")"
  else
    echo "mutant $(cat "$1/name"): $(tail -1 "$1/log")"
  fi
}

finish() { # waits for all, and fails if one failed
  wait
  local ran failed
  ran=$(find "$work" -mindepth 2 -maxdepth 2 -name log | wc -l)
  failed=$(find "$work" -mindepth 2 -maxdepth 2 -name failed | wc -l)
  echo "mutants: $((ran - failed)) caught, $failed failed, of $number (${only:-part $part})"
  [ "$failed" -eq 0 ] && [ "$ran" -gt 0 ]
}
