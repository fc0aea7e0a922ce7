package sandbox

import (
	"io"
	"net/http"
	"strings"
)

// describe answers with the page, its examples made for the address under which it was asked for.
func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	//nolint:gosec // plain text that is not sniffed, so a Host with markup in it stays text
	_, _ = io.WriteString(w, strings.NewReplacer("http://HOST", origin(r), "TYPES\n", listed(webhookTypes())).Replace(page))
}

// listed returns names as indented lines of the page.
func listed(names []string) string {
	var lines strings.Builder
	for _, name := range names {
		lines.WriteString("  " + name + "\n")
	}
	return lines.String()
}

const page = `An Ongair to develop against

The API is under http://HOST/api/v1/base: POST /send, /send_image, /send_document and
/create_conversation, and GET /status, as Ongair documents them.

  curl http://HOST/api/v1/base/send -H 'Authorization: Token token:TOKEN' \
    -d external_id=%2B254722200200 -d text=Hello

Every contact exists from its first use, except +254705865640. Contacts answer texts, images and
documents with webhooks. The text "close" closes the conversation.

The controls below ask for no token. Bodies are JSON, unknown fields are refused.

Post a webhook now. Fields go as they are, in order, and any body in any Content-Type is forwarded
byte for byte. The answer is {"status":200} with the receiver's status, 502 if it could not be
reached, 409 if the sandbox has no webhook URL.

  curl http://HOST/_sandbox/webhooks -d notification_type=MessageReceived -d id=1 \
    -d external_contact_id=%2B254722200200 -d text=Hello

With ?type= the fields that are left out have defaults, such as a new id and the newest contact:

  curl -X POST 'http://HOST/_sandbox/webhooks?type=GroupCreated'
  curl 'http://HOST/_sandbox/webhooks?type=MessageReceived' -d text=Hello

The types:
TYPES

Switch the DeliveryReceipt after each MessageSent, which is off at first:

  curl -X PUT http://HOST/_sandbox/webhooks -d '{"receipts":true}'
  curl http://HOST/_sandbox/webhooks

What arrived, oldest first, byte for byte; and forget it.

  curl http://HOST/_sandbox/requests
  curl -X DELETE http://HOST/_sandbox/requests

The webhooks that were posted and what was answered; the contacts, conversations and messages.

  curl http://HOST/_sandbox/deliveries
  curl http://HOST/_sandbox/state

Faults. PUT replaces the list, the first fault that fits a call happens to it.

  curl -X PUT http://HOST/_sandbox/faults \
    -d '[{"path":"/send","times":2,"status":429,"headers":{"Retry-After":"1"},"body":"{}"}]'
  curl http://HOST/_sandbox/faults
  curl -X DELETE http://HOST/_sandbox/faults

  path        the call, such as "/send"; absent: every call
  times       how many calls; absent: until it is removed
  delay       how long the answer is kept back, such as "1.5s"
  status      answered with headers and body instead of doing the work
  effect      true: the work is done nevertheless, before anything else
  connection  reset_before_answer, close_before_answer, half_answer or hang

Which forms of the token are accepted: the header "Token token:X" (colon), the header
"Token token=X" (equals), "?token=X" in the URL (query) and a field "token" in the body (form).

  curl -X PUT http://HOST/_sandbox/auth -d '{"forms":["colon"]}'
  curl http://HOST/_sandbox/auth

Which tokens are accepted, as when a channel gets a new one:

  curl -X PUT http://HOST/_sandbox/auth -d '{"tokens":["NEW","TOKEN"]}'
`
