package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// qmp speaks QEMU's machine protocol over a Unix socket, one command at a time.
type qmp struct {
	conn net.Conn
	r    *bufio.Reader
}

// dialQMP connects to a QEMU that has just been started.
func dialQMP(ctx context.Context, path string) (*qmp, error) {
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			q := &qmp{c, bufio.NewReader(c)}
			if _, err := q.r.ReadBytes('\n'); err != nil { // its greeting
				return nil, err
			}
			return q, q.do("qmp_capabilities", nil, nil)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond): // it is still to make the socket
		}
	}
}

// do runs a command; out, if not nil, takes what it returns.
func (q *qmp) do(command string, args map[string]any, out any) error {
	req := map[string]any{"execute": command}
	if args != nil {
		req["arguments"] = args
	}
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return err
	}
	for {
		line, err := q.r.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("qemu: %s: %w", command, err)
		}
		var ans struct {
			Event  string          `json:"event"`
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &ans); err != nil {
			return fmt.Errorf("qemu: %s: %w", command, err)
		}
		switch {
		case ans.Event != "":
			continue
		case ans.Error != nil:
			return fmt.Errorf("qemu: %s: %s", command, ans.Error.Desc)
		case out != nil:
			return json.Unmarshal(ans.Return, out)
		}
		return nil
	}
}
