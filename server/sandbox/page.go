package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// describe answers with the page, its examples made for the address under which it was asked for.
func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	filled := strings.NewReplacer("http://HOST", origin(r), "TYPES\n", listed(webhookTypes()), "FORMS\n", listed(formLines()))
	//nolint:gosec // plain text that is not sniffed, so a Host with markup in it stays text
	_, _ = io.WriteString(w, filled.Replace(page))
}

// listed returns lines as the page indents them.
func listed(lines []string) string {
	var text strings.Builder
	for _, line := range lines {
		text.WriteString("  " + line + "\n")
	}
	return text.String()
}

func formLines() []string {
	var lines []string
	for _, f := range oddForms() {
		lines = append(lines, fmt.Sprintf("%-26s  %s", f.name, f.about))
	}
	return lines
}

const page = `An Ongair to develop against

The API is under http://HOST/api/v1/base: POST /send, /send_image, /send_document and
/create_conversation, and GET /status, as Ongair documents them.

  curl http://HOST/api/v1/base/send -H 'Authorization: Token token:TOKEN' \
    -d external_id=%2B254722200200 -d text=Hello

Every contact exists from its first use, except +254705865640. Contacts answer texts, images and
documents with webhooks. The text "close" closes the conversation.

The controls below ask for no token. Bodies are JSON, unknown fields are refused.

Post a webhook now. A body in any Content-Type is forwarded byte for byte. The answer is
{"status":200} with the receiver's status, 502 if it could not be reached, 409 if the sandbox has no
webhook URL.

  curl http://HOST/_sandbox/webhooks -d notification_type=MessageReceived -d id=1 \
    -d external_contact_id=%2B254722200200 -d text=Hello

With ?type= a form is completed to a webhook of that type. Fields that are left out get defaults,
such as a new id and the newest contact.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=GroupCreated'
  curl 'http://HOST/_sandbox/webhooks?type=MessageReceived' -d text=Hello

The types:
TYPES

With ?as= a form is posted in odd forms, to try a consumer with what other senders and proxies make
of a webhook. Forms that make no sense together are refused. PUT sets the odd forms of all later
webhooks, and an empty list removes them.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=MessageReceived&as=bom,multipart-unlabelled'
  curl -X PUT http://HOST/_sandbox/webhooks -d '{"as":["gzip","trailing-slash"]}'

The odd forms, and what a webhook has in each:
FORMS

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
