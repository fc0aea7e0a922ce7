package api

import (
	"context"

	"github.com/ongair/ongair-gateway/server/auth"
)

// subscription is a stream that is open, and what it needs its caller's rights for.
type subscription struct {
	caller auth.Principal
	// channels are those that it shows; none means all.
	channels []string
	cancel   context.CancelCauseFunc
}

// check fails where a subscription is not its caller's to have.
func (s *Service) check(sub *subscription) error {
	caller, err := s.reauthenticate(sub.caller)
	if err != nil {
		return err
	}
	if err := caller.MayDo(auth.ActionSubscribe); err != nil {
		return err
	}
	if len(sub.channels) == 0 {
		return caller.MayUse(auth.AllChannels)
	}
	for _, name := range sub.channels {
		if err := caller.MayUse(name); err != nil {
			return err
		}
		if _, ok := (*s.channels.Load())[name]; !ok {
			return unknownChannel(name)
		}
	}
	return nil
}

// begin notes that a subscription is open until end is called, and checks it after
// that, so that no change of rights comes between.
func (s *Service) begin(sub *subscription) (end func(), err error) {
	s.mu.Lock()
	s.subscriptions[sub] = struct{}{}
	s.mu.Unlock()
	end = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscriptions, sub)
	}
	if err := s.check(sub); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// Replace replaces the channels, for calls from now on, and ends the streams whose
// caller has lost the right to them, each with its reason. Callers are replaced
// before.
func (s *Service) Replace(channels map[string]Upstream) {
	s.channels.Store(&channels)
	s.mu.Lock()
	open := make([]*subscription, 0, len(s.subscriptions))
	for sub := range s.subscriptions {
		open = append(open, sub)
	}
	s.mu.Unlock()
	for _, sub := range open {
		if err := s.check(sub); err != nil {
			sub.cancel(err)
		}
	}
}
