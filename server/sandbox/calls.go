package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// unknownContact is the only contact that does not exist, according to Ongair's documentation.
const unknownContact = "254705865640"

// sent and ticketed are Ongair's answers, with its order of fields and its strings for all
// values.
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

func (s *Sandbox) send(in input) answer {
	if refusal, ok := required(in, "text"); !ok {
		return refusal
	}
	return s.sendMessage(in.params, message{Kind: kindText, Text: in.params["text"]})
}

// sendImage accepts any content type. Ongair documents image/jpeg and image/png, and its
// clients also send image/jpg, image/gif or none.
func (s *Sandbox) sendImage(in input) answer { return s.sendAttachment(in, kindImage, "image", "") }

func (s *Sandbox) sendDocument(in input) answer {
	return s.sendAttachment(in, kindDocument, "file_url", "application/pdf")
}

// sendAttachment sends an image or a document. A field has its URL or content.
func (s *Sandbox) sendAttachment(in input, kind, field, defaultType string) answer {
	if refusal, ok := required(in, field); !ok {
		return refusal
	}
	m := message{
		Kind: kind,
		// Ongair documents text for images and caption for documents. Its published clients send either for both.
		Text:        cmp.Or(in.params["text"], in.params["caption"]),
		URL:         in.params[field],
		ContentType: in.params["content_type"],
	}
	if uploaded := fileOf(in.files, field); uploaded != nil {
		m.URL = in.origin + s.uploads.keep(*uploaded)
		m.ContentType = cmp.Or(m.ContentType, uploaded.ContentType)
		m.File = &uploaded.File
	}
	m.ContentType = cmp.Or(m.ContentType, defaultType)
	return s.sendMessage(in.params, m)
}

// sendMessage is the common part of the three sends.
func (s *Sandbox) sendMessage(params map[string]string, m message) answer {
	m.ExternalContactID = contactID(params)
	m.Direction = directionOut
	m.Thread = params["thread"]
	closes := m.Kind == kindText && strings.EqualFold(strings.TrimSpace(m.Text), "close")
	to, m := s.state.send(m, closes)
	s.notifySent(to, m, closes)
	return succeed(sent{Sent: "true", ID: m.ID, ConversationID: m.ConversationID})
}

func (s *Sandbox) createConversation(in input) answer {
	if refusal, ok := required(in, "message_id"); !ok {
		return refusal
	}
	params := in.params
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

func (s *Sandbox) status(input) answer {
	return succeed(channelStatus{Success: true, PhoneNumber: channelNumber, StatusMessage: "Sandbox", Online: true})
}

// required rejects a call without the field or a contact, and a call for the unknown contact.
// An empty field is missing. An uploaded file is a field.
func required(in input, name string) (refusal answer, ok bool) {
	params := in.params
	if params[name] == "" && fileOf(in.files, name) == nil {
		return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Parameter %s is missing", name)), false
	}
	if contactID(params) == "" {
		return refuse(http.StatusUnprocessableEntity, "Parameter external_id is missing"), false
	}
	for _, id := range []string{params["external_id"], params["external_contact_id"], contactID(params)} {
		if phoneNumber(id) == unknownContact {
			return refuse(http.StatusUnprocessableEntity,
				fmt.Sprintf("Contact with phone number %s does not exists", unknownContact)), false // Ongair's words
		}
	}
	return answer{}, true
}

// contactID returns the contact of a call. Ongair's documentation requires external_id and
// external_contact_id, but its examples send only external_id, so one is enough. If they
// differ, external_contact_id is the contact, as in webhooks. Some clients send only
// phone_number. In a ticket it may accompany the contact's id.
func contactID(params map[string]string) string {
	return cmp.Or(params["external_contact_id"], params["external_id"], params["phone_number"])
}
