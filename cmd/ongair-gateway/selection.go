package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

// selectionFlags select the events that a command reads. Kong's variable from sets the default
// of --from.
type selectionFlags struct {
	From string `default:"${from}" placeholder:"START" help:"Start: earliest, latest, a cursor, or a time such as 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00Z (${default}). A time without a zone is local."`

	filterFlags `embed:""`
}

// filterFlags select events by their content.
type filterFlags struct {
	Channels           []string `placeholder:"NAME" help:"Only these channels."`
	EventTypes         []string `name:"event-types" placeholder:"TYPE" help:"Only these types, such as message_received or MessageReceived."`
	NotificationTypes  []string `name:"notification-types" placeholder:"NAME" help:"Only these types, as Ongair names them."`
	ExternalContactIDs []string `name:"external-contact-ids" placeholder:"ID" help:"Only these contacts."`
	ConversationIDs    []string `name:"conversation-ids" placeholder:"ID" help:"Only these conversations."`
}

// filters returns a request with the filters.
func (f filterFlags) filters() (*ongairv1.SubscribeRequest, error) {
	req := &ongairv1.SubscribeRequest{
		Channels:           f.Channels,
		NotificationTypes:  f.NotificationTypes,
		ExternalContactIds: f.ExternalContactIDs,
		ConversationIds:    f.ConversationIDs,
	}
	types := ongairv1.EventType(0).Descriptor()
	for _, name := range f.EventTypes {
		value := event.EnumValue(types, name)
		if value == nil {
			return nil, usageError{fmt.Errorf("--event-types: unknown type %q: use one of %s", name, strings.Join(event.EnumNames(types), ", "))}
		}
		req.EventTypes = append(req.EventTypes, ongairv1.EventType(value.Number()))
	}
	return req, nil
}

// subscription returns a request with the filters and the start.
func (f selectionFlags) subscription() (*ongairv1.SubscribeRequest, error) {
	req, err := f.filters()
	if err != nil {
		return nil, err
	}
	switch f.From {
	case "earliest":
		req.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
	case "latest":
		req.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_LATEST}
	default:
		if mayBeCursor(f.From) {
			req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: f.From}
			break
		}
		t, ok := parseTime(f.From, time.Local)
		if !ok {
			return nil, usageError{fmt.Errorf("--from: invalid start %q: use earliest, latest, a cursor or a time"+
				" such as 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00Z", f.From)}
		}
		req.Start = &ongairv1.SubscribeRequest_StartTime{StartTime: timestamppb.New(t)}
	}
	return req, nil
}

// mayBeCursor reports whether s looks like a cursor. Only the gateway can validate it. A cursor
// has only URL-safe characters. It begins with a letter, because its first byte is a small
// version number.
func mayBeCursor(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-_.~", r)) {
			return false
		}
	}
	return s != ""
}

// parseTime parses a date, or a date and a time separated by T or a space. If s has no zone, it
// is in zone.
func parseTime(s string, zone *time.Location) (t time.Time, ok bool) {
	s = strings.Replace(strings.ToUpper(s), " ", "T", 1)
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
