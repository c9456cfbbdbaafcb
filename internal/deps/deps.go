//go:build tools

// Package deps keeps modules in go.mod that land before their users.
package deps

import (
	_ "github.com/fxamacker/cbor/v2"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/stretchr/testify/require"
	_ "github.com/zeebo/xxh3"
	_ "golang.org/x/arch/x86/x86asm"
	_ "golang.org/x/sys/cpu"
	_ "golang.org/x/term"
)
