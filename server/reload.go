package server

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
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
func (s *Server) Reload(cfg Config) error {
	select {
	case <-s.ready:
	default:
		return errors.New("the gateway is not ready yet")
	}
	if err := cfg.Check(); err != nil {
		return err
	}
	cfg.setDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.CallerCount() > 0 && cfg.CallerCount() == 0 {
		// Half a file must not open the gateway.
		return Problems{{"callers", "to take away all callers, and so ask nobody for a key, needs a restart"}}
	}
	var problems Problems
	for _, setting := range changes(s.current, cfg, "restart") {
		problems.Add(setting, "a change of %s needs a restart", setting)
	}
	if err := problems.err(); err != nil {
		return err
	}
	upstreams, err := s.newUpstreams(cfg)
	if err != nil {
		return err
	}
	files, problem := cfg.loadTLS()
	if problem != nil {
		return *problem
	}
	// Also where they are what they were: a start, or another reload, may have failed to.
	if err := s.js.ReplaceKeys(cfg.EncryptionKeys); err != nil {
		return Problems{{"encryption_key_file", fmt.Sprintf("encryption key: %v", err)}}
	}
	s.tls.Store(files)
	s.replace(cfg, upstreams)
	s.current, s.upstreams = cfg, upstreams
	return nil
}

// Changes returns the names of the settings that differ between two configurations and
// may change while the gateway runs. Of channels and callers it names each.
func Changes(before, after Config) []string { return changes(before, after, "reload") }

// changes returns the names of the settings with a tag that differ.
func changes(before, after Config, tag string) (names []string) {
	was, is := reflect.ValueOf(before), reflect.ValueOf(after)
	for field, old := range was.Fields() {
		name, ok := field.Tag.Lookup(tag)
		now := is.FieldByIndex(field.Index)
		switch {
		case !ok || reflect.DeepEqual(old.Interface(), now.Interface()):
		case old.Kind() == reflect.Map:
			names = append(names, changedKeys(name, old, now)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

// changedKeys returns the names of what differs between two maps of a setting.
func changedKeys(setting string, old, now reflect.Value) (names []string) {
	for _, key := range append(old.MapKeys(), now.MapKeys()...) {
		was, is := old.MapIndex(key), now.MapIndex(key)
		if !was.IsValid() || !is.IsValid() || !reflect.DeepEqual(was.Interface(), is.Interface()) {
			names = append(names, SettingName(setting, key.String()))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
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
