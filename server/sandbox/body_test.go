package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// multipartBody encodes fields as Go's client does and returns the body with its Content-Type.
func multipartBody(t testing.TB, fields map[string]string) (contentType, body string) {
	t.Helper()
	var buffer bytes.Buffer
	writer := multipart.NewWriter(&buffer)
	for name, value := range fields {
		require.NoError(t, writer.WriteField(name, value))
	}
	require.NoError(t, writer.Close())
	return writer.FormDataContentType(), buffer.String()
}

func TestEveryEncodingIsReadUnderAnyContentType(t *testing.T) {
	fields := map[string]string{"external_id": customer, "text": "Habari & \"hello\" = 你好 👋\n--x", "thread": "true"}
	asJSON, err := json.Marshal(fields)
	require.NoError(t, err)
	form := url.Values{}
	for name, value := range fields {
		form.Set(name, value)
	}
	multipartType, asMultipart := multipartBody(t, fields)

	s, baseURL := start(t, Config{})
	for encoding, body := range map[string]string{
		"JSON":      string(asJSON),
		"a form":    form.Encode(),
		"multipart": asMultipart,
	} {
		for _, contentType := range []string{
			"", "application/json", formType, multipartType, "multipart/form-data",
			"multipart/form-data; boundary=another", "text/plain", "nonsense;;",
		} {
			t.Run(fmt.Sprintf("%s labelled %q", encoding, contentType), func(t *testing.T) {
				s.requests.clear()
				status, answer := exchange(t, http.MethodPost, baseURL+apiPath+"/send", contentType, body,
					"Authorization", "Token token:"+token)
				assert.Equal(t, http.StatusOK, status, answer)
				assert.Equal(t, fields, s.Requests()[0].Params)
			})
		}
	}
}

func TestBodiesAreReadByTheirContent(t *testing.T) {
	type params = map[string]string
	for name, tt := range map[string]struct {
		body string
		want params
	}{
		"nothing":                           {"", params{}},
		"JSON scalars become their text":    {`{"a":true,"b":false,"c":2067,"d":1.50,"e":"x"}`, params{"a": "true", "b": "false", "c": "2067", "d": "1.50", "e": "x"}},
		"a JSON null is no field":           {`{"a":null,"b":""}`, params{"b": ""}},
		"nested JSON stays JSON":            {`{"a":{"b": [1, 2]}}`, params{"a": `{"b":[1,2]}`}},
		"JSON after white space":            {"\r\n\t {\"a\":\"b\"} ", params{"a": "b"}},
		"JSON's last of two counts":         {`{"a":"b","a":"c"}`, params{"a": "c"}},
		"broken JSON is a form":             {`{"a":"b"`, params{`{"a":"b"`: ""}},
		"two JSON objects are a form":       {`{}{}`, params{"{}{}": ""}},
		"a JSON list is a form":             {`["a"]`, params{`["a"]`: ""}},
		"a form's last of two counts":       {"a=b&a=c", params{"a": "c"}},
		"a form's plus is a space":          {"a=b+c&d=%2B254", params{"a": "b c", "d": "+254"}},
		"a form's broken escape stays":      {"a=100%&b=%zz", params{"a": "100%", "b": "%zz"}},
		"a form's bytes need not be UTF-8":  {"a=%ff", params{"a": "\xff"}},
		"a form without values":             {"&a&&=b&", params{"a": "", "": "b"}},
		"a form that begins with dashes":    {"--a=b&c=d", params{"--a": "b", "c": "d"}},
		"dashes and a line are a form":      {"--a\nb=c", params{"--a\nb": "c"}},
		"multipart with bare line feeds":    {"--x\nContent-Disposition: form-data; name=\"a\"\n\nb\n--x--\n", params{"a": "b"}},
		"multipart with a file":             {"--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nContent-Type: image/png\r\n\r\nb\r\n--x--", params{}},
		"multipart with no file chosen":     {"--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"\"\r\n\r\n\r\n--x--", params{"a": ""}},
		"multipart with a part of no name":  {"--x\r\nContent-Disposition: form-data\r\n\r\nb\r\n--x--", params{}},
		"multipart's last of two counts":    {"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x\r\nContent-Disposition: form-data; name=a\r\n\r\nc\r\n--x--", params{"a": "c"}},
		"multipart with spaces after lines": {"--x \r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x-- \r\n", params{"a": "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := parseBody([]byte(tt.body))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestATruncatedMultipartBodyIsRejected(t *testing.T) {
	whole := golden(t, "requests", "send_image.multipart")
	for name, body := range map[string]string{
		"in a value":              whole[:strings.Index(whole, "A caption")+3],
		"before the closing line": strings.TrimSuffix(whole, "--------------------------d74496d66958873e--\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			status, answer := ask(s, "/send_image", body)
			assert.Equal(t, http.StatusBadRequest, status)
			assert.JSONEq(t, `{"error":"the multipart body is malformed or truncated"}`, answer)
			assert.Empty(t, s.state.snapshot().Messages)
		})
	}
}

func FuzzABodyOfAnyEncodingKeepsItsValue(f *testing.F) {
	f.Add("Hello")
	f.Add("")
	f.Add("--x\r\n\r\n--x--\r\n")
	f.Add(`{"a":"b"}`)
	f.Add("a=b&c=%zz+\xff\x00👋")
	f.Fuzz(func(t *testing.T, value string) {
		// Parsing arbitrary bytes must end without a panic.
		_, _, _ = parseBody([]byte(value))

		want := map[string]string{"text": value}
		_, asMultipart := multipartBody(t, want)
		encoded := map[string]string{"a form": "text=" + url.QueryEscape(value), "multipart": asMultipart}
		if utf8.ValidString(value) {
			asJSON, err := json.Marshal(want)
			require.NoError(t, err)
			encoded["JSON"] = string(asJSON)
		}
		for encoding, body := range encoded {
			got, files, err := parseBody([]byte(body))
			require.NoError(t, err, encoding)
			assert.Empty(t, files, encoding)
			assert.Equal(t, want, got, encoding)
		}
	})
}
