package storage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// checkTimeout bounds the check of one permission.
const checkTimeout = 2 * time.Second

// checkPermissions fails if the user of an external server may not publish to a subject that the
// gateway uses. It lists all such subjects. Without this check, the gateway would time out at its
// first request to such a subject, which may come long after the start.
//
// It publishes a message that has no effect to each subject. A server answers that with an error
// before it answers the ping of Flush. A message for a stream expects a stream that does not exist.
// A request of the API is empty, and has no address for its answer.
func (s *Storage) checkPermissions(ctx context.Context, subjects ...string) error {
	if s.embedded != nil {
		return nil
	}
	var denied []string
	for _, subject := range subjects {
		msg := nats.NewMsg(subject)
		msg.Header.Set(jetstream.ExpectedStreamHeader, "-")
		if err := s.conn.PublishMsg(msg); err != nil {
			return err
		}
		missing, err := s.denied(ctx, subject)
		if err != nil {
			return err
		}
		if missing {
			denied = append(denied, subject)
		}
	}
	return missing("publish", denied)
}

// checkInbox fails if the user of an external server may not subscribe to the gateway's inbox.
func (s *Storage) checkInbox(ctx context.Context) error {
	subject := s.conn.NewInbox()
	sub, err := s.conn.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	denied, err := s.denied(ctx, subject)
	if err != nil || !denied {
		return err
	}
	return missing("subscribe", []string{subject[:strings.LastIndexByte(subject, '.')+1] + ">"})
}

// denied reports whether the server has rejected the last command, for a subject.
func (s *Storage) denied(ctx context.Context, subject string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := s.conn.FlushWithContext(ctx); err != nil {
		return false, err
	}
	err := s.conn.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), strconv.Quote(subject)), nil
}

// missing returns an error with the subjects of missing permissions, or nil.
func missing(permission string, subjects []string) error {
	if len(subjects) == 0 {
		return nil
	}
	return fmt.Errorf("missing permission to %s to %s: add it to the permissions of the NATS user", permission, strings.Join(subjects, ", "))
}

// probeToken is the last token of a subject that is published to only by checkPermissions.
const probeToken = "permission-check"

// uses returns the subjects to which the gateway publishes for each stream. follows means that
// it also follows and reads the stream.
func (s *Storage) uses(stream, subjects string, follows bool) []string {
	all := []string{
		s.apiPrefix + "STREAM.INFO." + stream,
		s.apiPrefix + "STREAM.CREATE." + stream,
		s.apiPrefix + "STREAM.UPDATE." + stream,
		subjects + probeToken,
	}
	if follows {
		return append(all,
			s.apiPrefix+"DIRECT.GET."+stream,
			s.apiPrefix+"CONSUMER.CREATE."+stream+"."+probeToken,
			"$JS.FC."+stream+"."+probeToken,
		)
	}
	return append(all, s.apiPrefix+"STREAM.MSG.GET."+stream)
}
