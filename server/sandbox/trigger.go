package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// triggerWebhook posts the body as it is, so that any webhook in any encoding can be triggered. Two
// parameters change a body that is a form: ?type= adds the missing fields of that type, and ?as=
// posts it in odd forms.
func (s *Sandbox) triggerWebhook(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r, maxBody)
	if err != nil {
		showError(w, statusOfBody(err), err)
		return
	}
	o, as, err := s.triggered(r, body)
	if err != nil {
		showError(w, http.StatusBadRequest, err)
		return
	}
	d := newDelivery(o, as)
	d.Triggered = true
	status, err := s.post(r.Context(), o, d)
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

// triggered returns the webhook that a control requests, and its odd forms. These are the ones of
// the parameter. Without it, a form gets those of SetOddForms.
func (s *Sandbox) triggered(r *http.Request, body []byte) (o *outgoing, as []OddForm, err error) {
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if name != "type" && name != "as" {
			return nil, nil, fmt.Errorf("unknown parameter %q: use type or as", name)
		}
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		contentType = formType
	}
	o = &outgoing{contentType: contentType, body: body}
	isForm := strings.HasPrefix(strings.ToLower(contentType), formType)
	if isForm {
		o.fields = parseForm(string(body))
		as = s.settings.oddForms()
	}
	if query.Has("as") {
		if as, err = parseOddForms(strings.Join(query["as"], ",")); err != nil {
			return nil, nil, err
		}
	}
	if !query.Has("type") && len(as) == 0 {
		return o, nil, nil
	}
	if !isForm {
		return nil, nil, errors.New("type and as require a form: use the Content-Type " + formType)
	}
	if query.Has("type") {
		if err := checkWebhookType(query.Get("type")); err != nil {
			return nil, nil, err
		}
		o.fields = s.webhookOf(query.Get("type"), o.fields)
	}
	return composed(o.fields, as), as, nil
}
