module github.com/judemap/judemap/examples/node

go 1.25.0

require (
	github.com/judemap/judemap v0.0.0
	golang.org/x/sys v0.47.0
)

replace github.com/judemap/judemap => ../..
