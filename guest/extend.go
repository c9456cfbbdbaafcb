package guest

import "bytes"

// Extend adds programs of the host to the /bin of a guest's initramfs, which stays
// as it is: the kernel unpacks archives that follow one another, each from a
// multiple of four bytes [LINUX driver-api/early-userspace/buffer-format].
func Extend(initrd []byte, programs ...string) ([]byte, error) {
	x, err := (&Options{Add: programs}).extras()
	if err != nil {
		return nil, err
	}
	t := tree{}
	for name, b := range x.add {
		t.add("bin/"+name, modeProg, b)
	}
	var out bytes.Buffer
	out.Write(initrd)
	out.Write(make([]byte, -len(initrd)&3))
	err = t.write(&out)
	return out.Bytes(), err
}
