package judemap

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"
)

// Kind is what an [Info] is about.
type Kind int

const (
	KindSegment Kind = iota + 1
	KindStream
)

// String returns "segment" or "stream".
func (k Kind) String() string {
	switch k {
	case KindSegment:
		return "segment"
	case KindStream:
		return "stream"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Presence says whether somebody is there.
//
// Of the creator of a segment or stream it is unknown where that is a process of another PID namespace (a container's), or
// one that the system hides. Of those who have it open it is exact, of all users and PID namespaces, for those who opened it
// by this package or the core. Whoever maps the file without them leaves no trace; where that is to be expected, because the
// segment is the Node addon's or was made [WithForeignWriters], it is unknown whether nobody has it.
type Presence int

const (
	PresenceUnknown Presence = iota
	Present
	Gone // nobody is there, for certain
)

// String returns "unknown", "present" or "gone".
func (p Presence) String() string {
	switch p {
	case PresenceUnknown:
		return "unknown"
	case Present:
		return "present"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("Presence(%d)", int(p))
}

// A FileID tells a file from all others that there are: it is the device and inode, on Windows the serial number of the
// volume and the file's index there. So it says whether a name still is the same segment's. Another file may get the same
// FileID when this one was removed and nobody has it open any more.
type FileID struct{ Device, Index uint64 }

// Info is what [Stat] finds in a header.
type Info struct {
	Name   string
	Kind   Kind
	Marked bool   // it bears the mark of a segment or stream; those of the Node addon don't
	File   FileID // tells it from another file that gets the name later
	Size   int64  // of the file, in bytes

	Capacity       int64 // bytes of tensor that there is room for; in a stream, in each slot
	Writer         WriterState
	ForeignWriters bool // programs may write to it that wake nobody and take no lock; see WithForeignWriters
	Waiters        int  // parked readers, of all processes

	// Who made it, and who has it. Without the mark nothing is known of that.
	Creator         int       // the process id, as that process sees it; 0: it does not say
	Created         time.Time // when
	CreatorPresence Presence
	Holders         Presence // processes that have it open, by this package or the core: see Presence

	// The tensor, or a stream's newest frame.
	Version uint64 // odd while a commit is in progress; 0 before the first
	DType   DType
	Shape   []int
	Bytes   int64
	Err     error // why there is none in this Info: then DType, Shape and Bytes mean nothing; but see StatCopy

	// Of a stream.
	Slots      int
	EveryFrame bool
	Readers    []ReaderInfo
}

// Stat says what a header says, of a segment or stream by its name. It maps nothing, so that a file which another process
// cuts short at that moment is an error and no fault. It reads the file a few times (a stream's once more for each slot),
// and asks the kernel who holds the locks of the writer and of a stream's readers. Nobody notices it.
//
// Info.Err is nil if there is a tensor, else: [ErrEmpty]; [ErrBusy] if a commit was in progress, or commits left no time to
// look; [ErrWriterDied] if the writer died in the middle of one; [ErrCorrupt], naming the field, if what the header says of a
// tensor can't be true; [ErrCapacity] if a dimension is more than an int can hold. Where commits follow each other without
// a pause, the type and shape are those that several looks in turn have found. Info.Writer is never [WriterHere]: who writes by
// a handle of this process is another one than Stat. Among foreign writers, one that died in the middle of a commit is
// told by time alone, and Stat takes none: it says [WriterNone] and [ErrBusy].
//
// As whenever a file is closed, the system drops the POSIX record locks (fcntl) that this process has on it.
//
// Errors: fs.ErrNotExist if there is no such name; fs.ErrInvalid if it can't be one; [ErrCorrupt] with field and numbers if
// what has the name is neither a segment nor a stream, or was cut short meanwhile; fs.ErrPermission; the system's;
// [ErrUnsupported].
func Stat(name string) (Info, error) { return stat(name, nil) }

// StatCopy is Stat with a copy of the tensor, or of a stream's newest frame, in data[:Info.Bytes]. It reads the tensor from
// the file, and maps nothing either: for programs that look at what others may cut short. It makes a few attempts. To wait
// for a tensor, call it again after a pause where Info.Err is [ErrBusy].
//
// If Info.Err is nil, the copy and the Info's Version, DType, Shape and Bytes are of one commit. Else what is in data means
// nothing. Besides those of Stat, Info.Err is io.ErrShortBuffer if the tensor has more than len(data) bytes: Version, DType,
// Shape and Bytes then are those of the tensor; and ErrBusy also if a commit came in between each attempt.
//
// Errors: those of Stat.
func StatCopy(name string, data []byte) (Info, error) {
	if data == nil {
		data = []byte{}
	}
	return stat(name, data)
}

// stat copies the tensor unless data is nil.
func stat(name string, data []byte) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	info, why, err := statSegment(name, data)
	info.Name = name
	switch {
	case err == nil:
		return info, nil
	case errors.Is(err, ErrCorrupt):
		return info, fmt.Errorf("%w: %q: %s", ErrCorrupt, name, why)
	case errors.Is(err, syscall.ELOOP):
		return info, fmt.Errorf("%w: %q is a symbolic link", ErrCorrupt, name)
	case errors.Is(err, ErrUnsupported):
		return info, err
	}
	return info, fmt.Errorf("judemap: looking at %q: %w", name, nameError(err, name))
}

// LeftBehind says whether nobody seems to need it any more: the process that made it is gone, and no other has it open. A
// segment may be meant to outlive its creator, as that of a producer which is started again: see [OpenOrCreate].
func (i Info) LeftBehind() bool { return i.CreatorPresence == Gone && i.Holders == Gone }

// String describes it in a few words: kind and name, of a stream the slots, and the tensor or why there is none.
func (i Info) String() string {
	text := fmt.Sprintf("%v %q", i.Kind, i.Name)
	if i.Kind == KindStream {
		text += fmt.Sprintf(", %d slots", i.Slots)
	}
	if i.Err != nil {
		return fmt.Sprintf("%s: no tensor, version %d", text, i.Version)
	}
	return fmt.Sprintf("%s: %v %v, version %d", text, i.DType, i.Shape, i.Version)
}

// LogValue is what String says, for [log/slog].
func (i Info) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", i.Kind.String()), slog.String("name", i.Name)}
	if i.Kind == KindStream {
		attrs = append(attrs, slog.Int("slots", i.Slots))
	}
	if i.Err == nil {
		attrs = append(attrs, slog.String("dtype", i.DType.String()), slog.Any("shape", i.Shape))
	}
	return slog.GroupValue(append(attrs, slog.Uint64("version", i.Version))...)
}
