module github.com/judemap/judemap/examples/onnxruntime

go 1.25.0

replace github.com/judemap/judemap => ../..

require (
	github.com/google/go-cmp v0.7.0
	github.com/judemap/judemap v0.0.0
	github.com/yalue/onnxruntime_go v1.27.0
	golang.org/x/image v0.45.0
)

require (
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)
