package server

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// Reload takes a changed configuration while the gateway runs: channels, callers, what
// webhooks are asked for, the encryption key, and what is in the files of the TLS
// certificate. Calls and streams go on; the streams of a caller who lost the right to
// them end with their reason. Where anything is wrong, or would need a restart, nothing
// is changed and the error says why; only a disk that fails may have the new encryption
// key then, which the error says, too. It fails before the gateway is ready. It is safe for
// concurrent use.
//
// A channel that stays as it is keeps its limits' state; one that changed begins anew.
func (s *Server) Reload(cfg Config) error {
	select {
	case <-s.ready:
	default:
		return errors.New("the gateway is not ready yet")
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.CallerCount() > 0 && cfg.CallerCount() == 0 {
		// Half a file must not open the gateway.
		return errors.New("to take away all callers, and so ask nobody for a key, needs a restart")
	}
	if changed := fixedChanges(s.current, cfg); len(changed) > 0 {
		return fmt.Errorf("a change of %s needs a restart", strings.Join(changed, ", "))
	}
	upstreams, err := s.newUpstreams(cfg)
	if err != nil {
		return err
	}
	files, err := cfg.loadTLS()
	if err != nil {
		return err
	}
	// Also where they are what they were: a start, or another reload, may have failed to.
	if err := s.js.ReplaceKeys(cfg.EncryptionKeys); err != nil {
		return fmt.Errorf("encryption key: %w", err)
	}
	s.tls.Store(files)
	s.replace(cfg, upstreams)
	s.current, s.upstreams = cfg, upstreams
	return nil
}

// fixedChanges returns the names of the settings that differ and need a restart.
func fixedChanges(before, after Config) (names []string) {
	was, is := reflect.ValueOf(before), reflect.ValueOf(after)
	for field, value := range was.Fields() {
		name, fixed := field.Tag.Lookup("restart")
		if fixed && !reflect.DeepEqual(value.Interface(), is.FieldByIndex(field.Index).Interface()) {
			names = append(names, name)
		}
	}
	return names
}

// newUpstreams returns the clients of the channels: those that there are, where
// nothing about them changed.
func (s *Server) newUpstreams(cfg Config) (map[string]api.Upstream, error) {
	upstreams := make(map[string]api.Upstream, len(cfg.Channels))
	for name, channel := range cfg.Channels {
		if there, ok := s.upstreams[name]; ok && s.current.Channels[name] == channel {
			upstreams[name] = there
			continue
		}
		if channel.BaseURL == "" {
			channel.BaseURL = DefaultBaseURL
		}
		client, err := ongair.New(ongair.Config{
			BaseURL:     channel.BaseURL,
			Token:       channel.Token,
			AuthForm:    channel.AuthForm,
			Transport:   s.transport,
			MaxInFlight: channel.MaxInFlight,
			MaxRate:     channel.MaxRate,
			Logger:      cfg.Logger.With("channel", name),
		})
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", name, err)
		}
		upstreams[name] = client
	}
	return upstreams, nil
}

// webhookAccess is who may post webhooks.
func (c *Config) webhookAccess() webhook.Access {
	access := webhook.Access{
		Channels: map[string]webhook.Credentials{}, AllowFrom: c.WebhookAllowFrom, TrustedProxies: c.TrustedProxies,
	}
	for name, channel := range c.Channels {
		access.Channels[name] = webhook.Credentials{
			Secret: channel.WebhookSecret, Previous: channel.PreviousWebhookSecret,
			Username: channel.WebhookUsername, Password: channel.WebhookPassword, PreviousPassword: channel.PreviousWebhookPassword,
		}
	}
	return access
}
