module github.com/judemap/judemap/examples/triton

go 1.26.0

require (
	github.com/google/go-cmp v0.7.0
	github.com/judemap/judemap v0.0.0
	golang.org/x/sys v0.50.0
	google.golang.org/grpc v1.84.0
	google.golang.org/protobuf v1.36.12
)

require (
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260706201446-f0a921348800 // indirect
)

replace github.com/judemap/judemap => ../..
