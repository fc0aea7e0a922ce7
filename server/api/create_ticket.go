package api

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// CreateTicket opens a conversation.
func (s *Service) CreateTicket(ctx context.Context, req *ongairv1.CreateTicketRequest) (*ongairv1.CreateTicketResponse, error) {
	response := &ongairv1.CreateTicketResponse{}
	replayed, err := s.sendOnce(ctx, "CreateTicket", req, response, func(ctx context.Context, upstream Upstream) error {
		receipt, err := upstream.CreateTicket(ctx, ongair.Ticket{
			ExternalID:        req.GetExternalId(),
			ExternalContactID: req.GetExternalContactId(),
			MessageID:         req.GetMessageId(),
			Name:              req.GetName(),
			Direction:         direction(req.GetDirection()),
			Text:              req.GetText(),
			ProfilePictureURL: req.GetProfilePictureUrl(),
			Email:             req.GetEmail(),
			PhoneNumber:       req.GetPhoneNumber(),
		})
		response.ConversationId = receipt.ConversationID
		return err
	})
	if err != nil {
		return nil, err
	}
	response.Replayed = replayed
	return response, nil
}

// direction returns Ongair's name of a direction; empty for the one that leaves
// it to Ongair.
func direction(d ongairv1.Direction) string {
	switch d {
	case ongairv1.Direction_DIRECTION_IN:
		return "IN"
	case ongairv1.Direction_DIRECTION_OUT:
		return "OUT"
	case ongairv1.Direction_DIRECTION_UNSPECIFIED:
	}
	return ""
}
