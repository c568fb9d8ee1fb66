package wasm

import (
	"encoding/binary"
	"fmt"

	"atoll/internal/node/sandbox"
)

// WorkerName is the name of the child's work; see sandbox.MaybeWorker.
const WorkerName = "wasm"

// holdBack is how many bytes of answers a child gathers before it sends them in
// spite of more questions to come. It is half of what the pipe's buffer takes.
const holdBack = 32 << 10

// Worker is what a child of this engine does. main passes it to
// sandbox.MaybeWorker.
func Worker() sandbox.Worker { return sandbox.Worker{Name: WorkerName, Serve: serve} }

// serve takes one module and then parts of it, until its input ends.
func serve(c *sandbox.Conn) error {
	f, err := c.Next()
	if err != nil {
		return err
	}
	if f.Kind != kindLoad || len(f.Body) < loadHeader {
		return fmt.Errorf("frame of kind %d where a module was due", f.Kind)
	}
	g, err := newGuest(f.Body[loadHeader:], binary.LittleEndian.Uint32(f.Body))
	answer := []byte{statusDone}
	if err != nil {
		answer = append([]byte{statusRefused}, message(err)...)
	} else if err := c.Seal(); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := c.Put(kindLoad, answer); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if g == nil {
		return nil
	}
	held := 0
	for {
		f, err := c.Next()
		if err != nil {
			return err
		}
		if f.Kind != kindRun {
			return fmt.Errorf("frame of kind %d where a part was due", f.Kind)
		}
		q, err := parseRun(f.Body)
		if err != nil {
			return err
		}
		a := g.run(q)
		if err := c.Put(kindRun, a.header(), a.body); err != nil {
			return err
		}
		if held += len(a.body) + ranHeader; !q.more || held >= holdBack {
			if err := c.Flush(); err != nil {
				return err
			}
			held = 0
		}
		g.clean()
	}
}
