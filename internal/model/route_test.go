package model

import (
	"reflect"
	"testing"
)

// TestOnlyPath: every field but Path is a condition of its own. One that is
// forgotten would let requests take a route that is not theirs.
func TestOnlyPath(t *testing.T) {
	of := reflect.TypeFor[Match]()
	for i := range of.NumField() {
		var m Match
		switch field := reflect.ValueOf(&m).Elem().Field(i); field.Kind() {
		case reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		default:
			t.Fatalf("%s is of a kind that this test does not know", of.Field(i).Name)
		}
		if want := of.Field(i).Name == "Path"; m.OnlyPath() != want {
			t.Errorf("with %s alone OnlyPath is %v", of.Field(i).Name, !want)
		}
	}
}
