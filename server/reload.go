package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// Reload takes a changed configuration while the gateway runs: channels, callers, what
// webhooks are asked for, the encryption key, and what is in the files of the TLS
// certificate. Calls and streams go on; the streams of a caller who lost the right to
// them end with their reason. Where anything is wrong, or would need a restart, nothing
// is changed and the error, of Problems mostly, says why; only a disk that fails may have
// the new encryption key then, which the error says, too. It fails before the gateway is
// ready. It is safe for concurrent use.
//
// A channel that stays as it is keeps its limits' state; one that changed begins anew.
func (s *Server) Reload(cfg config.Config) error {
	select {
	case <-s.ready:
	default:
		return errors.New("the gateway is not ready yet")
	}
	if err := cfg.Check(); err != nil {
		return err
	}
	cfg = cfg.WithDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := config.NeedsRestart(s.current, cfg); err != nil {
		return err
	}
	upstreams, err := s.newUpstreams(cfg)
	if err != nil {
		return err
	}
	files, err := cfg.LoadTLS()
	if err != nil {
		return err
	}
	// Also where they are what they were: a start, or another reload, may have failed to.
	if err := s.store.ReplaceKeys(cfg.EncryptionKeys); err != nil {
		var problems config.Problems
		problems.Add("encryption_key_file", "encryption key: %v", err)
		return problems
	}
	s.tls.Replace(files)
	s.replace(cfg, upstreams)
	s.current, s.upstreams = cfg, upstreams
	return nil
}

// newUpstreams returns the clients of the channels: those that there are, where
// nothing about them changed.
func (s *Server) newUpstreams(cfg config.Config) (map[string]api.Upstream, error) {
	upstreams := make(map[string]api.Upstream, len(cfg.Channels))
	for name, channel := range cfg.Channels {
		if there, ok := s.upstreams[name]; ok && s.current.Channels[name] == channel {
			upstreams[name] = there
			continue
		}
		if channel.BaseURL == "" {
			channel.BaseURL = config.DefaultBaseURL
		}
		client, err := ongair.New(ongair.Config{
			BaseURL:     channel.BaseURL,
			Token:       channel.Token,
			AuthForm:    channel.AuthForm,
			Transport:   s.transport,
			MaxInFlight: channel.MaxInFlight,
			MaxRate:     channel.MaxRate,
			Caller:      func(ctx context.Context) string { return auth.FromContext(ctx).Name },
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
func webhookAccess(cfg config.Config) webhook.Access {
	access := webhook.Access{
		Channels: map[string]webhook.Credentials{}, AllowFrom: cfg.WebhookAllowFrom, TrustedProxies: cfg.TrustedProxies,
	}
	for name, channel := range cfg.Channels {
		access.Channels[name] = webhook.Credentials{
			Secret: channel.WebhookSecret, Previous: channel.PreviousWebhookSecret,
			Username: channel.WebhookUsername, Password: channel.WebhookPassword, PreviousPassword: channel.PreviousWebhookPassword,
		}
	}
	return access
}
