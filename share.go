package judemap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Create makes a segment with room for capacity bytes of tensor that other processes open by its name, and opens it. A
// name has 1 to 255 bytes and no slash; on Linux the segment is the file /dev/shm/NAME. Its memory is reserved at once.
// It is there until [Remove], or the machine's end; it appears under its name when it is ready, and a process that
// dies in Create leaves nothing behind.
//
// Errors: those of [New]; fs.ErrExist if there is such a name; fs.ErrInvalid if it can't be one; the system's, as in
// syscall.ENOSPC; [ErrUnsupported] where segments can't be shared yet (all but Linux).
func Create(name string, capacity int, opts ...Option) (*Segment, error) {
	o, err := newOptions(callCreate, opts)
	if err != nil {
		return nil, err
	}
	return create(name, capacity, o)
}

func create(name string, capacity int, o *options) (*Segment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	c, err := createCore(name, capacity, o)
	if err != nil {
		return nil, makeError(nameError(err, name), fmt.Sprintf("creating segment %q", name), capacity)
	}
	return newSegmentOf(c, name, true, o), nil
}

// OpenOrCreate is what a producer wants that may be started again: it opens the segment of this name, or creates it where
// there is none. Options of both may be given; what only a new segment can have, such as [WithMode], has no effect on one
// that is there.
//
// Errors: those of both but for fs.ErrExist and fs.ErrNotExist; [ErrCapacity] if the segment is there and has room for
// less than capacity bytes: [Remove] it, if nobody needs it any more.
func OpenOrCreate(name string, capacity int, opts ...Option) (*Segment, error) {
	o, err := newOptions(callOpenOrCreate, opts)
	if err != nil {
		return nil, err
	}
	for {
		s, err := open(name, o)
		if errors.Is(err, fs.ErrNotExist) {
			if s, err = create(name, capacity, o); errors.Is(err, fs.ErrExist) {
				continue // another process was quicker
			}
			return s, err
		}
		if err != nil {
			return nil, err
		}
		if s.capacity < capacity || capacity <= 0 {
			defer s.Close()
			return nil, fmt.Errorf("%w: segment %q is there, with room for %d bytes, and %d are asked for", ErrCapacity, name,
				s.capacity, capacity)
		}
		return s, nil
	}
}

// Open opens a segment by its name: one of [Create], of a C++ program, or of the Node addon. Memory is reserved for all
// of its file, so that one with holes in it can't fault those that look at it; [WithReadOnly], which can't reserve, gives
// [ErrCorrupt] for such a file.
//
// Errors: fs.ErrNotExist if there is no such name; fs.ErrInvalid if it can't be one; [ErrCorrupt] if what has the name
// is no segment, or too short to be one; [ErrCapacity] if it is larger than can be addressed; fs.ErrPermission; the
// system's, as in syscall.ENOSPC; [ErrUnsupported].
func Open(name string, opts ...Option) (*Segment, error) {
	o, err := newOptions(callOpen, opts)
	if err != nil {
		return nil, err
	}
	return open(name, o)
}

func open(name string, o *options) (*Segment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	c, why, err := openCore(name, o)
	if err != nil {
		return nil, openError(nameError(err, name), fmt.Sprintf("segment %q", name), why)
	}
	return newSegmentOf(c, name, true, o), nil
}

// OpenFile opens the segment in a file, such as one that another process got from [Segment.File] and passed on. f stays
// the caller's, who may close it at once. A file that is open for reading only is opened [WithReadOnly], by a process of
// any user. To write, the process must have the right to open the file itself.
//
// Errors: those of [Open] but for the name's.
func OpenFile(f *os.File, opts ...Option) (*Segment, error) {
	o, err := newOptions(callOpenFile, opts)
	if err != nil {
		return nil, err
	}
	c, err := openFileWith(f, "segment", o, openFileCore)
	if err != nil {
		return nil, err
	}
	return newSegmentOf(c, "", true, o), nil
}

// openFileWith opens what is in a file: a kind of thing, by a call of the core.
func openFileWith(f *os.File, kind string, o *options, open func(uintptr, *options) (core, string, error)) (core, error) {
	if f == nil {
		return core{}, fmt.Errorf("judemap: opening a %s: %w", kind, os.ErrInvalid)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return core{}, fmt.Errorf("judemap: opening the %s in %s: %w", kind, f.Name(), err)
	}
	var c core
	var why string
	if controlErr := raw.Control(func(fd uintptr) { c, why, err = open(fd, o) }); controlErr != nil {
		return core{}, fmt.Errorf("judemap: opening the %s in %s: %w", kind, f.Name(), controlErr)
	}
	if errors.Is(err, syscall.EACCES) && !o.readOnly {
		return core{}, fmt.Errorf("judemap: opening the %s in %s: the descriptor is not open for reading and writing; one for "+
			"reading opens WithReadOnly: %w", kind, f.Name(), err)
	}
	if err != nil {
		return core{}, openError(err, "the "+kind+" in "+f.Name(), why)
	}
	return c, nil
}

// Remove takes a segment's name away, or a stream's. Whoever has it open keeps it; its memory goes with the last of them.
//
// Errors: fs.ErrNotExist, fs.ErrInvalid, fs.ErrPermission, [ErrUnsupported].
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := removeSegment(name); err != nil {
		return fmt.Errorf("judemap: removing segment %q: %w", name, nameError(err, name))
	}
	return nil
}

// List returns the names of the segments and streams on this machine that this process may read, in alphabetical order:
// those of [Create], of [CreateStream] and of C++ programs. A segment of the Node addon bears no mark by which to know it.
//
// No file is mapped, and only regular files are opened that are long enough. The system drops the POSIX record locks
// (fcntl) that a process has on a file when it closes any descriptor of that file; files that this process has open
// already are therefore read through what is open, where /proc shows what that is.
//
// Errors: the system's; [ErrUnsupported].
func List() ([]string, error) {
	names, err := listSegments()
	if err != nil {
		return nil, fmt.Errorf("judemap: listing segments: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// File returns a new descriptor of a shared segment's file, for [OpenFile] in a process that it is passed to, over a
// Unix socket or as a child's extra file. It is open for writing too, unless s was opened [WithReadOnly]. It is
// close-on-exec, and the caller's to close.
//
// Errors: [ErrUnsupported] for a segment of [New] without [WithSealed]; [ErrClosed]; the system's.
func (s *handle) File() (*os.File, error) { return s.file(!s.readOnly) }

// ReadOnlyFile is [Segment.File], open for reading only, for processes that must not write: of a segment with mode 0600,
// one of another user can't open it anew either.
func (s *handle) ReadOnlyFile() (*os.File, error) { return s.file(false) }

func (s *handle) file(writable bool) (*os.File, error) {
	s.waiters.mu.Lock() // so that the descriptor is not closed, and another file's, meanwhile
	defer s.waiters.mu.Unlock()
	if !s.open.Load() {
		return nil, ErrClosed
	}
	if !s.shared {
		return nil, fmt.Errorf("%w: a segment of New is this process's alone; make it WithSealed to share it", ErrUnsupported)
	}
	fd, err := s.mapping.core.descriptor(writable)
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
func (s *handle) Writer() WriterState {
	if !s.open.Load() || !s.shared {
		return WriterNone
	}
	w := s.mapping.core.writer()
	runtime.KeepAlive(s.mapping)
	return w
}

// errReadOnly is what a write to a segment that was opened with WithReadOnly gets.
var errReadOnly = fmt.Errorf("judemap: the segment was opened read-only: %w", fs.ErrPermission)

// errName is what the core says of a name that it can't use, until nameError says why.
var errName = fmt.Errorf("judemap: name: %w", fs.ErrInvalid)

// checkName refuses the one name that the core can't see whole.
func checkName(name string) error {
	if strings.Contains(name, "\x00") {
		return fmt.Errorf("judemap: the name %.40q has a NUL byte: %w", name, fs.ErrInvalid)
	}
	return nil
}

// nameError says why the core refused a name, if that is what err says.
func nameError(err error, name string) error {
	if err != errName {
		return err
	}
	reason := "is a folder's"
	switch {
	case name == "":
		reason = "is empty"
	case strings.Contains(name, "/"):
		reason = "has a slash"
	case len(name) > 2:
		reason = fmt.Sprintf("is too long, with %d bytes", len(name))
	}
	return fmt.Errorf("the name %.40q %s: %w", name, reason, fs.ErrInvalid)
}

// openError says why opening failed. Each of the errors, and why, is the core's.
func openError(err error, what, why string) error {
	switch {
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w: %s: %s", ErrCorrupt, what, why)
	case err == ErrCapacity:
		return fmt.Errorf("%w: %s is larger than can be addressed", ErrCapacity, what)
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("judemap: opening %s: it is sealed against writing, and opens WithReadOnly: %w", what, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("judemap: opening %s: reserving memory for what has none in it: %w", what, err)
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: %s is a symbolic link", ErrCorrupt, what)
	}
	return fmt.Errorf("judemap: opening %s: %w", what, err)
}
