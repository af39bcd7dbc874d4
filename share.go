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

// Create makes a segment with room for capacity bytes of tensor, and opens it. Other processes open it by its name,
// which has 1 to 255 bytes and no slash; on Linux the segment is the file /dev/shm/NAME, and docs/platforms.md says where
// it is on macOS. Its memory is reserved at once. It stays there until [Remove] is called or, on Linux, the machine is shut
// down. The name appears only when the segment is complete, and a process that dies in Create leaves nothing behind.
//
// Errors: those of [New], and
//
//   - fs.ErrExist if the name is in use: see [OpenOrCreate] and [Remove].
//   - fs.ErrInvalid if it is not a possible name.
//   - The system's error, such as syscall.ENOSPC if there is no room for the file.
//   - [ErrUnsupported] where segments can't be shared.
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

// OpenOrCreate opens the segment of this name, or creates it if there is none. It is for a producer that may be started
// again. It takes the options of [Create]. Those that only a new segment can have, such as [WithMode], have no effect
// if the segment exists.
//
// Errors: those of [Open] and [Create], except fs.ErrExist and fs.ErrNotExist; [ErrCapacity] if the segment exists and
// has room for less than capacity bytes. In that case [Remove] it, if nobody needs it any more, and call again.
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

// Open opens a segment that [Create], a C++ program or the Node addon made, by its name. It reserves memory for all of
// the file, because a page without memory would make those that read it fault. With [WithReadOnly] it can't reserve
// memory, and returns [ErrCorrupt] for a file that has such pages.
//
// Errors:
//
//   - fs.ErrNotExist if nothing has this name.
//   - fs.ErrInvalid if it is not a possible name.
//   - fs.ErrPermission if this process may not open it: see [WithReadOnly].
//   - [ErrCorrupt] if the file is no segment; the error says why.
//   - [ErrCapacity] if it is larger than this process can address.
//   - The system's error, such as syscall.ENOSPC.
//   - [ErrUnsupported], as for [Create].
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

// OpenFile opens the segment in a file. Another process gets such a file from [Segment.File] and passes it on. f
// belongs to the caller, who may close it at once. If f is open for reading only, use [WithReadOnly]; a process of any
// user can then open it. To write, the process must also have the right to open the file itself.
//
// Errors: those of [Open], except those about the name.
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

// openFileWith opens the segment or stream (kind says which, for errors) in a file, with a call of the core.
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

// Remove removes the name of a segment or a stream. Processes that have it open can go on using it. Its memory is freed
// when the last of them closes it.
//
// Errors: fs.ErrNotExist if nothing has this name; fs.ErrInvalid if it is not a possible name; fs.ErrPermission;
// [ErrUnsupported].
func Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := removeSegment(name); err != nil {
		return fmt.Errorf("judemap: removing %q: %w", name, nameError(err, name))
	}
	return nil
}

// List returns the names of the segments and streams on this machine that this process may read, in alphabetical order.
// It finds those that [Create], [CreateStream] and C++ programs made. Segments that the Node addon made are not listed,
// because nothing in them tells them from other files.
//
// List maps no file, and opens only regular files that are long enough to be a segment. A process that closes any
// descriptor of a file loses its POSIX record locks (fcntl) on that file. List therefore does not open a file that this
// process has open already: it reads through the open descriptor, where /proc shows which that is.
//
// Errors: the system's; [ErrUnsupported], as for [Create].
func List() ([]string, error) {
	names, err := listSegments()
	if err != nil {
		return nil, fmt.Errorf("judemap: listing segments: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// File returns a new descriptor of the file of a shared segment or stream, which belongs to the caller, who closes it.
// Pass it to another process, over a Unix socket or as an extra file of a child; that process calls [OpenFile] or
// [OpenStreamFile]. The descriptor is open for reading and writing, or for reading only if s was opened [WithReadOnly].
// It is close-on-exec.
//
// Errors: [ErrUnsupported] if s was made by [New] or [NewStream] without [WithSealed]; [ErrClosed]; the system's.
func (s *handle) File() (*os.File, error) { return s.file(!s.readOnly) }

// ReadOnlyFile is [Segment.File], but the descriptor is open for reading only. Pass it to processes that must not
// write. If the segment's mode is 0600, a process of another user can't open the file for writing through it either.
func (s *handle) ReadOnlyFile() (*os.File, error) { return s.file(false) }

func (s *handle) file(writable bool) (*os.File, error) {
	s.waiters.mu.Lock() // so that the descriptor is not closed meanwhile
	defer s.waiters.mu.Unlock()
	if !s.open.Load() {
		return nil, ErrClosed
	}
	if !s.shared {
		return nil, fmt.Errorf("%w: the memory is this process's alone; use WithSealed to share it", ErrUnsupported)
	}
	fd, err := s.mapping.core.descriptor(writable)
	runtime.KeepAlive(s.mapping)
	if err != nil {
		return nil, fmt.Errorf("judemap: opening the file again: %w", err)
	}
	name := s.name
	if name == "" {
		name = "judemap"
	}
	return os.NewFile(fd, name), nil
}

// WriterState says who the writer of a segment or a stream is.
type WriterState int

const (
	WriterNone  WriterState = iota // no writer is known; a program that takes no lock, such as the Node addon, may write
	WriterHere                     // this Segment or Stream
	WriterOther                    // another process, or another Segment or Stream of this process
	WriterDied                     // a process that died before it closed, and no other has taken over
)

// String returns "none", "here", "other" or "died".
func (w WriterState) String() string {
	names := [...]string{"none", "here", "other", "died"}
	if w < 0 || int(w) >= len(names) {
		return fmt.Sprintf("WriterState(%d)", int(w))
	}
	return names[w]
}

// Writer says who the writer of s is. The process that writes first is the writer until it closes its Segment or
// Stream, or ends. If s belongs to this process alone ([New] without [WithSealed]) any goroutine may write, and Writer
// returns [WriterNone].
func (s *handle) Writer() WriterState {
	if !s.open.Load() || !s.shared {
		return WriterNone
	}
	w := s.mapping.core.writer()
	runtime.KeepAlive(s.mapping)
	return w
}

// errReadOnly is the error of a write to what was opened WithReadOnly.
var errReadOnly = fmt.Errorf("judemap: the segment or stream was opened read-only: %w", fs.ErrPermission)

// errName is the core's error for a name that it can't use; nameError replaces it by one that says why.
var errName = fmt.Errorf("judemap: name: %w", fs.ErrInvalid)

// checkName refuses a name with a NUL byte, because the core would see only what is before that.
func checkName(name string) error {
	if strings.Contains(name, "\x00") {
		return fmt.Errorf("judemap: the name %.40q has a NUL byte: %w", name, fs.ErrInvalid)
	}
	return nil
}

// nameError returns an error that says why the core refused a name, if err is errName; any other err it returns as it
// is.
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

// openError says why opening failed. err is the core's error, and why is the core's text for ErrCorrupt.
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
