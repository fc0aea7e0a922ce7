package main

import (
	"context"
	"fmt"
	"strings"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

type createTicketCmd struct {
	clientFlags  `group:"Gateway"`
	contactFlags `group:"Request"`

	MessageID         string `name:"message-id" required:"" group:"Request" placeholder:"ID" help:"The message's unique id on your platform."`
	Name              string `group:"Request" help:"The contact's name." emptyok:""`
	Direction         string `group:"Request" placeholder:"IN|OUT" help:"Direction of the first message: IN from the contact, OUT from the business. Ongair's default is IN."`
	Text              string `group:"Request" help:"Text of the message." emptyok:""`
	ProfilePictureURL string `name:"profile-picture-url" group:"Request" placeholder:"URL" help:"The contact's picture." emptyok:""`
	Email             string `group:"Request" help:"The contact's e-mail address." emptyok:""`
	PhoneNumber       string `name:"phone-number" group:"Request" help:"The contact's phone number." emptyok:""`
}

// Run opens the conversation.
func (c createTicketCmd) Run(ctx context.Context, s streams) error {
	direction, err := parseDirection(c.Direction)
	if err != nil {
		return err
	}
	return call(ctx, c.clientFlags, s.out, 0, &ongairv1.CreateTicketRequest{
		Channel:           c.Channel,
		ExternalId:        c.ExternalID,
		ExternalContactId: c.ExternalContactID,
		MessageId:         c.MessageID,
		Name:              c.Name,
		Direction:         direction,
		Text:              c.Text,
		ProfilePictureUrl: c.ProfilePictureURL,
		Email:             c.Email,
		PhoneNumber:       c.PhoneNumber,
		RequestId:         c.RequestID,
	}, ongairv1.OngairServiceClient.CreateTicket)
}

// parseDirection parses IN, OUT or a name of the enum, in any case.
func parseDirection(s string) (ongairv1.Direction, error) {
	if s == "" {
		return ongairv1.Direction_DIRECTION_UNSPECIFIED, nil
	}
	name := "DIRECTION_" + strings.TrimPrefix(strings.ToUpper(s), "DIRECTION_")
	direction, ok := ongairv1.Direction_value[name]
	if !ok {
		return 0, usageError{fmt.Errorf("--direction: invalid direction %q: use IN or OUT", s)}
	}
	return ongairv1.Direction(direction), nil
}
