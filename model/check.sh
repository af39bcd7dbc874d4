#!/usr/bin/env bash
# Explores segment.pml in full, in several sizes, and then its mutants, each of which must be found wrong, in the way
# that is said here. Needs spin and a C compiler; leaves nothing behind.
set -euo pipefail

if ! command -v spin >/dev/null; then
	echo "SKIP model: spin is not installed"
	exit 0
fi

model=$(cd "$(dirname "$0")" && pwd)/segment.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$model" .

passed=0
failed=0

pass() { echo "$1"; passed=$((passed + 1)); }
fail() { echo "FAIL $1"; failed=$((failed + 1)); tail -n 40 log; }

# explore "spin flags" "compiler flags" "verifier flags": the verifier's words end up in ./log. Its exit status is
# not asked: it is 0 after an incomplete search too.
explore() {
	rm -f pan pan.* ./*.trail log
	# shellcheck disable=SC2086  # flags are lists of words
	{
		spin -a $1 segment.pml &&
			"${CC:-cc}" -w -DMEMLIM=3500 $2 -o pan pan.c &&
			./pan -m1000000 $3
	} >log 2>&1 || true
}

safety="-DSAFETY -DNOCLAIM -DCOLLAPSE" # assertions and invalid end states
liveness="-DCOLLAPSE -DNFAIR=3"        # the claim, under weak fairness

is_right() { # name
	local states
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' log)
	if grep -q 'errors: 0$' log && ! grep -Eqi 'max search depth|memory bound|out of memory|MEMLIM|not completed' log; then
		pass "$1: 0 errors, $states states"
	else
		fail "$1: an error, or not explored in full"
	fi
}

is_wrong() { # name, the verifier's words for it
	if grep -Eq "^pan:[0-9]+: .*($2)" log; then
		pass "mutant $1: found wrong, as it must be"
	else
		fail "mutant $1: not found wrong, or not in the way it must be"
	fi
}

# A model that never gets to a statement proves nothing about it.
is_reached() { # name
	if grep -q '(0 of [0-9]* states)' log && ! grep 'segment.pml:[0-9]*, state' log | grep -qv -e '-end-'; then
		pass "$1: every statement is reached"
	else
		fail "$1: a statement is never reached"
	fi
}

right() { # name, sizes
	explore "$2" "-O2 $safety" ""
	is_right "$1"
}

# All of a mutant's errors are listed (-c0), for the one that it must have may not be the first.
wrong() { # name, sizes, the verifier's words for it
	explore "$2 -D$1" "-O1 $safety" "-c0"
	is_wrong "$1" "$3"
}

# What a violated assertion of the model says. Each is the words of the verifier for one thing that must never happen.
torn='meta==seq'                    # a snapshot that is not whole
asleep='memory\[0\]==after'         # a reader asleep for ever, past a commit
false_death='died_versions'         # ErrWriterDied, and none died there
back='seq>=after'                   # a version older than one seen before
two_writers='holders==1'
stuck='invalid end state'           # somebody waits for ever

alive="-DREADERS=2 -DCALLS=2 -DWRITERS=1 -DCOMMITS=2"
alone="-DREADERS=1 -DCALLS=2 -DWRITERS=1 -DCOMMITS=2"
dying="-DREADERS=1 -DCALLS=2 -DWRITERS=2 -DCOMMITS=1 -DDEATHS=1"
dying_twice="-DREADERS=1 -DCALLS=2 -DWRITERS=2 -DCOMMITS=2 -DDEATHS=2"

right "segment, 2 readers, 1 writer"            "$alive"
right "segment, 2 readers, 2 writers, 1 death"  "-DREADERS=2 -DCALLS=1 -DWRITERS=2 -DCOMMITS=1 -DDEATHS=1"
right "segment, 1 reader, 2 writers, 2 deaths"  "$dying_twice"
is_reached "segment, 1 reader, 2 writers, 2 deaths"

explore "$dying -DLIVENESS" "-O2 $liveness" "-a -f"
is_right "segment, writers finish"

# The compare inside futex_wait is a re-check, so one may leave out one's own: README.md.
right "segment, COMPARE_ONLY" "$alive -DNO_RECHECK -DCOMPARE_ONLY"

# A commit wakes every reader that parked before it.
wrong SC_PAIR_WEAK      "$alone"       "$asleep"
wrong NO_RECHECK        "$alone"       "$asleep"
wrong NO_COMPARE        "$alone"       "$asleep"
wrong WAKE_ONE          "$alive"       "$asleep"

# A snapshot is whole.
wrong NO_RELEASE_FENCE  "$alone"       "$torn"
wrong NO_RELEASE_STORE  "$alone"       "$torn"
wrong NO_ACQUIRE_LOAD   "$alone"       "$torn"
wrong NO_ACQUIRE_FENCE  "$alone"       "$torn"
wrong NO_SEQ_RECHECK    "$alone"       "$torn"

# A writer's death is found, and put right.
wrong NO_REPAIR         "$dying"       "$torn"
wrong REPAIR_TO_ZERO    "$dying_twice" "$back"
wrong NO_TAKE_OVER_WAKE "$dying"       "$asleep"
wrong NO_DIED_RECHECK   "$dying"       "$false_death"
wrong FOREVER_IF_NONE   "$dying"       "$asleep"
wrong NO_LOCK           "-DREADERS=1 -DCALLS=1 -DWRITERS=2 -DCOMMITS=1" "$two_writers"

# No writer waits for a reader.
wrong AWAIT_READERS     "$alone"       "$stuck"
explore "$dying -DLIVENESS -DAWAIT_READERS" "-O1 $liveness" "-a -f"
is_wrong "AWAIT_READERS, writers finish" "acceptance cycle"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
