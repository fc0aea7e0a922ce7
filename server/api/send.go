package api

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// Send sends a text message.
func (s *Service) Send(ctx context.Context, req *ongairv1.SendRequest) (*ongairv1.SendResponse, error) {
	response := &ongairv1.SendResponse{}
	replayed, err := s.sendOnce(ctx, "Send", req, response, func(ctx context.Context, upstream Upstream) error {
		receipt, err := upstream.Send(ctx, ongair.Text{
			ExternalID:        req.GetExternalId(),
			ExternalContactID: req.GetExternalContactId(),
			Text:              req.GetText(),
			Thread:            req.Thread,
		})
		response.Id, response.ConversationId = receipt.ID, receipt.ConversationID
		return err
	})
	if err != nil {
		return nil, err
	}
	response.Replayed = replayed
	return response, nil
}
