package api

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// SendDocument sends a document by its URL.
func (s *Service) SendDocument(ctx context.Context, req *ongairv1.SendDocumentRequest) (*ongairv1.SendDocumentResponse, error) {
	response := &ongairv1.SendDocumentResponse{}
	replayed, err := s.sendOnce(ctx, "SendDocument", req, response, func(ctx context.Context, upstream Upstream) error {
		receipt, err := upstream.SendDocument(ctx, ongair.Document{
			ExternalID:        req.GetExternalId(),
			ExternalContactID: req.GetExternalContactId(),
			FileURL:           req.GetFileUrl(),
			ContentType:       req.GetContentType(),
			Caption:           req.GetCaption(),
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
