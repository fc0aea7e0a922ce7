package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// describe answers with the help page. Its examples have the address of the request.
func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	filled := strings.NewReplacer("http://HOST", origin(r), "TYPES\n", listed(webhookTypes()), "FORMS\n", listed(formLines()))
	//nolint:gosec // plain text that is not sniffed, so a Host with markup in it stays text
	_, _ = io.WriteString(w, filled.Replace(page))
}

// listed returns lines with the page's indentation.
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

const page = `Ongair sandbox

The API of Ongair is under http://HOST/api/v1/base: POST /send, /send_image, /send_document and
/create_conversation, and GET /status, as Ongair documents them.

  curl http://HOST/api/v1/base/send -H 'Authorization: Token token:TOKEN' \
    -d external_id=%2B254722200200 -d text=Hello

Every contact exists except +254705865640. Contacts answer texts, images and documents with
webhooks. The text "close" closes the conversation.

The controls below need no token. Bodies are JSON, and unknown fields are rejected.

Post a webhook now. A body with any Content-Type is forwarded unchanged. The answer has the status
of the receiver, such as {"status":200}. It is 502 if the receiver could not be reached, and 409 if
the sandbox has no webhook URL.

  curl http://HOST/_sandbox/webhooks -d notification_type=MessageReceived -d id=1 \
    -d external_contact_id=%2B254722200200 -d text=Hello

With ?type= the sandbox adds the missing fields of a webhook of that type, such as a new id and the
newest contact.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=GroupCreated'
  curl 'http://HOST/_sandbox/webhooks?type=MessageReceived' -d text=Hello

The types:
TYPES

With ?as= a form is posted in odd forms, to test a consumer with webhooks of other senders and
proxies. Forms that cannot be combined are rejected. PUT sets the odd forms of all later webhooks,
and an empty list removes them.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=MessageReceived&as=bom,multipart-unlabelled'
  curl -X PUT http://HOST/_sandbox/webhooks -d '{"as":["gzip","trailing-slash"]}'

The odd forms. In each, a webhook has:
FORMS

Send a DeliveryReceipt after each MessageSent, which is off by default:

  curl -X PUT http://HOST/_sandbox/webhooks -d '{"receipts":true}'
  curl http://HOST/_sandbox/webhooks

List the received requests, oldest first, and clear the list:

  curl http://HOST/_sandbox/requests
  curl -X DELETE http://HOST/_sandbox/requests

List the posted webhooks with their answers, and the contacts, conversations and messages:

  curl http://HOST/_sandbox/deliveries
  curl http://HOST/_sandbox/state

Make calls fail. PUT replaces the list. The first fault that matches a call takes effect.

  curl -X PUT http://HOST/_sandbox/faults \
    -d '[{"path":"/send","times":2,"status":429,"headers":{"Retry-After":"1"},"body":"{}"}]'
  curl http://HOST/_sandbox/faults
  curl -X DELETE http://HOST/_sandbox/faults

  path        the call, such as "/send" (default: every call)
  times       the number of calls (default: until the fault is removed)
  delay       the delay of the answer, such as "1.5s"
  status      the answer's status, with headers and body, instead of executing the call
  effect      true executes the call first
  connection  reset_before_answer, close_before_answer, half_answer or hang

Set the accepted forms of the token: the header "Token token:X" (colon), the header
"Token token=X" (equals), "?token=X" in the URL (query) and a field "token" in the body (form).

  curl -X PUT http://HOST/_sandbox/auth -d '{"forms":["colon"]}'
  curl http://HOST/_sandbox/auth

Set the accepted tokens, as when a channel gets a new one:

  curl -X PUT http://HOST/_sandbox/auth -d '{"tokens":["NEW","TOKEN"]}'
`
