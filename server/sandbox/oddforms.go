package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// OddForm is a way in which a webhook differs from what Ongair documents, for example "bom". The sandbox posts webhooks
// in odd forms on demand, so that a consumer can be tried with what other senders and proxies do to a webhook.
type OddForm string

// The steps in which odd forms change a webhook, in order. Without a form of stepEncode the fields become an urlencoded
// form, as Ongair documents.
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
	// not lists other forms that make no sense together with this one. Two encodings never do.
	not []OddForm
}

// oddForms returns the table. Forms of one step are applied in its order.
func oddForms() []oddForm {
	noForm := []OddForm{ // bodies that are not an urlencoded form
		"multipart", "multipart-unlabelled", "multipart-without-boundary", "multipart-other-boundary",
		"json", "json-array", "json-as-form",
	}
	notInUTF16 := []OddForm{ // bodies whose bytes say what they are
		"multipart", "multipart-unlabelled", "multipart-without-boundary", "multipart-other-boundary", "latin1",
	}
	return []oddForm{
		{"no-type", "no notification_type", stepFields, dropType, []OddForm{"type-lower-case", "type-with-spaces"}},
		{"type-lower-case", "its type in lower case, such as messagereceived", stepFields, lowerCaseType, nil},
		{"type-with-spaces", "a space before and after its type", stepFields, spacesAroundType, nil},
		{"plus-as-space", "the plus of its contact not escaped, which is a space in a form", stepFields, keepPlus, append(noForm, "payload")},

		{"multipart", "a multipart/form-data body", stepEncode, encodeMultipart, nil},
		{"multipart-unlabelled", "a multipart body and no Content-Type", stepEncode, encodeMultipartUnlabelled, nil},
		{"multipart-without-boundary", "a multipart body and a Content-Type without its boundary", stepEncode, encodeMultipartWithoutBoundary, nil},
		{"multipart-other-boundary", "a multipart body and a Content-Type with another boundary", stepEncode, encodeMultipartOtherBoundary, nil},
		{"form-as-json", "a form labelled application/json", stepEncode, encodeFormAsJSON, nil},
		{"json", "a JSON object", stepEncode, encodeJSON, nil},
		{"json-as-form", "a JSON object labelled as a form", stepEncode, encodeJSONAsForm, nil},
		{"json-array", "a JSON array with one object", stepEncode, encodeJSONArray, nil},
		{"payload", "one form field, payload, with a JSON object", stepEncode, encodePayload, nil},
		{"latin1", "a form in ISO-8859-1, which its Content-Type names", stepEncode, encodeLatin1, nil},
		{"query", "its fields in the URL's query and an empty body", stepEncode, encodeQuery, []OddForm{
			"leading-question-mark", "leading-newlines", "bom", "utf16", "gzip", "deflate",
		}},

		{"leading-question-mark", "a question mark in front of its form", stepPrefix, prefixQuestionMark, noForm},
		{"leading-newlines", "two line breaks in front of its body", stepPrefix, prefixNewlines, nil},
		{"bom", "a UTF-8 byte order mark in front of its body", stepPrefix, prefixBOM, []OddForm{"utf16", "latin1"}},
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

// parseOddForms reads a list of odd forms with commas between them. An empty list has none.
func parseOddForms(list string) ([]OddForm, error) {
	var as []OddForm
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			as = append(as, OddForm(name))
		}
	}
	return as, checkOddForms(as)
}

// checkOddForms reports why a webhook cannot be posted in all of the forms.
func checkOddForms(as []OddForm) error {
	table := oddForms()
	known := make(map[OddForm]oddForm, len(table))
	for _, f := range table {
		known[f.name] = f
	}
	for i, name := range as {
		f, ok := known[name]
		if !ok {
			return fmt.Errorf("unknown form %q: use %s", name, strings.Join(words(OddForms()), ", "))
		}
		for _, earlier := range as[:i] {
			if name == earlier {
				return fmt.Errorf("form %q is given twice", name)
			}
			other := known[earlier]
			if f.step == stepEncode && other.step == stepEncode ||
				slices.Contains(f.not, earlier) || slices.Contains(other.not, name) {
				return fmt.Errorf("forms %q and %q do not go together", earlier, name)
			}
		}
	}
	return nil
}

func words(as []OddForm) []string {
	names := make([]string, len(as))
	for i, name := range as {
		names[i] = string(name)
	}
	return names
}

// composed returns the webhook of the fields in the odd forms, which have passed checkOddForms.
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
