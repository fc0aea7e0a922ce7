package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// OddForm is a difference between a webhook and Ongair's documentation, for example "bom". The
// sandbox posts odd forms on demand. They test a receiver with webhooks as other senders and
// proxies make them.
type OddForm string

// The steps in which odd forms change a webhook, in order. Without a form of stepEncode the fields
// become an urlencoded form, as Ongair documents.
const (
	stepFields = iota
	stepEncode
	stepPrefix
	stepCompress
	stepAddress
	steps
)

// oddForm is one entry of the table of odd forms.
type oddForm struct {
	name OddForm
	// about completes the sentence "The webhook has …" on the page.
	about string
	step  int
	apply func(o *outgoing)
	// not lists the forms that cannot be combined with this one. Two encodings can never be
	// combined.
	not []OddForm
}

// oddForms returns the table. The forms of one step apply in its order.
func oddForms() []oddForm {
	noForm := []OddForm{ // bodies that are not an urlencoded form
		"multipart", "multipart-unlabelled", "multipart-without-boundary", "multipart-other-boundary",
		"json", "json-array", "json-as-form",
	}
	notInUTF16 := []OddForm{ // bodies that must keep their bytes
		"multipart", "multipart-unlabelled", "multipart-without-boundary", "multipart-other-boundary", "latin1",
	}
	return []oddForm{
		{"no-type", "no notification_type", stepFields, dropType, []OddForm{"type-lower-case", "type-with-spaces"}},
		{"type-lower-case", "its type in lower case, such as messagereceived", stepFields, lowerCaseType, nil},
		{"type-with-spaces", "a space before and after its type", stepFields, spacesAroundType, nil},
		{"plus-as-space", "an unescaped plus in its contact, which a form decodes as a space", stepFields, keepPlus, append(noForm, "payload")},

		{"multipart", "a multipart/form-data body", stepEncode, encodeMultipart, nil},
		{"multipart-unlabelled", "a multipart body and no Content-Type", stepEncode, encodeMultipartUnlabelled, nil},
		{"multipart-without-boundary", "a multipart body and a Content-Type without its boundary", stepEncode, encodeMultipartWithoutBoundary, nil},
		{"multipart-other-boundary", "a multipart body and a Content-Type with another boundary", stepEncode, encodeMultipartOtherBoundary, nil},
		{"form-as-json", "a form labelled application/json", stepEncode, encodeFormAsJSON, nil},
		{"json", "a JSON object", stepEncode, encodeJSON, nil},
		{"json-as-form", "a JSON object labelled as a form", stepEncode, encodeJSONAsForm, nil},
		{"json-array", "a JSON array with one object", stepEncode, encodeJSONArray, nil},
		{"payload", "one form field, payload, with a JSON object", stepEncode, encodePayload, nil},
		{"latin1", "a form in ISO-8859-1, as its Content-Type states", stepEncode, encodeLatin1, nil},
		{"query", "its fields in the URL's query and an empty body", stepEncode, encodeQuery, []OddForm{
			"leading-question-mark", "leading-newlines", "bom", "utf16", "gzip", "deflate",
		}},

		{"leading-question-mark", "a question mark before its form", stepPrefix, prefixQuestionMark, noForm},
		{"leading-newlines", "two line breaks before its body", stepPrefix, prefixNewlines, nil},
		{"bom", "a UTF-8 byte order mark before its body", stepPrefix, prefixBOM, []OddForm{"utf16", "latin1"}},
		{"utf16", "its body in UTF-16, little-endian, with a byte order mark", stepPrefix, recodeUTF16, notInUTF16},

		{"gzip", "its body compressed, with Content-Encoding: gzip", stepCompress, compressGzip, []OddForm{"deflate"}},
		{"deflate", "its body compressed, with Content-Encoding: deflate (zlib)", stepCompress, compressDeflate, nil},

		{"extra-slashes", "each slash of the webhook URL's path twice", stepAddress, doubleSlashes, nil},
		{"trailing-slash", "a slash at the end of the webhook URL's path", stepAddress, addTrailingSlash, nil},
	}
}

// OddForms lists the known odd forms.
func OddForms() []OddForm {
	var names []OddForm
	for _, f := range oddForms() {
		names = append(names, f.name)
	}
	return names
}

// parseOddForms parses a comma-separated list of odd forms. The list may be empty.
func parseOddForms(list string) ([]OddForm, error) {
	var as []OddForm
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			as = append(as, OddForm(name))
		}
	}
	return as, checkOddForms(as)
}

// checkOddForms returns an error if a form is unknown or repeated, or if the forms cannot be
// combined.
func checkOddForms(as []OddForm) error {
	table := oddForms()
	known := make(map[OddForm]oddForm, len(table))
	for _, f := range table {
		known[f.name] = f
	}
	for i, name := range as {
		f, ok := known[name]
		if !ok {
			return fmt.Errorf("unknown form %q: use %s", name, strings.Join(formNames(OddForms()), ", "))
		}
		for _, earlier := range as[:i] {
			if name == earlier {
				return fmt.Errorf("form %q is given twice", name)
			}
			other := known[earlier]
			if f.step == stepEncode && other.step == stepEncode ||
				slices.Contains(f.not, earlier) || slices.Contains(other.not, name) {
				return fmt.Errorf("forms %q and %q cannot be combined", earlier, name)
			}
		}
	}
	return nil
}

func formNames(as []OddForm) []string {
	names := make([]string, len(as))
	for i, name := range as {
		names[i] = string(name)
	}
	return names
}

// composed returns a webhook with the fields in the odd forms. The forms MUST have passed
// checkOddForms.
func composed(fields []Field, as []OddForm) *outgoing {
	o := &outgoing{fields: slices.Clone(fields)}
	table := oddForms()
	for step := range steps {
		encoded := false
		for _, f := range table {
			if f.step == step && slices.Contains(as, f.name) {
				f.apply(o)
				encoded = true
			}
		}
		if step == stepEncode && !encoded {
			o.encodeForm()
		}
	}
	return o
}
