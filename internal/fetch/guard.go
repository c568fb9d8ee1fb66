package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused is wrapped by every error for an address or port that the guard
// would not connect to.
var ErrRefused = errors.New("address refused")

// private are the ranges that AllowPrivate opens.
var private = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fc00::/7"),
}

// metadata are addresses inside those ranges from which cloud machines read
// their credentials.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
}

// guard judges addresses at the moment a socket is about to connect to them.
type guard struct {
	safe    *ssrf.Guardian
	allowed []netip.Prefix
}

func newGuard(c Config) (*guard, error) {
	g := &guard{allowed: c.AllowedCIDRs}
	open := c.AllowedCIDRs
	if c.AllowPrivate {
		open = append(append([]netip.Prefix{}, open...), private...)
	}
	var v4, v6 []netip.Prefix
	for _, p := range open {
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			return nil, fmt.Errorf("fetch: allowed range %s: want an IPv4 or IPv6 prefix", p)
		case p.Addr().Is4():
			v4 = append(v4, p)
		default:
			v6 = append(v6, p)
		}
	}
	opts := []ssrf.Option{ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)}
	switch {
	case len(c.Ports) > 0:
		opts = append(opts, ssrf.WithPorts(c.Ports...))
	case c.AllowPrivate:
		opts = append(opts, ssrf.WithAnyPort())
	case c.AllowHTTP:
		opts = append(opts, ssrf.WithPorts(80, 443))
	default:
		opts = append(opts, ssrf.WithPorts(443))
	}
	g.safe = ssrf.New(opts...)
	return g, nil
}

// control is net.Dialer.Control. address is an IP address and a port.
func (g *guard) control(network, address string, conn syscall.RawConn) error {
	if err := g.safe.Safe(network, address, conn); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if contains(metadata, to.Addr()) && !contains(g.allowed, to.Addr()) {
		return fmt.Errorf("%w: %s is a metadata service", ErrRefused, to.Addr())
	}
	return nil
}

func contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
