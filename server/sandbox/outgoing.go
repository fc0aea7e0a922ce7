package sandbox

import (
	"net/http"
	"net/url"
	"strings"
)

// outgoing is a webhook to be posted. The odd forms change it.
type outgoing struct {
	fields []Field
	// literalPlus means that the plus of a contact's id is not escaped in a form.
	literalPlus bool

	// contentType and contentEncoding are not sent if they are empty.
	contentType     string
	contentEncoding string
	// query is added to the query of the webhook URL.
	query string
	body  []byte

	// doubleSlashes and trailingSlash change the webhook URL's path.
	doubleSlashes bool
	trailingSlash bool
}

// encodeForm sets the body that Ongair documents.
func (o *outgoing) encodeForm() { o.contentType, o.body = formType, o.form() }

// form returns the fields as an urlencoded form in their order.
func (o *outgoing) form() []byte {
	pairs := make([]string, len(o.fields))
	for i, f := range o.fields {
		value := url.QueryEscape(f.Value)
		if o.literalPlus && (f.Name == "external_contact_id" || f.Name == "phone_number") {
			value = strings.ReplaceAll(value, "%2B", "+")
		}
		pairs[i] = url.QueryEscape(f.Name) + "=" + value
	}
	return []byte(strings.Join(pairs, "&"))
}

// address sets the headers, path and query of r.
func (o *outgoing) address(r *http.Request) {
	for name, value := range map[string]string{"Content-Type": o.contentType, "Content-Encoding": o.contentEncoding} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if o.query != "" {
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&"+o.query, "&")
	}
	path := r.URL.EscapedPath()
	if o.doubleSlashes {
		path = strings.ReplaceAll("/"+strings.TrimPrefix(path, "/"), "/", "//")
	}
	if o.trailingSlash {
		path += "/"
	}
	if plain, err := url.PathUnescape(path); err == nil { // always: it was escaped
		r.URL.Path, r.URL.RawPath = plain, path
	}
}
