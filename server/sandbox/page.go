package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// describe answers with the page. The examples have the address that the client used.
func describe(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	filled := strings.NewReplacer("http://HOST", origin(r), "TYPES\n", indented(webhookTypes()), "FORMS\n", indented(formLines()))
	//nolint:gosec // plain text that is not sniffed, so markup in Host stays text
	_, _ = io.WriteString(w, filled.Replace(page))
}

// indented returns lines with the indentation of the page.
func indented(lines []string) string {
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

const page = `Ongair sandbox: a fake of Ongair's API for development

The API is under http://HOST/api/v1/base: POST /send, /send_image, /send_document and
/create_conversation, and GET /status, as Ongair documents them.

  curl http://HOST/api/v1/base/send -H 'Authorization: Token token:TOKEN' \
    -d external_id=%2B254722200200 -d text=Hello

A contact is created when it is first used. Only +254705865640 does not exist. Contacts answer
texts, images and documents with webhooks. The text "close" closes the conversation.

The controls below need no token. The body of a PUT is JSON, and unknown fields are rejected.

Post a webhook now. The body may have any Content-Type and is forwarded byte for byte. The answers:

  200  {"status":200}, with the receiver's status
  409  the sandbox has no webhook URL
  502  the receiver did not answer

  curl http://HOST/_sandbox/webhooks -d notification_type=MessageReceived -d id=1 \
    -d external_contact_id=%2B254722200200 -d text=Hello

With ?type= a form becomes a webhook of that type. Missing fields get defaults, such as a new id and
the newest contact.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=GroupCreated'
  curl 'http://HOST/_sandbox/webhooks?type=MessageReceived' -d text=Hello

The types:
TYPES

With ?as= a form is posted in odd forms. They test a receiver with webhooks as other senders and
proxies make them. Forms that cannot be combined are rejected. PUT sets the odd forms of all later
webhooks. An empty list removes them.

  curl -X POST 'http://HOST/_sandbox/webhooks?type=MessageReceived&as=bom,multipart-unlabelled'
  curl -X PUT http://HOST/_sandbox/webhooks -d '{"as":["gzip","trailing-slash"]}'

The odd forms. A webhook in each form has:
FORMS

Turn the DeliveryReceipt after each MessageSent on or off. The default is off.

  curl -X PUT http://HOST/_sandbox/webhooks -d '{"receipts":true}'
  curl http://HOST/_sandbox/webhooks

List the calls as they arrived, oldest first. DELETE clears the list.

  curl http://HOST/_sandbox/requests
  curl -X DELETE http://HOST/_sandbox/requests

List the posted webhooks with their outcomes. List the contacts, conversations and messages.

  curl http://HOST/_sandbox/deliveries
  curl http://HOST/_sandbox/state

Set faults. PUT replaces the list. Only the first fault that matches a call applies.

  curl -X PUT http://HOST/_sandbox/faults \
    -d '[{"path":"/send","times":2,"status":429,"headers":{"Retry-After":"1"},"body":"{}"}]'
  curl http://HOST/_sandbox/faults
  curl -X DELETE http://HOST/_sandbox/faults

  path        the call, such as "/send"; absent: every call
  times       how many calls; absent: no limit
  delay       how long the answer is delayed, such as "1.5s"
  status      answered with headers and body; the call is not executed
  effect      true: the call is executed nevertheless, before the delay
  connection  reset_before_answer, close_before_answer, half_answer or hang

Set the accepted forms of the token:

  colon   the header "Authorization: Token token:X"
  equals  the header "Authorization: Token token=X"
  query   "?token=X" in the URL
  form    a field "token" in the body

  curl -X PUT http://HOST/_sandbox/auth -d '{"forms":["colon"]}'
  curl http://HOST/_sandbox/auth

Set the accepted tokens, for example to rotate a token:

  curl -X PUT http://HOST/_sandbox/auth -d '{"tokens":["NEW","TOKEN"]}'
`
