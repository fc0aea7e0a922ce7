package main

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

type sendDocumentCmd struct {
	clientFlags  `group:"Gateway"`
	contactFlags `group:"Request"`
	threadFlag   `group:"Request"`

	FileURL     string `name:"file-url" required:"" group:"Request" placeholder:"URL" help:"URL from which Ongair fetches the document."`
	ContentType string `name:"content-type" group:"Request" placeholder:"TYPE" help:"The document's MIME type. The default is application/pdf."`
	Caption     string `group:"Request" help:"Caption." emptyok:""`
}

// Run sends the document.
func (c sendDocumentCmd) Run(ctx context.Context, s streams) error {
	return call(ctx, c.clientFlags, s.out, 0, &ongairv1.SendDocumentRequest{
		Channel:           c.Channel,
		ExternalId:        c.ExternalID,
		ExternalContactId: c.ExternalContactID,
		FileUrl:           c.FileURL,
		ContentType:       c.ContentType,
		Caption:           c.Caption,
		Thread:            c.Thread,
		RequestId:         c.RequestID,
	}, ongairv1.OngairServiceClient.SendDocument)
}
