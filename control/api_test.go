package control

import (
	"os"
	"regexp"
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

	codes := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z-]+) \| \d{3} \| \d+ \|`).FindAllStringSubmatch(string(b), -1) {
		codes[m[1]] = true
	}
	for code := range kinds {
		assert.True(t, codes[code], "code %s is not documented", code)
	}
	assert.Len(t, codes, len(kinds))
}
