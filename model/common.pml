/* What the kernel keeps of the readers that are parked on one word, for all models of this folder. */

byte asleep;            /* bit r: reader r is in a futex wait on the low word of the sequence */

/* Wakes every reader in a futex wait. One that is not asleep yet is none of its business: the kernel compares the
 * sequence when that one comes. */
#ifdef WAKE_ONE
#define FUTEX_WAKE asleep = asleep & (asleep - 1)
#else
#define FUTEX_WAKE asleep = 0
#endif
