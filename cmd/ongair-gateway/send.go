package main

import (
	"context"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// contactFlags are the flags of all sending commands.
type contactFlags struct {
	Channel           string `placeholder:"NAME" help:"Channel. Optional if only one is configured."`
	ExternalID        string `name:"external-id" required:"" placeholder:"ID" help:"The contact's id on the channel, for example +254722200200."`
	ExternalContactID string `name:"external-contact-id" placeholder:"ID" help:"The contact's id in Ongair, if it differs."`
	RequestID         string `name:"request-id" placeholder:"KEY" help:"Key that makes the call safe to repeat. A message with the same key is sent once."`
}

// threadFlag is the flag of commands that send messages.
type threadFlag struct {
	Thread *bool `negatable:"" help:"Whether to attach the message to the contact's open conversation. By default Ongair decides."`
}

type sendCmd struct {
	clientFlags  `group:"Gateway"`
	contactFlags `group:"Request"`
	threadFlag   `group:"Request"`

	Text string `required:"" group:"Request" help:"Text of the message."`
}

// Run sends the text.
func (c sendCmd) Run(ctx context.Context, s streams) error {
	return call(ctx, c.clientFlags, s.out, 0, &ongairv1.SendRequest{
		Channel:           c.Channel,
		ExternalId:        c.ExternalID,
		ExternalContactId: c.ExternalContactID,
		Text:              c.Text,
		Thread:            c.Thread,
		RequestId:         c.RequestID,
	}, ongairv1.OngairServiceClient.Send)
}
