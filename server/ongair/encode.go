package ongair

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"strconv"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// request is an encoded call. It does not depend on the form of the token.
type request struct {
	path        string // below pathPrefix
	contentType string
	body        []byte
}

// sendBody and ticketBody are JSON bodies. Ongair requires the fields without omitempty, so these
// are always sent.
type sendBody struct {
	ExternalID        string `json:"external_id"`
	Text              string `json:"text"`
	ExternalContactID string `json:"external_contact_id"`
	Thread            *bool  `json:"thread,omitempty"`
}

type ticketBody struct {
	ExternalID        string `json:"external_id"`
	MessageID         string `json:"message_id"`
	ExternalContactID string `json:"external_contact_id"`
	Name              string `json:"name,omitempty"`
	Direction         string `json:"direction,omitempty"`
	Text              string `json:"text,omitempty"`
	ProfilePictureURL string `json:"profile_picture_url,omitempty"`
	Email             string `json:"email,omitempty"`
	PhoneNumber       string `json:"phone_number,omitempty"`
}

func encodeJSON(path string, body any) (request, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	// Escapes for HTML would only make bodies longer.
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return request{}, unencodable(err)
	}
	return request{
		path:        path,
		contentType: "application/json",
		body:        bytes.TrimRight(buffer.Bytes(), "\n"),
	}, nil
}

// formField is one field of a form. It is not sent unless it is present.
type formField struct {
	name, value string
	present     bool
}

func required(name, value string) formField {
	return formField{name: name, value: value, present: true}
}

func optional(name, value string) formField {
	return formField{name: name, value: value, present: value != ""}
}

func optionalBool(name string, value *bool) formField {
	if value == nil {
		return formField{}
	}
	return required(name, strconv.FormatBool(*value))
}

// encodeForm encodes a multipart/form-data call with the fields in their order. An empty boundary
// means a random one.
func encodeForm(path, boundary string, fields []formField) (request, error) {
	var buffer bytes.Buffer
	writer := multipart.NewWriter(&buffer)
	if boundary != "" {
		if err := writer.SetBoundary(boundary); err != nil {
			return request{}, unencodable(err)
		}
	}
	for _, field := range fields {
		if !field.present {
			continue
		}
		if err := writer.WriteField(field.name, field.value); err != nil {
			return request{}, unencodable(err)
		}
	}
	if err := writer.Close(); err != nil {
		return request{}, unencodable(err)
	}
	return request{path: path, contentType: writer.FormDataContentType(), body: buffer.Bytes()}, nil
}

// unencodable returns the fault of a body that cannot be encoded. That never happens with strings,
// so it is a defect.
func unencodable(cause error) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the call to Ongair could not be encoded")
	f.Effect = fault.EffectNone
	f.Cause = cause
	return f
}
