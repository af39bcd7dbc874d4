module github.com/judemap/judemap/examples/numpy

go 1.25.0

require github.com/judemap/judemap v0.0.0

replace github.com/judemap/judemap => ../..
