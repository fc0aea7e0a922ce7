package ongair

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Each answer is given to all four calls. Each call must reach Ongair once.
func TestTheOutcomeOfEachAnswer(t *testing.T) {
	const (
		asJSON = "application/json"
		asHTML = "text/html; charset=utf-8"
		page   = "<html><head><title>nginx</title></head><body>" + testText + "</body></html>"

		refused    = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED
		failed     = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED
		unreadable = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE
		throttled  = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED
		none       = fault.EffectNone
		unknown    = fault.EffectUnknown
	)
	for name, test := range map[string]struct {
		status            int
		contentType, body string
		reason            ongairv1.ErrorReason
		effect            fault.Effect
		message           string
	}{
		"422 with Ongair's text": {
			422, asJSON, answerFile(t, "contact_unknown"), refused, none,
			"Ongair rejected the call: Contact with phone number 254705865640 does not exists",
		},
		"422 with HTML":       {422, asHTML, page, refused, none, "Ongair rejected the call with status 422; nothing was sent"},
		"422 with an array":   {422, asJSON, `["no"]`, refused, none, "with status 422"},
		"400 with odd errors": {400, asJSON, `{"error":{"code":7}}`, refused, none, "with status 400"},
		"403 empty":           {403, asJSON, "", refused, none, "with status 403"},
		"404 with HTML":       {404, asHTML, page, refused, none, "with status 404"},
		"407 of a proxy":      {407, asHTML, page, refused, none, "with status 407"},
		"418 too large":       {418, asJSON, `{"error":"no"}` + strings.Repeat(" ", maxAnswerBytes), refused, none, "with status 418"},
		"499":                 {499, asJSON, "", refused, none, "with status 499"},
		"408":                 {408, asHTML, page, failed, unknown, "Ongair failed with status 408; the message may have been sent"},
		"429":                 {429, asJSON, `{"error":"slow down"}`, throttled, none, "Ongair throttles the channel (status 429)"},
		"503":                 {503, asHTML, page, failed, unknown, "Ongair failed with status 503; the message may have been sent"},
		"500":                 {500, asJSON, `{"sent":true,"id":1}`, failed, unknown, "with status 500"},
		"500 with sent:false": {500, asJSON, `{"sent":false,"error":"no"}`, failed, unknown, "with status 500"},
		"502 with HTML":       {502, asHTML, page, failed, unknown, "with status 502"},
		"504":                 {504, asHTML, page, failed, unknown, "with status 504"},
		"599":                 {599, asHTML, "", failed, unknown, "with status 599"},
		"600":                 {600, asJSON, answerSent, unreadable, unknown, "with status 600 could not be parsed"},
		"200 with HTML":       {200, asHTML, page, unreadable, unknown, "with status 200 could not be parsed"},
		"200 empty":           {200, asJSON, "", unreadable, unknown, "the message may have been sent"},
		"204":                 {204, asJSON, "", unreadable, unknown, "with status 204"},
		"200 truncated":       {200, asJSON, answerSent[:30], unreadable, unknown, "with status 200"},
		"200 sent:false":      {200, asJSON, `{"sent":false}`, refused, none, "Ongair rejected the call with status 200; nothing was sent"},
		"200 success:false with a text": {
			200, asJSON, `{"success":"false","error":"Channel is off"}`, refused, none, "Ongair rejected the call: Channel is off",
		},
		"200 with only an error": {200, asJSON, `{"error":"no credit"}`, refused, none, "Ongair rejected the call: no credit"},
		"200 with one byte too many": {
			200, asJSON, answerSent + strings.Repeat(" ", maxAnswerBytes+1-len(answerSent)), unreadable, unknown, "with status 200",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var posts atomic.Int32
			answerIt := answering(test.status, test.contentType, test.body)
			client := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				posts.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				answerIt(w, r)
			}))
			ctx := withinTest(t)
			for _, call := range []func() (Receipt, error){
				func() (Receipt, error) { return client.Send(ctx, Text{ExternalID: testContact, Text: testText}) },
				func() (Receipt, error) { return client.SendImage(ctx, Image{ExternalID: testContact, Text: testText}) },
				func() (Receipt, error) {
					return client.SendDocument(ctx, Document{ExternalID: testContact, Caption: testText})
				},
				func() (Receipt, error) {
					return client.CreateTicket(ctx, Ticket{ExternalID: testContact, Text: testText})
				},
			} {
				receipt, err := call()
				assert.Equal(t, Receipt{}, receipt)
				f := requireFault(t, err, test.reason, test.effect)
				assert.Contains(t, f.Message, test.message)
				if test.reason == throttled {
					assert.Equal(t, time.Second, f.RetryAfter)
				} else {
					assert.Equal(t, map[string]string{"upstream_status": strconv.Itoa(test.status)}, f.Metadata)
					assert.Zero(t, f.RetryAfter)
				}
			}
			assert.EqualValues(t, 4, posts.Load())
		})
	}
}

func TestTheLargestAnswerIsRead(t *testing.T) {
	body := answerSent + strings.Repeat("\n", maxAnswerBytes-len(answerSent))
	receipt, err := send(t, newClient(t, serve(t, answering(http.StatusOK, "application/json", body))))
	require.NoError(t, err)
	assert.Equal(t, "35345432", receipt.ID)
}

func TestAnOversizedAnswerIsNeitherReadNorDrained(t *testing.T) {
	nonsense := strings.Repeat("<p>nonsense</p>\n", 10<<20/16)
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		client := newClient(t, serve(t, answering(status, "text/html", nonsense)))
		transport := client.transport
		var read, closed atomic.Int64
		client.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := transport.RoundTrip(r)
			if err == nil {
				response.Body = &countedBody{ReadCloser: response.Body, read: &read, closed: &closed}
			}
			return response, err
		})
		_, err := send(t, client)
		reason := ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE
		if status == http.StatusInternalServerError {
			reason = ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED
		}
		requireFault(t, err, reason, fault.EffectUnknown)
		assert.EqualValues(t, maxAnswerBytes+1, read.Load())
		assert.EqualValues(t, 1, closed.Load())
	}
}

type countedBody struct {
	io.ReadCloser
	read, closed *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *countedBody) Close() error {
	b.closed.Add(1)
	return b.ReadCloser.Close()
}

func TestARedirectIsNeverFollowed(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the target of the redirect got %s with %q", r.Method, r.Header.Get("Authorization"))
	}))
	t.Cleanup(target.Close)
	for name, test := range map[string]struct {
		status           int
		location, naming string
	}{
		"301":                 {301, target.URL + "/login?return=canary", target.URL},
		"302":                 {302, target.URL + "/login?return=canary", target.URL},
		"303":                 {303, target.URL + "/login?return=canary", target.URL},
		"307":                 {307, target.URL + "/login?return=canary", target.URL},
		"308":                 {308, target.URL + "/login?return=canary", target.URL},
		"with a user":         {302, "https://canary:canary@example.com/", "https://example.com:"},
		"without a scheme":    {302, "//example.com/canary", "http://example.com:"},
		"with the token":      {302, "https://" + testToken + ".example.com/", "https://[token].example.com:"},
		"without a host":      {302, "mailto:canary@example.com", "another address"},
		"without a Location":  {300, "", "another address"},
		"with an invalid URL": {302, "http://[canary", "another address"},
		"304":                 {304, "", "another address"},
	} {
		t.Run(name, func(t *testing.T) {
			var posts atomic.Int32
			client := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				posts.Add(1)
				if test.location != "" {
					w.Header().Set("Location", test.location)
				}
				w.WriteHeader(test.status)
			}))
			_, err := send(t, client)
			f := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED, fault.EffectUnknown)
			assert.Contains(t, f.Message, test.naming)
			assert.NotContains(t, err.Error(), "canary")
			assert.Equal(t, strconv.Itoa(test.status), f.Metadata["upstream_status"])
			assert.EqualValues(t, 1, posts.Load())
		})
	}
}

func TestOngairsMessagesAreCleaned(t *testing.T) {
	const prefix = "Ongair rejected the call: "
	for name, test := range map[string]struct{ body, want string }{
		"control characters": {`{"error":"a\u0000b\u001b[31mc\u0085d"}`, prefix + "ab[31mcd"},
		"lines":              {`{"error":"\r\none\ntwo\tthree\n"}`, prefix + "one two three"},
		"not UTF-8":          {"{\"error\":\"a\xff\"}", prefix + "a\ufffd"},
		"the token":          {`{"error":"unknown token meow` + `meowmeow!"}`, prefix + "unknown token [token]!"},
		"only controls":      {`{"error":"\u0001"}`, "Ongair rejected the call with status 422; nothing was sent"},
		"emoji at the bound": {
			`{"error":"` + strings.Repeat("x", maxPublicText-2) + `🎉"}`, prefix + strings.Repeat("x", maxPublicText-2),
		},
		"the token at the bound": {
			`{"error":"` + strings.Repeat("x", maxPublicText-7) + testToken + `"}`,
			prefix + strings.Repeat("x", maxPublicText-7) + redacted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := send(t, newClient(t, serve(t, answering(422, "application/json", test.body))))
			f := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, fault.EffectNone)
			assert.Equal(t, test.want, f.Message)
			assert.True(t, utf8.ValidString(f.Message))
			assert.NotNil(t, f.GRPCStatus().Details())
		})
	}
}
