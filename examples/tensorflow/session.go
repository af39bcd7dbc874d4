// Package tensorflow runs models of TensorFlow on judemap's tensors, through TensorFlow's C API and without copying what goes
// in.
//
//	model, err := tensorflow.Load("digits", "")    // a SavedModel's folder, or a frozen graph's file
//	frame, err := images.Next(ctx)                 // of a judemap.Reader
//	err = model.Run(ctx, map[string]*judemap.Tensor{"image": &frame}, map[string]tensorflow.Output{"logits": results.Update})
//
// TensorFlow reads the frame where it lies. What comes out is in memory that TensorFlow allocates, and is copied once, into
// a slot of the stream results, or with [ToSegment] into a segment.
package tensorflow

/*
#include <stdlib.h>
#include <tensorflow/c/c_api.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"
)

var (
	// ErrClosed: the Session was closed.
	ErrClosed = errors.New("tensorflow: the session is closed")
	// ErrName: the model has no input, output or signature of that name.
	ErrName = errors.New("tensorflow: no such name in the model")
	// ErrMisaligned: an input's address is not one that TensorFlow reads in place.
	ErrMisaligned = errors.New("tensorflow: misaligned input")
	// ErrOverwritten: an input changed while the model ran, so that its outputs are of no tensor. A view of a segment does
	// when the next commit comes; a stream's frame does not while it is held.
	ErrOverwritten = errors.New("tensorflow: an input was overwritten while the model ran")
)

// An Error is what TensorFlow itself says went wrong.
type Error struct {
	Code    Code
	Message string
}

// Error returns the code's name and the message.
func (e *Error) Error() string { return fmt.Sprintf("tensorflow: %v: %s", e.Code, e.Message) }

// A Code is a TF_Code: what kind of error it is.
type Code int

// codes are the names of the codes, from TF_OK on.
var codes = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// String returns TensorFlow's name of the code, as in "INVALID_ARGUMENT".
func (c Code) String() string {
	if c < 0 || int(c) >= len(codes) {
		return fmt.Sprintf("error %d", int(c))
	}
	return codes[c]
}

// statusError returns the error in a status, or nil.
func statusError(status *C.TF_Status) error {
	code := C.TF_GetCode(status)
	if code == C.TF_OK {
		return nil
	}
	return &Error{Code: Code(code), Message: C.GoString(C.TF_Message(status))}
}

// A Session is a model that is ready to run. Its methods may be called from any goroutine, and runs go on side by side.
type Session struct {
	graph     *C.TF_Graph
	session   *C.TF_Session
	signature *signature // nil: names are those of operations alone

	mu       sync.Mutex
	closed   bool           // guarded by mu
	running  sync.WaitGroup // calls that use graph or session; added to under mu while not closed
	freeOnce sync.Once
}

// defaultSignature is how TensorFlow calls the signature of a model that has one.
const defaultSignature = "serving_default"

// Load loads the model at path: a SavedModel if that is a folder, else a frozen graph, a file with one GraphDef.
//
// Names of a SavedModel's inputs and outputs are those of its signature: the one that is asked for, or if signature is ""
// the one called "serving_default" where there is one. Operations of the graph can be named too, and in a frozen graph there
// is nothing else: "image", or "split:1" for the second output of an operation.
//
// Errors: the system's; [ErrName] if there is no such signature; [Error].
func Load(path, signature string) (*Session, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tensorflow: %w", err)
	}
	s := &Session{graph: C.TF_NewGraph()}
	if info.IsDir() {
		err = s.loadSavedModel(path, signature)
	} else {
		err = s.loadGraph(path, signature)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("%w (loading %s)", err, path)
	}
	return s, nil
}

func (s *Session) loadSavedModel(path, name string) error {
	folder, tag := C.CString(path), C.CString("serve")
	defer C.free(unsafe.Pointer(folder))
	defer C.free(unsafe.Pointer(tag))
	status := C.TF_NewStatus()
	defer C.TF_DeleteStatus(status)
	options := C.TF_NewSessionOptions()
	defer C.TF_DeleteSessionOptions(options)
	metaGraph := C.TF_NewBuffer()
	defer C.TF_DeleteBuffer(metaGraph)
	s.session = C.TF_LoadSessionFromSavedModel(options, nil, folder, &tag, 1, s.graph, metaGraph, status)
	if err := statusError(status); err != nil {
		return err
	}
	signatures, err := parseSignatures(unsafe.Slice((*byte)(metaGraph.data), metaGraph.length))
	if err != nil {
		return fmt.Errorf("tensorflow: the SavedModel's signatures: %w", err)
	}
	wanted := name
	if wanted == "" {
		wanted = defaultSignature
	}
	s.signature = signatures[wanted]
	if s.signature == nil && name != "" {
		return fmt.Errorf("%w: signature %q; there are %s", ErrName, name, namesOf(signatures))
	}
	return nil
}

func (s *Session) loadGraph(path, signature string) error {
	if signature != "" {
		return fmt.Errorf("%w: signature %q: a frozen graph has none", ErrName, signature)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("tensorflow: %w", err)
	}
	if len(file) == 0 { // which TensorFlow takes for a graph without operations
		return errors.New("tensorflow: the file is empty")
	}
	status := C.TF_NewStatus()
	defer C.TF_DeleteStatus(status)
	graph := C.TF_NewBufferFromString(unsafe.Pointer(unsafe.SliceData(file)), C.size_t(len(file)))
	defer C.TF_DeleteBuffer(graph)
	imports := C.TF_NewImportGraphDefOptions()
	defer C.TF_DeleteImportGraphDefOptions(imports)
	C.TF_GraphImportGraphDef(s.graph, graph, imports, status)
	if err := statusError(status); err != nil {
		return err
	}
	options := C.TF_NewSessionOptions()
	defer C.TF_DeleteSessionOptions(options)
	s.session = C.TF_NewSession(s.graph, options, status)
	return statusError(status)
}

// Close waits for runs that go on, also those whose caller has left because its context ended, and frees the model. Later
// calls get [ErrClosed]. Close the session before the readers and streams whose frames it was given. An Output must not
// call it. Closing again only waits.
//
// Errors: [Error].
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	var err error
	s.freeOnce.Do(func() {
		if s.session != nil {
			status := C.TF_NewStatus()
			defer C.TF_DeleteStatus(status)
			C.TF_CloseSession(s.session, status)
			err = statusError(status)
			C.TF_DeleteSession(s.session, status)
			err = errors.Join(err, statusError(status))
		}
		C.TF_DeleteGraph(s.graph)
	})
	return err
}

// begin keeps Close from freeing what a call uses, until s.running.Done.
func (s *Session) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

// namesOf lists the keys of a map, for an error.
func namesOf[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(sortedKeys(m), ", ")
}
