package judemap

import (
	"fmt"
	"io/fs"
	"math"
	"runtime/debug"
	"time"
)

// An Option changes how a segment is made or opened. Each says to which calls it belongs; with another it is an error,
// which satisfies errors.Is(err, fs.ErrInvalid), because it would have no effect.
type Option struct {
	name  string
	calls calls
	apply func(*options)
}

// calls are the functions that take options, as a set.
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

// sealed returns the call that New and NewStream are with WithSealed.
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
	poll         time.Duration // valid if polls
	polls        bool
	maxBytes     int // 0: the default
	threads      int // 0: the default
}

// newOptions applies options to a call. New and NewStream with WithSealed are calls of their own.
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

// WithHugePages says whether the system is advised to back a new segment of 2 MiB or more with huge pages, where it has
// them (Linux). The default is true: it makes large segments faster to touch and to give back, for up to 2 MiB of memory
// that isn't used. For segments that are shared, the system's administrator has to allow it
// (/sys/kernel/mm/transparent_hugepage/shmem_enabled). For all calls that make a segment or a stream.
func WithHugePages(advise bool) Option {
	return Option{"WithHugePages", callsCreate, func(o *options) { o.hugePages = advise }}
}

// WithPopulate has all pages of a new segment made at once, by several threads, rather than one by one by the commit
// that touches them first. For all calls that make a segment or a stream.
func WithPopulate() Option {
	return Option{"WithPopulate", callsCreate, func(o *options) { o.populate = true }}
}

// WithMode sets the permissions of the file that [Create] or [OpenOrCreate] makes; the umask does not apply. The default
// is 0600: only processes of the same user can open the segment. Whoever may write to it may write to its header, and cut
// the file short. Whoever may only read it can still keep the owner from writing, by a lock for reading on the file
// (fcntl): the owner gets [ErrWriterActive]. It can't pose as a writer, nor hide that one died.
func WithMode(mode fs.FileMode) Option {
	return Option{"WithMode", callsNamed, func(o *options) { o.mode = mode.Perm() }}
}

// WithReadOnly makes [Open] and [OpenFile] map the segment without the right to write, as is needed where the file's
// mode gives none. Writing then gives an error that satisfies errors.Is(err, fs.ErrPermission). Waiting polls, see
// [WithPollInterval], because a writer can't be told of a parked reader.
func WithReadOnly() Option {
	return Option{"WithReadOnly", callsOpen, func(o *options) { o.readOnly = true }}
}

// WithSealed makes [New] put the segment into a file without a name, for [Segment.File] to hand to other processes. It
// is sealed: no process can change its size, and so fault those that read it. Its mode is 0600, so that a process of
// another user can use the descriptor that it is given, for what that is open for, and no more. Linux only, as [Create].
func WithSealed() Option {
	return Option{"WithSealed", callsSealed, func(o *options) { o.sealed = true }}
}

// WithSealedWrites is [WithSealed], and the kernel also refuses that anybody but the Segment that [New] returns ever
// writes to the file or maps it for writing (F_SEAL_FUTURE_WRITE, Linux 5.1): readers, who open it [WithReadOnly], can
// then do no harm.
func WithSealedWrites() Option {
	return Option{"WithSealedWrites", callsSealed, func(o *options) { o.sealed, o.sealedWrites = true, true }}
}

// WithEveryFrame makes a [Stream] one in which no frame is lost: the writer waits for the slowest reader, which is then at
// most as many frames behind as there are slots. Else the writer waits for nobody, and a reader that is slow gets
// the newest frame and misses those in between. For [NewStream], [CreateStream] and [OpenOrCreateStream].
func WithEveryFrame() Option {
	return Option{"WithEveryFrame", callsStreams, func(o *options) { o.everyFrame = true }}
}

// WithSpin has who waits for another process spin for a time before it parks: a reader for a commit, a writer for a slot.
// While commits come that often, neither side makes a system call, and a reader has a frame a microsecond after its commit;
// it costs a processor meanwhile. It has no effect where GOMAXPROCS is 1. The default is 0. For all calls but [New] and
// [NewStream] without [WithSealed], whose readers and writers are of one process.
func WithSpin(d time.Duration) Option {
	return Option{"WithSpin", callsShared, func(o *options) { o.spin = max(d, 0) }}
}

// WithForeignWriters tells [Create], [OpenOrCreate], and [New] with [WithSealed], that a program which never wakes
// readers may write to the segment, such as the Node addon. Waiting readers then poll, see [WithPollInterval]. Such a
// program takes no lock either: its death shows only if it was in the middle of a commit, by the time that takes. The
// death of a writer of this package shows as elsewhere, until a program without a lock commits.
func WithForeignWriters() Option {
	return Option{"WithForeignWriters", callNewSealed | callCreate | callOpenOrCreate, func(o *options) { o.foreign = true }}
}

// WithPollInterval sets how often a waiting reader looks at a segment whose writers don't wake it. The default is 1 ms;
// of other durations the nearest from 50 µs to a day is taken. It has no effect on segments whose writers wake readers:
// there a commit does so at once. For all calls but [New] without [WithSealed], whose writers always do.
func WithPollInterval(d time.Duration) Option {
	return Option{"WithPollInterval", callsShared, func(o *options) { o.poll, o.polls = d, true }}
}

// WithMaxBytes sets the largest tensor that [Segment.ReadCopy], [Segment.ReadCopyWait] and [View] make a copy of, in
// bytes; for a larger one they return [ErrCapacity]. What a segment's file claims to hold need not be sane if another
// program made it. The default is a quarter of the machine's memory, or of the limit that GOMEMLIMIT sets if that is
// less. n below 1 is taken as 1. For all calls.
func WithMaxBytes(n int) Option {
	return Option{"WithMaxBytes", callsAll, func(o *options) { o.maxBytes = max(n, 1) }}
}

// WithThreads sets how many threads the core may use to copy or fill large tensors, the caller's included; 1 uses no
// other. The default is the number of processors, and 4 at most. For all calls.
func WithThreads(n int) Option {
	return Option{"WithThreads", callsAll, func(o *options) { o.threads = max(n, 1) }}
}

// copyLimit is the most bytes that a copy may have.
func (o *options) copyLimit() int {
	if o.maxBytes != 0 {
		return o.maxBytes
	}
	limit := min(uint64(debug.SetMemoryLimit(-1)), math.MaxInt)
	if memory := physicalMemory(); memory != 0 { // else it can't be told
		limit = min(limit, memory)
	}
	return int(limit / 4)
}
