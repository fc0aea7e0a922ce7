package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/streamticket"
)

// CreateStreamTicket returns a ticket for streams with the filters of the request.
func (s *Service) CreateStreamTicket(ctx context.Context, req *ongairv1.CreateStreamTicketRequest) (*ongairv1.CreateStreamTicketResponse, error) {
	caller := auth.FromContext(ctx)
	filters := &ongairv1.SubscribeRequest{
		Channels:           req.GetChannels(),
		EventTypes:         req.GetEventTypes(),
		NotificationTypes:  req.GetNotificationTypes(),
		ExternalContactIds: req.GetExternalContactIds(),
		ConversationIds:    req.GetConversationIds(),
	}
	if err := s.checkChannels(caller, filters); err != nil {
		return nil, err
	}
	ticket, expiry, err := s.tickets.Issue(streamticket.Ticket{Credential: caller.Credential(), Filters: filters})
	if err != nil {
		return nil, err
	}
	return &ongairv1.CreateStreamTicketResponse{Ticket: ticket, ExpireTime: timestamppb.New(expiry)}, nil
}

// checkChannels fails if the caller may not read the channels of a request, or one does not exist.
func (s *Service) checkChannels(caller auth.Principal, req *ongairv1.SubscribeRequest) error {
	if err := limitChannels(caller, req); err != nil {
		return err
	}
	return s.check(&subscription{caller: caller, channels: req.GetChannels()})
}

// limitChannels sets the channels of a request without channels to those that the caller may use.
func limitChannels(caller auth.Principal, req *ongairv1.SubscribeRequest) error {
	channels, limited := caller.Channels()
	if !limited || len(req.GetChannels()) > 0 {
		return nil
	}
	if len(channels) == 0 {
		return caller.MayUse("") // an empty filter would match all channels
	}
	req.Channels = channels
	return nil
}

// ticketOf returns the principal and the filters of a ticket. The principal is authenticated again.
func (s *Service) ticketOf(text string) (auth.Principal, *ongairv1.SubscribeRequest, error) {
	ticket, err := s.tickets.Read(text)
	if err != nil {
		return auth.Principal{}, nil, err
	}
	principal, err := s.reauthenticate(auth.PrincipalWith(ticket.Credential))
	return principal, ticket.Filters, err
}
