package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// unknownContact is the one contact that does not exist, by Ongair's documentation.
const unknownContact = "254705865640"

// sent and ticketed are Ongair's answers, in its order of fields and with its strings for everything.
type sent struct {
	Sent           string `json:"sent"`
	ID             string `json:"id"`
	ConversationID string `json:"conversation_id"`
}

type ticketed struct {
	Success string `json:"success"`
	ID      string `json:"id"`
}

type channelStatus struct {
	Success       bool   `json:"success"`
	PhoneNumber   string `json:"phone_number"`
	StatusMessage string `json:"status_message"`
	Online        bool   `json:"online"`
}

func (s *Sandbox) send(params map[string]string) answer {
	if refusal, ok := required(params, "text"); !ok {
		return refusal
	}
	return s.sendMessage(params, message{Kind: kindText, Text: params["text"]})
}

func (s *Sandbox) sendImage(params map[string]string) answer {
	if refusal, ok := required(params, "image"); !ok {
		return refusal
	}
	// Ongair documents image/jpeg and image/png. Its published clients also send image/jpg, image/gif or nothing.
	return s.sendMessage(params, message{
		Kind: kindImage, Text: caption(params), URL: params["image"], ContentType: params["content_type"],
	})
}

func (s *Sandbox) sendDocument(params map[string]string) answer {
	if refusal, ok := required(params, "file_url"); !ok {
		return refusal
	}
	return s.sendMessage(params, message{
		Kind: kindDocument, Text: caption(params), URL: params["file_url"],
		ContentType: cmp.Or(params["content_type"], "application/pdf"),
	})
}

// caption returns the text below an image or a document. Ongair documents "text" for the one and "caption" for the
// other, and its published clients send either for both.
func caption(params map[string]string) string { return cmp.Or(params["text"], params["caption"]) }

// sendMessage does what the three sends have in common.
func (s *Sandbox) sendMessage(params map[string]string, m message) answer {
	m.ExternalContactID = contactID(params)
	m.Direction = directionOut
	m.Thread = params["thread"]
	closes := m.Kind == kindText && strings.EqualFold(strings.TrimSpace(m.Text), "close")
	to, m := s.state.send(m, closes)
	s.notifySent(to, m, closes)
	return succeed(sent{Sent: "true", ID: m.ID, ConversationID: m.ConversationID})
}

func (s *Sandbox) createConversation(params map[string]string) answer {
	if refusal, ok := required(params, "message_id"); !ok {
		return refusal
	}
	direction := directionIn
	if given := params["direction"]; given != "" {
		direction = strings.ToUpper(given)
	}
	if direction != directionIn && direction != directionOut {
		return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Direction %s is not supported", params["direction"]))
	}
	owner, ticket, opened := s.state.openTicket(params["message_id"], params["name"], message{
		ExternalContactID: contactID(params), Direction: direction, Kind: kindText, Text: params["text"],
	})
	if opened {
		s.notifyTicket(owner, ticket.ID, statusOpen)
	}
	return succeed(ticketed{Success: "true", ID: ticket.ID})
}

func (s *Sandbox) status(map[string]string) answer {
	return succeed(channelStatus{Success: true, PhoneNumber: "254700000000", StatusMessage: "Sandbox", Online: true})
}

// required refuses a call that lacks one of the fields, or any contact, or that is for the contact who does not exist.
// An empty field is a missing one.
func required(params map[string]string, names ...string) (refusal answer, ok bool) {
	for _, name := range names {
		if params[name] == "" {
			return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Parameter %s is missing", name)), false
		}
	}
	if contactID(params) == "" {
		return refuse(http.StatusUnprocessableEntity, "Parameter external_id is missing"), false
	}
	for _, id := range []string{params["external_id"], params["external_contact_id"], contactID(params)} {
		// A plus sign in a form that was not escaped arrives as a space.
		if strings.TrimLeft(id, "+ ") == unknownContact {
			return refuse(http.StatusUnprocessableEntity,
				fmt.Sprintf("Contact with phone number %s does not exists", unknownContact)), false // Ongair's words
		}
	}
	return answer{}, true
}

// contactID returns the contact that a call is for. Ongair's documentation requires both external_id and
// external_contact_id, and its examples send external_id alone, so one is enough. If they differ, external_contact_id
// names the contact, as in webhooks. Some published clients send phone_number instead of both. A ticket may have a
// phone_number besides, which does not name the contact then.
func contactID(params map[string]string) string {
	return cmp.Or(params["external_contact_id"], params["external_id"], params["phone_number"])
}
