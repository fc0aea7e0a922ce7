package ongair

import "context"

// defaultDocumentType is Ongair's own default for documents.
const defaultDocumentType = "application/pdf"

// Text is a text message.
type Text struct {
	// ExternalID is the contact's id on the channel, for example +254722200200.
	// Required.
	ExternalID string
	// ExternalContactID is also the contact's id. Empty means ExternalID.
	ExternalContactID string
	// Text is the message. Required.
	Text string
	// Thread attaches the message to the contact's open conversation. Nil means Ongair's default.
	Thread *bool
}

// Image is an image that Ongair fetches by its URL.
type Image struct {
	// ExternalID is the contact's id on the channel. Required.
	ExternalID string
	// ExternalContactID is also the contact's id. Empty means ExternalID.
	ExternalContactID string
	// Image is the image's URL. Required.
	Image string
	// ContentType is image/jpeg or image/png. Required.
	ContentType string
	// Text is the caption; empty means none.
	Text string
	// Thread attaches the image to the contact's open conversation. Nil means Ongair's default.
	Thread *bool
}

// Document is a document that Ongair fetches by its URL.
type Document struct {
	// ExternalID is the contact's id on the channel. Required.
	ExternalID string
	// ExternalContactID is also the contact's id. If it is empty it is not sent, because Ongair
	// documents it only for the other calls.
	ExternalContactID string
	// FileURL is the document's URL. Required.
	FileURL string
	// ContentType is the document's media type; empty means application/pdf.
	ContentType string
	// Caption goes with the document; empty means none.
	Caption string
	// Thread attaches the document to the contact's open conversation. Nil means Ongair's default.
	Thread *bool
}

// Ticket is a conversation that begins on the caller's platform.
type Ticket struct {
	// ExternalID is the contact's id on the channel. Required.
	ExternalID string
	// ExternalContactID is also the contact's id. Empty means ExternalID.
	ExternalContactID string
	// MessageID is unique on the caller's platform. Required.
	MessageID string
	// Name is the contact's name; empty means none.
	Name string
	// Direction is IN or OUT. Empty means Ongair's default, IN.
	Direction string
	// Text is the first message; empty means none.
	Text string
	// ProfilePictureURL is the URL of the contact's picture; empty means none.
	ProfilePictureURL string
	// Email is the contact's address; empty means none.
	Email string
	// PhoneNumber is the contact's number; empty means none.
	PhoneNumber string
}

// Receipt is Ongair's answer to a call that it accepted.
type Receipt struct {
	// ID is the message's id at Ongair, usually digits, at most 256 bytes. It is empty for a
	// ticket, and if the answer has no id.
	ID string
	// ConversationID is the conversation's id, in the same form. It is empty if the answer has
	// none.
	ConversationID string
}

// Send sends a text message. Every error is a *fault.Fault whose effect is none or unknown. The
// package comment lists them.
func (c *Client) Send(ctx context.Context, m Text) (Receipt, error) {
	request, err := encodeJSON("/send", sendBody{
		ExternalID:        m.ExternalID,
		Text:              m.Text,
		ExternalContactID: orElse(m.ExternalContactID, m.ExternalID),
		Thread:            m.Thread,
	})
	return c.send(ctx, request, err)
}

// SendImage sends an image. Its errors are those of Send.
func (c *Client) SendImage(ctx context.Context, m Image) (Receipt, error) {
	request, err := encodeForm("/send_image", c.boundary, []formField{
		required("external_id", m.ExternalID),
		required("image", m.Image),
		required("content_type", m.ContentType),
		required("external_contact_id", orElse(m.ExternalContactID, m.ExternalID)),
		optional("text", m.Text),
		optionalBool("thread", m.Thread),
	})
	return c.send(ctx, request, err)
}

// SendDocument sends a document. Its errors are those of Send.
func (c *Client) SendDocument(ctx context.Context, m Document) (Receipt, error) {
	request, err := encodeForm("/send_document", c.boundary, []formField{
		required("external_id", m.ExternalID),
		required("file_url", m.FileURL),
		required("content_type", orElse(m.ContentType, defaultDocumentType)),
		optional("external_contact_id", m.ExternalContactID),
		optional("caption", m.Caption),
		optionalBool("thread", m.Thread),
	})
	return c.send(ctx, request, err)
}

// CreateTicket opens a conversation. The receipt has only a ConversationID, because Ongair's id of
// a ticket is the id of its conversation. Its errors are those of Send.
func (c *Client) CreateTicket(ctx context.Context, t Ticket) (Receipt, error) {
	request, err := encodeJSON("/create_conversation", ticketBody{
		ExternalID:        t.ExternalID,
		MessageID:         t.MessageID,
		ExternalContactID: orElse(t.ExternalContactID, t.ExternalID),
		Name:              t.Name,
		Direction:         t.Direction,
		Text:              t.Text,
		ProfilePictureURL: t.ProfilePictureURL,
		Email:             t.Email,
		PhoneNumber:       t.PhoneNumber,
	})
	if err != nil {
		return Receipt{}, err
	}
	a, err := c.call(ctx, request)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{ConversationID: orElse(a.id, a.conversationID)}, nil
}

// send makes the call of Send, SendImage or SendDocument.
func (c *Client) send(ctx context.Context, request request, err error) (Receipt, error) {
	if err != nil {
		return Receipt{}, err
	}
	a, err := c.call(ctx, request)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{ID: a.id, ConversationID: a.conversationID}, nil
}

func orElse(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
