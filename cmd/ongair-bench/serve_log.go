package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/storage"
)

const (
	// appenders is the number of concurrent appends.
	appenders = 512
	// shortWindow is a duplicate window that has passed for all events when the log is opened
	// again. It saves the wait for the default window.
	shortWindow = 100 * time.Millisecond
)

// serveLogCmd creates the log that other servers are measured on. It appends events and then waits
// until it is stopped or killed.
type serveLogCmd struct {
	Dir    string `required:""`
	Append int    `help:"Number of events."`
	Sync   bool   `help:"Sync each event, as a gateway does."`
}

// Run appends events and waits until stdin ends.
func (c *serveLogCmd) Run(ctx context.Context, io stdio) (err error) {
	ctx = untilClosed(ctx, io.in)
	in, err := storage.Open(ctx, storage.Config{Dir: c.Dir, Unsynced: !c.Sync})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	log, err := eventlog.Open(ctx, in, eventlog.Config{DuplicateWindow: shortWindow})
	if err != nil {
		return err
	}
	if err := appendEvents(ctx, log, c.Append); err != nil {
		return err
	}
	if err := announce(io.out, addresses{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// appendEvents appends n events that are as large as those of the load's posts.
func appendEvents(ctx context.Context, log *eventlog.Log, n int) error {
	var appended atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range appenders {
		group.Go(func() error {
			for appended.Add(1) <= int64(n) {
				stored, err := log.Append(ctx, newEvent())
				if err != nil {
					return err
				}
				if !stored {
					return errors.New("an event was dropped as a duplicate")
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func newEvent() *ongairv1.Event {
	return &ongairv1.Event{
		Id:               event.RandomID(),
		Channel:          channel,
		ReceiveTime:      timestamppb.Now(),
		NotificationType: "MessageReceived",
		AccountType:      "WhatsApp",
		Contact:          &ongairv1.Contact{ExternalId: "+254722200200", Name: "Asha"},
		ConversationId:   "2287",
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{
			Id:   "AAAAAAAAAAAA000000001",
			Text: stampMark + "1000000000000000000" + fillerText,
		}},
	}
}
