package outbound

import (
	"context"
	"net/netip"
)

func mustAddrPorts(all ...string) (out []netip.AddrPort) {
	for _, a := range all {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

// lookupLoopback resolves every name to the loopback, or fails with *fail.
func lookupLoopback(fail *error) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		if *fail != nil {
			return nil, *fail
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
}
