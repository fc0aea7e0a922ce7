package main

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

type sendImageCmd struct {
	clientFlags  `group:"Gateway"`
	contactFlags `group:"Request"`
	threadFlag   `group:"Request"`

	Image       string `required:"" group:"Request" placeholder:"URL" help:"URL from which Ongair fetches the image."`
	ContentType string `name:"content-type" required:"" group:"Request" placeholder:"TYPE" help:"The image's MIME type: image/jpeg or image/png."`
	Text        string `group:"Request" help:"Caption." emptyok:""`
}

// Run sends the image.
func (c sendImageCmd) Run(ctx context.Context, s streams) error {
	return call(ctx, c.clientFlags, s.out, 0, &ongairv1.SendImageRequest{
		Channel:           c.Channel,
		ExternalId:        c.ExternalID,
		ExternalContactId: c.ExternalContactID,
		Image:             c.Image,
		ContentType:       c.ContentType,
		Text:              c.Text,
		Thread:            c.Thread,
		RequestId:         c.RequestID,
	}, ongairv1.OngairServiceClient.SendImage)
}
