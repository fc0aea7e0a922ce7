package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

type listEventsCmd struct {
	clientFlags    `group:"Gateway"`
	selectionFlags `group:"Request" set:"from=earliest"`

	PageSize int32         `name:"page-size" group:"Request" placeholder:"N" help:"Maximum number of events: 1 to 1000. The default is 100."`
	Wait     time.Duration `group:"Request" placeholder:"DURATION" help:"Maximum time to wait for an event, such as 20s. At most 60s. By default the call does not wait."`
}

// Run prints a page of events as a line of JSON.
func (c listEventsCmd) Run(ctx context.Context, s streams) error {
	sub, err := c.subscription()
	if err != nil {
		return err
	}
	req := &ongairv1.ListEventsRequest{
		Channels:           sub.GetChannels(),
		EventTypes:         sub.GetEventTypes(),
		NotificationTypes:  sub.GetNotificationTypes(),
		ExternalContactIds: sub.GetExternalContactIds(),
		ConversationIds:    sub.GetConversationIds(),
		PageSize:           c.PageSize,
		Wait:               durationpb.New(c.Wait),
	}
	switch start := sub.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		req.Start = &ongairv1.ListEventsRequest_Cursor{Cursor: start.Cursor}
	case *ongairv1.SubscribeRequest_StartTime:
		req.Start = &ongairv1.ListEventsRequest_StartTime{StartTime: start.StartTime}
	case *ongairv1.SubscribeRequest_Position:
		req.Start = &ongairv1.ListEventsRequest_Position{Position: start.Position}
	}
	return call(ctx, c.clientFlags, s.out, c.Wait, req, ongairv1.OngairServiceClient.ListEvents)
}
