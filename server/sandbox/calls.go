package sandbox

import (
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
	if refusal, ok := required(params, "image", "content_type"); !ok {
		return refusal
	}
	contentType := params["content_type"]
	if contentType != "image/jpeg" && contentType != "image/png" {
		return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Content type %s is not supported", contentType))
	}
	return s.sendMessage(params, message{
		Kind: kindImage, Text: params["text"], URL: params["image"], ContentType: contentType,
	})
}

func (s *Sandbox) sendDocument(params map[string]string) answer {
	if refusal, ok := required(params, "file_url"); !ok {
		return refusal
	}
	contentType := params["content_type"]
	if contentType == "" {
		contentType = "application/pdf"
	}
	return s.sendMessage(params, message{
		Kind: kindDocument, Text: params["caption"], URL: params["file_url"], ContentType: contentType,
	})
}

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
	for _, name := range []string{"external_id", "external_contact_id"} {
		// A plus sign in a form that was not escaped arrives as a space.
		if strings.TrimLeft(params[name], "+ ") == unknownContact {
			return refuse(http.StatusUnprocessableEntity,
				fmt.Sprintf("Contact with phone number %s does not exists", unknownContact)), false // Ongair's words
		}
	}
	return answer{}, true
}

// contactID is who a call is for. Ongair's documentation calls both fields mandatory while its examples send
// external_id alone, so one is enough; where they differ, the webhooks' field of the same name shows which one names
// the contact.
func contactID(params map[string]string) string {
	if id := params["external_contact_id"]; id != "" {
		return id
	}
	return params["external_id"]
}
