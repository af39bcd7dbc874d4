package judemap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// WithMode sets the permissions of the file that [Create] makes; the umask does not apply. The default is 0600: only
// processes of the same user can open the segment. Whoever may write to it may write to its header.
func WithMode(mode fs.FileMode) Option {
	return func(o *options) { o.mode = mode.Perm() }
}

// WithReadOnly makes [Open] and [OpenFile] map the segment without the right to write, as is needed where the file's
// mode gives none. Writing then gives an error that satisfies errors.Is(err, fs.ErrPermission). Waiting polls, see
// [WithPollInterval], because a writer can't be told of a parked reader.
func WithReadOnly() Option {
	return func(o *options) { o.readOnly = true }
}

// WithSealed makes [New] put the segment into a file without a name, for [Segment.File] to hand to other processes. It
// is sealed: no process can make it shorter, and so fault those that read it. Linux only, as [Create] is.
func WithSealed() Option {
	return func(o *options) { o.sealed = true }
}

// WithForeignWriters tells [Create], and [New] with [WithSealed], that a program which never wakes readers may write to
// the segment, such as the Node addon. Waiting readers then poll, see [WithPollInterval].
func WithForeignWriters() Option {
	return func(o *options) { o.foreign = true }
}

// WithPollInterval sets how often a waiting reader looks at a segment whose writers don't wake it. The default is 1 ms.
// It has no effect on other segments: there a commit wakes readers at once.
func WithPollInterval(d time.Duration) Option {
	return func(o *options) { o.poll = d }
}

// Create makes a segment with room for capacity bytes of tensor that other processes open by its name, and opens it. A
// name has 1 to 255 bytes and no slash; on Linux the segment is the file /dev/shm/NAME. Its memory is reserved at once.
// It is there until [Remove], or the machine's end; it appears under its name when it is ready, and a process that
// dies in Create leaves nothing behind.
//
// Errors: those of [New]; fs.ErrExist if there is such a name; fs.ErrInvalid if it can't be one; the system's, as in
// syscall.ENOSPC; [ErrUnsupported] where segments can't be shared yet (all but Linux).
func Create(name string, capacity int, opts ...Option) (*Segment, error) {
	o := newOptions(opts)
	if err := errors.Join(checkName(name), checkCapacity(capacity)); err != nil {
		return nil, err
	}
	c, err := createCore(name, capacity, o)
	if err != nil {
		return nil, makeError(err, fmt.Sprintf("creating segment %q of %d bytes", name, capacity), capacity)
	}
	return newSegmentOf(c, name, true, o), nil
}

// Open opens a segment by its name: one of [Create], of a C++ program, or of the Node addon.
//
// Errors: fs.ErrNotExist if there is no such name; fs.ErrInvalid if it can't be one; [ErrCorrupt] if what has the name
// is no segment, or too short to be one; fs.ErrPermission; [ErrUnsupported].
func Open(name string, opts ...Option) (*Segment, error) {
	o := newOptions(opts)
	if err := checkName(name); err != nil {
		return nil, err
	}
	c, why, err := openCore(name, o)
	if err != nil {
		return nil, openError(err, fmt.Sprintf("segment %q", name), why)
	}
	return newSegmentOf(c, name, true, o), nil
}

// OpenFile opens the segment in a file, such as one that another process got from [Segment.File] and passed on. f stays
// the caller's, who may close it at once.
//
// Errors: those of [Open] but for the name's.
func OpenFile(f *os.File, opts ...Option) (*Segment, error) {
	o := newOptions(opts)
	if f == nil {
		return nil, fmt.Errorf("judemap: opening a segment: %w", os.ErrInvalid)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("judemap: opening the segment in %s: %w", f.Name(), err)
	}
	var c core
	var why string
	if controlErr := raw.Control(func(fd uintptr) { c, why, err = openFileCore(fd, o) }); controlErr != nil {
		return nil, fmt.Errorf("judemap: opening the segment in %s: %w", f.Name(), controlErr)
	}
	if err != nil {
		return nil, openError(err, "the segment in "+f.Name(), why)
	}
	return newSegmentOf(c, "", true, o), nil
}

// Remove takes a segment's name away. Whoever has it open keeps it; its memory goes with the last of them.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid, fs.ErrPermission, [ErrUnsupported].
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := removeSegment(name); err != nil {
		return fmt.Errorf("judemap: removing segment %q: %w", name, err)
	}
	return nil
}

// List returns the names of the segments on this machine that this process may read, in alphabetical order: those of
// [Create] and of C++ programs. A segment of the Node addon bears no mark by which to know it.
//
// Errors: the system's; [ErrUnsupported].
func List() ([]string, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("%w: segments are not shared by name on %s yet", ErrUnsupported, runtime.GOOS)
	}
	entries, err := os.ReadDir("/dev/shm") // sorted
	if err != nil {
		return nil, fmt.Errorf("judemap: listing segments: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		s, err := Open(entry.Name(), WithReadOnly())
		if errors.Is(err, ErrUnsupported) {
			return nil, err
		}
		if err != nil {
			continue // no segment, not ours to read, or gone meanwhile
		}
		if load32(&s.mapping.header.magic) == magic {
			names = append(names, entry.Name())
		}
		_ = s.CloseWait()
	}
	return names, nil
}

// File returns a new descriptor of a shared segment's file, for [OpenFile] in a process that it is passed to, over a
// Unix socket or as a child's extra file. It is close-on-exec, and the caller's to close.
//
// Errors: [ErrUnsupported] for a segment of [New] without [WithSealed]; [ErrClosed]; the system's.
func (s *Segment) File() (*os.File, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if !s.shared {
		return nil, fmt.Errorf("%w: a segment of New is this process's alone; make it WithSealed to share it", ErrUnsupported)
	}
	fd, err := s.mapping.core.descriptor()
	runtime.KeepAlive(s.mapping)
	if err != nil {
		return nil, fmt.Errorf("judemap: opening the segment's file again: %w", err)
	}
	name := s.name
	if name == "" {
		name = "judemap"
	}
	return os.NewFile(fd, name), nil
}

// WriterState says who writes to a segment.
type WriterState int

const (
	WriterNone  WriterState = iota // nobody, as far as can be told: the Node addon takes no lock
	WriterHere                     // this Segment
	WriterOther                    // another process, or another Segment of this one
	WriterDied                     // a process that died without closing, and none has taken over
)

// String returns "none", "here", "other" or "died".
func (w WriterState) String() string {
	names := [...]string{"none", "here", "other", "died"}
	if w < 0 || int(w) >= len(names) {
		return fmt.Sprintf("WriterState(%d)", int(w))
	}
	return names[w]
}

// Writer says who writes to s: the process that wrote first, until it closes its Segment or ends. In a segment of [New]
// any goroutine may write, and Writer is [WriterNone].
func (s *Segment) Writer() WriterState {
	if s.closed.Load() {
		return WriterNone
	}
	w := s.mapping.core.writer()
	runtime.KeepAlive(s.mapping)
	return w
}

// errReadOnly is what a write to a segment that was opened with WithReadOnly gets.
var errReadOnly = fmt.Errorf("judemap: the segment was opened read-only: %w", fs.ErrPermission)

func checkName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "is empty"
	case name == "." || name == "..":
		reason = "is a folder's"
	case len(name) > 255:
		reason = fmt.Sprintf("has %d bytes, and 255 are the most", len(name))
	case strings.Contains(name, "/"):
		reason = "has a slash"
	case strings.Contains(name, "\x00"):
		reason = "has a NUL byte"
	default:
		return nil
	}
	return fmt.Errorf("judemap: the name %.40q %s: %w", name, reason, fs.ErrInvalid)
}

// openError says why opening failed. Each of the errors, and why, is the core's.
func openError(err error, what, why string) error {
	switch {
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w: %s: %s", ErrCorrupt, what, why)
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: %s is a symbolic link", ErrCorrupt, what)
	}
	return fmt.Errorf("judemap: opening %s: %w", what, err)
}
