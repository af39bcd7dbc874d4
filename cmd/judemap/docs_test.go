package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/judemap/judemap/internal/demo"
)

// docs/command.md names every field of the JSON that commands print.
func TestFieldsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	var check func(of reflect.Type)
	check = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || !strings.HasPrefix(of.PkgPath(), "github.com/judemap/judemap/") {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" &&
				!strings.Contains(string(page), "`"+name+"`") && !strings.Contains(string(page), "."+name+"`") {
				t.Errorf("docs/command.md does not have %s of %v", name, of)
			}
			check(f.Type)
		}
	}
	for _, of := range []any{entry{}, inspection{}, sight{}, pruned{}, demo.Numbers{}} {
		check(reflect.TypeOf(of))
	}
}
