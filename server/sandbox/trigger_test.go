package sandbox

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connected returns a sandbox that posts triggered webhooks to the inbox without Run.
func connected(config Config) (*Sandbox, *inbox) {
	in := &inbox{}
	config.Token, config.HTTPClient = token, &http.Client{Transport: in}
	if config.WebhookURL == "" {
		config.WebhookURL = webhookURL
	}
	return New(config), in
}

// trigger posts one webhook through the control and returns the body that the receiver got.
func trigger(t *testing.T, s *Sandbox, in *inbox, query, body string) string {
	t.Helper()
	status, answer := control(s, http.MethodPost, "/webhooks"+query, body)
	require.Equal(t, http.StatusOK, status, answer)
	bodies := in.bodies()
	require.NotEmpty(t, bodies)
	return bodies[len(bodies)-1]
}

func TestEveryTypeIsPostedWithDefaults(t *testing.T) {
	for _, name := range webhookTypes() {
		t.Run(name, func(t *testing.T) {
			s, in := connected(Config{})
			assert.Equal(t, golden(t, "webhooks", "default_"+name+".form"), trigger(t, s, in, "?type="+name, ""))
			d := s.Deliveries()[0]
			assert.True(t, d.Triggered)
			assert.Equal(t, formType, d.ContentType)
			assert.Equal(t, Field{"notification_type", name}, d.Fields[0])
			assert.Empty(t, s.state.snapshot().Messages, "the state does not change")
			assert.Empty(t, s.state.snapshot().Contacts)
		})
	}
}

func TestGivenFieldsReplaceTheDefaultsOfAType(t *testing.T) {
	for name, tt := range map[string]struct{ query, body, want string }{
		"in their place": {
			"?type=TicketStatusUpdated", "status=Pending&conversation_id=5",
			"notification_type=TicketStatusUpdated&external_contact_id=%2B254722200200&name=Contact+0200&conversation_id=5&status=Pending&account_type=WhatsApp",
		},
		"the others behind them": {
			"?type=GroupCreated", "profile_pic=x&id=9&account=1",
			"notification_type=GroupCreated&name=Sandbox&id=9&profile_pic=x&account=1",
		},
		"a repeated one behind them, too": {
			"?type=GroupCreated", "id=8&id=9&x=1&x=2",
			"notification_type=GroupCreated&name=Sandbox&id=8&id=9&x=1&x=2",
		},
		"an empty one, too": {
			"?type=GroupCreated", "name=",
			"notification_type=GroupCreated&name=&id=7",
		},
		"the type itself": {
			"?type=GroupCreated", "notification_type=groupcreated",
			"notification_type=groupcreated&name=Sandbox&id=7",
		},
		"the contact determines its name": {
			"?type=TicketStatusUpdated", "external_contact_id=telegram-77",
			"notification_type=TicketStatusUpdated&external_contact_id=telegram-77&name=Contact+m-77&conversation_id=22&status=Closed&account_type=WhatsApp",
		},
		"a phone number is the contact, too": {
			"?type=TicketStatusUpdated", "phone_number=254711",
			"notification_type=TicketStatusUpdated&external_contact_id=254711&name=Contact+4711&conversation_id=22&status=Closed&account_type=WhatsApp&phone_number=254711",
		},
		"a contact's id replaces the phone number": {
			"?type=LocationReceived", "external_contact_id=%2B254711&address=",
			"notification_type=LocationReceived&address=&latitude=-1.286389&longitude=36.817223&external_contact_id=%2B254711",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, in := connected(Config{})
			assert.Equal(t, tt.want, trigger(t, s, in, tt.query, tt.body))
		})
	}
}

func TestDefaultsComeFromSentMessages(t *testing.T) {
	s, in := connected(Config{Silent: true})
	_, _ = ask(s, "/create_conversation", "external_id=%2B1&message_id=x&name=Asha")
	_, _ = ask(s, "/send", "external_id=%2B1&text=one")
	_, _ = ask(s, "/send", "external_id=%2B2&text=two")
	_, _ = ask(s, "/create_conversation", "external_id=%2B2&message_id=y&text=three") // received, not sent
	for name, tt := range map[string]struct{ query, body, want string }{
		"the newest message's receipt":             {"?type=DeliveryReceipt", "", "phone_number=2&id=35345434"},
		"a receipt of a known contact":             {"?type=DeliveryReceipt", "phone_number=1", "phone_number=1&id=35345433"},
		"a receipt of an unknown contact":          {"?type=DeliveryReceipt", "phone_number=3", "phone_number=3&id=35345433"},
		"the newest contact":                       {"?type=TicketStatusUpdated", "", "external_contact_id=%2B2&name=Contact+%2B2&conversation_id=24"},
		"a contact's conversation and name":        {"?type=TicketStatusUpdated", "external_contact_id=%2B1", "external_contact_id=%2B1&name=Asha&conversation_id=22"},
		"a contact by the number without its plus": {"?type=TicketStatusUpdated", "external_contact_id=1", "external_contact_id=1&name=Asha&conversation_id=22"},
	} {
		t.Run(name, func(t *testing.T) { assert.Contains(t, trigger(t, s, in, tt.query, tt.body)+"&", "&"+tt.want+"&") })
	}
	assert.Contains(t, trigger(t, s, in, "?type=MessageReceived", ""), "&id=35345436&", "a message has a new id")
	assert.Contains(t, trigger(t, s, in, "?type=MessageReceived", ""), "&id=35345437&")
	assert.Equal(t, "35345438", sendText(t, s, "a", "four").ID)
}

func TestAnInvalidTriggerIsRejected(t *testing.T) {
	for name, tt := range map[string]struct{ query, contentType, body, reason string }{
		"an unknown type":      {"?type=StickerReceived", formType, "", `unknown type \"StickerReceived\": use MessageSent, MessageReceived, `},
		"an empty type":        {"?type=", formType, "", `unknown type \"\"`},
		"an unknown parameter": {"?typ=MessageSent", formType, "", `unknown parameter \"typ\"`},
		"a type and JSON":      {"?type=MessageSent", "application/json", "{}", "type and as require a form: use the Content-Type application/x-www-form-urlencoded"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := receiver(t, http.StatusOK)
			s, baseURL := start(t, Config{WebhookURL: url})
			status, answer := exchange(t, http.MethodPost, baseURL+"/_sandbox/webhooks"+tt.query, tt.contentType, tt.body)
			assert.Equal(t, http.StatusBadRequest, status)
			assert.True(t, strings.Contains(answer, tt.reason), answer)
			assert.Empty(t, s.Deliveries(), "nothing is posted")
		})
	}
}
