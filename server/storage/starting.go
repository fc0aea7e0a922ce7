package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// startTimeout bounds all waits of a start for external servers. An election takes some
	// seconds, and a restart of a cluster less than this.
	startTimeout = 45 * time.Second
	// startPause is the pause before the next attempt.
	startPause = 250 * time.Millisecond
)

// Codes of JetStream's errors (errors.json of nats-server).
const (
	codeNoPeers          jetstream.ErrorCode = 10005
	codeClusterRequired  jetstream.ErrorCode = 10010
	codeTooManyStreams   jetstream.ErrorCode = 10027
	codeNoMemory         jetstream.ErrorCode = 10028
	codeNoAccount        jetstream.ErrorCode = 10035
	codeUnsupported      jetstream.ErrorCode = 10036
	codeNoStorage        jetstream.ErrorCode = 10047
	codeSubjectOverlap   jetstream.ErrorCode = 10065
	codeNoReplicas       jetstream.ErrorCode = 10074
	codeMaxBytesRequired jetstream.ErrorCode = 10113
	codeMaxBytesLimit    jetstream.ErrorCode = 10122
	codeMoveAndScale     jetstream.ErrorCode = 10123
	codeMoveInProgress   jetstream.ErrorCode = 10124
)

// start has the limits of a start. The zero value does not wait.
type start struct {
	// until is the end of all waits.
	until time.Time
	// domain means that JetStream is reached through a leaf node, whose connection may be down.
	domain bool
	log    *slog.Logger
}

// errBeingCreated means that a stream is being created by another gateway.
var errBeingCreated = errors.New("the stream is being created by another gateway")

// Await calls attempt until it succeeds, fails with a permanent error, or ctx or the time for the
// start ends. A temporary error is an unreachable server, or a cluster without a leader. Await
// logs once that it waits, with what it waits for. An embedded server gets one attempt.
func (s *Storage) Await(ctx context.Context, what string, attempt func(context.Context) error) error {
	return s.start.await(ctx, what, attempt)
}

func (s start) await(ctx context.Context, what string, attempt func(context.Context) error) error {
	for waiting := false; ; waiting = true {
		err := attempt(ctx)
		switch {
		case err == nil && waiting:
			s.log.Info("NATS is available", "for", what)
			return nil
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !s.isTemporary(err) || !time.Now().Before(s.until):
			return remedied(err)
		case !waiting:
			s.log.Warn("waiting for NATS", "for", what, "at_most", time.Until(s.until).Round(time.Second), "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(startPause):
		}
	}
}

// isTemporary reports whether an attempt may succeed later without a change of the configuration.
func (s start) isTemporary(err error) bool {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return s.domain // no answer: the connection of the leaf node may be down
	}
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok {
		return isTemporaryRefusal(refused)
	}
	for _, temporary := range []error{
		errBeingCreated, errIncomplete, context.DeadlineExceeded,
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrNoServers, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrStaleConnection, nats.ErrMaxConnectionsExceeded, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, temporary) {
			return true
		}
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return !strings.HasSuffix(failed.Op, "error") // "remote error" is a rejected certificate
	}
	return errors.Is(err, io.EOF) // a server that stops
}

func isTemporaryRefusal(refused *jetstream.APIError) bool {
	const unavailable = 503
	switch refused.ErrorCode {
	case codeNoPeers: // peers that have just started are offline at first
		return strings.Contains(refused.Description, "offline") || !strings.Contains(refused.Description, ", ")
	case codeMoveAndScale, codeMoveInProgress:
		return true
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount,
		codeClusterRequired, codeNoAccount, codeUnsupported:
		return false
	default:
		return refused.Code == unavailable
	}
}

// remedied returns an error with what to do about it.
func remedied(err error) error {
	refused, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return err
	}
	remedies := map[jetstream.ErrorCode]string{
		codeNoPeers:          "check nats_replicas, nats_placement_cluster and nats_placement_tags against the servers of the cluster",
		codeTooManyStreams:   "allow the NATS account three more streams",
		codeNoMemory:         "allow the NATS account or server more memory (max_memory)",
		codeNoStorage:        tooLarge,
		codeMaxBytesLimit:    tooLarge,
		codeMaxBytesRequired: "the gateway's buckets have no max_bytes: remove max_bytes_required from the NATS account",
		codeSubjectOverlap:   "another stream has the gateway's subjects: set nats_prefix, or use another NATS account",
		codeNoReplicas:       "set nats_replicas to 1, or use a NATS cluster",
	}
	remedy := remedies[refused.ErrorCode]
	if refused.ErrorCode == codeNoPeers && strings.Contains(refused.Description, "insufficient storage") {
		remedy = tooLarge
	}
	if remedy == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy)
}

const tooLarge = "lower retention_bytes, or allow the NATS account and server more storage (max_file)"
