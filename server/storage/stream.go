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

// duplicateWindow is the default of StreamConfig.DuplicateWindow.
const duplicateWindow = 2 * time.Minute

// StreamConfig configures a Stream.
type StreamConfig struct {
	Name, Description string
	// Subject is the prefix of all subjects. It ends with a dot. External.Prefix precedes it, and
	// Name, and is not a part of the subjects of Append and Read.
	Subject string
	// MaxAge is the time for which a message is kept. 0 means forever.
	MaxAge time.Duration
	// MaxBytes bounds the stream, in bytes on the disk. The oldest messages are removed first.
	// 0 means no bound.
	MaxBytes int64
	// DuplicateWindow is how long the id of a message is remembered. 0 means 2 minutes. It MUST
	// NOT be longer than MaxAge.
	DuplicateWindow time.Duration
	// Metadata is the metadata of a new stream. An existing stream keeps its metadata.
	Metadata map[string]string
}

// Stream is an ordered log of messages. Each message has a sequence, from 1 and without gaps.
// Retention removes the oldest messages. Its methods are safe for concurrent use.
type Stream struct {
	storage   *Storage
	stream    jetstream.Stream
	committer *committer
	created   bool
	// reading limits concurrent reads.
	reading chan struct{}
}

// Message is a message to store.
type Message struct {
	Subject string
	// ID identifies the message. A message with the same id is not stored again within the
	// duplicate window.
	ID   string
	Data []byte
}

// Ack acknowledges a message.
type Ack struct {
	// Sequence is the message's sequence in the stream.
	Sequence uint64
	// Duplicate means that a message with the same id was stored before.
	Duplicate bool
}

// Info is the state of a stream at a moment.
type Info struct {
	// First and Last are the sequences of the oldest and the newest message. Last is 0 if the
	// stream never had a message. First is undefined if the stream has no messages.
	First, Last uint64
	// Messages is the number of messages, and Bytes their size on the disk.
	Messages, Bytes uint64
	// Replicated means that any replica may answer a Read, including one that lags behind.
	Replicated bool
	// Metadata is the metadata of the stream.
	Metadata map[string]string
}

// OpenStream opens a stream, and creates it if it does not exist. It sets the limits of cfg and
// the settings that the gateway relies on, and logs each setting that it changed. It keeps all
// other settings of an operator (settings.go). OpenStream fails if the stream has another
// Format or cannot be used, and does not change it then.
func (s *Storage) OpenStream(ctx context.Context, cfg StreamConfig) (*Stream, error) {
	name, subjects := s.settings.name(cfg.Name), s.settings.subjects()+cfg.Subject
	stream, err := s.open(ctx, s.uses(name, subjects, true), jetstream.StreamConfig{
		Name:              name,
		Description:       cfg.Description,
		Subjects:          []string{subjects + ">"},
		Discard:           jetstream.DiscardOld,
		MaxAge:            cfg.MaxAge,
		MaxBytes:          cmp.Or(cfg.MaxBytes, -1),
		MaxMsgsPerSubject: -1,
		Duplicates:        cmp.Or(cfg.DuplicateWindow, duplicateWindow),
		AllowDirect:       true,
		Metadata:          cfg.Metadata,
	})
	if err != nil {
		return nil, err
	}
	if info := stream.stream.CachedInfo(); info.Cluster != nil && info.Cluster.Name != "" && info.Config.Replicas == 1 {
		s.log.Warn("the event log has one copy on a NATS cluster, and is lost with that server: set nats_replicas to 3",
			"stream", name, "cluster", info.Cluster.Name)
	}
	return stream, nil
}

// open opens a stream. It sets what is the same for all streams: file storage, batches, the
// format and the limits that are not used. uses are the subjects to which the gateway publishes for
// the stream.
func (s *Storage) open(ctx context.Context, uses []string, cfg jetstream.StreamConfig) (*Stream, error) {
	cfg.Storage = jetstream.FileStorage
	cfg.Retention = jetstream.LimitsPolicy
	cfg.MaxMsgs, cfg.MaxMsgSize, cfg.MaxConsumers = -1, -1, -1
	cfg.AllowAtomicPublish = true // commit.go
	metadata := map[string]string{metadataFormat: strconv.Itoa(Format)}
	maps.Copy(metadata, cfg.Metadata)
	cfg.Metadata = metadata
	cfg.Replicas, cfg.Placement = s.settings.Replicas, s.settings.placement()
	var stream jetstream.Stream
	created := false
	err := s.Await(ctx, "stream "+cfg.Name, func(ctx context.Context) (err error) {
		if err := s.checkPermissions(ctx, uses...); err != nil {
			return err
		}
		stream, err = s.api.CreateStream(ctx, cfg)
		created = err == nil
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = s.update(ctx, cfg)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.embedded != nil {
		s.embedded.stageStream(cfg.Name)
	}
	return &Stream{
		storage:   s,
		stream:    stream,
		committer: newCommitter(s, stream),
		created:   created,
		reading:   make(chan struct{}, maxReads),
	}, nil
}

// update sets the settings of an existing stream that the gateway relies on.
func (s *Storage) update(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := s.api.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, errBeingCreated // a cluster knows its name first
	}
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
	// JetStream does not scale and move a stream in one update.
	for _, changed := range []func() []change{
		func() []change { return append(own(&config, cfg), scale(&config, cfg)...) },
		func() []change { return move(&config, cfg) },
	} {
		changes := changed()
		if len(changes) == 0 {
			continue
		}
		stream, err = s.api.UpdateStream(ctx, config)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
		for _, c := range changes {
			s.log.Info("changed a stream setting to the gateway's value", "stream", cfg.Name, "setting", c.setting, "from", c.from, "to", c.to)
		}
	}
	return stream, nil
}

// Created reports whether OpenStream created the stream.
func (s *Stream) Created() bool { return s.created }

// Metadata returns a value of the metadata, or an empty string.
func (s *Stream) Metadata(key string) string { return s.stream.CachedInfo().Config.Metadata[key] }

// Append stores a message and returns once it is on the disk. Concurrent messages share a sync,
// and are stored in the order of the calls. A message whose id was stored within the duplicate
// window is not stored again.
//
// If ctx ends before the message is sent, it is not stored. If Append fails otherwise, the
// message may be stored, because its acknowledgement may have been lost. It is then safe to
// append it again within the duplicate window. Append takes at most 9 s.
func (s *Stream) Append(ctx context.Context, m Message) (Ack, error) {
	msg := nats.NewMsg(s.storage.settings.subjects() + m.Subject)
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
		Metadata:   info.Config.Metadata,
	}, nil
}
