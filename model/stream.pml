/*
 * The protocol of a stream: one writer at a time puts frames into slots, readers pin the slot whose frame they look at,
 * join, leave and die, the writer takes away what dead readers left, writers die, the next one takes over. README.md
 * says what is proved, and what is left out.
 *
 * Sizes (-D): SLOTS, PLACES (numbers of readers), READERS (reader i has number i % PLACES, when that is free), CALLS
 * (Next calls of each, at most), FIRST_CALLS (those of reader 0, if not CALLS), WRITERS (one holds the lock at a time),
 * COMMITS (at most, of each), KILLS (readers, at most), DEATHS (writers, at most). EVERY: the policy is every frame, and
 * not newest wins. ABORTS: any commit may be aborted. IDLE: a reader may look at its frame until nothing else can move.
 * Every other name under #ifdef is a mutant, or a variant: it takes away the rule that stands there.
 */

#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef PLACES
#define PLACES 2
#endif
#ifndef READERS
#define READERS PLACES
#endif
#ifndef CALLS
#define CALLS 2
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif

#ifdef FIRST_CALLS
#define CALLS_OF(reader) (reader == 0 -> FIRST_CALLS : CALLS)
#else
#define CALLS_OF(reader) CALLS
#endif
#define FRAMES (WRITERS * COMMITS)


/* ---- Memory --------------------------------------------------------------------------------------------------------
 *
 * A store of the words below goes into its process's buffer and reaches memory some time later, in order: later loads
 * overtake it (x86; on arm64 the stores that could also overtake each other here are each a release, or followed by a
 * fence). A sequentially consistent store waits until the buffer is empty and goes to memory at once, which is the same
 * as a store and a fence. A read-modify-write waits for the buffer too.
 *
 * All writers share one buffer: it belongs to the one that holds the lock, and the lock passes on only when it is empty.
 */

byte slot[SLOTS];       /* a slot's sequence: 2 * the number of its frame, odd: the writer is in it, 0: nothing */
byte sequence;          /* 2 * the number of the frame last committed; readers park on it */
byte place[PLACES];     /* the cursor of the reader with this number, the next frame that it wants; 0: nobody. Every frame
                         * only */
bool writer_waits;      /* the writer found no slot, and parks on `released` */

#define SLOT(s)  (s)
#define SEQUENCE SLOTS
#define WAITS    (SLOTS + 1)
#define PLACE(r) (SLOTS + 2 + (r))

chan stores = [3] of { byte, byte };            /* the writer's buffer: word, value */
chan cursors[READERS] = [2] of { byte };        /* each reader's: it stores to its own place only */

#define DRAINED empty(stores)

/* Not part of the store buffers: sequentially consistent in the model, or ordered by a release store of a word above. */
byte table[SLOTS];      /* table[n % SLOTS]: the slot that has frame n */
byte pins[SLOTS];       /* bit r: the reader with number r has pinned this slot */
byte meta[SLOTS];       /* what a frame is: metadata, ... */
byte data[SLOTS];       /* ... and data. Each commit has a content of its own */
byte waiters;           /* parked readers */

/* ---- What the kernel keeps ------------------------------------------------------------------------------------- */

#include "common.pml"           /* the readers that are asleep on `sequence`, and the wake */

#define FREE   0
#define WRITER 255
byte lock[PLACES] = FREE;       /* a number's lock: FREE, its reader + 1, or WRITER while the writer clears up */
byte writer_lock = FREE;        /* FREE, or its holder + 1 */
bool writer_asleep;             /* on `released` */
bool released;                  /* `released` is not what the writer noted: it moves at each release that sees writer_waits */
bool killed[READERS];           /* SIGKILL was sent */
bool writer_killed[WRITERS];


/* ---- What only the proof remembers ------------------------------------------------------------------------------- */

byte living;            /* bit i: reader i runs, between join and the end */
byte held[SLOTS];       /* bit r: the living reader with number r looks at this slot's frame */
byte pinned[SLOTS];     /* bit r: the living reader with number r has pinned this slot itself */
byte placed;            /* bit r: the living reader with number r has a place */
byte contents;          /* contents given away */
byte content[FRAMES + 1]; /* of each frame */
byte seen;              /* bit n: a reader has had frame n */
byte used;              /* slots that were ever written, from 0 on: which one is the next fresh one makes no difference */
byte kills;
bool owed;              /* a reader died, and the writer has not timed out since */
bool died;              /* the last writer died, and nobody took over */


inline put(word, value)
{
	if
	:: word < SLOTS -> slot[word] = value
	:: word == SEQUENCE -> sequence = value
	:: word == WAITS -> writer_waits = value
	:: word > WAITS ->
		assert(!(placed & (1 << (word - PLACE(0)))));   /* not a living reader's */
		place[word - PLACE(0)] = value
	fi
}

active proctype store_buffers()
{
	byte word, value;

end:
	do
	:: d_step { stores ? word, value -> put(word, value); word = 0; value = 0 }
	:: d_step { cursors[0] ? place[0] }
#if READERS > 1
	:: d_step { cursors[1] ? place[1 % PLACES] }
#endif
	od
}

/* A slot that the writer may take, in a state in which nobody is on the way to change that. */
#if PLACES == 1
#define WANTED_BELOW(n) (place[0] != 0 && place[0] <= (n))
#else
#define WANTED_BELOW(n) ((place[0] != 0 && place[0] <= (n)) || (place[1] != 0 && place[1] <= (n)))
#endif
#define IS_FREE(s) (pins[s] == 0 && slot[s] != sequence && !WANTED_BELOW(slot[s] / 2))
#if SLOTS == 2
#define HAS_SLOT (IS_FREE(0) || IS_FREE(1))
#define HOLDING  (held[0] | held[1])
#elif SLOTS == 3
#define HAS_SLOT (IS_FREE(0) || IS_FREE(1) || IS_FREE(2))
#define HOLDING  (held[0] | held[1] | held[2])
#else
#define HAS_SLOT (IS_FREE(0) || IS_FREE(1) || IS_FREE(2) || IS_FREE(3))
#define HOLDING  (held[0] | held[1] | held[2] | held[3])
#endif


/* ---- Reader ------------------------------------------------------------------------------------------------------ */

#define SELF (1 << me)          /* this reader */
#define BIT  (1 << r)           /* its number */
#define FENCE empty(cursors[me])

/* After everything that may have freed a slot. Either this look sees writer_waits, or the writer's look for a slot after
 * it stored writer_waits sees what was freed. `released` moves before the wake: a writer that is not asleep yet compares. */
inline tell_writer()
{
	if
	:: writer_waits -> released = true; writer_asleep = false
	:: !writer_waits
	fi
}

inline pin()
{
	d_step { pins[s] = pins[s] | BIT; pinned[s] = pinned[s] | BIT }
}

inline unpin()
{
	d_step {
		FENCE ->
		held[s] = held[s] & ~BIT;
		pinned[s] = pinned[s] & ~BIT;
		pins[s] = pins[s] & ~BIT;
		s = 0; n = 0; q = 0
	}
}

inline release()
{
#ifdef RELEASE_LOOKS_FIRST
	if
	:: writer_waits -> unpin(); released = true; writer_asleep = false
	:: !writer_waits -> unpin()
	fi
#else
	unpin();
#ifndef RELEASE_TELLS_NOBODY
	tell_writer()
#endif
#endif
}

/* With the lock of the number held: the writer takes nothing of this number away from now on, and nobody else has it. */
inline join()
{
#ifndef JOIN_KEEPS_PINS
	do
	:: n < SLOTS -> d_step { assert(!(pinned[n] & BIT)); pins[n] = pins[n] & ~BIT; n++ }
	:: else -> n = 0; break
	od;
#endif
#ifdef EVERY
	/* The place counts from when the writer can see it. The frames that were committed before are not promised, and
	 * they may be gone: how many that is says `sequence`, loaded after the place is visible. */
	want = sequence / 2 + 1;
#ifdef JOIN_WEAK
	cursors[me] ! want;
#else
	atomic { FENCE -> place[r] = want; placed = placed | BIT };
#endif
#ifndef JOIN_ONCE
	want = sequence / 2 + 1;
	atomic { FENCE -> place[r] = want; placed = placed | BIT };
#endif
#else
	want = sequence / 2 + 1;
#endif
	/* The dead reader's pins and place, and the frames between the two looks, may be what the writer waits for. */
#ifndef JOIN_TELLS_NOBODY
	tell_writer()
#endif
}

inline leave()
{
#ifdef LEAVE_UNLOCKS_FIRST
	atomic { lock[r] = FREE };
#endif
#ifdef EVERY
	d_step { nfull(cursors[me]) -> placed = placed & ~BIT; cursors[me] ! 0 };
#endif
#ifndef LEAVE_UNLOCKS_FIRST
	atomic { FENCE -> lock[r] = FREE };     /* a system call, with what was stored before it visible */
#endif
#ifndef LEAVE_TELLS_NOBODY
	tell_writer()
#endif
}

/* Newest wins: a later frame will do as well. */
#ifdef EVERY
#define FITS(q) (q == 2 * n)
#else
#define FITS(q) (!(q & 1) && q >= 2 * n)
#endif

inline hold()
{
	assert(meta[s] == content[q / 2] && data[s] == content[q / 2]);
	held[s] = held[s] | BIT;
	seen = seen | (1 << (q / 2));
	want = q / 2 + 1
}

proctype reader(byte me)
{
	byte r = me % PLACES;
	byte calls;
	byte want;              /* the next frame that is wanted, or any later one */
	byte n;                 /* the frame that is there */
	byte s;
	byte q;

	{
		atomic { lock[r] == FREE -> lock[r] = me + 1; living = living | SELF };
		join();

next:
		if
		:: calls < CALLS_OF(me) -> calls++
		:: calls == CALLS_OF(me) -> goto leaves
		fi;
retry:
		n = sequence / 2;
		if
		:: n < want -> n = 0; goto park
		:: else
		fi;
#ifdef EVERY
		n = want;
#endif
		s = table[n % SLOTS];
#ifdef NO_LOOK_AFTER_PIN
		q = slot[s];
		if
		:: d_step { FITS(q) -> pins[s] = pins[s] | BIT; pinned[s] = pinned[s] | BIT; hold() }
		:: else -> s = 0; n = 0; q = 0; goto retry
		fi;
#else
#ifdef CURSOR_BEFORE_PIN
		cursors[me] ! n + 1;
		FENCE;
#endif
		pin();
		/* The writer marks the slot odd, then looks at the pins. Either it sees this one, or this sees odd. */
		q = slot[s];
#ifdef EVERY
		assert(q == 2 * n);                     /* the cursor has kept the writer away */
#else
		if
		:: FITS(q)
		/* The writer was there in between: there is a newer frame, in another slot. Never the newest one's slot is
		 * written, so each way back to here costs the writer a commit. */
		:: d_step { else -> assert(sequence > 2 * n) };
#ifdef UNPIN_TELLS_NOBODY
			unpin();
#else
			release();
#endif
			goto retry
		fi;
#endif
		d_step { assert(FITS(q)); hold() };
#endif
#ifdef EVERY
#ifndef CURSOR_BEFORE_PIN
		/* After the pin, release: who sees this sees the pin. It frees no slot, as long as the pin is there, so there is
		 * nothing to tell the writer. */
		cursors[me] ! want;
#endif
#endif
#ifdef IDLE
		/* Its caller takes its time, until nothing else can move. A writer sleeps then only if there is no slot. */
		if
		:: true
		:: true -> timeout -> assert(!writer_asleep || !HAS_SLOT)
		fi;
#endif
		release();
		goto next;

park:
		waiters++;              /* sequentially consistent; pairs with the load of `waiters` in wake */
		/* Its re-check is the compare in futex_wait: segment.pml. */
		if
		:: atomic { sequence / 2 < want -> asleep = asleep | SELF }
		:: sequence / 2 >= want -> goto unpark
		fi;
		if
		:: !(asleep & SELF)
		/* Nothing else can move, so this reader sleeps for ever. It may if there is nothing newer, or if the writer died
		 * and nobody took over: a time-out finds that. */
		:: timeout ->
			assert(sequence / 2 < want || died);
			d_step { asleep = asleep & ~SELF; waiters-- };
			goto leaves
		fi;
unpark:
		waiters--;
		goto retry;

leaves:
		leave()
	} unless { killed[me] };

	/* What it stored reaches memory, then the kernel drops its lock. Its pins, its place and its count stay. */
	atomic {
		FENCE ->
		living = living & ~SELF;
		if
		:: killed[me] ->
			asleep = asleep & ~SELF;
			owed = true;
			if
			:: lock[r] == me + 1 ->
				lock[r] = FREE;
				placed = placed & ~BIT;
				n = 0;
				do
				:: n < SLOTS -> held[n] = held[n] & ~BIT; pinned[n] = pinned[n] & ~BIT; n++
				:: else -> break
				od
			:: else
			fi
		:: else
		fi;
		calls = 0; want = 0; n = 0; s = 0; q = 0
	}
}


/* ---- Writer ------------------------------------------------------------------------------------------------------ */

/* No waiters, no system call. */
inline wake()
{
	if
	:: waiters != 0 -> FUTEX_WAKE
	:: waiters == 0
	fi
}

/* Sequentially consistent with the load of `waiters` after it. */
inline publish(frame)
{
#ifdef PUBLISH_WEAK
	stores ! SEQUENCE, 2 * frame;
#else
	atomic { DRAINED -> sequence = 2 * frame };
#endif
	wake()
}

#if SLOTS == 2
#define HAS_PINS(i) ((pins[0] | pins[1]) & (1 << (i)))
#elif SLOTS == 3
#define HAS_PINS(i) ((pins[0] | pins[1] | pins[2]) & (1 << (i)))
#else
#define HAS_PINS(i) ((pins[0] | pins[1] | pins[2] | pins[3]) & (1 << (i)))
#endif

/* Takes away what dead readers left. A number whose lock is held may belong to a living reader, and a lock that is free
 * may be taken by one at any time: so take it first. */
inline reclaim()
{
#ifndef NO_RECLAIM
	do
	:: i < PLACES ->
		if
		:: atomic {
			lock[i] == FREE && (place[i] != 0 || HAS_PINS(i)) ->
#ifndef RECLAIM_WITHOUT_LOCK
			lock[i] = WRITER
#endif
		   };
			do
			:: s < SLOTS ->
				d_step {
					assert(!(pinned[s] & (1 << i)));        /* not a living reader's */
					pins[s] = pins[s] & ~(1 << i);
					s++
				}
			:: else -> s = 0; break
			od;
#ifdef RECLAIM_UNLOCKS_FIRST
			lock[i] = FREE;
#endif
#ifdef EVERY
#ifndef RECLAIM_KEEPS_PLACE
			stores ! PLACE(i), 0;
#endif
#endif
#ifndef RECLAIM_UNLOCKS_FIRST
			atomic { DRAINED -> lock[i] = (lock[i] == WRITER -> FREE : lock[i]) }
#endif
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od
#else
	skip
#endif
}

/* The lock is held, and what the dead one stored is visible. At most one slot is odd, or is committed without `sequence`
 * saying so.
 *
 * An odd slot: its data may be half of two frames, so it is nobody's from now on. A reader may hold it nevertheless: the
 * dead one marked it odd, and died before it looked at the pins. So nothing but its sequence is touched.
 *
 * A committed slot: a reader may have had it already, so its number can't be given again: the commit is finished.
 *
 * The dead one may have stored `sequence` and woken nobody, which can't be seen: so wake in any case. */
inline take_over()
{
	newest = sequence / 2;
	do
	:: i < SLOTS ->
		s = slot[i];
		if
		:: s & 1 ->
#ifdef TAKE_OVER_EMPTIES
			d_step { assert(!held[i]); meta[i] = 0 };
#endif
#ifdef TAKE_OVER_UNMARKS
			stores ! SLOT(i), s - 1;
			record[i] = s / 2
#else
			stores ! SLOT(i), 0
#endif
		:: s == 2 * (newest + 1) ->
#ifdef TAKE_OVER_THROWS_AWAY
			stores ! SLOT(i), 0
#else
			newest++;
			record[i] = newest;
			table[newest % SLOTS] = i;
			publish(newest)
#endif
		:: else -> record[i] = s / 2
		fi;
		i++
	:: else -> i = 0; s = 0; break
	od;
	died = false;
#ifndef TAKE_OVER_WAKES_NOBODY
	wake()
#endif
}

/* A slot that may be written, as far as the writer's own record, and the cursors that it has loaded, say. The newest frame
 * is kept: a reader that comes now looks there. */
#ifdef NEWEST_TOO
#define IS_OLD(i) true
#else
#define IS_OLD(i) (newest == 0 || record[i] != newest)
#endif
#define MAY_TRY(i) (i <= used && !(tried & (1 << i)) && IS_OLD(i) && record[i] < low)

inline load_cursors()
{
	low = 255;
#ifdef EVERY
	do
	:: i < PLACES -> d_step { low = (place[i] != 0 && place[i] < low -> place[i] : low); i++ }
	:: else -> i = 0; break
	od
#endif
}

inline mark()
{
#ifdef NO_FENCE_AFTER_ODD
	stores ! SLOT(s), 2 * record[s] + 1
#else
	atomic { DRAINED -> slot[s] = 2 * record[s] + 1 }
#endif
}

proctype writer(byte me)
{
	byte record[SLOTS];     /* the frame that each slot has; the slots themselves are memory that others can write */
	byte newest;
	byte commits;
	byte low;               /* frames below this are wanted by nobody */
	byte tried;             /* bit s: slot s is not to be had in this look */
	byte s, i;
	bool announced;         /* this look comes after writer_waits */

	{
		atomic { writer_lock == FREE -> writer_lock = me + 1; assert(DRAINED) };
		take_over();
next:
		if
		:: commits < COMMITS -> commits++
		:: goto close
		fi;

look:
		load_cursors();
try:
		if
		:: MAY_TRY(0) -> s = 0
		:: MAY_TRY(1) -> s = 1
#if SLOTS > 2
		:: MAY_TRY(2) -> s = 2
#endif
#if SLOTS > 3
		:: MAY_TRY(3) -> s = 3
#endif
		:: else -> tried = 0; goto no_slot
		fi;
		d_step { tried = tried | (1 << s); used = (s >= used -> s + 1 : used) };
#ifndef NO_FIRST_LOOK
		if
		:: pins[s] != 0 -> s = 0; goto try
		:: pins[s] == 0
		fi;
#endif
		mark();
#ifndef NO_LOOK_AFTER_ODD
		if
		:: pins[s] != 0 -> stores ! SLOT(s), 2 * record[s]; s = 0; goto try
		:: pins[s] == 0
		fi;
#endif
		tried = 0;
		if
		:: announced -> announced = false; stores ! WAITS, false
		:: else
		fi;

		d_step { contents++; assert(!held[s]); meta[s] = contents };
		d_step { assert(!held[s]); data[s] = contents };
#ifdef ABORTS
		if
		:: true
		:: d_step { assert(!held[s]); meta[s] = 0 };
#ifdef ABORT_UNMARKS
			stores ! SLOT(s), 2 * record[s];
#else
			stores ! SLOT(s), 0;
			record[s] = 0;
#endif
			goto next
		fi;
#endif
		newest++;
		record[s] = newest;
#ifdef SEQUENCE_FIRST
		table[newest % SLOTS] = s;
		content[newest] = contents;
		atomic { DRAINED -> sequence = 2 * newest };
		stores ! SLOT(s), 2 * newest;
		wake();
#else
		d_step {
			nfull(stores) ->
			assert(!(seen & (1 << newest)));        /* nobody has had another frame of this number */
			content[newest] = contents;
			stores ! SLOT(s), 2 * newest            /* release */
		};
		table[newest % SLOTS] = s;
		publish(newest);
#endif
		s = 0;
		goto next;

no_slot:
#ifndef EVERY
		assert(SLOTS < PLACES + 2 || kills != 0);       /* newest wins, and slots enough: it never waits */
#endif
		if
		:: announced
		:: else ->
			reclaim();
			announced = true;
#ifdef WAITS_WEAK
			stores ! WAITS, true;
#else
			atomic { DRAINED -> writer_waits = true };
#endif
#ifndef NOTE_LATE
			released = false;               /* notes `released` as it is now */
#endif
#ifndef NO_SECOND_LOOK
			goto look
#endif
		fi;
#ifdef NOTE_LATE
		released = false;
#endif
		if
		:: atomic { !released -> writer_asleep = true }
		:: released -> goto awake
		fi;
		do
		:: !writer_asleep -> break
		/* Its time-out, which is there for dead readers: one look after the last death must be enough. */
		:: atomic { owed -> owed = false; writer_asleep = false }
		/* Nothing else can move, so this writer sleeps for ever. It may while a reader takes its time, who says so. */
		:: timeout -> assert(HOLDING)
		od;
awake:
		announced = false;
		stores ! WAITS, false;
		goto look;

close:
		skip
	} unless { writer_killed[me] };

	/* What it stored reaches memory, then the kernel drops its locks. */
	atomic {
		DRAINED ->
		died = writer_killed[me];
		writer_asleep = false;
		writer_lock = FREE;
		i = 0;
		do
		:: i < PLACES -> lock[i] = (lock[i] == WRITER -> FREE : lock[i]); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < SLOTS -> record[i] = 0; i++
		:: else -> break
		od;
		i = 0; s = 0; newest = 0; low = 0; tried = 0; announced = false; commits = 0
	}
}

active proctype sigkill()
{
	byte deaths;

	do
	:: atomic { kills < KILLS && (living & 1) && !killed[0] -> killed[0] = true; kills++ }
#if READERS > 1
	:: atomic { kills < KILLS && (living & 2) && !killed[1] -> killed[1] = true; kills++ }
#endif
	:: atomic {
		deaths < DEATHS && writer_lock != FREE && !writer_killed[writer_lock - 1] ->
		writer_killed[writer_lock - 1] = true; deaths++
	   }
	:: break
	od
}

init {
	byte i;

	atomic {
		do
		:: i < WRITERS -> run writer(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < READERS -> run reader(i); i++
		:: else -> break
		od;
		i = 0
	}
}
