package storage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestAStartWaitsForAServer(t *testing.T) {
	server := storagetest.Serve(t, nil)
	server.Stop()
	log := newWaitingLog()
	opened := make(chan error, 1)
	go func() {
		s, err := storage.Open(t.Context(), storage.Config{URL: server.URL(), Logger: log.logger()})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	<-log.waiting
	server.Start(t)
	require.NoError(t, <-opened)
	assert.Equal(t, 1, strings.Count(log.String(), `msg="waiting for NATS"`))
	assert.Contains(t, log.String(), `for="a connection"`)
}

func TestAStopEndsTheWaitForAServer(t *testing.T) {
	log := newWaitingLog()
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := storage.Open(ctx, storage.Config{URL: "nats://127.0.0.1:1", Logger: log.logger()})
		opened <- err
	}()
	<-log.waiting
	stopped := time.Now()
	cancel()
	require.ErrorIs(t, <-opened, context.Canceled)
	assert.Less(t, time.Since(stopped), 2*time.Second)
}

func TestAStartWaitsForTheLeadersOfACluster(t *testing.T) {
	cluster := storagetest.ServeCluster(t)
	s, err := open(t, storage.Config{URL: cluster.URL(), External: storage.External{Replicas: 3}})
	require.NoError(t, err)
	appendTo(t, s)
	require.NoError(t, s.Close())
	for _, server := range cluster.Servers {
		server.Stop()
	}
	cluster.Servers[2].Start(t) // without the others it cannot elect a leader
	log := newWaitingLog()
	opened := make(chan error, 1)
	go func() {
		s, err := storage.Open(t.Context(), storage.Config{URL: cluster.Servers[2].URL(), Logger: log.logger()})
		if err == nil {
			_, err = s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s."})
			_ = s.Close()
		}
		opened <- err
	}()
	<-log.waiting
	for _, server := range cluster.Servers[:2] {
		server.Start(t)
	}
	require.NoError(t, <-opened)
	assert.Equal(t, 1, strings.Count(log.String(), "for=JetStream at_most="), log.String())
}

// All gateways of a new cluster may start at the same time, on an empty account.
func TestConcurrentStartsShareTheStreams(t *testing.T) {
	cluster := storagetest.ServeCluster(t)
	log := newWaitingLog()
	const gateways = 6
	identities := make(chan string, gateways)
	for i := range gateways {
		go func() {
			s, err := storage.Open(t.Context(), storage.Config{
				URL: cluster.URL(), Logger: log.logger(), External: storage.External{Replicas: 3},
			})
			if !assert.NoError(t, err) {
				identities <- ""
				return
			}
			defer func() { assert.NoError(t, s.Close()) }()
			stream, err := s.OpenStream(t.Context(), storage.StreamConfig{
				Name: "S", Subject: "s.", Metadata: map[string]string{"identity": fmt.Sprint("gateway ", i)},
			})
			if !assert.NoError(t, err) {
				identities <- ""
				return
			}
			_, err = s.OpenRecords(t.Context(), storage.RecordsConfig{Bucket: "R", MaxAge: time.Hour})
			assert.NoError(t, err)
			identities <- stream.Metadata("identity")
		}()
	}
	first := <-identities
	assert.NotEmpty(t, first)
	for range gateways - 1 {
		assert.Equal(t, first, <-identities)
	}
}

func TestReplicasAreSetAndOneCopyIsReported(t *testing.T) {
	cluster := storagetest.ServeCluster(t)
	for _, tt := range []struct{ set, want int }{{0, 1}, {3, 3}, {0, 3}, {1, 1}} {
		log := newWaitingLog()
		s, err := open(t, storage.Config{URL: cluster.URL(), Logger: log.logger(), External: storage.External{Replicas: tt.set}})
		require.NoError(t, err)
		_, err = s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s."})
		require.NoError(t, err)
		assert.Equal(t, tt.want, storagetest.Look(t, s).Stream(t, "S").Info.Config.Replicas)
		assert.Equal(t, tt.want == 1, strings.Contains(log.String(), "set nats_replicas to 3"), log.String())
	}
}

func TestAPermanentErrorIsNotWaitedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		settings storagetest.Settings
		external storage.External
		want     string
	}{
		"replicas on one server": {nil, storage.External{Replicas: 3}, "set nats_replicas to 1"},
		"too little storage": {
			storagetest.Settings{"jetstream": storagetest.Settings{"store_dir": t.TempDir(), "max_file": "8M"}},
			storage.External{}, "lower retention_bytes",
		},
		"a server without TLS": {nil, storage.External{CertFile: "none", KeyFile: "none"}, "client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			log := newWaitingLog()
			s, err := open(t, storage.Config{URL: storagetest.Serve(t, tt.settings).URL(), External: tt.external, Logger: log.logger()})
			if err == nil {
				_, err = s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s.", MaxBytes: 16 << 20})
			}
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, log.String(), "waiting for NATS")
		})
	}
}
