package ongair

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"strconv"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// request is an encoded call: what is the same in both forms of the token.
type request struct {
	path        string // below pathPrefix
	contentType string
	body        []byte
}

// sendBody and ticketBody are the JSON bodies. What has no omitempty is required
// by Ongair, and is sent as it is.
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
	// The escapes are for JSON inside of HTML; here they would only make bodies
	// longer.
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

// formField is one field of a form; those that are not present are left out.
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

// encodeForm returns a multipart/form-data call with the fields in their order.
// The empty boundary means a random one.
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

// unencodable is the fault of a body that cannot be made. Strings in memory
// always can be, so it is a defect.
func unencodable(cause error) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the call to Ongair could not be encoded")
	f.Effect = fault.EffectNone
	f.Cause = cause
	return f
}
