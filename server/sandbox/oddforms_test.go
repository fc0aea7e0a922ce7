package sandbox

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden webhooks in testdata/oddforms")

// oddFields returns fields that the odd forms change in different ways: a plus, characters inside
// and outside ISO-8859-1, special characters of JSON and HTML, an empty field and a repeated one.
func oddFields() []Field {
	return []Field{
		{"notification_type", "MessageReceived"}, {"id", "1"}, {"name", ""},
		{"text", "Où est ma commande ? 1+1 = \"2\" & <3 👋\n"}, {"external_contact_id", "+254722200200"},
		{"label", "a"}, {"label", "b"},
	}
}

// rawReceiver records webhooks as they were sent, with only the headers that describe the body.
func rawReceiver(t *testing.T) (url string, webhooks <-chan string) {
	t.Helper()
	got := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var raw strings.Builder
		fmt.Fprintf(&raw, "%s %s\n", r.Method, r.RequestURI)
		for _, name := range []string{"Content-Type", "Content-Encoding"} {
			for _, value := range r.Header.Values(name) {
				fmt.Fprintf(&raw, "%s: %s\n", name, value)
			}
		}
		raw.WriteString("\n")
		_, _ = io.Copy(&raw, r.Body)
		got <- raw.String()
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// wireOf posts one webhook in odd forms and returns the request that the receiver got.
func wireOf(t *testing.T, fields []Field, as ...OddForm) string {
	t.Helper()
	url, webhooks := rawReceiver(t)
	s := New(Config{Token: token, WebhookURL: url + "/webhooks/default/s%2Fcret"})
	status, err := s.TriggerAs(t.Context(), fields, as...)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	return <-webhooks
}

// decompressed returns wire with its body decompressed. The tests do not pin compressed bytes,
// because they depend on the compressor.
func decompressed(t *testing.T, wire string) string {
	t.Helper()
	header, body, _ := strings.Cut(wire, "\n\n")
	var reader io.Reader = strings.NewReader(body)
	var err error
	switch {
	case strings.Contains(header, "\nContent-Encoding: gzip"):
		reader, err = gzip.NewReader(reader)
	case strings.Contains(header, "\nContent-Encoding: deflate"):
		reader, err = zlib.NewReader(reader)
	}
	require.NoError(t, err)
	read, err := io.ReadAll(reader)
	require.NoError(t, err)
	return header + "\n\n" + string(read)
}

func TestAWebhookInAnOddFormIsPostedByteForByte(t *testing.T) {
	cases := map[string][]OddForm{"as-documented": nil}
	for _, name := range OddForms() {
		cases[string(name)] = []OddForm{name}
	}
	for _, together := range [][]OddForm{
		{"bom", "multipart-unlabelled"},
		{"gzip", "bom", "leading-newlines", "leading-question-mark", "type-lower-case", "type-with-spaces"},
		{"query", "plus-as-space", "extra-slashes", "trailing-slash"},
		{"utf16", "json"},
		{"latin1", "plus-as-space", "deflate"},
	} {
		cases[strings.Join(formNames(together), ",")] = together
	}
	for name, as := range cases {
		t.Run(name, func(t *testing.T) {
			got := decompressed(t, wireOf(t, oddFields(), as...))
			if *update {
				require.NoError(t, os.WriteFile(filepath.Join("testdata", "oddforms", name+".http"), []byte(got), 0o600))
			}
			assert.Equal(t, golden(t, "oddforms", name+".http"), got)
		})
	}
}

func TestEveryGoldenFileHasAnOddForm(t *testing.T) {
	files, err := filepath.Glob("testdata/oddforms/*.http")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		if name == "as-documented" {
			continue
		}
		_, err := parseOddForms(name)
		assert.NoError(t, err)
	}
	assert.Len(t, files, len(OddForms())+6)
}

func TestTheOrderOfOddFormsDoesNotMatter(t *testing.T) {
	assert.Equal(t, wireOf(t, oddFields(), "bom", "leading-newlines", "json"), wireOf(t, oddFields(), "json", "leading-newlines", "bom"))
}

func TestOddFormsDoNotChangeTheCallersFields(t *testing.T) {
	fields := oddFields()
	wireOf(t, fields, "type-lower-case", "type-with-spaces")
	assert.Equal(t, oddFields(), fields)
}

func TestAFieldThatContainsTheBoundaryChangesTheBoundary(t *testing.T) {
	for _, value := range []string{"x\r\n------ongair-sandbox--\r\n", "------ongair-sandbox ------ongair-sandbox-0"} {
		wire := wireOf(t, []Field{{"text", value}}, "multipart")
		header, body, _ := strings.Cut(wire, "\n\n")
		_, contentType, _ := strings.Cut(header, "Content-Type: ")
		_, params, err := mime.ParseMediaType(contentType)
		require.NoError(t, err)
		form, err := multipart.NewReader(strings.NewReader(body), params["boundary"]).ReadForm(1 << 20)
		require.NoError(t, err)
		assert.Equal(t, []string{value}, form.Value["text"])
	}
}

func TestOddFormsThatCannotBeCombinedAreRejected(t *testing.T) {
	encodings := []OddForm{
		"multipart", "multipart-unlabelled", "multipart-without-boundary", "multipart-other-boundary",
		"form-as-json", "json", "json-as-form", "json-array", "payload", "latin1", "query",
	}
	var pairs [][2]OddForm
	for i, one := range encodings {
		for _, other := range encodings[i+1:] {
			pairs = append(pairs, [2]OddForm{one, other})
		}
	}
	for one, others := range map[OddForm][]OddForm{
		"no-type":               {"type-lower-case", "type-with-spaces"},
		"query":                 {"leading-question-mark", "leading-newlines", "bom", "utf16", "gzip", "deflate"},
		"bom":                   {"utf16", "latin1"},
		"utf16":                 append([]OddForm{"latin1"}, encodings[:4]...),
		"gzip":                  {"deflate"},
		"leading-question-mark": append([]OddForm{"json", "json-as-form", "json-array"}, encodings[:4]...),
		"plus-as-space":         append([]OddForm{"json", "json-as-form", "json-array", "payload"}, encodings[:4]...),
	} {
		for _, other := range others {
			pairs = append(pairs, [2]OddForm{one, other})
		}
	}
	rejected := make(map[[2]OddForm]bool)
	for _, pair := range pairs {
		rejected[pair], rejected[[2]OddForm{pair[1], pair[0]}] = true, true
	}
	for _, one := range OddForms() {
		for _, other := range OddForms() {
			err := checkOddForms([]OddForm{one, other})
			switch {
			case one == other:
				assert.EqualError(t, err, fmt.Sprintf("form %q is given twice", one))
			case rejected[[2]OddForm{one, other}]:
				assert.EqualError(t, err, fmt.Sprintf("forms %q and %q cannot be combined", one, other))
			default:
				assert.NoError(t, err, "%s and %s", one, other)
			}
		}
	}
}

func TestTheTableOfOddFormsIsConsistent(t *testing.T) {
	known := make(map[OddForm]bool)
	step := 0
	for _, f := range oddForms() {
		assert.False(t, known[f.name], f.name)
		known[f.name] = true
		assert.GreaterOrEqual(t, f.step, step, "the table is in the order of the steps")
		step = f.step
		assert.LessOrEqual(t, len(f.name), 26, "the page's column")
	}
	for _, f := range oddForms() {
		for _, other := range f.not {
			assert.True(t, known[other], other)
		}
	}
}

func TestAControlPostsAFormInOddForms(t *testing.T) {
	const json = `{"notification_type":"GroupCreated","id":"9"}`
	for name, tt := range map[string]struct {
		setting     []OddForm
		query       string
		contentType string
		body        string
		want        posted
		as          []OddForm
	}{
		"of one webhook":              {nil, "?as=json", formType, "notification_type=GroupCreated&id=9", posted{"application/json", json}, []OddForm{"json"}},
		"with a type":                 {nil, "?type=GroupCreated&as=json,no-type", formType, "id=9", posted{"application/json", `{"name":"Sandbox","id":"9"}`}, []OddForm{"json", "no-type"}},
		"in two parameters":           {nil, "?as=json&as=no-type", formType, "id=9", posted{"application/json", `{"id":"9"}`}, []OddForm{"json", "no-type"}},
		"of all webhooks":             {[]OddForm{"json"}, "", formType, "notification_type=GroupCreated&id=9", posted{"application/json", json}, []OddForm{"json"}},
		"of all webhooks with a type": {[]OddForm{"json"}, "?type=GroupCreated", formType, "name=x", posted{"application/json", `{"notification_type":"GroupCreated","name":"x","id":"7"}`}, []OddForm{"json"}},
		"in place of the others":      {[]OddForm{"json"}, "?as=form-as-json", formType, "id=9", posted{"application/json", "id=9"}, []OddForm{"form-as-json"}},
		"none in place of the others": {[]OddForm{"json"}, "?as=", formType, "b=%zz&&a", posted{formType, "b=%zz&&a"}, nil},
		"not of a body of JSON":       {[]OddForm{"multipart"}, "", "application/json", `{"a": 1}`, posted{"application/json", `{"a": 1}`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			url, webhooks := receiver(t, http.StatusOK)
			s, baseURL := start(t, Config{WebhookURL: url})
			require.NoError(t, s.SetOddForms(tt.setting...))
			status, answer := exchange(t, http.MethodPost, baseURL+"/_sandbox/webhooks"+tt.query, tt.contentType, tt.body)
			require.Equal(t, http.StatusOK, status, answer)
			assert.Equal(t, tt.want, receive(t, webhooks))
			assert.Equal(t, tt.as, s.Deliveries()[0].As)
		})
	}
}

func TestInvalidOddFormsAreRejected(t *testing.T) {
	for name, tt := range map[string]struct{ query, contentType, reason string }{
		"an unknown form":               {"?as=bom,bomb", formType, `unknown form \"bomb\": use no-type, type-lower-case, type-with-spaces, plus-as-space, multipart, multipart-unlabelled, multipart-without-boundary, multipart-other-boundary, form-as-json, json, json-as-form, json-array, payload, latin1, query, leading-question-mark, leading-newlines, bom, utf16, gzip, deflate, extra-slashes, trailing-slash`},
		"a form twice":                  {"?as=bom,bom", formType, `form \"bom\" is given twice`},
		"forms that exclude each other": {"?as=json&as=multipart", formType, `forms \"json\" and \"multipart\" cannot be combined`},
		"an odd form of JSON":           {"?as=bom", "application/json", "type and as require a form: use the Content-Type application/x-www-form-urlencoded"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := receiver(t, http.StatusOK)
			s, baseURL := start(t, Config{WebhookURL: url})
			status, answer := exchange(t, http.MethodPost, baseURL+"/_sandbox/webhooks"+tt.query, tt.contentType, "{}")
			assert.Equal(t, http.StatusBadRequest, status)
			assert.Contains(t, answer, tt.reason)
			assert.Empty(t, s.Deliveries(), "nothing is posted")
		})
	}
}

func TestEveryLaterWebhookHasTheConfiguredOddForms(t *testing.T) {
	url, webhooks := receiver(t, http.StatusOK)
	config := quick(url)
	config.Receipts = true
	s, baseURL := start(t, config)
	status, answer := control(s, http.MethodPut, "/webhooks", `{"as":["json","bom"]}`)
	require.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"receipts":true,"as":["json","bom"]}`, answer)
	_, _ = call(t, baseURL, "/send", hello)
	for _, want := range []string{"MessageSent", "DeliveryReceipt", "MessageReceived"} {
		got := receive(t, webhooks)
		assert.Equal(t, "application/json", got.contentType)
		assert.True(t, strings.HasPrefix(got.body, "\ufeff"+`{"notification_type":"`+want+`"`), got.body)
	}
	_, err := s.Trigger(t.Context(), []Field{{"a", "b"}})
	require.NoError(t, err)
	assert.Equal(t, posted{"application/json", "\ufeff" + `{"a":"b"}`}, receive(t, webhooks))

	status, answer = control(s, http.MethodPut, "/webhooks", `{"as":[],"receipts":false}`)
	require.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"receipts":false,"as":[]}`, answer)
	_, err = s.Trigger(t.Context(), []Field{{"a", "b"}})
	require.NoError(t, err)
	assert.Equal(t, posted{formType, "a=b"}, receive(t, webhooks))
}

func TestSetOddFormsAndTriggerAsRejectInvalidForms(t *testing.T) {
	s := New(Config{Token: token, WebhookURL: webhookURL})
	assert.EqualError(t, s.SetOddForms("gzip", "deflate"), `sandbox: forms "gzip" and "deflate" cannot be combined`)
	assert.Empty(t, s.settings.oddForms())
	_, err := s.TriggerAs(t.Context(), nil, "bomb")
	assert.ErrorContains(t, err, `sandbox: unknown form "bomb"`)
}

func TestADeliveryListsItsOddForm(t *testing.T) {
	url, _ := receiver(t, http.StatusOK)
	s := New(Config{Token: token, WebhookURL: url + "/secret?a=b"})
	_, err := s.TriggerAs(t.Context(), []Field{{"a", "é"}}, "gzip")
	require.NoError(t, err)
	_, err = s.TriggerAs(t.Context(), []Field{{"a", "é"}}, "query", "extra-slashes")
	require.NoError(t, err)
	deliveries := s.Deliveries()
	assert.Equal(t, "gzip", deliveries[0].ContentEncoding)
	assert.True(t, bytes.HasPrefix(deliveries[0].Body, []byte{0x1f, 0x8b}))
	assert.Equal(t, "a=%C3%A9", deliveries[1].Query)
	assert.Equal(t, []Field{{"a", "é"}}, deliveries[1].Fields)
	_, shown := control(s, http.MethodGet, "/deliveries", "")
	for _, want := range []string{`"content_encoding": "gzip"`, `"query": "a=%C3%A9"`, `"as": [`} {
		assert.Contains(t, shown, want)
	}
	assert.NotContains(t, shown, "secret")
}

func TestOddFormsKeepThePathAndQueryOfTheWebhookURL(t *testing.T) {
	url, webhooks := rawReceiver(t)
	for name, tt := range map[string]struct {
		path string
		as   []OddForm
		want string
	}{
		"a query beside its own": {"/a?b=c", []OddForm{"query"}, "/a?b=c&text=Hi"},
		"no path, more slashes":  {"", []OddForm{"extra-slashes"}, "//"},
		"no path, a slash":       {"", []OddForm{"trailing-slash"}, "/"},
		"an escaped slash":       {"/a%2Fb/c?d=/", []OddForm{"extra-slashes", "trailing-slash"}, "//a%2Fb//c/?d=/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token, WebhookURL: url + tt.path})
			_, err := s.TriggerAs(t.Context(), []Field{{"text", "Hi"}}, tt.as...)
			require.NoError(t, err)
			assert.Equal(t, "POST "+tt.want, strings.SplitN(<-webhooks, "\n", 2)[0])
		})
	}
}

func FuzzAnyFieldsArePostedInAnyOddForm(f *testing.F) {
	f.Add("text=Hello&a=b", "json,bom,gzip")
	f.Add("text=%zz&=&&a", "multipart,leading-newlines")
	f.Add("text=\xff+%2B", "latin1,deflate")
	f.Add("notification_type=%FF", "payload,utf16,extra-slashes,type-lower-case")
	f.Add("------ongair-sandbox=------ongair-sandbox-0", "multipart-unlabelled")
	f.Fuzz(func(t *testing.T, body, list string) {
		fields := parseForm(body)
		assert.Equal(t, fields, parseForm(string(composed(fields, nil).body)), "a form keeps every field")
		// Any list must be composed or rejected without a panic.
		if as, err := parseOddForms(list); err == nil {
			composed(fields, as)
		}
	})
}
