package eventlog

import (
	"context"
	"errors"
	"time"
)

const (
	// staleTime is the time for which a replicated log is asked again for an event that is missing. A
	// server that was frozen answers without the newest events until the leader reaches it.
	staleTime = time.Second
	// shortTime is the time after which a replicated log has lost an event that is missing. An
	// election takes less.
	shortTime = 10 * time.Second
	// askAgain is the pause before a replicated log is asked again.
	askAgain = 100 * time.Millisecond
)

var (
	errShort = errors.New("the log ends before an event that it had")
	// errReused ends a Follow. Renew then finds out what happened.
	errReused = errors.New("the log used a sequence again")
)

// Renew reports whether the stream still has the event before a cursor. It does not if NATS lost its
// newest events, for example in a power cut or because an older copy was restored, or if the stream
// was deleted and created again. Renew then reads the identity and the end of the stream, for all
// later calls. Positions and cursors from before MUST NOT be used after that.
//
// On a replicated log an answer may be of a server that lags behind. So Renew fails with
// LOG_UNAVAILABLE if the event is missing, until it has been missing for 10 s.
//
// Calls MUST NOT overlap with each other or with Follow.
func (l *Log) Renew(ctx context.Context, cursor string) (replaced bool, err error) {
	at, err := decodeCursor(l.identity(), cursor)
	if err != nil {
		return false, err
	}
	info, err := l.stream.Info(ctx)
	if err != nil {
		return false, unavailable("renew", err)
	}
	id, err := parseIdentity(info.Metadata[metadataIdentity])
	if err != nil {
		return false, unavailable("renew", err)
	}
	short := id == l.identity() && at.sequence > info.Last
	switch {
	case id != l.identity():
		replaced = true
	case short && info.Replicated && !l.isShortFor(shortTime):
		return false, unavailable("renew", errShort)
	case short:
		replaced = true
	case at.checksum != 0:
		stored, err := l.checksumAt(ctx, at.sequence)
		if err != nil {
			return false, err
		}
		replaced = stored != 0 && stored != at.checksum // retention may have removed the event
	}
	l.shortSince = time.Time{}
	if !replaced {
		return false, nil
	}
	l.logger.Error("the event log was replaced, or has lost its newest events: all streams end",
		"last_sequence_before", at.sequence, "last_sequence", info.Last, "same_log", id == l.identity())
	l.id.Store(&id)
	l.head.Store(info.Last)
	l.starts.clear()
	l.latest.clear()
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.skipped)
	return true, nil
}

// isShortFor reports whether the log has been too short for a time.
func (l *Log) isShortFor(d time.Duration) bool {
	if l.shortSince.IsZero() {
		l.shortSince = time.Now()
	}
	return time.Since(l.shortSince) >= d
}

// identity returns the identity of the log.
func (l *Log) identity() identity { return *l.id.Load() }
