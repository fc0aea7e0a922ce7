package storage

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// updates is a JetStream that counts stream updates.
type updates struct {
	natsjs.JetStream
	count int
}

func (u *updates) UpdateStream(ctx context.Context, cfg natsjs.StreamConfig) (natsjs.Stream, error) {
	u.count++
	return u.JetStream.UpdateStream(ctx, cfg)
}

// configOf returns the settings of a stream, without the server's version.
func configOf(t *testing.T, s *Storage, stream string) natsjs.StreamConfig {
	t.Helper()
	got, err := s.api.Stream(t.Context(), stream)
	require.NoError(t, err)
	config := got.CachedInfo().Config
	for key := range config.Metadata {
		if strings.HasPrefix(key, "_nats.") {
			delete(config.Metadata, key)
		}
	}
	return config
}

// kinds maps each kind of stream to a function that opens it.
func kinds() map[string]func(t *testing.T, s *Storage, maxAge time.Duration) error {
	return map[string]func(t *testing.T, s *Storage, maxAge time.Duration) error{
		streamName: func(t *testing.T, s *Storage, maxAge time.Duration) error {
			_, err := s.OpenStream(t.Context(), StreamConfig{Name: streamName, Description: "ours", Subject: "test.", MaxAge: maxAge})
			return err
		},
		bucketStream + "RECORDS": func(t *testing.T, s *Storage, maxAge time.Duration) error {
			_, err := s.OpenRecords(t.Context(), RecordsConfig{Bucket: "RECORDS", MaxAge: maxAge})
			return err
		},
	}
}

// eachKind runs test with a new stream of each kind on each kind of storage. open opens the stream
// again.
func eachKind(t *testing.T, test func(t *testing.T, s *Storage, stream string, open func(maxAge time.Duration) error)) {
	t.Helper()
	EachStorage(t, func(t *testing.T, s *Storage) {
		// When nats-server deletes the last stream, it removes the folder of all streams, including one that
		// is being created.
		_, err := s.api.CreateStream(t.Context(), natsjs.StreamConfig{Name: "ELSEWHERE"})
		require.NoError(t, err)
		for name, open := range kinds() {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, open(t, s, time.Hour))
				test(t, s, name, func(maxAge time.Duration) error { return open(t, s, maxAge) })
			})
		}
	})
}

func TestOtherStreamSettingsOfAnOperatorAreKept(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Storage, stream string, open func(maxAge time.Duration) error) {
		theirs := configOf(t, s, stream)
		theirs.Description = "theirs"
		theirs.Compression = natsjs.S2Compression
		theirs.Metadata["team"] = "messaging"
		theirs.RePublish = &natsjs.RePublish{Source: ">", Destination: "copies." + stream + ".>"}
		theirs.Sources = []*natsjs.StreamSource{{Name: "ELSEWHERE"}}
		theirs.Placement = &natsjs.Placement{Tags: []string{"fast"}}
		theirs.DenyDelete, theirs.DenyPurge = true, true
		theirs.AllowMsgTTL = true
		theirs.AllowRollup = !theirs.AllowRollup && !theirs.DenyPurge
		_, err := s.api.UpdateStream(t.Context(), theirs)
		require.NoError(t, err)
		theirs = configOf(t, s, stream)

		counted := &updates{JetStream: s.api}
		s.api = counted
		require.NoError(t, open(time.Hour))
		assert.Zero(t, counted.count, "no setting differs")
		assert.Equal(t, theirs, configOf(t, s, stream))

		require.NoError(t, open(2*time.Hour))
		assert.Equal(t, 1, counted.count)
		theirs.MaxAge = 2 * time.Hour
		assert.Equal(t, theirs, configOf(t, s, stream))
	})
}

func TestARequiredSettingIsRestoredAndLogged(t *testing.T) {
	for setting, change := range map[string]func(*natsjs.StreamConfig){
		"subjects": func(c *natsjs.StreamConfig) { c.Subjects = []string{"elsewhere." + c.Name + ".>"} },
		"subject_transform": func(c *natsjs.StreamConfig) {
			c.SubjectTransform = &natsjs.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		},
		"retention":            func(c *natsjs.StreamConfig) { c.Retention = natsjs.InterestPolicy },
		"discard":              func(c *natsjs.StreamConfig) { c.Discard = 1 - c.Discard },
		"max_age":              func(c *natsjs.StreamConfig) { c.MaxAge *= 2 },
		"max_bytes":            func(c *natsjs.StreamConfig) { c.MaxBytes = 1 << 20 },
		"max_msgs":             func(c *natsjs.StreamConfig) { c.MaxMsgs = 1000 },
		"max_msgs_per_subject": func(c *natsjs.StreamConfig) { c.MaxMsgsPerSubject = 5 },
		"discard_new_per_subject": func(c *natsjs.StreamConfig) {
			c.Discard, c.MaxMsgsPerSubject, c.DiscardNewPerSubject = natsjs.DiscardNew, 5, true
		},
		"max_msg_size":     func(c *natsjs.StreamConfig) { c.MaxMsgSize = 1 << 20 },
		"max_consumers":    func(c *natsjs.StreamConfig) { c.MaxConsumers = 1 },
		"consumer_limits":  func(c *natsjs.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second },
		"duplicate_window": func(c *natsjs.StreamConfig) { c.Duplicates = time.Second },
		"no_ack":           func(c *natsjs.StreamConfig) { c.NoAck = true },
		"allow_direct":     func(c *natsjs.StreamConfig) { c.AllowDirect = !c.AllowDirect },
		"allow_atomic":     func(c *natsjs.StreamConfig) { c.AllowAtomicPublish = false },
		"subject_delete_marker_ttl": func(c *natsjs.StreamConfig) {
			c.AllowMsgTTL, c.AllowRollup, c.SubjectDeleteMarkerTTL = true, true, time.Minute
		},
	} {
		t.Run(setting, func(t *testing.T) {
			eachKind(t, func(t *testing.T, s *Storage, stream string, open func(maxAge time.Duration) error) {
				ours := configOf(t, s, stream)
				theirs := ours
				change(&theirs)
				_, err := s.api.UpdateStream(t.Context(), theirs)
				require.NoError(t, err)
				var logged bytes.Buffer
				s.log = slog.New(slog.NewTextHandler(&logged, nil))

				require.NoError(t, open(time.Hour))
				ours.AllowMsgTTL, ours.AllowRollup = theirs.AllowMsgTTL, theirs.AllowRollup // these are kept
				assert.Equal(t, ours, configOf(t, s, stream))
				assert.Contains(t, logged.String(), "stream="+stream+" setting="+setting+" ")
			})
		})
	}
}

func TestAnUnusableStreamIsRejected(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*natsjs.StreamConfig)
		want   string
	}{
		"a mirror": {
			func(c *natsjs.StreamConfig) {
				c.Subjects, c.Mirror, c.AllowAtomicPublish = nil, &natsjs.StreamSource{Name: "ELSEWHERE"}, false
			},
			" is a mirror: remove its mirror setting to make it the log, and stop the gateways of the other one",
		},
		"sealed": {func(c *natsjs.StreamConfig) { c.Sealed = true }, " is sealed and takes no messages: "},
		"in memory": {
			func(c *natsjs.StreamConfig) { c.Storage = natsjs.MemoryStorage }, " is not stored in files: ",
		},
		"a work queue": {
			func(c *natsjs.StreamConfig) { c.Retention = natsjs.WorkQueuePolicy }, " is a work queue, which gives each message to one reader: ",
		},
		"written later": {
			func(c *natsjs.StreamConfig) { c.PersistMode, c.AllowAtomicPublish = natsjs.AsyncPersistMode, false },
			" acknowledges messages before they are on the disk (persist_mode): ",
		},
		"of counters": {
			func(c *natsjs.StreamConfig) { c.AllowMsgCounter, c.Discard = true, natsjs.DiscardOld },
			" takes only counters (allow_msg_counter): ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, s *Storage, stream string, open func(maxAge time.Duration) error) {
				config := configOf(t, s, stream)
				require.NoError(t, s.api.DeleteStream(t.Context(), stream))
				tt.change(&config)
				sealed := config.Sealed
				config.Sealed = false
				_, err := s.api.CreateStream(t.Context(), config)
				require.NoError(t, err)
				if sealed {
					config.Sealed = true
					_, err = s.api.UpdateStream(t.Context(), config)
					require.NoError(t, err)
				}
				config = configOf(t, s, stream)
				err = open(time.Hour)
				require.ErrorContains(t, err, "stream "+stream+tt.want)
				assert.Equal(t, config, configOf(t, s, stream), "the stream must not be modified")
			})
		})
	}
}
