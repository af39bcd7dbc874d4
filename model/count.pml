/*
 * The count of parked readers: a reader counts itself before it parks and takes itself out when it leaves; one that is
 * killed leaves its count behind, and the writer forgets it; a handle that is closed takes out what its readers added.
 * README.md says what is proved, and what is left out.
 *
 * Sizes (-D): HANDLES (each the only one of its process), READERS (reader r belongs to handle r % HANDLES), COMMITS,
 * KILLS (processes, at most), CLOSES (handles that may be closed, from handle 0 on). Every other name under #ifdef is a
 * mutant: it takes away the rule that stands there.
 *
 * The order of memory is sequentially consistent here: segment.pml has what commit and park need of it.
 */

#ifndef HANDLES
#define HANDLES 2
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef CLOSES
#define CLOSES 0
#endif

#include "common.pml"


/* ---- What the processes share, and what each handle has --------------------------------------------------------- */

byte version;           /* the sequence; a commit is one step here */
byte waiters;           /* parked readers, over all processes */

byte announced[HANDLES]; /* what the handle's readers have added to waiters, and nobody has taken out */
bool retired[HANDLES];  /* closed: readers must leave */
bool unmapped[HANDLES]; /* the header reads as zeros, and what is stored there is lost */
byte inside[HANDLES];   /* calls of announce and conceal that are under way */
bool killed[HANDLES];   /* SIGKILL was sent */


/* ---- What only the proof remembers ------------------------------------------------------------------------------- */

byte share[HANDLES];    /* how many of this handle's readers are in waiters; 0 after its process died and was forgotten */

/* The writer forgot readers that live. It may do that by mistake, if at its look at waiters one of them was counted and
 * not asleep: one that is on its way, stopped between announce and sleep. Until the count is right again, a wake may miss
 * it or another one: time-outs are for those. */
bool mistaken;
byte missed;            /* bit r: reader r slept through a commit because of that */

#if HANDLES == 1
#define LIVING (killed[0] -> 0 : share[0])
#define DEAD   (killed[0] -> share[0] : 0)
#else
#define LIVING ((killed[0] -> 0 : share[0]) + (killed[1] -> 0 : share[1]))
#define DEAD   ((killed[0] -> share[0] : 0) + (killed[1] -> share[1] : 0))
#endif

#define JUDGE mistaken = mistaken && waiters < LIVING


/* ---- Writer ------------------------------------------------------------------------------------------------------ */

inline forget_dead()
{
	share[0] = (killed[0] -> 0 : share[0]);
#if HANDLES > 1
	share[1] = (killed[1] -> 0 : share[1])
#endif
}

/* Again so many counted, and nobody asleep. The code asks for that through a second and a hundred commits. Here any
 * second such commit may be the one: that is more than can happen. */
inline forget()
{
	if
	:: true
	:: atomic {
		waiters == seen ->      /* compare-exchange: nobody has come since the look */
		waiters = 0;
		mistaken = mistaken || on_the_way;
		forget_dead();
		JUDGE
	   }; absent = 0
	:: atomic {
		waiters != seen ->
#ifdef STORE_ZERO
		waiters = 0;
		forget_dead();
#endif
		absent = 0
	   }
	fi
}

proctype writer()
{
	byte commits;
	byte seen;              /* waiters, at the look of this commit */
	byte absent;            /* how many were counted at the last commit that found any */
	bool on_the_way;        /* proof: a living reader was counted at the look */

	do
	:: commits < COMMITS ->
		commits++;
		version++;
		d_step {
			seen = waiters;
			on_the_way = (LIVING != 0);
			missed = (mistaken && seen == 0 -> missed | asleep : missed)
		};
		if
		:: seen == 0
		:: atomic { seen != 0 && asleep != 0 -> FUTEX_WAKE; absent = seen }
		:: atomic { seen != 0 && asleep == 0 && seen != absent -> absent = seen }
		:: seen != 0 && asleep == 0 && seen == absent -> forget()
		fi
	:: else -> break
	od
}


/* ---- A handle ---------------------------------------------------------------------------------------------------- */

/* Takes n readers of this handle out of the count, but not below 0: they may have been forgotten. */
inline uncount(n)
{
	atomic {
		if
		:: !unmapped[h] ->
#ifdef NO_LOWER_BOUND
			waiters = waiters - n;
#else
			waiters = (waiters > n -> waiters - n : 0);
#endif
			share[h] = share[h] - n;
			JUDGE
		:: else                 /* lost: the word is no longer that of the segment */
		fi
	}
}

/* Takes one reader out, unless close has done it. */
inline take_out()
{
	if
	:: atomic { announced[h] != 0 -> announced[h]-- }; uncount(1)
#ifdef CONCEAL_ANYWAY
	:: announced[h] == 0 -> uncount(1)
#else
	:: announced[h] == 0
#endif
	fi
}

inline announce()
{
	atomic {
		inside[h]++;
		if
		:: !unmapped[h] -> waiters++; share[h]++
		:: else
		fi
	};
	announced[h]++;
#ifndef NO_RETIRED_LOOK
	/* Close stores retired before it looks at announced: either it finds this reader there, or this look finds it. */
	if
	:: retired[h] -> take_out()
	:: !retired[h]
	fi;
#endif
	inside[h]--
}

inline conceal()
{
	inside[h]++;
	take_out();
	inside[h]--
}

proctype closer(byte h)
{
	byte n;

	{
		if
		:: retired[h] = true
		:: goto left            /* or the handle is never closed */
		fi;
		FUTEX_WAKE;             /* those of this handle leave, the others look and sleep on */
		atomic { n = announced[h]; announced[h] = 0 };
		if
		:: n != 0 -> uncount(n)
		:: else
		fi;
#ifdef UNMAP_EARLY
		unmapped[h] = true
#else
		/* The memory goes when no call that may change the count is under way. */
		atomic { inside[h] == 0 -> unmapped[h] = true }
#endif
	} unless { killed[h] };
left:
	skip
}


/* ---- Reader ------------------------------------------------------------------------------------------------------ */

#define SELF (1 << me)

/* A reader of a closed handle may have missed the wake of close: it has its time-out, and nothing is promised to it. */
#ifdef FOREVER
#define MAY_TIME_OUT retired[h]
#else
#define MAY_TIME_OUT (retired[h] || (missed & SELF))
#endif

proctype reader(byte me)
{
	byte h = me % HANDLES;
	byte seen;
	bool leaves;

	{
		do
		:: retired[h] || leaves -> break        /* ErrClosed, or its caller gave up */
		:: else ->
			seen = version;                 /* reads what is there, and waits for the next */
			announce();
			if
			:: retired[h] || version != seen
			:: else ->
				/* futex_wait compares and puts to sleep in one step. */
				if
				:: atomic { version == seen -> asleep = asleep | SELF };
					if
					:: atomic { !(asleep & SELF) -> missed = missed & ~SELF }
					:: atomic { MAY_TIME_OUT -> asleep = asleep & ~SELF; missed = missed & ~SELF }
					/* Nothing else can move, so this reader sleeps for ever. It may, if nothing is newer. */
					:: timeout ->
						assert(version == seen);
						atomic { asleep = asleep & ~SELF; leaves = true }
					fi
				:: version != seen
				fi
			fi;
			conceal()
		od
	} unless { killed[h] };
	atomic {
		if
		:: killed[h] -> asleep = asleep & ~SELF; missed = missed & ~SELF
		:: else
		fi
	}
}

proctype sigkill()
{
	byte kills;
	byte h;

	do
	:: atomic { kills < KILLS && !killed[h] -> killed[h] = true; kills++; JUDGE }
	:: atomic { h + 1 < HANDLES -> h++ }
	:: break
	od
}

init {
	byte i;

	atomic {
		run writer();
		run sigkill();
		do
		:: i < CLOSES -> run closer(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < READERS -> run reader(i); i++
		:: else -> break
		od;
		i = 0
	};
	/* All are gone: what is left in the count is what the dead have left there, and nothing if nobody was killed. */
	_nr_pr == 1;
	assert(waiters <= DEAD)
}
