package sandbox

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// The functions below apply the odd forms, in the order of the table.

const jsonType = "application/json"

func dropType(o *outgoing) {
	var rest []Field
	for _, f := range o.fields {
		if f.Name != "notification_type" {
			rest = append(rest, f)
		}
	}
	o.fields = rest
}

func lowerCaseType(o *outgoing) { o.changeType(strings.ToLower) }

func spacesAroundType(o *outgoing) {
	o.changeType(func(name string) string { return " " + name + " " })
}

func (o *outgoing) changeType(change func(name string) string) {
	for i, f := range o.fields {
		if f.Name == "notification_type" {
			o.fields[i].Value = change(f.Value)
		}
	}
}

func keepPlus(o *outgoing) { o.literalPlus = true }

func encodeMultipart(o *outgoing) {
	boundary := o.encodeParts()
	o.contentType = "multipart/form-data; boundary=" + boundary
}

func encodeMultipartUnlabelled(o *outgoing) { o.encodeParts() }

func encodeMultipartWithoutBoundary(o *outgoing) {
	o.encodeParts()
	o.contentType = "multipart/form-data"
}

func encodeMultipartOtherBoundary(o *outgoing) {
	boundary := o.encodeParts()
	o.contentType = "multipart/form-data; boundary=another-" + boundary
}

// encodeParts makes a multipart body and returns its boundary. The boundary is always the same
// unless a field contains it.
func (o *outgoing) encodeParts() (boundary string) {
	boundary = "----ongair-sandbox"
	for i := 0; slices.ContainsFunc(o.fields, func(f Field) bool { return strings.Contains(f.Name+"\n"+f.Value, boundary) }); i++ {
		boundary = "----ongair-sandbox-" + strconv.Itoa(i)
	}
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	_ = writer.SetBoundary(boundary) // the boundary is valid, and writes to a buffer cannot fail
	for _, f := range o.fields {
		_ = writer.WriteField(f.Name, f.Value)
	}
	_ = writer.Close()
	o.body = body.Bytes()
	return boundary
}

func encodeFormAsJSON(o *outgoing) { o.contentType, o.body = jsonType, o.form() }

func encodeJSON(o *outgoing) { o.contentType, o.body = jsonType, o.object() }

func encodeJSONAsForm(o *outgoing) { o.contentType, o.body = formType, o.object() }

func encodeJSONArray(o *outgoing) {
	o.contentType, o.body = jsonType, []byte("["+string(o.object())+"]")
}

func encodePayload(o *outgoing) {
	o.contentType, o.body = formType, []byte("payload="+url.QueryEscape(string(o.object())))
}

// object returns the fields as a JSON object of strings. It keeps their order and repeated names.
func (o *outgoing) object() []byte {
	var body strings.Builder
	body.WriteString("{")
	for i, f := range o.fields {
		if i > 0 {
			body.WriteString(",")
		}
		body.WriteString(jsonString(f.Name) + ":" + jsonString(f.Value))
	}
	body.WriteString("}")
	return []byte(body.String())
}

func jsonString(text string) string {
	var encoded strings.Builder
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // encoding a string cannot fail
	return strings.TrimSuffix(encoded.String(), "\n")
}

// encodeLatin1 escapes the bytes of ISO-8859-1. Characters outside it become question marks.
func encodeLatin1(o *outgoing) {
	latin1 := outgoing{literalPlus: o.literalPlus}
	for _, f := range o.fields {
		latin1.fields = append(latin1.fields, Field{toLatin1(f.Name), toLatin1(f.Value)})
	}
	o.contentType, o.body = formType+"; charset=iso-8859-1", latin1.form()
}

func toLatin1(text string) string {
	var encoded []byte
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		encoded = append(encoded, byte(r))
	}
	return string(encoded)
}

func encodeQuery(o *outgoing) { o.query = string(o.form()) }

func prefixQuestionMark(o *outgoing) { o.prefix("?") }

func prefixNewlines(o *outgoing) { o.prefix("\r\n\r\n") }

func prefixBOM(o *outgoing) { o.prefix("\xef\xbb\xbf") }

func (o *outgoing) prefix(text string) { o.body = append([]byte(text), o.body...) }

func recodeUTF16(o *outgoing) {
	encoded := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(string(o.body))) {
		encoded = binary.LittleEndian.AppendUint16(encoded, unit)
	}
	o.body = encoded
}

func compressGzip(o *outgoing) {
	o.compress("gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

// compressDeflate uses the zlib format, which HTTP calls deflate.
func compressDeflate(o *outgoing) {
	o.compress("deflate", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func (o *outgoing) compress(name string, writerTo func(w io.Writer) io.WriteCloser) {
	var body bytes.Buffer
	writer := writerTo(&body)
	_, _ = writer.Write(o.body) // writes to a buffer cannot fail
	_ = writer.Close()
	o.contentEncoding, o.body = name, body.Bytes()
}

func doubleSlashes(o *outgoing) { o.doubleSlashes = true }

func addTrailingSlash(o *outgoing) { o.trailingSlash = true }
