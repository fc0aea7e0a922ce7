package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
)

// refusal returns an error of JetStream's API (errors.json of nats-server).
func refusal(code int, number natsjs.ErrorCode, description string) error {
	return fmt.Errorf("stream S: %w", &natsjs.APIError{Code: code, ErrorCode: number, Description: description})
}

func TestAStartWaitsOnlyForTemporaryErrors(t *testing.T) {
	for _, tt := range []struct {
		name      string
		err       error
		temporary bool
		remedy    string
	}{
		{"no leader of the cluster", refusal(503, 10008, "JetStream system temporarily unavailable"), true, ""},
		{"no servers yet", refusal(400, 10005, "no suitable peers for placement"), true, "check nats_replicas"},
		{"an offline server", refusal(400, 10005, "no suitable peers for placement, peer offline"), true, "check nats_replicas"},
		{"wrong tags", refusal(400, 10005, "no suitable peers for placement, tags not matched ['x']"), false, "nats_placement_tags"},
		{"full servers", refusal(400, 10005, "no suitable peers for placement, insufficient storage"), false, "lower retention_bytes"},
		{"a full account", refusal(500, 10047, "insufficient storage resources available"), false, "lower retention_bytes"},
		{"no memory", refusal(500, 10028, "insufficient memory resources available"), false, "max_memory"},
		{"a limit of each stream", refusal(400, 10122, "stream max bytes exceeds account limit max stream bytes"), false, "lower retention_bytes"},
		{"a required limit", refusal(400, 10113, "account requires a stream config to have max bytes set"), false, "max_bytes_required"},
		{"too many streams", refusal(400, 10027, "maximum number of streams reached"), false, "three more streams"},
		{"subjects of another stream", refusal(400, 10065, "subjects overlap with an existing stream"), false, "set nats_prefix"},
		{"replicas on one server", refusal(500, 10074, "replicas > 1 not supported in non-clustered mode"), false, "set nats_replicas to 1"},
		{"a stream that moves", refusal(400, 10124, "stream move already in progress"), true, ""},
		{"no JetStream", natsjs.ErrJetStreamNotEnabled, false, ""},
		{"no JetStream for the account", natsjs.ErrJetStreamNotEnabledForAccount, false, ""},
		{"no answer", context.DeadlineExceeded, true, ""},
		{"no server", nats.ErrNoServers, true, ""},
		{"a server that stops", io.EOF, true, ""},
		{"a host without an address", &net.OpError{Op: "dial", Err: &net.DNSError{}}, true, ""},
		{"a rejected certificate", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, false, ""},
		{"a wrong password", nats.ErrAuthorization, false, ""},
		{"expired credentials", nats.ErrAuthExpired, false, ""},
		{"a missing permission", missing("publish", []string{"x"}), false, "permission to publish to x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.temporary, start{}.isTemporary(tt.err))
			assert.ErrorIs(t, remedied(tt.err), tt.err)
			assert.ErrorContains(t, remedied(tt.err), tt.remedy)
		})
	}
	assert.True(t, start{domain: true}.isTemporary(natsjs.ErrJetStreamNotEnabled), "a leaf node may have lost its hub")
}

func TestAWaitIsLoggedOnceAndEnds(t *testing.T) {
	var logged bytes.Buffer
	_, err := Open(t.Context(), Config{
		URL: "nats://127.0.0.1:1", startTimeout: 4 * startPause, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	assert.ErrorIs(t, err, nats.ErrNoServers)
	assert.Equal(t, 1, strings.Count(logged.String(), "waiting for NATS"), logged.String())
}

// unassigned is a JetStream whose streams cannot be found at first, although their names are in use.
type unassigned struct {
	natsjs.JetStream
	found bool
}

func (*unassigned) CreateStream(context.Context, natsjs.StreamConfig) (natsjs.Stream, error) {
	return nil, natsjs.ErrStreamNameAlreadyInUse
}

func (u *unassigned) Stream(ctx context.Context, name string) (natsjs.Stream, error) {
	if !u.found {
		u.found = true
		return nil, natsjs.ErrStreamNotFound
	}
	return u.JetStream.Stream(ctx, name)
}

func TestAStreamThatAnotherGatewayCreatesIsWaitedFor(t *testing.T) {
	s := OpenEmbedded(t)
	openStream(t, s)
	other := &Storage{
		conn: s.conn, api: &unassigned{JetStream: s.api}, embedded: s.embedded, log: s.log,
		start: start{until: time.Now().Add(startTimeout), log: s.log},
	}
	openStream(t, other)
}
