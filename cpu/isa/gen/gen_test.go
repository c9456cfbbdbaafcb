package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGeneratedFilesAreFresh(t *testing.T) {
	files, err := generate("..")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "%s is stale: run go generate ./cpu/isa", name)
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	a, err := generate("..")
	require.NoError(t, err)
	b, err := generate("..")
	require.NoError(t, err)
	require.Equal(t, a, b)
}

func TestMistakesAreFound(t *testing.T) {
	const add = "00 /r  ADD  r/m8, r8  all  -  :oszapc  lock\n"
	for _, tt := range []struct{ name, table, want string }{
		{"overlap", add + "00 /0  OR  r/m8  all  -  -  -", "overlap"},
		{"overlap in one mode", add + "00 /r  OR  r8, r/m8  64  -  -  -", "overlap"},
		{"overlap by prefix", "NP 0F 10 /r  A  xmm, xmm/m32  all  sse  -  -\n0F 10 /1  B  r/m8  all  -  -  -\n0F 10 /2  C  r/m8  all  -  -  -\n0F 10 /2  D  m8  all  -  -  -", "overlap"},
		{"columns", "00 /r  ADD  r/m8, r8  all", "columns"},
		{"operand", "00 /r  ADD  r/m9, r8  all  -  -  -", `operand "r/m9" is unknown`},
		{"mode", "00 /r  ADD  r/m8, r8  any  -  -  -", "modes"},
		{"flag", "00 /r  ADD  r/m8, r8  all  -  :q  -", "flag"},
		{"flags without colon", "00 /r  ADD  r/m8, r8  all  -  oszapc  -", "read:written"},
		{"attribute", "00 /r  ADD  r/m8, r8  all  -  -  lokc", "attribute"},
		{"lock without memory", "02 /r  ADD  r8, r/m8  all  -  -  lock", "lock"},
		{"fallback without F3", "0F BC /r  A  rv, r/mv  all  -  -  fallback", "fallback"},
		{"no ModRM", "00  ADD  r/m8, r8  all  -  -  -", "ModRM"},
		{"some with ModRM", "00 /r  ADD  r/m8, r8  64  -  -  -\n00  A  -  no64  -  -  -", "ModRM"},
		{"no register operand", "00 /r  ADD  r/m8  all  -  -  -", ""},
		{"register in a digit", "00 /3  ADD  r/m8, r8  all  -  -  -", "ModRM.reg"},
		{"two rm", "00 /r  ADD  r/m8, r/m8  all  -  -  -", "share"},
		{"two reg", "00 /r  ADD  r8, r8  all  -  -  -", "share"},
		{"immediate missing", "04  ADD  AL, imm8  all  -  -  -", "immediate"},
		{"immediate unused", "04 ib  ADD  AL  all  -  -  -", "immediate"},
		{"two immediates", "04 ib ib  ADD  AL, imm8  all  -  -  -", "two immediates"},
		{"encoding", "04 xx  ADD  AL, imm8  all  -  -  -", "unknown part"},
		{"opcode", "0G  ADD  -  all  -  -  -", "malformed"},
		{"unaligned opcode register", "41+r  ADD  rv  all  -  -  -", "multiple"},
		{"VEX", "VEX.512.66.0F.W0 58 /r  A  xmm, xmmV, xmm/m128  all  -  -  -", "VEX part"},
		{"native size without n64", "0F 78 /r  A  r/mn, r32  all  -  -  -", "n64"},
		{"fixed", "CC  INT3  -  all  -  -  fixed=x", "fixed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows, err := parseTable(strings.NewReader(tt.table))
			if err == nil {
				_, err = buildTrees(rows)
			}
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestRunWritesFiles(t *testing.T) {
	dir := t.TempDir()
	require.Error(t, run(dir), "no table")
	table := "00 /r  ADD  r/m8, r8  all  -  :oszapc  lock\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x86.tab"), []byte(table), 0o600))
	require.NoError(t, run(dir))
	text, err := os.ReadFile(filepath.Join(dir, "zops.go"))
	require.NoError(t, err)
	assert.Contains(t, string(text), "// 00 /r (1)")
}
