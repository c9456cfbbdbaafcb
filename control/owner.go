package control

import (
	"encoding/json"
	"os"
	"path/filepath"

	"godwit/snapshot"
)

// Owner is the durable record of who may run a machine: written before the word
// that gives it away, and by the other side before its first instruction. An
// epoch is given away once; who takes it back makes a new one.
type Owner struct {
	Epoch   uint64 `json:"epoch"`
	Away    bool   `json:"away,omitempty"`    // it was given to another host
	To      string `json:"to,omitempty"`      // which
	Session string `json:"session,omitempty"` // of the move that changed it, hexadecimal
}

// readOwner reads a VM's record. One that never moved has none, and is this host's in
// epoch 1.
func readOwner(dir string) (Owner, error) {
	o := Owner{Epoch: 1}
	err := readJSON(filepath.Join(dir, fileOwner), &o)
	if os.IsNotExist(err) {
		err = nil
	}
	return o, err
}

// write makes the record durable: when it returns, a host that loses power finds
// it again, whole.
func (o Owner) write(dir string) error {
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, fileOwner)
	return AsNil(snapshot.Replace(snapshot.Disk{}, path, append(b, '\n')), "cannot record who owns the machine in "+path)
}
