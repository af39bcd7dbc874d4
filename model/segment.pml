/*
 * The segment protocol: one writer at a time commits tensors through a seqlock, readers take snapshots and park until
 * the next commit, writers die, the next one repairs. README.md says what is proved, and what is left out.
 *
 * Sizes (-D): READERS, CALLS (Next calls of each), WRITERS (one holds the lock at a time), COMMITS (at most, of each),
 * DEATHS (at most, over all). Every other name under #ifdef is a mutant: it takes away the rule that stands there.
 */

#ifndef READERS
#define READERS 2
#endif
#ifndef CALLS
#define CALLS 2
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef COMMITS
#define COMMITS 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif


/* ---- Memory --------------------------------------------------------------------------------------------------------
 *
 * A store goes into a buffer first and reaches memory some time later. There is one buffer for each location, so that
 * stores to one location stay in order and stores to different locations overtake each other (SPARC's PSO: arm64 does
 * that, x86 does not). Only writers store; readers change `waiters` alone, by an atomic read-modify-write.
 *
 * All writers share the buffers: a buffer belongs to the writer that holds the lock, and the lock passes on only when
 * the buffers are empty (see writer).
 */

#define SEQUENCE 0      /* even: stable, odd: a commit is in progress, 0: nothing was ever written */
#define META     1      /* the payload: metadata, here one word ... */
#define DATA     2      /* ... and the tensor, another */

byte memory[3];
chan buffer[3] = [2] of { byte };

#define DRAINED (empty(buffer[SEQUENCE]) && empty(buffer[META]) && empty(buffer[DATA]))

/* A fence stalls until the buffers are empty. On real hardware a release fence only orders the stores on its two sides,
 * and loads may pass it: a commit loads nothing between its fence and its last store, so both come to the same. */
#define FENCE DRAINED

active proctype store_buffers()
{
end:
	do
	:: buffer[SEQUENCE] ? memory[SEQUENCE]
	:: buffer[META]     ? memory[META]
	:: buffer[DATA]     ? memory[DATA]
	od
}


/* ---- What the kernel keeps ------------------------------------------------------------------------------------- */

#define FREE 0
byte lock = FREE;       /* the writer lock: FREE, or its holder's number + 1 */
bool killed[WRITERS];   /* SIGKILL was sent */

#include "common.pml"           /* who is asleep, and the wake */


/* ---- The segment's coordination block, and what only the proof remembers ----------------------------------------- */

byte waiters;           /* parked readers */
bool attached;          /* flag bit 1: a writer has the lock; one that dies leaves it set */

#define EMPTY 0         /* metadata with ndim 0, byte_length 0 */

byte holders;           /* writers between lock and unlock */
byte tenure;            /* how often the lock was taken */
mtype = { IN_ORDER, DIED_UNSEEN, DIED };
mtype last = IN_ORDER;  /* how the last holder ended; DIED_UNSEEN: before its first commit began, or after its end in
                         * order, when all that is left is that the kernel takes back the lock */
byte finished;          /* bit w: writer w needs nothing more from anybody */
short empty_versions = 1; /* bit s/2: version s holds no tensor; version 0 is the one before the first commit */

#define IS_ODD(s) ((s) & 1)

/* Version s holds the number s in each word of its payload, so a mixture shows. An empty version has no data to look
 * at: whatever a torn commit left there is not part of it. */
#define IS_EMPTY(s)             ((empty_versions >> ((s) / 2)) & 1)
#define IS_WHOLE(s, meta, data) ((IS_EMPTY(s) && meta == EMPTY) || (!IS_EMPTY(s) && meta == s && data == s))


/* ---- Writer ------------------------------------------------------------------------------------------------------ */

/* Makes `sequence` even. Release: every store of the commit is visible before it; pairs with the reader's acquire load.
 * Sequentially consistent with the load of `waiters` after it (in wake); pairs with the reader's increment of `waiters`
 * and its re-check of `sequence`: either the writer sees the waiter, or the waiter sees the commit. */
inline publish()
{
#ifndef NO_RELEASE_STORE
	FENCE;
#endif
	buffer[SEQUENCE] ! seq;
#ifndef SC_PAIR_WEAK
	FENCE
#endif
}

/* No waiters, no system call. The wake gets to those asleep and waits for nobody. */
inline wake()
{
	if
	:: waiters != 0 ->
		FUTEX_WAKE;
#ifdef AWAIT_READERS
		waiters == 0
#endif
	:: else
	fi
}

inline commit()
{
	seq++;
	buffer[SEQUENCE] ! seq;         /* relaxed: odd */
#ifndef NO_RELEASE_FENCE
	FENCE;                          /* release: nothing below is visible before odd; pairs with the acquire fence */
#endif
	buffer[META] ! seq + 1;
	buffer[DATA] ! seq + 1;
	seq++;
	publish();
	wake()
}

/* The new holder of the lock puts right what a dead one left: a commit cut short, or one that woke nobody. The second
 * cannot be seen in the segment, so every new holder wakes: it may not commit for a long time.
 *
 * The flag is set with the lock held and before the first commit, and is cleared with the lock held: so the flag without
 * a lock is a death, as far as one look can tell (see look_for_death). Both are sequentially consistent. */
inline take_over()
{
#ifndef FLAG_AFTER_COMMIT
	attached = true;
#endif
	seq = memory[SEQUENCE];         /* the lock's own acquire; later loads would be forwarded what `seq` holds */
#ifndef NO_REPAIR
	if
	:: IS_ODD(seq) ->               /* odd is visible already, so no fence is needed before the store */
		buffer[META] ! EMPTY;
#ifdef REPAIR_TO_ZERO
		seq = 0;
#else
		d_step { seq++; empty_versions = empty_versions | (1 << (seq / 2)) };
#endif
		publish()
	:: else
	fi;
#endif
#ifndef NO_TAKE_OVER_WAKE
	wake()
#endif
}

#ifdef NO_LOCK
#define IS_FREE true
#else
#define IS_FREE (lock == FREE)
#endif

#ifdef END_WITHOUT_COMMIT
#define HAS_COMMITTED true
#else
#define HAS_COMMITTED (commits != 0)
#endif

proctype writer(byte me)
{
	byte seq;
	byte commits;
	bool closed;

	{
#ifdef FLAG_BEFORE_LOCK
		attached = true;
#endif
		if
		:: atomic { IS_FREE -> lock = me + 1; holders++; assert(holders == 1); tenure++; last = IN_ORDER }
		:: lock != FREE -> goto left    /* ErrWriterActive */
		fi;
		assert(DRAINED);
		take_over();
		do
		:: commits < COMMITS ->
			commits++;
			commit();
#ifdef FLAG_AFTER_COMMIT
			attached = true
#endif
		:: break
		od;
		if
		/* Closes the segment. Not before it has committed: a reader takes a writer that was here and left the sequence
		 * as it was for one that died. */
		:: HAS_COMMITTED ->
#ifndef CLEAR_AFTER_UNLOCK
			atomic { DRAINED -> attached = false; closed = true }
#endif
		::                              /* or keeps it, alive, and never commits again */
			finished = finished | (1 << me);
end_idle:		false
		fi
	} unless { killed[me] };

	/* Closed or killed: it executes nothing any more. What it stored reaches memory, and then the kernel drops its lock:
	 * the kernel's unlock is a release, and it runs after everything that the process did. */
	atomic {
		DRAINED ->
		if
		:: killed[me] -> last = (!closed && (commits != 0 || IS_ODD(memory[SEQUENCE])) -> DIED : DIED_UNSEEN)
		:: else
		fi;
		holders--;
		lock = FREE
	};
#ifdef CLEAR_AFTER_UNLOCK
	if
	:: killed[me]
	:: else -> attached = false
	fi;
#endif
left:
	finished = finished | (1 << me)
}

active proctype sigkill()
{
	byte deaths;

	do
	:: atomic { deaths < DEATHS && lock != FREE && !killed[lock - 1] -> killed[lock - 1] = true; deaths++ }
	:: break
	od
}


/* ---- Reader ------------------------------------------------------------------------------------------------------ */

#define SELF (1 << me)          /* this reader's bit in `asleep` */

/* Acquire fence: every load of the payload comes before the second load of `sequence`; pairs with the release fence in
 * commit. Who has loaded a word of a later commit then finds at least that commit's odd number. */
#ifdef NO_ACQUIRE_FENCE
#define ACQUIRE_FENCE true
#else
#define ACQUIRE_FENCE (got_meta && got_data)
#endif

/* The loads after the first one. They come in any order that the conditions here allow. */
inline load_rest()
{
	do
	:: d_step { !got_meta -> meta = memory[META]; got_meta = true }
	:: d_step { !got_data -> data = memory[DATA]; got_data = true }
	:: d_step { !got_again && ACQUIRE_FENCE -> again = memory[SEQUENCE]; got_again = true }
	:: got_meta && got_data && got_again -> break
	od
}

inline forget()
{
	d_step {
		seq = 0; again = 0; meta = 0; data = 0; got_meta = false; got_data = false; got_again = false;
		owed = 0; is_true = false
	}
}

/* Goes to `sleep` unless a writer died: one that left `sequence` at seq, and nobody took over.
 *
 * Flag, lock, flag, lock. One look is not enough: the writer may have ended between flag and lock. The second look
 * finds the flag of another one, who came after the first look at the lock. If that one holds no lock either, it died:
 * it can't have ended in order, for then it would have committed, and `sequence`, loaded last, would have moved. An odd
 * sequence needs no flag.
 *
 * The code loads `sequence` in between as well: a seq that moved is found here at the end, and the rest is the same. */
inline look_for_death()
{
	owed = (last == DIED -> tenure : 0);
#ifndef ONE_LOOK
	if
	:: !IS_ODD(seq) && !attached -> goto sleep
	:: else
	fi;
	if
	:: lock != FREE -> goto sleep
	:: else
	fi;
#endif
	if
	:: !IS_ODD(seq) && !attached -> goto sleep
	:: else
	fi;
	if
	:: lock != FREE -> goto sleep
	:: atomic { lock == FREE -> is_true = (last != IN_ORDER) }
	fi;
#ifndef NO_DIED_RECHECK
	if
	:: memory[SEQUENCE] != seq -> goto unpark
	:: else
	fi
#endif
}

/* Every futex wait has a time-out. One could think that it needs none while no writer is attached, who could die: the
 * next one wakes all readers when it comes. But it may come after the look at the flag and before the sleep, and that
 * wake is lost: a writer's coming leaves `sequence`, which the kernel compares, as it is. */
#ifdef FOREVER_IF_NONE
#define IS_BOUNDED bounded
#else
#define IS_BOUNDED true
#endif

/* Calls Next(after) CALLS times, each time with the version that it saw last. */
proctype reader(byte me)
{
	byte after;
	byte calls;
	byte seq, again, meta, data;
	bool got_meta, got_data, got_again;
	byte owed;                      /* proof: the tenure that had ended by a death when this look for one began, or 0 */
	bool is_true;                   /* proof: there was a death, and nobody had taken over, at the last look at the lock */
#ifdef FOREVER_IF_NONE
	bool bounded;
#endif

next:
	if
	:: calls == CALLS -> goto done
	:: else -> calls++
	fi;

retry:
	forget();
#ifdef NO_ACQUIRE_LOAD
	if
	:: d_step { meta = memory[META]; got_meta = true }
	:: skip
	fi;
	if
	:: d_step { data = memory[DATA]; got_data = true }
	:: skip
	fi;
#endif
	seq = memory[SEQUENCE];         /* acquire: the loads below come after it; pairs with the release in publish */
	assert(seq >= after);           /* versions never go back */
	if
	:: IS_ODD(seq) || seq == after -> goto park
	:: else
	fi;

	load_rest();
#ifndef NO_SEQ_RECHECK
	if
	:: again != seq -> goto retry   /* torn */
	:: else
	fi;
#endif
	assert(IS_WHOLE(seq, meta, data));
	after = seq;
	goto next;

park:
	waiters++;                      /* sequentially consistent; pairs with the load of `waiters` in wake */
#ifndef COMPARE_ONLY
	seq = memory[SEQUENCE];         /* sequentially consistent, the re-check; pairs with the store in publish */
#endif
#ifndef NO_RECHECK
	if
	:: !IS_ODD(seq) && seq != after -> goto unpark
	:: else
	fi;
#endif
	look_for_death();
	assert(is_true);
	waiters--;
	goto next;                      /* ErrWriterDied */

sleep:
#ifdef FOREVER_IF_NONE
	bounded = attached;
#endif
	/* futex_wait: the kernel compares and puts to sleep in one step. An odd sequence is waited out in the same way. */
#ifdef NO_COMPARE
	asleep = asleep | SELF;
#else
	if
	:: atomic {
		memory[SEQUENCE] == seq ->
		assert(last != DIED || owed != tenure);     /* who looks after a death finds it */
		asleep = asleep | SELF;
		owed = 0
	}
	:: memory[SEQUENCE] != seq -> goto unpark
	fi;
#endif
	if
	:: !(asleep & SELF)
	/* The futex's time-out, which is there to find a dead writer. A real one comes under a live writer too; here it must
	 * not, or it would hide a lost wake. */
	:: atomic { lock == FREE && IS_BOUNDED -> asleep = asleep & ~SELF }
	/* Promela's `timeout`: nothing else in the whole model can move, so this reader sleeps for ever. It may, if there
	 * is nothing newer to see, and nobody died. */
	:: timeout ->
		assert(memory[SEQUENCE] == after);
		assert(last != DIED);
		goto done
	fi;

unpark:
	waiters--;
	goto retry;

done:
	skip
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

/* Under a scheduler that lets everyone run, every writer gets to where it needs nothing more: no reader, alive, asleep
 * or in the middle of a read, can hold it up. */
#ifdef LIVENESS
ltl writers_finish { <> (finished == (1 << WRITERS) - 1) }
#endif
