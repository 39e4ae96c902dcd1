package milter

import (
	"context"
	"fmt"
	"time"
)

// Probe connects to a filter and negotiates, as each session with it begins, and goes again: the filter hears of no message. It returns
// the version of the protocol that both speak, 2 or 6.
func Probe(ctx context.Context, f Filter) (version int, err error) {
	c, err := New(f)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, negotiationTime)
	defer cancel()
	d := &dialer{ctx: ctx, timeout: c.filters[0].Connect}
	defer d.close()
	session, version, err := c.filters[0].connect(d)
	switch {
	case err != nil && ctx.Err() != nil: // what the end of ctx did to the connection says less
		return 0, fmt.Errorf("does not negotiate in time: %w", ctx.Err())
	case err != nil:
		return 0, err
	}
	d.conn.SetDeadline(time.Now().Add(time.Second)) // whether it hears the farewell does not matter
	session.Close()
	return version, nil
}
