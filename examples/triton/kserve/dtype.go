package kserve

import (
	"fmt"

	"github.com/judemap/judemap"
)

// datatypes are the protocol's names of element types. It has none for 8-bit floats and complex numbers.
var datatypes = map[judemap.DType]string{
	judemap.Bool:     "BOOL",
	judemap.Uint8:    "UINT8",
	judemap.Uint16:   "UINT16",
	judemap.Uint32:   "UINT32",
	judemap.Uint64:   "UINT64",
	judemap.Int8:     "INT8",
	judemap.Int16:    "INT16",
	judemap.Int32:    "INT32",
	judemap.Int64:    "INT64",
	judemap.Float16:  "FP16",
	judemap.Float32:  "FP32",
	judemap.Float64:  "FP64",
	judemap.BFloat16: "BF16",
}

// datatype returns the protocol's name of an element type. Error: judemap.ErrDType.
func datatype(d judemap.DType) (string, error) {
	if name, ok := datatypes[d]; ok {
		return name, nil
	}
	return "", fmt.Errorf("%w: KServe has no name for %v", judemap.ErrDType, d)
}
