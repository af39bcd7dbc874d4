module github.com/judemap/judemap

go 1.25.0
