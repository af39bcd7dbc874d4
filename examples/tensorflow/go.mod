module github.com/judemap/judemap/examples/tensorflow

go 1.25.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/judemap/judemap v0.0.0
	google.golang.org/protobuf v1.36.12
)

replace github.com/judemap/judemap => ../..
