package main

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/ongair/ongair-gateway/server/storage"
)

// embeddedTimeout bounds the start of an embedded server after it has read its files.
const embeddedTimeout = time.Minute

// embedded is a JetStream server in this process, with the options of the gateway's server.
type embedded struct {
	server *server.Server
	conn   *nats.Conn
	api    natsjs.JetStream
}

// openEmbedded opens the JetStream of a gateway's data directory.
func openEmbedded(dir string) (*embedded, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName:             "ongair-gateway",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               filepath.Join(dir, "jetstream"),
		SyncAlways:             true,
		MaxPayload:             storage.MaxPayload,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
		NoLog:                  true,
		JetStreamMaxStore:      math.MaxInt64,
	})
	if err != nil {
		return nil, err
	}
	ns.Start()
	e := &embedded{server: ns}
	if !ns.ReadyForConnections(embeddedTimeout) {
		e.close()
		return nil, errors.New("the embedded server did not become ready")
	}
	if e.conn, err = nats.Connect("", nats.InProcessServer(ns)); err != nil {
		e.close()
		return nil, err
	}
	if e.api, err = natsjs.New(e.conn); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *embedded) close() {
	if e.conn != nil {
		e.conn.Close()
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// largest returns the stream with the most messages: the log.
func (e *embedded) largest(ctx context.Context) (*natsjs.StreamInfo, error) {
	var found *natsjs.StreamInfo
	list := e.api.ListStreams(ctx)
	for info := range list.Info() {
		if found == nil || info.State.Msgs > found.State.Msgs {
			found = info
		}
	}
	if list.Err() != nil {
		return nil, list.Err()
	}
	if found == nil {
		return nil, errors.New("no stream in the data directory")
	}
	return found, nil
}
