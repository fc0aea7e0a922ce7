package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/listen"
)

// checkWhole checks the guarantee "Whole". Every posted field must be in the event, and the event must
// have no other field. It parses the body independently of the package.
func checkWhole(t testing.TB, contentType string, body []byte, e *ongairv1.Event) {
	t.Helper()
	if raw := e.GetRawBody(); raw != nil {
		require.True(t, bytes.Equal(body, raw.GetContent()), "the raw body differs from the posted body")
		require.Equal(t, strings.ToValidUTF8(contentType, "\ufffd"), raw.GetContentType())
		return
	}
	want, ok := postedFields(contentType, body)
	require.True(t, ok, "a body that is more than fields was not kept")
	kept := map[pair]int{}
	for _, f := range e.GetFields() {
		kept[exact(f)]++
	}
	typed := map[string]bool{}
	for _, f := range want {
		if kept[f] > 0 {
			kept[f]--
			continue
		}
		value, ok := typedValue(e, f.name)
		require.True(t, ok && value == f.value && !typed[f.name], "the field %q=%q is missing", f.name, f.value)
		typed[f.name] = true
	}
	for f, n := range kept {
		require.Zero(t, n, "the field %q=%q was not posted", f.name, f.value)
	}
}

// pair is a field with its exact bytes.
type pair struct{ name, value string }

func exact(f *ongairv1.WebhookField) pair {
	p := pair{f.GetName(), f.GetValue()}
	if f.RawName != nil {
		p.name = string(f.GetRawName())
	}
	if f.RawValue != nil {
		p.value = string(f.GetRawValue())
	}
	return p
}

// typedValue returns the value of a documented field. ok is false if the event has no such field.
func typedValue(e *ongairv1.Event, name string) (_ string, ok bool) {
	if value, ok := payloadValue(e, name); ok {
		return value, true
	}
	switch name {
	case "notification_type":
		return e.GetNotificationType(), true
	case "account_type":
		return e.GetAccountType(), true
	case "conversation_id":
		return e.GetConversationId(), true
	case "external_contact_id":
		return e.GetContact().GetExternalId(), true
	case "name":
		return e.GetContact().GetName(), true
	case "phone_number":
		return e.GetContact().GetPhoneNumber(), true
	}
	return "", false
}

func payloadValue(e *ongairv1.Event, name string) (_ string, ok bool) {
	m := e.ProtoReflect()
	payload := m.WhichOneof(m.Descriptor().Oneofs().ByName("payload"))
	if payload == nil {
		return "", false
	}
	field := payload.Message().Fields().ByTextName(name)
	if field == nil || field.Kind() != protoreflect.StringKind {
		return "", false
	}
	return m.Get(payload).Message().Get(field).String(), true
}

// parsed returns the event of a body posted to testChannel.
func parsed(contentType string, body []byte) *ongairv1.Event {
	e, _ := parse(testChannel, posted{contentType: contentType, body: body})
	return e
}

// postedFields returns the fields of a body. ok is false if the body has anything else.
func postedFields(contentType string, body []byte) (_ []pair, ok bool) {
	if len(body) == 0 {
		return nil, true
	}
	leading := func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("?\ufeff\u200b", r) }
	body = bytes.TrimLeftFunc(body, leading)
	mediaType, params, _ := mime.ParseMediaType(contentType)
	boundaries := []string{}
	if strings.HasPrefix(mediaType, "multipart/") && params["boundary"] != "" {
		boundaries = append(boundaries, params["boundary"])
	}
	if bytes.HasPrefix(body, []byte("--")) && bytes.Contains(bytes.ToLower(body), []byte("content-disposition")) {
		line, _, _ := bytes.Cut(body[2:], []byte("\n"))
		boundaries = append(boundaries, string(bytes.TrimRight(line, "\r \t")))
	}
	for _, boundary := range boundaries {
		if found, ok := multipartPairs(boundary, body); ok && (len(found) > 0 || bytes.HasPrefix(body, []byte("--"+boundary+"--"))) {
			return found, true
		}
	}
	if bytes.HasPrefix(body, []byte("{")) {
		return jsonPairs(body)
	}
	found, ok := formPairs(body)
	if len(found) > 0 {
		found[0].name = strings.TrimLeftFunc(found[0].name, leading)
	}
	return found, ok
}

func formPairs(body []byte) (found []pair, ok bool) {
	for _, part := range strings.Split(string(body), "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, okName := percentDecoded(name)
		value, okValue := percentDecoded(value)
		if !okName || !okValue {
			return nil, false
		}
		found = append(found, pair{name, value})
	}
	return found, len(found) <= 1000
}

func percentDecoded(s string) (string, bool) {
	var out []byte
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			b, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			out = append(out, byte(b))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out), true
}

// jsonPairs returns the members of an object. Values other than strings are their JSON text.
func jsonPairs(body []byte) (found []pair, ok bool) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var text [2]string
	depth, start, part := 0, int64(0), 0
	for {
		token, err := dec.Token()
		if err != nil {
			return found, len(found) <= 1000
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth == 1 {
				start = dec.InputOffset()
				continue
			}
		case json.Delim('}'), json.Delim(']'):
			if depth--; depth == 0 {
				continue
			}
		}
		if depth != 1 {
			continue
		}
		text[part] = strings.Trim(string(body[start:dec.InputOffset()]), " \t\r\n:,")
		if s, isString := token.(string); isString {
			text[part] = s
		}
		if start, part = dec.InputOffset(), 1-part; part == 0 {
			found = append(found, pair{text[0], text[1]})
		}
	}
}

func multipartPairs(boundary string, body []byte) (found []pair, ok bool) {
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(int64(len(body)))
	if err != nil || len(form.File) > 0 {
		return nil, false
	}
	for name, values := range form.Value {
		for _, value := range values {
			found = append(found, pair{name, value})
		}
	}
	return found, true
}

// checkStorable checks that the event can be stored. Protobuf rejects strings that are not UTF-8, and
// the log rejects messages over 4 MiB.
func checkStorable(t testing.TB, body []byte, e *ongairv1.Event) {
	t.Helper()
	wire, err := proto.Marshal(e)
	require.NoError(t, err)
	// The bound allows for invalid UTF-8 in the worst places, a thousand fields and an envelope.
	require.LessOrEqual(t, len(wire), 3*len(body)+32<<10)
	require.Less(t, len(wire), 4<<20)
}

func TestAnEventOfTheLargestBodyFitsTheLog(t *testing.T) {
	const form, jsonType = "application/x-www-form-urlencoded", "application/json"
	alternating := func(n int) string { return strings.Repeat("a\xff", n/2) }
	many := func(value string) string {
		var b strings.Builder
		for i := range maxFields {
			fmt.Fprintf(&b, "f%d=%s&", i, value)
		}
		return strings.TrimSuffix(b.String(), "&")
	}
	const head = "notification_type=MessageReceived&text="
	for _, tt := range []struct{ name, contentType, body string }{
		{"a typed value of 0xff", form, head + strings.Repeat("\xff", listen.MaxBodyBytes-len(head))},
		{"a typed value that triples when it is decoded", form + "; charset=windows-1252", head + strings.Repeat("\x80", listen.MaxBodyBytes-len(head))},
		{"values that triple when they are decoded", form + "; charset=windows-1252", head + "x&" + strings.Repeat("text="+strings.Repeat("\x80", 60<<10)+"&", 17)},
		{"JSON that triples when it is decoded", jsonType + "; charset=windows-1252", `{"notification_type":"MessageReceived","text":"` + strings.Repeat("\x80", listen.MaxBodyBytes-60) + `"}`},
		{"a typed value of a and 0xff", form, head + alternating(listen.MaxBodyBytes-len(head))},
		{"a typed value of escaped 0xff", form, head + strings.Repeat("%ff", (listen.MaxBodyBytes-len(head))/3)},
		{"a typed value of a and escaped 0xff", form, head + strings.Repeat("a%ff", (listen.MaxBodyBytes-len(head))/4)},
		{"a typed value that is repeated", form, head + alternating(listen.MaxBodyBytes/2-len(head)) + "&text=" + alternating(listen.MaxBodyBytes/2-6)},
		{"a typed value of a and 0xff with malformed escapes", form, head + "%" + alternating(listen.MaxBodyBytes-len(head)-1)},
		{"malformed escapes", form, head + strings.Repeat("%", listen.MaxBodyBytes-len(head))},
		{"a name of a and 0xff", form, alternating(listen.MaxBodyBytes)},
		{"a name of a and 0xff with malformed escapes", form, "%" + alternating(listen.MaxBodyBytes-1)},
		{"a name of 0xff", form, strings.Repeat("\xff", listen.MaxBodyBytes)},
		{"a name and a value of a and 0xff", form, alternating(listen.MaxBodyBytes/2) + "=" + alternating(listen.MaxBodyBytes/2-1)},
		{"a thousand fields of a and 0xff", form, many(alternating(listen.MaxBodyBytes/maxFields - 6))},
		{"a thousand fields of 0xff", form, many(strings.Repeat("\xff", listen.MaxBodyBytes/maxFields-6))},
		{"a thousand fields of escaped 0xff", form, many(strings.Repeat("%ff", (listen.MaxBodyBytes/maxFields-6)/3))},
		{"the largest number of fields", form, strings.Repeat("a&", listen.MaxBodyBytes/2)},
		{"only 0xff", "application/octet-stream", strings.Repeat("\xff", listen.MaxBodyBytes)},
		{"JSON of 0xff", jsonType, `{"text":"` + strings.Repeat("\xff", listen.MaxBodyBytes-11) + `"}`},
		{"JSON of a and 0xff", jsonType, `{"text":"` + alternating(listen.MaxBodyBytes-11) + `"}`},
		{"JSON whose name is a and 0xff", jsonType, `{"` + alternating(listen.MaxBodyBytes-6) + `":1}`},
		{"JSON of typed a and 0xff", jsonType, `{"notification_type":"MessageSent","text":"` + alternating(listen.MaxBodyBytes-45) + `"}`},
		{"JSON of lone surrogates", jsonType, `{"text":"` + strings.Repeat(`\ud800`, (listen.MaxBodyBytes-11)/6) + `"}`},
		{"JSON of escapes", jsonType, `{"text":"` + strings.Repeat(`\u0800`, (listen.MaxBodyBytes-11)/6) + `"}`},
		{"JSON of short escapes", jsonType, `{"text":"` + strings.Repeat(`\n`, (listen.MaxBodyBytes-11)/2) + `"}`},
		{"nested JSON", jsonType, `{"a":` + strings.Repeat("[", listen.MaxBodyBytes/2-4) + strings.Repeat("]", listen.MaxBodyBytes/2-4) + `}`},
		{"multipart of a and 0xff", "multipart/form-data; boundary=b",
			"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n" + alternating(listen.MaxBodyBytes-64) + "\r\n--b--"},
		{"multipart whose name is a and 0xff", "multipart/form-data; boundary=b",
			"--b\r\nContent-Disposition: form-data; name=\"" + alternating(listen.MaxBodyBytes-64) + "\"\r\n\r\n\r\n--b--"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.LessOrEqual(t, len(tt.body), listen.MaxBodyBytes)
			require.Greater(t, len(tt.body), listen.MaxBodyBytes-listen.MaxBodyBytes/50)
			e := parsed(tt.contentType, []byte(tt.body))
			checkStorable(t, []byte(tt.body), e)
			checkWhole(t, tt.contentType, []byte(tt.body), e)
		})
	}
}

func TestABodyOfMoreThanAThousandFieldsIsKeptWhole(t *testing.T) {
	form := func(n int) string { return strings.TrimPrefix(strings.Repeat("&a=1", n), "&") }
	object := func(n int) string { return "{" + strings.TrimPrefix(strings.Repeat(`,"a":1`, n), ",") + "}" }
	parts := func(n int) string {
		return strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n", n) + "--b--\r\n"
	}
	for name, kind := range map[string]struct {
		contentType string
		body        func(int) string
	}{
		"form": {"application/x-www-form-urlencoded", form}, "JSON": {"application/json", object},
		"multipart": {"multipart/form-data; boundary=b", parts},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1000, 1001} {
				body := []byte(kind.body(n))
				e := parsed(kind.contentType, body)
				checkWhole(t, kind.contentType, body, e)
				if n <= maxFields {
					assert.Nil(t, e.GetRawBody())
					assert.Len(t, e.GetFields(), n)
				} else {
					assert.NotNil(t, e.GetRawBody())
					assert.Empty(t, e.GetFields())
				}
			}
		})
	}
}

func FuzzForm(f *testing.F) {
	const contentType = "application/x-www-form-urlencoded"
	for _, file := range goldenFiles(f) {
		if in := readPosted(f, file); strings.HasPrefix(in.contentType, contentType) {
			f.Add(in.body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		body = body[:min(len(body), listen.MaxBodyBytes)]
		e := parsed(contentType, body)
		checkStorable(t, body, e)
		checkWhole(t, contentType, body, e)
	})
}

func FuzzBodyOfAnyType(f *testing.F) {
	for _, file := range goldenFiles(f) {
		in := readPosted(f, file)
		f.Add(in.contentType, in.body)
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		body = body[:min(len(body), listen.MaxBodyBytes)]
		contentType = contentType[:min(len(contentType), 1<<10)]
		e := parsed(contentType, body)
		checkStorable(t, body, e)
		checkWhole(t, contentType, body, e)
	})
}
