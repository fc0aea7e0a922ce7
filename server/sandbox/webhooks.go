package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// Field is one field of a webhook. Fields are ordered, and names may repeat.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// webhook composes the fields of a webhook. It is called when the webhook is due.
type webhook func() []Field

// notifySent queues the webhooks of a sent message: MessageSent, a DeliveryReceipt if receipts are
// on, and then either the closed ticket or the contact's answer.
func (s *Sandbox) notifySent(to contact, m message, closes bool) {
	now := time.Now()
	s.notify(now.Add(s.config.SentDelay), func() []Field { return s.messageFields("MessageSent", to, m) })
	if s.settings.wantsReceipts() {
		s.notify(now.Add(s.config.SentDelay), func() []Field { return receiptFields(m.ExternalContactID, m.ID) })
	}
	if closes {
		s.notify(now.Add(s.config.SentDelay), func() []Field { return s.ticketFields(to, m.ConversationID, statusClosed) })
		return
	}
	s.notify(now.Add(s.config.AnswerDelay), func() []Field { return s.contactAnswer(to, m) })
}

func (s *Sandbox) notifyTicket(owner contact, conversationID, status string) {
	due := time.Now().Add(s.config.SentDelay)
	s.notify(due, func() []Field { return s.ticketFields(owner, conversationID, status) })
}

// notify queues a webhook unless the sandbox is silent or has no webhook URL.
func (s *Sandbox) notify(due time.Time, compose webhook) {
	if s.config.Silent || s.config.WebhookURL == "" {
		return
	}
	if !s.queue.push(due, compose) {
		s.recordUnposted(compose(), errQueueFull)
	}
}

// contactAnswer returns the contact's answer to m. The answer becomes a message when it is due, so
// that ids follow the order of events.
func (s *Sandbox) contactAnswer(from contact, m message) []Field {
	reply := message{
		ConversationID:    m.ConversationID,
		ExternalContactID: m.ExternalContactID,
		Direction:         directionIn,
	}
	if m.Kind == kindText {
		reply.Kind, reply.Text = kindText, "You said: "+m.Text
		return s.messageFields("MessageReceived", from, s.state.receive(reply))
	}
	reply.Kind, reply.ContentType = kindImage, "image/jpeg"
	reply.Text = fmt.Sprintf("You sent: %s", m.URL)
	reply.URL = fmt.Sprintf("https://example.com/sandbox/answer-to-%s.jpg", m.ID)
	return s.messageFields("ImageReceived", from, s.state.receive(reply))
}

func (s *Sandbox) messageFields(notificationType string, c contact, m message) []Field {
	fields := []Field{
		{"notification_type", notificationType},
		{"id", m.ID},
		{"name", c.Name},
		{"text", m.Text},
		{"external_contact_id", c.ExternalContactID},
		{"conversation_id", m.ConversationID},
		{"account_type", s.config.AccountType},
	}
	if image := m.image(); image != "" {
		fields = append(fields, Field{"image", image})
	}
	return fields
}

// receiptFields returns the fields of a DeliveryReceipt. messageID is the id in the answer to the
// send.
func receiptFields(contactID, messageID string) []Field {
	return []Field{
		{"notification_type", "DeliveryReceipt"},
		{"phone_number", phoneNumber(contactID)},
		{"id", messageID},
	}
}

// phoneNumber returns a contact's id without the plus, as in the field phone_number of webhooks. It
// also removes spaces, because an unescaped plus in a form is read as a space.
func phoneNumber(contactID string) string { return strings.TrimLeft(contactID, "+ ") }

func (s *Sandbox) ticketFields(c contact, conversationID, status string) []Field {
	return []Field{
		{"notification_type", "TicketStatusUpdated"},
		{"external_contact_id", c.ExternalContactID},
		{"name", c.Name},
		{"conversation_id", conversationID},
		{"status", status},
		{"account_type", s.config.AccountType},
	}
}
