package control

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The document and the server name the same requests and error codes.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/format/api.md")
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|DELETE) /v1/[^`?]*)`").FindAllStringSubmatch(string(b), -1) {
		documented[m[1]] = true
	}
	served := map[string]bool{}
	for _, r := range routes {
		served[r.pattern] = true
	}
	assert.Equal(t, served, documented)

	codes := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z-]+) \| (\d{3} \| \d+) \|`).FindAllStringSubmatch(string(b), -1) {
		codes[m[1]] = m[2]
	}
	for code, k := range kinds {
		assert.Equal(t, fmt.Sprintf("%d | %d", k.http, k.exit), codes[code], "code %s", code)
	}
	assert.Len(t, codes, len(kinds))

	for _, v := range []any{
		Status{},
		End{},
		Op{},
		SaveResult{},
		MigrateRequest{},
		Move{},
		Moves{},
		Owner{},
		Error{},
		CPUView{},
		SegView{},
		Value{},
		MemView{},
		WalkView{},
		LevelView{},
		MapView{},
		RangeView{},
		IRQView{},
		LineView{},
		DeadlineView{},
		DevView{},
		RegView{},
		HashView{},
	} {
		ty := reflect.TypeOf(v)
		for i := range ty.NumField() {
			name, _, _ := strings.Cut(ty.Field(i).Tag.Get("json"), ",")
			assert.True(t, bytes.Contains(b, []byte("`"+name+"`")) || bytes.Contains(b, []byte(`"`+name+`"`)), "%s.%s is not documented", ty.Name(), name)
		}
	}
}
