package control

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/klauspost/compress/zstd"
)

// checkInitrd tells of an initrd that ends too early. A kernel would say so only
// in the middle of its own messages, if at all. Formats it does not know pass: the
// kernel may know them.
func checkInitrd(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return AsError("cannot read initrd "+name, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	switch err := wholeInitrd(r); {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		info, _ := f.Stat()
		e := Fail("incompatible", "initrd "+name+" is cut off", fmt.Sprintf("its archive goes on where the file ends, at %d bytes", info.Size()), "copy or make it again")
		e.Field = "initrd"
		return e
	case err != nil:
		return AsError("cannot read initrd "+name, err)
	}
	return nil
}

// wholeInitrd reads to the end of the first archive that is compressed, or of
// the uncompressed ones before it.
func wholeInitrd(r *bufio.Reader) error {
	for {
		head, err := r.Peek(6)
		switch {
		case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
			z, err := gzip.NewReader(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, z)
			return damaged(err)
		case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
			if err != nil {
				return err
			}
			defer z.Close()
			_, err = io.Copy(io.Discard, z)
			return damaged(err)
		case bytes.HasPrefix(head, []byte("07070")):
			if err := skipNewc(r); err != nil {
				return err
			}
		case len(head) > 0 && head[0] == 0: // padding between archives
			if _, err := r.Discard(1); err != nil {
				return err
			}
		case err == io.EOF || len(head) > 0:
			return nil
		default:
			return err
		}
	}
}

// damaged keeps only the error of a file that is too short: other damage, and
// what follows the archive, is the kernel's to judge.
func damaged(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}

// skipNewc reads one uncompressed archive up to its trailer.
func skipNewc(r *bufio.Reader) error {
	head := make([]byte, 110)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return io.ErrUnexpectedEOF
		}
		size, err1 := strconv.ParseUint(string(head[54:62]), 16, 32)
		name, err2 := strconv.ParseUint(string(head[94:102]), 16, 32)
		if !bytes.HasPrefix(head, []byte("07070")) || err1 != nil || err2 != nil || name > 4096 {
			return nil // not this format after all
		}
		b := make([]byte, (110+name+3)&^3-110)
		if _, err := io.ReadFull(r, b); err != nil {
			return io.ErrUnexpectedEOF
		}
		if bytes.HasPrefix(b, []byte("TRAILER!!!\x00")) {
			return nil
		}
		if _, err := r.Discard(int((size + 3) &^ 3)); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
}
