package main

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

type createStreamTicketCmd struct {
	clientFlags `group:"Gateway"`
	filterFlags `group:"Request"`
}

// Run creates the ticket.
func (c createStreamTicketCmd) Run(ctx context.Context, s streams) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	return call(ctx, c.clientFlags, s.out, 0, &ongairv1.CreateStreamTicketRequest{
		Channels:           filters.GetChannels(),
		EventTypes:         filters.GetEventTypes(),
		NotificationTypes:  filters.GetNotificationTypes(),
		ExternalContactIds: filters.GetExternalContactIds(),
		ConversationIds:    filters.GetConversationIds(),
	}, ongairv1.OngairServiceClient.CreateStreamTicket)
}
