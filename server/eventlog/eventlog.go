// Package eventlog is the durable, ordered log of events. Events are appended, read from a
// position, and followed as they are stored.
//
// The log is one stream (storage.Stream). An event has a sequence in it, from 1. Sequences have
// no gaps, because only retention removes events, and it removes the oldest. A position p is
// right after the event with sequence p: a read from p begins with event p+1, and position 0 is
// before the first event.
//
// Subscribers have cursors (cursor.go). A cursor contains a position, the log's identity and the
// checksum of the event before the position. Seek rejects a cursor that is malformed, of another
// log, ahead of the log or expired (seek.go).
//
// An event's id is its message id in the stream. The stream does not store a second message with
// the same id within the duplicate window. The id of a message notification is derived from its
// content, so redeliveries of Ongair are dropped. Other ids are random, so only a repeated append
// of the gateway is dropped.
//
// A subject is ongair.events.CHANNEL.TYPE.BUCKET. The stream finds the events of a channel or a
// documented type by their subjects. The bucket is two hexadecimal digits, 00 to 3f, derived
// from the event's order key (event.Bucket). The events of a contact have one bucket, so its
// history is in a 64th of the log.
package eventlog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	streamName    = "ONGAIR_EVENTS"
	subjectPrefix = "ongair.events."
	// metadataIdentity is the key of the log's identity in the stream's metadata.
	metadataIdentity = "ongair-log-identity"
	// otherType is the type in a subject for all types that were not documented at the first
	// release. A type that is documented later MUST keep it, or a filter by subject would miss
	// events that are stored already.
	otherType = "Other"

	// retryDelay is the RetryInfo of LOG_UNAVAILABLE. It is about as long as a short outage of a
	// disk or of a NATS leader.
	retryDelay = 2 * time.Second
)

// Defaults of Config.
const (
	DefaultRetentionAge    = 7 * 24 * time.Hour
	DefaultRetentionBytes  = 10 << 30
	DefaultDuplicateWindow = 2 * time.Minute
)

// Config of a Log. The zero value has the defaults.
type Config struct {
	// RetentionAge is the time for which an event is kept.
	RetentionAge time.Duration
	// RetentionBytes is how much the log keeps, in bytes on the disk; the oldest
	// events go first.
	RetentionBytes int64
	// DuplicateWindow is how long a message notification's id is remembered, to
	// drop its redeliveries. It lives in memory, about 165 bytes an id (measured
	// with nats-server 2.15).
	DuplicateWindow time.Duration
	// Logger gets the entries of the log that are not events; nil discards it.
	Logger *slog.Logger
}

// stream is the part of storage.Stream that a Log uses.
type stream interface {
	Append(ctx context.Context, m storage.Message) (storage.Ack, error)
	Read(ctx context.Context, req storage.ReadRequest, each func(sequence uint64, data []byte) bool) (storage.ReadEnd, error)
	Follow(ctx context.Context, from uint64, caughtUp func(), deliver func(sequence uint64, data []byte)) error
	Info(ctx context.Context) (storage.Info, error)
}

// Log is the log. Its methods are safe for concurrent use. While the storage does
// not answer they fail with LOG_UNAVAILABLE.
type Log struct {
	stream stream
	id     atomic.Pointer[identity] // Renew changes it
	logger *slog.Logger
	ends   question[Bounds]
	// starts and latest are what is remembered of blocks.
	starts, latest memo
	// head is the result of Head.
	head atomic.Uint64
	// replicated is from the latest Bounds.
	replicated atomic.Bool
	// followed is the newest sequence that Follow has delivered, and reused ends that Follow.
	followed atomic.Uint64
	reused   atomic.Pointer[context.CancelCauseFunc]
	// shortSince is since when Renew finds that the log is too short.
	shortSince time.Time

	mu sync.Mutex
	// skipped are the entries that were reported as no events.
	skipped map[uint64]struct{}
}

// Open opens the log in a storage, and makes it if there is none. The storage stays the
// caller's.
func Open(ctx context.Context, in *storage.Storage, cfg Config) (*Log, error) {
	if cfg.RetentionAge == 0 {
		cfg.RetentionAge = DefaultRetentionAge
	}
	if cfg.RetentionBytes == 0 {
		cfg.RetentionBytes = DefaultRetentionBytes
	}
	if cfg.DuplicateWindow == 0 {
		cfg.DuplicateWindow = DefaultDuplicateWindow
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// A stream demands a window within its retention.
	cfg.DuplicateWindow = min(cfg.DuplicateWindow, cfg.RetentionAge)

	var id identity
	_, _ = rand.Read(id[:]) // never fails: see crypto/rand.Read
	stream, err := in.OpenStream(ctx, storage.StreamConfig{
		Name:            streamName,
		Description:     "Webhooks that Ongair Gateway received",
		Subject:         subjectPrefix,
		MaxAge:          cfg.RetentionAge,
		MaxBytes:        cfg.RetentionBytes,
		DuplicateWindow: cfg.DuplicateWindow,
		// A log that is there, from an earlier run or another replica, keeps its identity.
		Metadata: map[string]string{metadataIdentity: id.String()},
	})
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	if stream.Created() {
		cfg.Logger.Info("created a new event log")
	}
	id, err = parseIdentity(stream.Metadata(metadataIdentity))
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	l := &Log{stream: stream, logger: cfg.Logger, starts: newMemo(), latest: newMemo(), skipped: map[uint64]struct{}{}}
	l.id.Store(&id)
	l.ends.put = l.askBounds
	return l, nil
}

// Append stores an event and returns once it is durable. stored is false where
// an event with the same id was stored within the duplicate window: then nothing
// is written, and the one that was stored first stands. The id and the channel
// MUST be set.
//
// Appends that wait at the same time share the syncing of the disk (storage.Stream.Append).
// They are stored in the order in which they came.
//
// Where it fails, the event may be stored all the same, its acknowledgement
// lost. To append the same event again is safe: its id is found again.
func (l *Log) Append(ctx context.Context, e *ongairv1.Event) (stored bool, err error) {
	data, err := event.Marshal(e)
	if err != nil {
		return false, err
	}
	followed := l.followed.Load()
	ack, err := l.stream.Append(ctx, storage.Message{Subject: subjectOf(e), ID: e.GetId(), Data: data})
	if err != nil {
		return false, unavailable("append", err)
	}
	if reused := l.reused.Load(); ack.Sequence <= followed && !ack.Duplicate && reused != nil {
		(*reused)(errReused) // an event with that sequence had been delivered before the append
	}
	l.saw(ack.Sequence)
	return !ack.Duplicate, nil
}

// Follow calls deliver with every event after a position, in order and without a
// gap, as they are stored, until ctx ends or the log fails. Where retention has
// removed events before they could be delivered, the sequence jumps. deliver
// MUST NOT block for long; it is called by one goroutine at a time, and not after
// Follow returned. If there is no event to deliver when Follow begins, it calls
// caughtUp, once and before deliver.
//
// It does not try again by itself: a caller whose Follow failed calls Renew, and then Follow from
// the last event that it got. Follow also fails if a sequence comes again, because the log is then
// not the one that was followed.
func (l *Log) Follow(ctx context.Context, position uint64, caughtUp func(), deliver func(event.Entry)) error {
	following, reused := context.WithCancelCause(ctx)
	defer reused(nil)
	l.followed.Store(position)
	l.reused.Store(&reused)
	last := position
	err := l.stream.Follow(following, position+1, caughtUp, func(sequence uint64, data []byte) {
		if sequence <= last {
			reused(errReused)
		}
		if following.Err() != nil {
			return
		}
		last = sequence
		l.followed.Store(sequence)
		l.saw(sequence)
		if e, ok := l.entry(sequence, data); ok {
			deliver(e)
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if following.Err() != nil {
		err = context.Cause(following)
	}
	return unavailable("follow", err)
}

// read reads from the stream.
func (l *Log) read(ctx context.Context, req storage.ReadRequest, each func(sequence uint64, data []byte) bool) (storage.ReadEnd, error) {
	end, err := l.stream.Read(ctx, req, each)
	if err != nil {
		return end, unavailable("read", err)
	}
	return end, nil
}

// subjectOf returns the subject of an event.
func subjectOf(e *ongairv1.Event) string {
	kind := cmp.Or(event.TypeName(event.TypeOf(e.GetNotificationType())), otherType)
	return subject(e.GetChannel(), kind, hex.EncodeToString([]byte{byte(event.Bucket(event.OrderKey(e)))}))
}

func subject(channel, kind, bucket string) string {
	return subjectPrefix + channel + "." + kind + "." + bucket
}

// Head returns the newest sequence that is known without asking the storage: of what
// was appended here, or seen when it was asked.
func (l *Log) Head() uint64 { return l.head.Load() }

// saw notes that the log has come to a sequence.
func (l *Log) saw(sequence uint64) {
	for head := l.head.Load(); head < sequence && !l.head.CompareAndSwap(head, sequence); {
		head = l.head.Load()
	}
}

// Cursor returns a cursor of a position that does not name the event before it,
// as the one does that this event has (CursorOf).
func (l *Log) Cursor(at uint64) string { return encodeCursor(l.identity(), position{sequence: at}) }

func unavailable(what string, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, "the event log is unavailable")
	f.RetryAfter = retryDelay
	f.Cause = fmt.Errorf("%s: %w", what, cause)
	return f
}
