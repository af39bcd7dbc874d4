package judemap

import (
	"fmt"
	"io/fs"
	"math"
	"runtime/debug"
	"time"
)

// An Option changes how a segment or a stream is made or opened. Each Option says for which functions it is. With any
// other function it would have no effect, so the function returns an error that satisfies errors.Is(err,
// fs.ErrInvalid).
type Option struct {
	name  string
	calls calls
	apply func(*options)
}

// calls is a set of functions that take options.
type calls uint

const (
	callNew calls = 1 << iota
	callNewSealed
	callCreate
	callOpen
	callOpenFile
	callOpenOrCreate
	callNewStream
	callNewStreamSealed
	callCreateStream
	callOpenStream
	callOpenStreamFile
	callOpenOrCreateStream

	callsNew     = callNew | callNewStream
	callsSealed  = callNewSealed | callNewStreamSealed
	callsNamed   = callCreate | callOpenOrCreate | callCreateStream | callOpenOrCreateStream
	callsOpen    = callOpen | callOpenFile | callOpenStream | callOpenStreamFile
	callsCreate  = callsNew | callsSealed | callsNamed
	callsShared  = callsSealed | callsNamed | callsOpen
	callsAll     = callsCreate | callsShared
	callsStreams = callNewStream | callNewStreamSealed | callCreateStream | callOpenOrCreateStream
)

// sealed returns the function that New or NewStream becomes with WithSealed.
func (c calls) sealed() calls {
	switch c {
	case callNew:
		return callNewSealed
	case callNewStream:
		return callNewStreamSealed
	}
	return c
}

func (c calls) String() string {
	switch c {
	case callNew:
		return "New without WithSealed"
	case callNewSealed:
		return "New"
	case callCreate:
		return "Create"
	case callOpen:
		return "Open"
	case callOpenFile:
		return "OpenFile"
	case callNewStream:
		return "NewStream without WithSealed"
	case callNewStreamSealed:
		return "NewStream"
	case callCreateStream:
		return "CreateStream"
	case callOpenStream:
		return "OpenStream"
	case callOpenStreamFile:
		return "OpenStreamFile"
	case callOpenOrCreateStream:
		return "OpenOrCreateStream"
	}
	return "OpenOrCreate"
}

type options struct {
	hugePages    bool
	populate     bool
	sealed       bool
	sealedWrites bool
	foreign      bool
	readOnly     bool
	everyFrame   bool
	spin         time.Duration
	mode         fs.FileMode
	poll         time.Duration // used if polls is true
	polls        bool
	maxBytes     int // 0: the default
	threads      int // 0: the default
}

// newOptions applies options to a call. New and NewStream count as other functions with WithSealed than without.
func newOptions(call calls, opts []Option) (*options, error) {
	o := &options{hugePages: true, mode: 0o600}
	for _, opt := range opts {
		if opt.apply != nil {
			opt.apply(o)
		}
	}
	if o.sealed {
		call = call.sealed()
	}
	for _, opt := range opts {
		if opt.apply != nil && opt.calls&call == 0 {
			return nil, fmt.Errorf("judemap: %s has no effect on %v: %w", opt.name, call, fs.ErrInvalid)
		}
	}
	return o, nil
}

// WithHugePages says whether judemap advises the system to use huge pages for a new segment of 2 MiB or more. The
// default is true. Huge pages make large segments faster to touch and to give back, and waste up to 2 MiB of memory. It
// has an effect on Linux only. For shared segments the administrator has to allow it: for segments with a name by the
// option huge= of the mount /dev/shm (with huge=advise only those WithPopulate get huge pages), and for those WithSealed
// by /sys/kernel/mm/transparent_hugepage/shmem_enabled.
//
// It is for all functions that make a segment or a stream.
func WithHugePages(advise bool) Option {
	return Option{"WithHugePages", callsCreate, func(o *options) { o.hugePages = advise }}
}

// WithPopulate allocates all pages of a new segment at once, with several threads. Otherwise the first commit that
// touches a page allocates it.
//
// It is for all functions that make a segment or a stream.
func WithPopulate() Option {
	return Option{"WithPopulate", callsCreate, func(o *options) { o.populate = true }}
}

// WithMode sets the permissions of the file that holds the segment or stream; the umask does not apply. The default is
// 0600: only processes of the same user can open it.
//
// A user who may write to the file may also overwrite its header and cut it short. A user who may only read it can
// still keep the owner from writing, with a read lock on the file (fcntl): the owner then gets [ErrWriterActive]. Such
// a user can't pretend to be a writer, nor hide that a writer died.
//
// It is for [Create], [OpenOrCreate], [CreateStream] and [OpenOrCreateStream].
func WithMode(mode fs.FileMode) Option {
	return Option{"WithMode", callsNamed, func(o *options) { o.mode = mode.Perm() }}
}

// WithReadOnly maps the segment or stream without the right to write. It is needed where the file's permissions don't
// allow writing. Writing then gives an error that satisfies errors.Is(err, fs.ErrPermission). Waiting polls, see
// [WithPollInterval], because a process without the right to write can't tell the writer that it is parked.
//
// It is for [Open], [OpenFile], [OpenStream] and [OpenStreamFile].
func WithReadOnly() Option {
	return Option{"WithReadOnly", callsOpen, func(o *options) { o.readOnly = true }}
}

// WithSealed puts the segment or stream into a file without a name, which [Segment.File] hands to other processes. The
// file is sealed: no process can change its size, so none can make its readers fault. Its mode is 0600: a process of
// another user can use the descriptor that it was given, for reading or also for writing as that was opened, but can't
// open the file anew. macOS has no seals: [ErrUnsupported].
//
// It is for [New] and [NewStream].
func WithSealed() Option {
	return Option{"WithSealed", callsSealed, func(o *options) { o.sealed = true }}
}

// WithSealedWrites does what [WithSealed] does. In addition, the kernel lets only the Segment or Stream that the call
// returns write to the file; all others open it [WithReadOnly], and can do no harm. It needs Linux 5.1
// (F_SEAL_FUTURE_WRITE).
//
// It is for [New] and [NewStream].
func WithSealedWrites() Option {
	return Option{"WithSealedWrites", callsSealed, func(o *options) { o.sealed, o.sealedWrites = true, true }}
}

// WithEveryFrame makes a [Stream] in which no frame is lost: the writer waits for the slowest reader, which is at most
// as many frames behind as there are slots. Without it, the writer waits for nobody, and a slow reader gets the newest
// frame and misses those in between.
//
// It is for [NewStream], [CreateStream] and [OpenOrCreateStream].
func WithEveryFrame() Option {
	return Option{"WithEveryFrame", callsStreams, func(o *options) { o.everyFrame = true }}
}

// WithSpin sets for how long a call that waits for another process spins before it parks: a reader for a commit, a
// writer for a slot. While commits come at shorter intervals, neither side makes a system call, and a reader has a
// frame a microsecond after its commit. Spinning keeps a processor busy. It has no effect where GOMAXPROCS is 1. The
// default is 0: no spinning.
//
// It is for all functions except [New] and [NewStream] without [WithSealed], whose readers and writers are in one
// process.
func WithSpin(d time.Duration) Option {
	return Option{"WithSpin", callsShared, func(o *options) { o.spin = max(d, 0) }}
}

// WithForeignWriters says that programs may write to the segment which never wake readers and take no lock, such as the
// Node addon. Waiting readers then poll, see [WithPollInterval].
//
// The death of such a program is noticed only if it was in the middle of a commit, which then takes too long. The death
// of a writer of this package is noticed as usual, until a program without a lock commits.
//
// It is for [Create], [OpenOrCreate], and [New] with [WithSealed].
func WithForeignWriters() Option {
	return Option{"WithForeignWriters", callNewSealed | callCreate | callOpenOrCreate, func(o *options) { o.foreign = true }}
}

// WithPollInterval sets how often a waiting reader looks at a segment whose writers don't wake it. The default is 1 ms.
// The shortest interval is 50 µs and the longest a day; other values are taken as the nearer of the two. It has no
// effect where writers wake readers.
//
// It is for all functions except [New] and [NewStream] without [WithSealed], whose writers always wake readers.
func WithPollInterval(d time.Duration) Option {
	return Option{"WithPollInterval", callsShared, func(o *options) { o.poll, o.polls = d, true }}
}

// WithMaxBytes sets the size in bytes of the largest tensor that [Segment.ReadCopy], [Segment.ReadCopyWait],
// [Stream.ReadCopy] and [View] copy, and also [Reader.Next] of a stream that was opened [WithReadOnly]. For a larger
// tensor they return [ErrCapacity]. The limit protects a program from a file, made by another program, that claims to
// hold a huge tensor. The default is a quarter of the machine's memory, or of the limit that GOMEMLIMIT sets if that is
// less. Values below 1 are taken as 1.
//
// It is for all functions.
func WithMaxBytes(n int) Option {
	return Option{"WithMaxBytes", callsAll, func(o *options) { o.maxBytes = max(n, 1) }}
}

// WithThreads sets how many threads the core may use to copy or fill large tensors, the caller's included; with 1 it
// uses no other thread. The default is the number of processors, but 4 at most. Values below 1 are taken as 1.
//
// It is for all functions.
func WithThreads(n int) Option {
	return Option{"WithThreads", callsAll, func(o *options) { o.threads = max(n, 1) }}
}

// copyLimit returns how many bytes a copy may have.
func (o *options) copyLimit() int {
	if o.maxBytes != 0 {
		return o.maxBytes
	}
	limit := min(uint64(debug.SetMemoryLimit(-1)), math.MaxInt)
	if memory := physicalMemory(); memory != 0 { // 0 if unknown
		limit = min(limit, memory)
	}
	return int(limit / 4)
}
