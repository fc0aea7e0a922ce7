package webhook

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// senders are who may post at all, by their addresses.
type senders struct {
	// allowed are the networks that may; all, where there are none.
	allowed []netip.Prefix
	// proxies are those whose word on who they speak for is taken.
	proxies []netip.Prefix
}

// admit reports whether the sender of a request may post.
func (s senders) admit(r *http.Request) bool {
	if len(s.allowed) == 0 {
		return true
	}
	address, ok := s.addressOf(r)
	return ok && containsAddr(s.allowed, address)
}

// addressOf returns the address of the sender of a request. X-Forwarded-For is believed as
// far as trusted proxies wrote it: from its end back to the first address that is not a
// proxy's. What stands before that address may be forged.
//
// The library for this, realclientip-go, has had no release since 2022, and would save 15 of
// these lines: the remote address has to be checked beside it, and networks converted.
func (s senders) addressOf(r *http.Request) (address netip.Addr, ok bool) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	address = remote.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !containsAddr(s.proxies, address) {
			return address, true
		}
		said, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			break // what it should say is missing, or none
		}
		address = said
	}
	return address, !containsAddr(s.proxies, address)
}

// parseHop returns an address of X-Forwarded-For, to which some proxies add the port.
func parseHop(hop string) (address netip.Addr, ok bool) {
	address, err := netip.ParseAddr(hop)
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		return withPort.Addr().Unmap(), err == nil
	}
	return address.Unmap(), true
}

func containsAddr(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}
