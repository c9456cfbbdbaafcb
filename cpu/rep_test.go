package cpu

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// repNative executes argv[1], the number of an instruction below, over argv[2]
// bytes, their source argv[3] bytes into a page, for a tenth of a second, and
// prints nanoseconds of processor time for one.
const repNative = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}
int main(int argc, char **argv) {
	int which = atoi(argv[1]);
	size_t size = atol(argv[2]), at = atol(argv[3]), n = 0;
	char *from = aligned_alloc(4096, size + 4096), *to = aligned_alloc(4096, size + 4096);
	memset(from, 1, size + 4096);
	memset(to, 1, size + 4096);
	double start = 0, end;
	for (int warm = 1; warm >= 0; warm--)
		for (start = now(), n = 0; (end = now()) - start < (warm ? 1e7 : 1e8); n++) {
			char *d = to, *s = from + at;
			size_t count = which & 1 ? size / 8 : size;
			switch (which) {
			case 0: __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count)::"memory"); break;
			case 1: __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(count)::"memory"); break;
			case 2: __asm__ volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(0L) : "memory"); break;
			case 3: __asm__ volatile("rep stosq" : "+D"(d), "+c"(count) : "a"(0L) : "memory"); break;
			}
		}
	printf("%f\n", (end - start) / n);
}`

// BenchmarkRep: REP MOVS and REP STOS over and over, each beside the processor's
// own in turn where gcc is there to build it: how many times that takes. The larger
// size is more pages than the TLB has entries.
func BenchmarkRep(b *testing.B) {
	native := buildNative(b)
	for i, in := range []struct {
		name string
		code []byte
	}{
		{"movsb", []byte{0xf3, 0xa4}},
		{"movsq", []byte{0xf3, 0x48, 0xa5}},
		{"stosb", []byte{0xf3, 0xaa}},
		{"stosq", []byte{0xf3, 0x48, 0xab}},
	} {
		for _, at := range []uint64{0, 40} {
			for _, size := range []int{4 << 10, 1 << 20, 20 << 20} {
				if at != 0 && i >= 2 {
					continue // no source
				}
				b.Run(fmt.Sprintf("%s/at=%d/size=%dKiB", in.name, at, size>>10), func(b *testing.B) {
					c := repeated(b, in.code, size, at)
					c.Run(c.Count + uint64(size>>lineBits)*2)
					counts := uint64(size>>lineBits) + 6
					b.SetBytes(int64(size))
					var host, guest float64
					b.ResetTimer()
					for n := 0; n < b.N; {
						b.StopTimer()
						host += natively(b, native, i, size, at)
						b.StartTimer()
						start, k := time.Now(), 0
						for ; n < b.N && time.Since(start) < 100*time.Millisecond; k++ {
							c.Run(c.Count + counts)
							n++
						}
						guest += float64(time.Since(start)) / float64(k)
					}
					if native != "" {
						b.ReportMetric(guest/host, "x-native")
					}
				})
			}
		}
	}
}

// repeated is a vCPU that executes an instruction over size bytes from 33 MiB on,
// of those from at bytes after 12 MiB on, for ever, in size/64 and six counts.
func repeated(b *testing.B, rep []byte, size int, at uint64) *CPU {
	if rep[len(rep)-1]&1 != 0 {
		size /= 8
	}
	code := binary.LittleEndian.AppendUint32([]byte{0xbe}, uint32(12<<20+at)) // mov esi
	code = binary.LittleEndian.AppendUint32(append(code, 0xbf), 33<<20)       // mov edi
	code = binary.LittleEndian.AppendUint32(append(code, 0xb9), uint32(size)) // mov ecx
	code = append(code, 0x31, 0xc0)                                           // xor eax, eax
	code = append(code, rep...)
	return bench64(b, append(code, 0x90, 0xeb, byte(-20-len(rep))))
}

// buildNative builds repNative; "" where that cannot be.
func buildNative(b *testing.B) string {
	gcc, err := exec.LookPath("gcc")
	if err != nil || runtime.GOOS+runtime.GOARCH != "linuxamd64" {
		return ""
	}
	src := filepath.Join(b.TempDir(), "rep.c")
	bin := strings.TrimSuffix(src, ".c")
	if err := os.WriteFile(src, []byte(repNative), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-O2", "-o", bin, src).CombinedOutput(); err != nil {
		b.Fatalf("gcc: %v: %s", err, out)
	}
	return bin
}

// natively is the nanoseconds that the processor takes for instruction i.
func natively(b *testing.B, bin string, i, size int, at uint64) float64 {
	if bin == "" {
		return 0
	}
	out, err := exec.Command(bin, strconv.Itoa(i), strconv.Itoa(size), strconv.FormatUint(at, 10)).Output()
	if err != nil {
		b.Fatal(err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return ns
}
