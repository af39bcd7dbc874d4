module github.com/judemap/judemap

go 1.25.0

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/ianlancetaylor/cgosymbolizer v0.0.0-20260504013507-f4b012c11129 // indirect
)
