package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// triggerWebhook posts the body as it is, so that any webhook can be triggered, in any encoding. With ?type= the body's
// fields are completed to a webhook of that type.
func (s *Sandbox) triggerWebhook(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r, maxBody)
	if err != nil {
		showError(w, statusOfBody(err), err)
		return
	}
	d, err := s.triggered(r, body)
	if err != nil {
		showError(w, http.StatusBadRequest, err)
		return
	}
	status, err := s.post(r.Context(), d)
	switch {
	case errors.Is(err, ErrNoWebhookURL):
		showError(w, http.StatusConflict, err)
	case err != nil:
		showError(w, http.StatusBadGateway, err)
	default:
		show(w, http.StatusOK, struct {
			Status int `json:"status"`
		}{status})
	}
}

// triggered makes the webhook that a control asks for.
func (s *Sandbox) triggered(r *http.Request, body []byte) (*Delivery, error) {
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if name != "type" {
			return nil, fmt.Errorf("unknown parameter %q: use type", name)
		}
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = formType
	}
	isForm := strings.HasPrefix(strings.ToLower(contentType), formType)
	d := &Delivery{ContentType: contentType, Body: body, Triggered: true}
	if isForm {
		d.Fields = parseForm(string(body))
	}
	if !query.Has("type") {
		return d, nil
	}
	if err := checkWebhookType(query.Get("type")); err != nil {
		return nil, err
	}
	if !isForm {
		return nil, errors.New("the fields of a type are a form: use the Content-Type " + formType)
	}
	d.ContentType = formType
	d.Fields = s.webhookOf(query.Get("type"), d.Fields)
	d.Body = encodeForm(d.Fields)
	return d, nil
}
