#!/usr/bin/env bash
# Explores each model in full, in several sizes, and then its mutants, each of which must be found wrong, in the way
# that is said here. Needs spin and a C compiler; leaves nothing behind.
set -euo pipefail

if ! command -v spin >/dev/null; then
	echo "SKIP model: spin is not installed"
	exit 0
fi

models=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$models"/*.pml .

passed=0
failed=0

pass() { echo "$1"; passed=$((passed + 1)); }
fail() { echo "FAIL $1"; failed=$((failed + 1)); tail -n 40 log; }

# explore model "spin flags" "compiler flags" "verifier flags": the verifier's words end up in ./log. Its exit status is
# not asked: it is 0 after an incomplete search too.
explore() {
	rm -f pan pan.* ./*.trail log
	# shellcheck disable=SC2086  # flags are lists of words
	{
		spin -a $2 "$1.pml" &&
			"${CC:-cc}" -w -DMEMLIM=3000 $3 -o pan pan.c &&
			./pan -m1000000 $4
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
	if grep -q '(0 of [0-9]* states)' log && ! grep '[.]pml:[0-9]*, state' log | grep -qv -e '-end-'; then
		pass "$1: every statement is reached"
	else
		fail "$1: a statement is never reached"
	fi
}

right() { # model, sizes, name
	explore "$1" "$2" "-O2 $safety" ""
	is_right "$1, $3"
}

# All of a mutant's errors are listed (-c0), for the one that it must have may not be the first.
wrong() { # model, mutant, sizes, the verifier's words for it
	explore "$1" "$3 -D$2" "-O1 $safety" "-c0"
	is_wrong "$2" "$4"
}

# What a violated assertion of the model says. Each is the words of the verifier for one thing that must never happen.

# segment.pml: the protocol.
torn='meta==seq'                    # a snapshot that is not whole
asleep='memory\[0\]==after'         # a reader asleep for ever, past a commit
false_death='violated is_true'      # ErrWriterDied, and no writer died
not_found='owed!=tenure'            # a reader looked after a writer's death, and did not find it
back='seq>=after'                   # a version older than one seen before
two_writers='holders==1'
stuck='invalid end state'           # somebody waits for ever

alive="-DREADERS=2 -DCALLS=2 -DWRITERS=1 -DCOMMITS=2"
alone="-DREADERS=1 -DCALLS=2 -DWRITERS=1 -DCOMMITS=2"
dying="-DREADERS=1 -DCALLS=2 -DWRITERS=2 -DCOMMITS=1 -DDEATHS=1"
dying_twice="-DREADERS=1 -DCALLS=2 -DWRITERS=2 -DCOMMITS=2 -DDEATHS=2"

right segment "$alive" "2 readers, 1 writer"
right segment "-DREADERS=2 -DCALLS=1 -DWRITERS=2 -DCOMMITS=1 -DDEATHS=1" "2 readers, 2 writers, 1 death"
right segment "$dying_twice" "1 reader, 2 writers, 2 deaths"
is_reached "segment, 1 reader, 2 writers, 2 deaths"

explore segment "$dying -DLIVENESS" "-O2 $liveness" "-a -f"
is_right "segment, writers finish"

# The compare inside futex_wait is a re-check, so one may leave out one's own: README.md.
right segment "$alive -DNO_RECHECK -DCOMPARE_ONLY" "COMPARE_ONLY"

# A commit wakes every reader that parked before it.
wrong segment SC_PAIR_WEAK       "$alone"       "$asleep"
wrong segment NO_RECHECK         "$alone"       "$asleep"
wrong segment NO_COMPARE         "$alone"       "$asleep"
wrong segment WAKE_ONE           "$alive"       "$asleep"

# A snapshot is whole.
wrong segment NO_RELEASE_FENCE   "$alone"       "$torn"
wrong segment NO_RELEASE_STORE   "$alone"       "$torn"
wrong segment NO_ACQUIRE_LOAD    "$alone"       "$torn"
wrong segment NO_ACQUIRE_FENCE   "$alone"       "$torn"
wrong segment NO_SEQ_RECHECK     "$alone"       "$torn"

# A writer's death is found, and put right.
wrong segment NO_REPAIR          "$dying"       "$torn"
wrong segment REPAIR_TO_ZERO     "$dying_twice" "$back"
wrong segment NO_TAKE_OVER_WAKE  "$dying"       "$asleep"
wrong segment NO_DIED_RECHECK    "$dying"       "$false_death"
wrong segment ONE_LOOK           "$dying"       "$false_death"
wrong segment FLAG_BEFORE_LOCK   "$dying"       "$false_death"
wrong segment END_WITHOUT_COMMIT "$dying"       "$false_death"
wrong segment FLAG_AFTER_COMMIT  "$dying"       "$not_found"
wrong segment CLEAR_AFTER_UNLOCK "$dying"       "$not_found"
wrong segment FOREVER_IF_NONE    "$dying"       "$asleep"
wrong segment NO_LOCK            "-DREADERS=1 -DCALLS=1 -DWRITERS=2 -DCOMMITS=1" "$two_writers"

# No writer waits for a reader.
wrong segment AWAIT_READERS      "$alone"       "$stuck"
explore segment "$dying -DLIVENESS -DAWAIT_READERS" "-O1 $liveness" "-a -f"
is_wrong "AWAIT_READERS, writers finish" "acceptance cycle"

# count.pml: the count of parked readers.
asleep='version==seen'
too_many='waiters<='                # counted, and nobody is there or died there

killed="-DREADERS=2 -DHANDLES=2 -DCOMMITS=3 -DKILLS=1"
closed="-DREADERS=2 -DHANDLES=2 -DCOMMITS=2 -DCLOSES=1"

right count "$killed" "1 process is killed"
right count "-DREADERS=2 -DHANDLES=1 -DCOMMITS=2 -DCLOSES=1" "1 handle of 2 readers is closed"
right count "$closed -DKILLS=1" "1 process is killed, 1 handle is closed"
is_reached "count, 1 process is killed, 1 handle is closed"

wrong count STORE_ZERO           "$killed"      "$asleep"
wrong count NO_LOWER_BOUND       "$killed"      "$too_many"
is_wrong "NO_LOWER_BOUND, asleep" "$asleep"
wrong count FOREVER              "$killed"      "$asleep"
wrong count NO_RETIRED_LOOK      "$closed"      "$too_many"
wrong count UNMAP_EARLY          "$closed"      "$too_many"
wrong count CONCEAL_ANYWAY       "$closed"      "$asleep"

# group.pml: groups and watches.
asleep='version\[s\]==seen'
no_commit='now!=fired_at'           # a watch fires, and there was no commit
kept='used\[w\]'                    # a watch stays that nobody waited for since it fired
too_many='waiters\[i\]==watched'    # counted, and nobody is there

one="-DREADERS=1 -DCOMMITS=3"
leaving="-DREADERS=2 -DCOMMITS=2 -DLEAVES"
private="-DREADERS=1 -DCOMMITS=2 -DPRIVATE"

right group "-DREADERS=2 -DCOMMITS=3 -DLEAVES" "3 commits"
right group "-DREADERS=2 -DCOMMITS=1 -DSEGMENTS=2" "2 segments"
right group "-DREADERS=2 -DCOMMITS=1 -DDIRECT=1 -DLEAVES" "1 reader parks itself"
is_reached "group, 1 reader parks itself"
right group "$private" "no watches"
right group "$leaving -DUNMARK" "UNMARK"

# The second look and the comparison of sequences do the same for the first of a group: README.md.
right group "$leaving -DMARK_ANY" "MARK_ANY"
right group "$one -DNO_SECOND_LOOK" "no second look of a reader alone"

wrong group NO_SECOND_LOOK       "$leaving"     "$asleep"
wrong group NO_SECOND_LOOK       "$private"     "$asleep"
wrong group MARK_ANY             "$one -DNO_SECOND_LOOK" "$asleep"
wrong group ARM_LATE             "$one"         "$asleep"
wrong group NO_KICK              "$one"         "$asleep"
wrong group READ_LATE            "$one"         "$asleep"
wrong group UNMARK_LATE          "$leaving"     "$asleep"
wrong group REARM_OLD            "$one"         "$no_commit"
wrong group KEEP_UNUSED          "$one"         "$kept"
wrong group KEEP_COUNT           "$one"         "$too_many"

# stream.pml: slots, pins, places.
torn='!\(held\[s\]\)'             # a frame changes while a reader looks at it
mixed='meta\[s\]==content'         # a frame that is not whole, or not the one of its number
lost='q==\(2\*n\)'                 # every frame: it is gone before its reader came to it
gone='sequence>\(2\*n\)'           # newest wins: the newest frame is gone
twice='!\(\(seen'                  # a number is given to two frames
foreign='!\(\(placed'              # a living reader's place is taken away
asleep='sequence/2\)<want'         # a reader asleep for ever, past a frame that it wants
stuck='assertion violated \(held\[0\]' # the writer asleep for ever, and no reader looks at a frame
slow='!\(writer_asleep\)'          # the writer asleep while a slot is free, as long as a reader looks at another

single="-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=2 -DIDLE"
newest="$single -DCOMMITS=3"
every="$single -DCOMMITS=4 -DEVERY"
dying="-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=2 -DWRITERS=2 -DCOMMITS=3 -DDEATHS=1"
dying_once="-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=1 -DWRITERS=2 -DCOMMITS=3 -DDEATHS=1"
killed="-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=1 -DCOMMITS=3 -DKILLS=1"
next_reader="-DPLACES=1 -DREADERS=2 -DSLOTS=2 -DCALLS=1 -DCOMMITS=3 -DKILLS=1"
all_die="-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=2 -DWRITERS=2 -DCOMMITS=2 -DDEATHS=1 -DKILLS=1"

unreached() { grep '[.]pml:[0-9]*, state' log | grep -v -e '-end-' | sort -u || true; }

right stream "-DPLACES=2 -DSLOTS=4 -DCALLS=2 -DCOMMITS=3 -DIDLE" "newest wins, 2 readers, 4 slots: the writer never waits"
right stream "-DPLACES=2 -DSLOTS=3 -DCALLS=2 -DCOMMITS=3 -DIDLE" "newest wins, 2 readers, 3 slots"
right stream "-DPLACES=2 -DSLOTS=3 -DCALLS=1 -DCOMMITS=3 -DKILLS=1" "newest wins, 2 readers, 3 slots, 1 reader dies"
right stream "$dying" "newest wins, 2 writers, 1 dies"
right stream "-DPLACES=2 -DSLOTS=2 -DCALLS=1 -DCOMMITS=3 -DEVERY -DIDLE" "every frame, 2 readers"
right stream "$next_reader -DEVERY" "every frame, 1 reader dies, the next has its number"
right stream "$all_die -DEVERY" "every frame, 2 writers, 1 dies, the reader dies"
right stream "-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=2 -DWRITERS=2 -DCOMMITS=2 -DDEATHS=2 -DABORTS -DEVERY" \
	"every frame, 2 writers die, commits are aborted"

explore stream "${all_die/CALLS=2/CALLS=1} -DABORTS -DIDLE" "-O2 $safety" ""
is_right "stream, newest wins, 2 writers, 1 dies, the reader dies, commits are aborted"
unreached >first
explore stream "$next_reader -DABORTS -DIDLE" "-O2 $safety" ""
is_right "stream, newest wins, 1 reader dies, the next has its number, commits are aborted"
unreached >second
if [ -z "$(comm -12 first second)" ]; then
	pass "stream, the last two: every statement is reached"
else
	comm -12 first second >log
	fail "stream, the last two: a statement is never reached"
fi

# What is not needed: README.md.
right stream "$newest -DNO_FIRST_LOOK" "NO_FIRST_LOOK, newest wins"
right stream "$every -DNO_FIRST_LOOK" "NO_FIRST_LOOK, every frame"
right stream "$every -DNO_LOOK_AFTER_PIN" "NO_LOOK_AFTER_PIN, every frame"
right stream "$every -DNEWEST_TOO" "NEWEST_TOO, every frame"

# A frame does not change while a reader looks at it.
wrong stream NO_LOOK_AFTER_ODD   "$newest"      "$torn"
wrong stream NO_FENCE_AFTER_ODD  "$newest"      "$torn"
wrong stream NO_LOOK_AFTER_PIN   "$newest"      "$torn"
wrong stream CURSOR_BEFORE_PIN   "$every"       "$torn"
wrong stream ABORT_UNMARKS       "$newest -DABORTS" "$mixed"

# Every reader gets its frames.
wrong stream CURSOR_BEFORE_PIN   "$every"       "$lost"
wrong stream JOIN_ONCE           "$every"       "$lost"
wrong stream JOIN_WEAK           "$every"       "$lost"
wrong stream LEAVE_UNLOCKS_FIRST "$next_reader -DFIRST_CALLS=0 -DEVERY" "$lost"
wrong stream RECLAIM_WITHOUT_LOCK "$next_reader -DEVERY" "$foreign"
wrong stream RECLAIM_UNLOCKS_FIRST "$next_reader -DEVERY" "$foreign"
wrong stream NEWEST_TOO          "$newest"      "$gone"
wrong stream SEQUENCE_FIRST      "$newest"      "$gone"
wrong stream SEQUENCE_FIRST      "$every"       "$lost"
wrong stream PUBLISH_WEAK        "$newest"      "$asleep"

# The writer gets a slot, if there is one.
wrong stream RELEASE_TELLS_NOBODY "-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=3 -DCOMMITS=4 -DEVERY" "$stuck"
wrong stream RELEASE_LOOKS_FIRST "$every"       "$slow"
wrong stream UNPIN_TELLS_NOBODY  "$newest"      "$slow"
wrong stream JOIN_TELLS_NOBODY   "$every"       "$stuck"
wrong stream LEAVE_TELLS_NOBODY  "-DPLACES=1 -DREADERS=1 -DSLOTS=2 -DCALLS=1 -DCOMMITS=4 -DEVERY" "$stuck"
wrong stream NO_SECOND_LOOK      "$every"       "$stuck"
wrong stream WAITS_WEAK          "$every"       "$stuck"
wrong stream NOTE_LATE           "$every"       "$stuck"
wrong stream NO_RECLAIM          "$killed -DEVERY" "$stuck"
wrong stream NO_RECLAIM          "$killed"      "$stuck"
wrong stream RECLAIM_KEEPS_PLACE "$killed -DEVERY" "$stuck"
wrong stream JOIN_KEEPS_PINS     "$next_reader" "$stuck"

# A writer's death is put right.
wrong stream TAKE_OVER_EMPTIES   "$dying_once"       '!\(held\[i\]\)'
wrong stream TAKE_OVER_UNMARKS   "$dying_once"       "$mixed"
wrong stream TAKE_OVER_THROWS_AWAY "$dying_once"     "$twice"
wrong stream TAKE_OVER_WAKES_NOBODY "$dying_once"    "$asleep"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
