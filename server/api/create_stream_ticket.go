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
	filters := filtersOf(req)
	if err := limitChannels(caller, filters); err != nil {
		return nil, err
	}
	if err := s.check(&subscription{caller: caller, channels: filters.GetChannels()}); err != nil {
		return nil, err
	}
	ticket, expiry, err := s.tickets.Issue(streamticket.Ticket{Credential: caller.Credential(), Filters: filters})
	if err != nil {
		return nil, err
	}
	return &ongairv1.CreateStreamTicketResponse{Ticket: ticket, ExpireTime: timestamppb.New(expiry)}, nil
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
