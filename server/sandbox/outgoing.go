package sandbox

import (
	"net/http"
	"net/url"
	"strings"
)

// outgoing is a webhook that will be posted. The odd forms change it.
type outgoing struct {
	fields []Field
	// literalPlus leaves the plus of a contact unescaped in a form.
	literalPlus bool

	// contentType and contentEncoding are headers. An empty header is not sent.
	contentType     string
	contentEncoding string
	// query is added to the webhook URL's query.
	query string
	body  []byte

	// doubleSlashes and trailingSlash change the webhook URL's path.
	doubleSlashes bool
	trailingSlash bool
}

// encodeForm makes the body that Ongair documents.
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

// address sets the headers, path and query of r, a request to the webhook URL.
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
	if plain, err := url.PathUnescape(path); err == nil { // never fails, because path is escaped
		r.URL.Path, r.URL.RawPath = plain, path
	}
}
