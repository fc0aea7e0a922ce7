package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// unknownContact is the only contact that does not exist. Ongair's documentation uses it as an
// example of an unknown contact.
const unknownContact = "254705865640"

// sent and ticketed are Ongair's answers. As in its documentation, the fields have this order and
// all values are strings.
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
	if rejection, ok := required(in, "text"); !ok {
		return rejection
	}
	return s.sendMessage(in.params, message{Kind: kindText, Text: in.params["text"]})
}

// sendImage accepts any content type. Ongair documents image/jpeg and image/png. Its published
// clients also send image/jpg, image/gif or none.
func (s *Sandbox) sendImage(in input) answer { return s.sendAttachment(in, kindImage, "image", "") }

func (s *Sandbox) sendDocument(in input) answer {
	return s.sendAttachment(in, kindDocument, "file_url", "application/pdf")
}

// sendAttachment sends an image or a document. The field has its URL or its content.
func (s *Sandbox) sendAttachment(in input, kind, field, defaultType string) answer {
	if rejection, ok := required(in, field); !ok {
		return rejection
	}
	m := message{
		Kind: kind,
		// Ongair documents text for images and caption for documents. Its published clients send
		// either for both.
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

// sendMessage does the common part of the three sends.
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
	if rejection, ok := required(in, "message_id"); !ok {
		return rejection
	}
	params := in.params
	direction := directionIn
	if given := params["direction"]; given != "" {
		direction = strings.ToUpper(given)
	}
	if direction != directionIn && direction != directionOut {
		return reject(http.StatusUnprocessableEntity, fmt.Sprintf("Direction %s is not supported", params["direction"]))
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

// required rejects a call without the field, without a contact, or for unknownContact. An empty
// field counts as missing. An uploaded file counts as the field.
func required(in input, name string) (rejection answer, ok bool) {
	params := in.params
	if params[name] == "" && fileOf(in.files, name) == nil {
		return reject(http.StatusUnprocessableEntity, fmt.Sprintf("Parameter %s is missing", name)), false
	}
	if contactID(params) == "" {
		return reject(http.StatusUnprocessableEntity, "Parameter external_id is missing"), false
	}
	for _, id := range []string{params["external_id"], params["external_contact_id"], contactID(params)} {
		if phoneNumber(id) == unknownContact {
			return reject(http.StatusUnprocessableEntity,
				fmt.Sprintf("Contact with phone number %s does not exists", unknownContact)), false // Ongair's wording
		}
	}
	return answer{}, true
}

// contactID returns the contact of a call. The first of these fields that is not empty names it:
//
//   - external_contact_id, as in webhooks.
//   - external_id. Ongair's documentation requires both ids, but its examples send this one alone.
//   - phone_number, which some published clients send in place of both. A ticket may have it
//     besides an id, and then it does not name the contact.
func contactID(params map[string]string) string {
	return cmp.Or(params["external_contact_id"], params["external_id"], params["phone_number"])
}
