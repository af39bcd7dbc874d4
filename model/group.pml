/*
 * Groups and watches: the readers of one process that park between two commits are a group with one channel, and a
 * drainer, a thread of that process, sleeps on the sequences of many segments and wakes the groups. Readers that park in
 * the futex themselves stand beside that. README.md says what is proved, and what is left out.
 *
 * Sizes (-D): SEGMENTS (1 or 2), READERS (reader r reads segment r % SEGMENTS), DIRECT (readers that park themselves, on
 * segment 0), COMMITS (of each segment), LEAVES (contexts may end). PRIVATE: segments of one process, without watches.
 * Every other name under #ifdef is a mutant: it takes away the rule that stands there.
 *
 * The order of memory is sequentially consistent here: segment.pml has what commit and park need of it.
 */

#ifndef SEGMENTS
#define SEGMENTS 1
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef DIRECT
#define DIRECT 0
#endif
#ifndef COMMITS
#define COMMITS 2
#endif

#include "common.pml"           /* who of the direct readers is asleep, and the wake */


/* ---- What is shared ---------------------------------------------------------------------------------------------- */

byte version[SEGMENTS]; /* the sequence; a commit is one step here */
byte waiters[SEGMENTS]; /* parked readers; the watch of a group counts as one */

byte group;             /* bit r: reader r is in its segment's group, whose channel is open; a group is there with its
                         * first member, and gone with the last or when its channel is closed */
bool group_lock[SEGMENTS];

/* Of the segments of this process, the drainer's list. Guarded by parker_lock. */
bool watched[SEGMENTS]; /* the segment is in the list */
bool waited[SEGMENTS];  /* the mark "somebody waits": there is a group that the next fire must wake */
byte armed[SEGMENTS];   /* the watch fires when the sequence is another one */
bool parker_lock;

bool kicked;            /* the drainer's own word differs from what it read there */
byte queued;            /* bit s: the drainer is in a futex wait on the word of segment s; bit SEGMENTS: on its own */
bool woken;             /* ... and a wake came, or a word was not as expected */

#define OWN SEGMENTS

/* What only the proof remembers. */
bool used[SEGMENTS];    /* somebody set the mark since the last fire */
byte fired_at[SEGMENTS]; /* the sequence at the last fire, or the one that the watch began with */

#define BIT(w)      (1 << (w))
#define MEMBERS(s)  (SEGMENTS == 1 -> 255 : (85 << (s)))        /* every other reader */
#define PARKED(s)   ((group & MEMBERS(s)) != 0)

inline lock(l)   { atomic { !l -> l = true } }
inline unlock(l) { l = false }

inline wake_word(w)
{
	atomic {
		if
		:: w == 0 -> FUTEX_WAKE
		:: else
		fi;
		woken = woken || (queued & BIT(w))
	}
}


/* ---- A group ------------------------------------------------------------------------------------------------------ */

/* Only a fire takes the mark away. Whoever ends a group may do it too, with the group's lock held (UNMARK); after that,
 * the mark may be another group's. */
inline take_mark_away(s)
{
	lock(parker_lock);
	waited[s] = false;
	unlock(parker_lock)
}

inline end_group(s)
{
	group = group & ~MEMBERS(s);
#ifdef UNMARK
	take_mark_away(s);
#endif
	unlock(group_lock[s]);
#ifdef UNMARK_LATE
	take_mark_away(s)
#endif
}

/* Closes the channel. */
inline wake_group(s)
{
	lock(group_lock[s]);
	if
	:: PARKED(s) -> end_group(s)
	:: !PARKED(s) -> unlock(group_lock[s])
	fi
}

inline set_mark(s) { d_step { waited[s] = true; used[s] = true } }

/* Has the drainer wake the group at the next commit. A watch that is in the list already needs only the mark; the drainer
 * sleeps on. One that is armed with another sequence fires at once for this reader: is_over. */
inline watch(s)
{
	lock(parker_lock);
	if
	:: !watched[s] ->
		atomic { watched[s] = true; set_mark(s); armed[s] = seen; fired_at[s] = seen; waiters[s]++ };
#ifndef NO_KICK
		atomic { kicked = true; woken = woken || (queued & BIT(OWN)) }
#endif
#ifdef MARK_ANY
	:: watched[s] -> set_mark(s)
#else
	:: watched[s] && armed[s] == seen -> set_mark(s)
	:: watched[s] && armed[s] != seen -> is_over = true
#endif
	fi;
	unlock(parker_lock)
}

#define SELF BIT(me)

proctype reader(byte me)
{
	byte s = me % SEGMENTS;
	byte seen;
	bool is_over, leaves;

	do
	:: !leaves ->
		seen = version[s];      /* reads what is there, and waits for the next */

		lock(group_lock[s]);
		if
		:: !PARKED(s) ->
			group = group | SELF;
#ifndef PRIVATE
			watch(s)
#endif
		:: PARKED(s) -> group = group | SELF
		fi;
		if
		:: is_over -> group = group & ~SELF; is_over = false
		:: else
		fi;
		unlock(group_lock[s]);

		/* The second look: a commit before the group was there did not see it, and the group's watch may have begun
		 * with a newer sequence than this reader has seen. */
		if
#ifndef NO_SECOND_LOOK
		:: version[s] != seen
		:: version[s] == seen ->
#else
		:: true ->
#endif
			if
			:: true ->
				if
				:: !(group & SELF)              /* the channel is closed */
				/* Nothing else can move, so this reader waits for ever. It may, if nothing is newer. */
				:: timeout ->
					assert(version[s] == seen);
					leaves = true
				fi
#ifdef LEAVES
			:: leaves = true                        /* its context ends, at any time */
#endif
			fi
		fi;

		lock(group_lock[s]);
		if
		:: (group & MEMBERS(s)) == SELF -> end_group(s)
		:: (group & MEMBERS(s)) != SELF -> group = group & ~SELF; unlock(group_lock[s])
		fi
	:: leaves -> break
	od
}


/* ---- The drainer -------------------------------------------------------------------------------------------------- */

/* A watch whose sequence has moved fires: it wakes the group, if there is the mark, and stays in the list, armed with
 * the sequence that made it fire. Any reader that has seen this one parks by the mark alone. Without the mark it is
 * dropped. */
inline fire(s)
{
	atomic {
		now = version[s];
		assert(now != fired_at[s]);     /* a fire is for a commit */
		fired_at[s] = now
	};
	if
	:: waited[s] ->
		waited[s] = false;
		over = over | BIT(s);
#ifndef REARM_OLD
		armed[s] = now
#endif
#ifdef KEEP_UNUSED
	:: !waited[s] -> armed[s] = now
#else
	:: !waited[s] ->
		atomic {
			watched[s] = false;
#ifndef KEEP_COUNT
			waiters[s]--
#endif
		}
#endif
	fi;
	atomic { assert(used[s] || !watched[s]); used[s] = false; now = 0 }
}

proctype drainer()
{
	byte over;              /* bit s: the watch of segment s fired for somebody */
	byte list;              /* bit w: sleeps on word w */
	byte now;
	byte w;

	do
	:: true ->
		lock(parker_lock);
		do
		:: w < SEGMENTS && watched[w] && version[w] != armed[w] -> fire(w); w++
		:: w < SEGMENTS && (!watched[w] || version[w] == armed[w]) -> w++
		:: w == SEGMENTS -> w = 0; break
		od;
		if
		:: over != 0 ->
			unlock(parker_lock);
			do
			:: w < SEGMENTS && (over & BIT(w)) -> wake_group(w); w++
			:: w < SEGMENTS && !(over & BIT(w)) -> w++
			:: w == SEGMENTS -> atomic { w = 0; over = 0 }; break
			od
		:: over == 0 ->
			/* The list to sleep on, and the own word, as they are with the lock held. */
			atomic {
				list = BIT(OWN);
				do
				:: w < SEGMENTS && watched[w] ->
					list = list | BIT(w);
#ifdef ARM_LATE
					armed[w] = version[w];
					fired_at[w] = version[w];
#endif
					w++
				:: w < SEGMENTS && !watched[w] -> w++
				:: w == SEGMENTS -> w = 0; break
				od
			};
#ifdef READ_LATE
			unlock(parker_lock);
			kicked = false;
#else
			kicked = false;
			unlock(parker_lock);
#endif
			/* futex_waitv compares and queues word by word, and sleeps if no word differs and no wake came. */
			do
			:: atomic { w < SEGMENTS && (list & BIT(w)) && version[w] == armed[w] -> queued = queued | BIT(w); w++ }
			:: atomic { w < SEGMENTS && (list & BIT(w)) && version[w] != armed[w] -> woken = true; w++ }
			:: atomic { w < SEGMENTS && !(list & BIT(w)) -> w++ }
			:: atomic { w == OWN && !kicked -> queued = queued | BIT(OWN); break }
			:: atomic { w == OWN && kicked -> woken = true; break }
			od;
end_asleep:             atomic { woken -> woken = false; queued = 0; list = 0; w = 0 }
		fi
	od
}


/* ---- A reader that parks itself, and the writers ------------------------------------------------------------------ */

proctype direct(byte me)
{
	byte seen;
	bool leaves;

	do
	:: !leaves ->
		seen = version[0];
		waiters[0]++;
		if
		:: atomic { version[0] == seen -> asleep = asleep | SELF };
			if
			:: true ->
				if
				:: !(asleep & SELF)
				:: timeout ->
					assert(version[0] == seen);
					atomic { asleep = asleep & ~SELF; leaves = true }
				fi
#ifdef LEAVES
			/* Its context ends: that wakes the word, and the others look and sleep on. */
			:: atomic { wake_word(0); leaves = true }
#endif
			fi
		:: version[0] != seen
		fi;
		waiters[0]--
	:: leaves -> break
	od
}

/* Each commit is one of another process, or of this one, which wakes its group itself as well. */
proctype writer(byte s)
{
	byte commits;

	do
	:: commits < COMMITS ->
		commits++;
		version[s]++;
		if
		:: waiters[s] != 0 -> wake_word(s)
		:: waiters[s] == 0
		fi;
		if
#ifndef PRIVATE
		:: true
#endif
		:: !PARKED(s)
		:: PARKED(s) -> wake_group(s)
		fi
	:: else -> break
	od
}

init {
	byte i;

	atomic {
		run drainer();
		do
		:: i < SEGMENTS -> run writer(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < READERS -> run reader(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < DIRECT -> run direct(i); i++
		:: else -> break
		od;
		i = 0
	};
	/* All but the drainer are gone: what is left in the count is its watches. */
	_nr_pr == 2;
	do
	:: i < SEGMENTS -> atomic { assert(waiters[i] == watched[i]); i++ }
	:: else -> break
	od
}
