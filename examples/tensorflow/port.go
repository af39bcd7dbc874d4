package tensorflow

/*
#include <stdlib.h>
#include <tensorflow/c/c_api.h>
*/
import "C"

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/judemap/judemap"
	"google.golang.org/protobuf/encoding/protowire"
)

// A Port is an input or output of a model.
type Port struct {
	Name      string // in the signature, or what was asked for
	Operation string // the operation, and which of its outputs: "StatefulPartitionedCall:0"
	Type      string // TensorFlow's name of the element type, as in "float32" or "string"
	DType     judemap.DType
	Shape     []int // -1 where any size goes
	AnyRank   bool  // the model doesn't say how many dimensions there are: Shape is nil

	output C.TF_Output
}

// String describes the port: its name, type and shape.
func (p Port) String() string { return fmt.Sprintf("%q %s %s", p.Name, p.Type, p.shapeText()) }

func (p *Port) shapeText() string {
	if p.AnyRank {
		return "of any shape"
	}
	return strings.ReplaceAll(fmt.Sprint(p.Shape), "-1", "?")
}

// takes says whether the model takes a tensor of this type and shape here, and if not why.
func (p *Port) takes(dtype judemap.DType, shape []int) error {
	if dtype != p.DType {
		return fmt.Errorf("tensorflow: the model takes %s %s as %q, and the tensor is %v %v: %w", p.Type, p.shapeText(), p.Name,
			dtype, shape, judemap.ErrDType)
	}
	fits := p.AnyRank || len(shape) == len(p.Shape)
	for i := 0; fits && i < len(p.Shape); i++ {
		fits = p.Shape[i] == -1 || p.Shape[i] == shape[i]
	}
	if !fits {
		return fmt.Errorf("tensorflow: the model takes %s %s as %q, and the tensor is %v %v: %w", p.Type, p.shapeText(), p.Name,
			dtype, shape, judemap.ErrShape)
	}
	return nil
}

// dtypes are TensorFlow's numbers and names of the element types that a judemap tensor can have.
var dtypes = [...]C.TF_DataType{
	judemap.Float32:      C.TF_FLOAT,
	judemap.Float64:      C.TF_DOUBLE,
	judemap.Int32:        C.TF_INT32,
	judemap.Int64:        C.TF_INT64,
	judemap.Uint8:        C.TF_UINT8,
	judemap.Int8:         C.TF_INT8,
	judemap.Uint16:       C.TF_UINT16,
	judemap.Int16:        C.TF_INT16,
	judemap.Bool:         C.TF_BOOL,
	judemap.Float16:      C.TF_HALF,
	judemap.BFloat16:     C.TF_BFLOAT16,
	judemap.Uint32:       C.TF_UINT32,
	judemap.Uint64:       C.TF_UINT64,
	judemap.Float8E4M3FN: C.TF_FLOAT8_E4M3FN,
	judemap.Float8E5M2:   C.TF_FLOAT8_E5M2,
	judemap.Complex64:    C.TF_COMPLEX64,
}

// otherTypes are names of types that only TensorFlow has, for errors.
var otherTypes = map[C.TF_DataType]string{C.TF_STRING: "string", C.TF_RESOURCE: "resource", C.TF_VARIANT: "variant",
	C.TF_COMPLEX128: "complex128", C.TF_QINT8: "qint8", C.TF_QUINT8: "quint8", C.TF_QINT16: "qint16", C.TF_QUINT16: "quint16",
	C.TF_QINT32: "qint32", C.TF_INT4: "int4", C.TF_UINT4: "uint4"}

// dtypeOf returns the element type, and TensorFlow's name of it; ok is false if no judemap tensor can have it.
func dtypeOf(t C.TF_DataType) (dtype judemap.DType, name string, ok bool) {
	if i := slices.Index(dtypes[:], t); i >= 0 {
		return judemap.DType(i), judemap.DType(i).String(), true
	}
	if name, known := otherTypes[t]; known {
		return 0, name, false
	}
	return 0, fmt.Sprintf("type %d", int(t)), false
}

// Input describes the input of that name: of the signature, or an operation.
//
// Errors: [ErrName]; [judemap.ErrDType] if no tensor can be such an input, as one of strings; [ErrClosed].
func (s *Session) Input(name string) (Port, error) { return s.portOf(name, true) }

// Output describes the output of that name. Errors: those of [Session.Input].
func (s *Session) Output(name string) (Port, error) { return s.portOf(name, false) }

func (s *Session) portOf(name string, input bool) (Port, error) {
	if err := s.begin(); err != nil {
		return Port{}, err
	}
	defer s.running.Done()
	return s.port(name, input)
}

// Names returns the names of the signature's inputs and outputs, in alphabetical order; none where there is no signature.
func (s *Session) Names() (inputs, outputs []string) {
	if s.signature == nil {
		return nil, nil
	}
	return sortedKeys(s.signature.inputs), sortedKeys(s.signature.outputs)
}

// Placeholders returns the names of the operations that are made to be inputs, in the order of the graph.
func (s *Session) Placeholders() []string {
	if s.begin() != nil {
		return nil
	}
	defer s.running.Done()
	var names []string
	var at C.size_t
	for op := C.TF_GraphNextOperation(s.graph, &at); op != nil; op = C.TF_GraphNextOperation(s.graph, &at) {
		if C.GoString(C.TF_OperationOpType(op)) == "Placeholder" {
			names = append(names, C.GoString(C.TF_OperationName(op)))
		}
	}
	return names
}

// port finds an input or output. The caller keeps the graph from being freed.
func (s *Session) port(name string, input bool) (Port, error) {
	p := Port{Name: name, Operation: name}
	if s.signature != nil {
		ports := s.signature.outputs
		if input {
			ports = s.signature.inputs
		}
		if operation, ok := ports[name]; ok {
			if operation == "" {
				return p, fmt.Errorf("%w: %q is a sparse or composite tensor in the model, which no tensor can be",
					judemap.ErrDType, name)
			}
			p.Operation = operation
		}
	}
	index := 0
	operation, number, found := cutLast(p.Operation, ":")
	if found {
		var err error
		if index, err = strconv.Atoi(number); err != nil || index < 0 {
			return p, s.nameError(name, input)
		}
	} else {
		p.Operation += ":0"
	}
	text := C.CString(operation)
	defer C.free(unsafe.Pointer(text))
	op := C.TF_GraphOperationByName(s.graph, text)
	if op == nil {
		return p, s.nameError(name, input)
	}
	if outputs := int(C.TF_OperationNumOutputs(op)); index >= outputs {
		return p, fmt.Errorf("%w: %q: operation %q has %d outputs", ErrName, name, operation, outputs)
	}
	p.output = C.TF_Output{oper: op, index: C.int(index)}
	var ok bool
	if p.DType, p.Type, ok = dtypeOf(C.TF_OperationOutputType(p.output)); !ok {
		return p, fmt.Errorf("%w: %q is of %s in the model, which no tensor can hold", judemap.ErrDType, name, p.Type)
	}
	return p, s.readShape(&p)
}

func (s *Session) readShape(p *Port) error {
	status := C.TF_NewStatus()
	defer C.TF_DeleteStatus(status)
	rank := C.TF_GraphGetTensorNumDims(s.graph, p.output, status)
	if err := statusError(status); err != nil {
		return err
	}
	if rank < 0 {
		p.AnyRank = true
		return nil
	}
	dims := make([]C.int64_t, rank)
	C.TF_GraphGetTensorShape(s.graph, p.output, unsafe.SliceData(dims), rank, status)
	p.Shape = make([]int, rank)
	for i, n := range dims {
		p.Shape[i] = int(n)
	}
	return statusError(status)
}

// nameError says which names there are.
func (s *Session) nameError(name string, input bool) error {
	inputs, outputs := s.Names()
	switch {
	case input && s.signature == nil:
		return fmt.Errorf("%w: input %q; placeholders are %s", ErrName, name, listed(s.Placeholders()))
	case input:
		return fmt.Errorf("%w: input %q; the signature has %s", ErrName, name, listed(inputs))
	case s.signature == nil:
		return fmt.Errorf("%w: output %q is no operation of the graph", ErrName, name)
	}
	return fmt.Errorf("%w: output %q; the signature has %s", ErrName, name, listed(outputs))
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ---- Signatures

// A signature has for each name the operation, as in "serving_default_image:0"; "" if it is no plain tensor.
type signature struct {
	inputs, outputs map[string]string
}

// parseSignatures returns the signatures in a serialized MetaGraphDef. Only these fields of it matter here, by their numbers
// in tensorflow/core/protobuf/meta_graph.proto:
//
//	MetaGraphDef.signature_def 5, a map of SignatureDef
//	SignatureDef.inputs 1 and .outputs 2, maps of TensorInfo
//	TensorInfo.name 1
func parseSignatures(metaGraph []byte) (map[string]*signature, error) {
	signatures := make(map[string]*signature)
	err := eachMessage(metaGraph, func(field protowire.Number, message []byte) error {
		if field != 5 {
			return nil
		}
		s := &signature{inputs: make(map[string]string), outputs: make(map[string]string)}
		name, value, err := mapEntry(message)
		if err != nil {
			return err
		}
		signatures[name] = s
		return eachMessage(value, func(field protowire.Number, message []byte) error {
			if field != 1 && field != 2 {
				return nil
			}
			name, value, err := mapEntry(message)
			if err != nil {
				return err
			}
			operation := ""
			err = eachMessage(value, func(field protowire.Number, message []byte) error {
				if field == 1 {
					operation = string(message)
				}
				return nil
			})
			if field == 1 {
				s.inputs[name] = operation
			} else {
				s.outputs[name] = operation
			}
			return err
		})
	})
	return signatures, err
}

// mapEntry returns the key and the value of an entry of a map with strings as keys.
func mapEntry(entry []byte) (key string, value []byte, err error) {
	err = eachMessage(entry, func(field protowire.Number, message []byte) error {
		switch field {
		case 1:
			key = string(message)
		case 2:
			value = message
		}
		return nil
	})
	return key, value, err
}

// eachMessage calls do for each field of a message that has a length: strings, bytes and messages.
func eachMessage(message []byte, do func(field protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, message); n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := do(field, value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
