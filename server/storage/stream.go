package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// duplicateWindow is that of a stream whose configuration has none.
const duplicateWindow = 2 * time.Minute

// StreamConfig says what a stream is.
type StreamConfig struct {
	Name, Description string
	// Subject is what the subjects of all messages begin with; it ends with a dot.
	Subject string
	// MaxAge is how long a message is kept; 0 means without end.
	MaxAge time.Duration
	// MaxBytes is how much is kept, in bytes on the disk; the oldest messages go first. 0
	// means no bound.
	MaxBytes int64
	// DuplicateWindow is how long the id of a message is remembered; 0 means 2 minutes. It
	// MUST NOT be longer than MaxAge.
	DuplicateWindow time.Duration
	// Metadata is that of a new stream. One that is there keeps its own.
	Metadata map[string]string
}

// Stream is an ordered log of messages. Each has a sequence, from 1 and without gaps,
// except that retention removes the oldest. Its methods are safe for concurrent use.
type Stream struct {
	conn      *nats.Conn
	stream    jetstream.Stream
	committer *committer
	created   bool
	// reading has room for the reads that may be under way at once.
	reading chan struct{}
}

// Message is what a Stream stores.
type Message struct {
	Subject string
	// ID identifies the message: one with the same id is not stored again within the
	// duplicate window.
	ID   string
	Data []byte
}

// Ack says where a message is.
type Ack struct {
	// Sequence is its sequence in the stream.
	Sequence uint64
	// Duplicate says that it was stored before, under the same id.
	Duplicate bool
}

// Info is what is known of a stream at a moment.
type Info struct {
	// First and Last are the sequences of the oldest and the newest message. Last is 0 in
	// a stream that never had one. First is not defined in a stream that has none.
	First, Last uint64
	// Messages and Bytes are how many there are, and how many bytes they take on the disk.
	Messages, Bytes uint64
	// Replicated says that any of several servers may answer a Read, also one that does
	// not have the newest messages yet.
	Replicated bool
}

// OpenStream opens a stream, which is made if it is not there. One that is there takes
// the limits of cfg, and the settings that the gateway relies on, with a line in the log
// for each that was another. It keeps all others as an operator gave them (settings.go). It
// fails if the stream does not have this Format or cannot be used, and leaves it as it is
// then.
func (s *Storage) OpenStream(ctx context.Context, cfg StreamConfig) (*Stream, error) {
	return s.open(ctx, jetstream.StreamConfig{
		Name:              cfg.Name,
		Description:       cfg.Description,
		Subjects:          []string{cfg.Subject + ">"},
		Discard:           jetstream.DiscardOld,
		MaxAge:            cfg.MaxAge,
		MaxBytes:          cmp.Or(cfg.MaxBytes, -1),
		MaxMsgsPerSubject: -1,
		Duplicates:        cmp.Or(cfg.DuplicateWindow, duplicateWindow),
		AllowDirect:       true,
		Metadata:          cfg.Metadata,
	})
}

// open opens a stream. Storage, batches, the stamp of the format and what has no limit are
// the same for all.
func (s *Storage) open(ctx context.Context, cfg jetstream.StreamConfig) (*Stream, error) {
	cfg.Storage = jetstream.FileStorage
	cfg.Retention = jetstream.LimitsPolicy
	cfg.MaxMsgs, cfg.MaxMsgSize, cfg.MaxConsumers = -1, -1, -1
	cfg.AllowAtomicPublish = true // commit.go
	metadata := map[string]string{metadataFormat: strconv.Itoa(Format)}
	maps.Copy(metadata, cfg.Metadata)
	cfg.Metadata = metadata
	stream, err := s.api.CreateStream(ctx, cfg)
	created := err == nil
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		stream, err = s.update(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	if s.embedded != nil {
		s.embedded.stageStream(cfg.Name)
	}
	return &Stream{
		conn:      s.conn,
		stream:    stream,
		committer: newCommitter(s, stream),
		created:   created,
		reading:   make(chan struct{}, maxReads),
	}, nil
}

// update gives a stream that is there the settings of cfg that the gateway relies on.
func (s *Storage) update(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := s.api.Stream(ctx, cfg.Name)
	if err != nil {
		return nil, err
	}
	config := stream.CachedInfo().Config
	if err := checkMetadata(cfg.Name, config.Metadata); err != nil {
		return nil, err
	}
	if err := checkUsable(config); err != nil {
		return nil, err
	}
	changes := own(&config, cfg)
	if len(changes) == 0 {
		return stream, nil
	}
	stream, err = s.api.UpdateStream(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Name, err)
	}
	for _, c := range changes {
		s.log.Info("changed a setting of a stream to the gateway's", "stream", cfg.Name, "setting", c.setting, "from", c.from, "to", c.to)
	}
	return stream, nil
}

// Created reports whether OpenStream made the stream.
func (s *Stream) Created() bool { return s.created }

// Metadata returns a value of the metadata; empty if there is none.
func (s *Stream) Metadata(key string) string { return s.stream.CachedInfo().Config.Metadata[key] }

// Append stores a message and returns once it is on the disk. Messages that wait at the
// same time share the syncing, and are stored in the order in which they came. A message
// whose id was stored within the duplicate window is not stored again: the one that was
// stored first stands.
//
// If ctx ends before the message is on its way, it is not stored. If Append fails
// otherwise, it may be stored all the same, its acknowledgement lost. To append it again
// is safe within the duplicate window. Append takes 9 s at most.
func (s *Stream) Append(ctx context.Context, m Message) (Ack, error) {
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Data
	msg.Header.Set(jetstream.MsgIDHeader, m.ID)
	return s.committer.store(&pending{ctx: ctx, msg: msg})
}

// Info asks the server that leads the stream.
func (s *Stream) Info(ctx context.Context) (Info, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("stream info: %w", err)
	}
	return Info{
		First:      info.State.FirstSeq,
		Last:       info.State.LastSeq,
		Messages:   info.State.Msgs,
		Bytes:      info.State.Bytes,
		Replicated: info.Config.Replicas > 1,
	}, nil
}
