package api

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// SendImage sends an image by its URL.
func (s *Service) SendImage(ctx context.Context, req *ongairv1.SendImageRequest) (*ongairv1.SendImageResponse, error) {
	response := &ongairv1.SendImageResponse{}
	replayed, err := s.sendOnce(ctx, "SendImage", req, response, func(ctx context.Context, upstream Upstream) error {
		receipt, err := upstream.SendImage(ctx, ongair.Image{
			ExternalID:        req.GetExternalId(),
			ExternalContactID: req.GetExternalContactId(),
			Image:             req.GetImage(),
			ContentType:       req.GetContentType(),
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
