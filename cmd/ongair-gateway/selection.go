package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// selectionFlags are the filters of the commands that read events.
type selectionFlags struct {
	Channels           []string `placeholder:"NAME" help:"Only these channels."`
	EventTypes         []string `name:"event-types" placeholder:"TYPE" help:"Only these types: EVENT_TYPE_MESSAGE_RECEIVED, or just message_received, and so on."`
	NotificationTypes  []string `name:"notification-types" placeholder:"NAME" help:"Only these types, by Ongair's name."`
	ExternalContactIDs []string `name:"external-contact-ids" placeholder:"ID" help:"Only these contacts."`
	ConversationIDs    []string `name:"conversation-ids" placeholder:"ID" help:"Only these conversations."`
}

// subscription returns the request with the filters, from where --from says.
func (f selectionFlags) subscription(from string) (*ongairv1.SubscribeRequest, error) {
	req := &ongairv1.SubscribeRequest{
		Channels:           f.Channels,
		NotificationTypes:  f.NotificationTypes,
		ExternalContactIds: f.ExternalContactIDs,
		ConversationIds:    f.ConversationIDs,
	}
	for _, name := range f.EventTypes {
		full := "EVENT_TYPE_" + strings.TrimPrefix(strings.ToUpper(name), "EVENT_TYPE_")
		number, ok := ongairv1.EventType_value[full]
		if !ok {
			return nil, usageError{fmt.Errorf("--event-types: unknown type %q", name)}
		}
		req.EventTypes = append(req.EventTypes, ongairv1.EventType(number))
	}
	switch from {
	case "earliest":
		req.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
	case "latest":
		req.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_LATEST}
	default:
		if t, err := time.Parse(time.RFC3339, from); err == nil {
			req.Start = &ongairv1.SubscribeRequest_StartTime{StartTime: timestamppb.New(t)}
		} else {
			req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: from}
		}
	}
	return req, nil
}
