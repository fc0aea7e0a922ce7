package webhook

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// senders decides by address which senders may post.
type senders struct {
	// allowed has the networks that may post. Empty means all.
	allowed []netip.Prefix
	// proxies has the networks whose X-Forwarded-For is trusted.
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

// addressOf returns the address of a request's sender. It reads X-Forwarded-For from its end,
// through the addresses of trusted proxies, to the first other address. Everything before that
// address may be forged.
//
// The library realclientip-go would save about 15 lines, but has had no release since 2022. The
// remote address would have to be checked separately, and networks converted.
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
		forwarded, ok := parseHop(strings.TrimSpace(hop))
		if !ok {
			break // the proxy added no valid address
		}
		address = forwarded
	}
	return address, !containsAddr(s.proxies, address)
}

// parseHop parses an address of X-Forwarded-For. Some proxies add the port.
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
