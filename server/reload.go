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

// Reload applies a changed configuration while the gateway runs: channels, callers, credentials of
// webhooks, the encryption key, and the files of the TLS certificate. Calls and streams go on. The
// streams of a caller that lost the right to them end with a reason.
//
// Reload fails and changes nothing if the configuration is invalid, if a change requires a restart, or
// before the gateway is ready. If the disk fails, it may have the new encryption key; the error says
// so. Reload is safe for concurrent use.
//
// A channel that did not change keeps the state of its limits and its circuit breaker.
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
	// Even if the keys did not change, because a start or an earlier reload may have failed.
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

// newUpstreams returns the clients of the channels. A channel that did not change keeps its client.
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

// webhookAccess returns the settings for senders of webhooks.
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
