package sandbox

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunRejectsAnInvalidConfigAndClosesItsListener(t *testing.T) {
	for name, tt := range map[string]struct {
		config Config
		reason string
	}{
		"no token":                          {Config{}, "Token is empty"},
		"a webhook URL without a host":      {Config{Token: token, WebhookURL: "/secret"}, "not an absolute"},
		"a webhook URL with another scheme": {Config{Token: token, WebhookURL: "ftp://host/secret"}, "not an absolute"},
		"an invalid webhook URL":            {Config{Token: token, WebhookURL: "http://[/secret"}, "not an absolute"},
		"a webhook URL without a scheme":    {Config{Token: token, WebhookURL: "host:80/secret"}, "not an absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			err = New(tt.config).Run(t.Context(), l)
			assert.ErrorContains(t, err, tt.reason)
			assert.NotContains(t, err.Error(), "secret")
			_, err = l.Accept()
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

func TestRunEndsImmediatelyWithACancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	assert.NoError(t, New(Config{Token: token}).Run(ctx, l))
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestRunEndsWithOpenConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- New(Config{Token: token}).Run(ctx, l) }()

	silent, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	slow, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	_, err = slow.Write([]byte("POST " + apiPath + "/send HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"))
	require.NoError(t, err)
	status, _ := exchange(t, http.MethodGet, "http://"+l.Addr().String()+"/_sandbox/", "", "")
	assert.Equal(t, http.StatusOK, status)

	cancel()
	assert.NoError(t, <-stopped)
	assert.NoError(t, errors.Join(silent.Close(), slow.Close()))
}

func TestRunFailsWithItsListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	assert.ErrorIs(t, New(Config{Token: token}).Run(t.Context(), l), net.ErrClosed)
}

func TestASandboxRunsOnceAtATime(t *testing.T) {
	s, baseURL := start(t, Config{})
	status, _ := exchange(t, http.MethodGet, baseURL+"/_sandbox/", "", "")
	require.Equal(t, http.StatusOK, status)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	assert.ErrorContains(t, s.Run(t.Context(), l), "already running")
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
