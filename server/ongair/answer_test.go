package ongair

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAnswer(t *testing.T) {
	accepted := func(id, conversation string) answer {
		return answer{accepted: true, id: id, conversationID: conversation}
	}
	for name, test := range map[string]struct {
		body string
		want answer
	}{
		"all values as strings":               {answerFile(t, "sent_as_strings"), accepted("35345432", "22")},
		"a boolean and a number":              {answerFile(t, "sent_as_themselves"), accepted("2067", "")},
		"a ticket":                            {answerFile(t, "ticket_created"), accepted("3", "")},
		"sent as a word in capitals":          {`{"sent":"TRUE","id":1}`, accepted("1", "")},
		"sent as 1":                           {`{"sent":1,"id":1}`, accepted("1", "")},
		"sent as a string of 1":               {`{"sent":"1","id":1}`, accepted("1", "")},
		"two flags that agree":                {`{"sent":true,"success":"true","id":1}`, accepted("1", "")},
		"a flag without an id":                {`{"sent":true}`, accepted("", "")},
		"an id without a flag":                {`{"id":"7"}`, accepted("7", "")},
		"a null flag and an id":               {`{"sent":null,"id":7}`, accepted("7", "")},
		"null ids":                            {`{"sent":true,"id":null,"conversation_id":null}`, accepted("", "")},
		"an id that a float cannot represent": {`{"sent":true,"id":9007199254740993}`, accepted("9007199254740993", "")},
		"an id beyond 64 bits":                {`{"sent":true,"id":36893488147419103233}`, accepted("36893488147419103233", "")},
		"an id other than a number":           {`{"sent":true,"id":"a-b"}`, accepted("a-b", "")},
		"an id of another type":               {`{"sent":true,"id":{"a":1},"conversation_id":[2]}`, accepted("", "")},
		"an id that is too long":              {`{"sent":true,"id":"` + strings.Repeat("9", 257) + `"}`, accepted("", "")},
		"an id that is not UTF-8":             {"{\"sent\":true,\"id\":\"a\xff\"}", accepted("a\ufffd", "")},
		"a byte order mark":                   {"\ufeff" + `{"sent":true,"id":1}`, accepted("1", "")},
		"white space around":                  {" \r\n\t" + `{"sent":true,"id":1}` + "\r\n\n ", accepted("1", "")},
		"unknown members":                     {`{"sent":true,"id":1,"x":{"y":[1,2]},"error":null}`, accepted("1", "")},
		"a flag with an error":                {`{"sent":true,"id":1,"error":"late"}`, answer{accepted: true, id: "1", refusal: "late"}},
		"sent false":                          {`{"sent":false}`, answer{}},
		"sent false as a string":              {`{"sent":"False"}`, answer{}},
		"sent 0":                              {`{"sent":0}`, answer{}},
		"sent 0 as a string":                  {`{"sent":"0"}`, answer{}},
		"success false and a text":            {`{"success":false,"error":" no "}`, answer{refusal: "no"}},
		"only an error":                       {answerFile(t, "token_invalid"), answer{refusal: "Invalid API Token"}},
		"an error of another type and false":  {`{"sent":false,"error":{"a":1}}`, answer{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseAnswer([]byte(test.body))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestParseAnswerRejectsAmbiguousAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                     "",
		"white space":               " \n",
		"only a byte order mark":    "\ufeff",
		"HTML":                      "<html><body>Welcome</body></html>",
		"plain text":                "OK",
		"truncated":                 `{"sent":"true","id":"353`,
		"a text after the object":   `{"sent":true} OK`,
		"a second object":           `{"sent":true}{"sent":true}`,
		"an array":                  `[{"sent":true}]`,
		"null":                      `null`,
		"true":                      `true`,
		"an empty object":           `{}`,
		"only unknown members":      `{"status":"ok"}`,
		"another case of the name":  `{"Sent":true}`,
		"an empty id":               `{"id":" "}`,
		"an id of another type":     `{"id":[1]}`,
		"an error of another type":  `{"error":{"code":1}}`,
		"an empty error":            `{"error":""}`,
		"both an id and an error":   `{"id":1,"error":"no"}`,
		"contradicting flags":       `{"sent":true,"success":false}`,
		"a flag of an unknown word": `{"sent":"queued","id":1}`,
		"a flag of another number":  `{"sent":2,"id":1}`,
		"an empty flag":             `{"sent":"","id":1}`,
		"a flag of an object":       `{"sent":{},"id":1}`,
		"nested too deeply":         `{"sent":true,"x":` + strings.Repeat("[", 1<<16),
		"UTF-16":                    "\xff\xfe{\x00}\x00",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseAnswer([]byte(body))
			require.Error(t, err)
		})
	}
}

func TestReceipts(t *testing.T) {
	for name, test := range map[string]struct {
		body                 string
		wantSent, wantTicket Receipt
	}{
		"of a message": {
			answerFile(t, "sent_as_strings"),
			Receipt{ID: "35345432", ConversationID: "22"}, Receipt{ConversationID: "35345432"},
		},
		"of a message without a conversation": {
			answerFile(t, "sent_as_themselves"), Receipt{ID: "2067"}, Receipt{ConversationID: "2067"},
		},
		"of a ticket": {answerFile(t, "ticket_created"), Receipt{ID: "3"}, Receipt{ConversationID: "3"}},
		"of a ticket that names the conversation": {
			`{"success":true,"conversation_id":5}`, Receipt{ConversationID: "5"}, Receipt{ConversationID: "5"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{http.StatusOK, http.StatusCreated, http.StatusAccepted} {
				client := newClient(t, serve(t, answering(status, "text/html", test.body)))
				ctx := withinTest(t)
				for _, call := range []func() (Receipt, error){
					func() (Receipt, error) { return client.Send(ctx, Text{}) },
					func() (Receipt, error) { return client.SendImage(ctx, Image{}) },
					func() (Receipt, error) { return client.SendDocument(ctx, Document{}) },
				} {
					receipt, err := call()
					require.NoError(t, err)
					assert.Equal(t, test.wantSent, receipt)
				}
				receipt, err := client.CreateTicket(ctx, Ticket{})
				require.NoError(t, err)
				assert.Equal(t, test.wantTicket, receipt)
			}
		})
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, name := range []string{
		"sent_as_strings", "sent_as_themselves", "ticket_created", "token_invalid", "contact_unknown",
	} {
		f.Add([]byte(answerFile(f, name)))
	}
	for _, seed := range []string{
		"", "\ufeff{}", "[]", "null", `{"sent":"FALSE"}`, `{"success":1,"id":1e400}`, `{"id":-1}`, "{\"id\":\"\xff\"}",
		`{"sent":true,"success":0}`, `{"error":"\ud800"}`, "<html>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAnswer(body)
		text := parseErrorText(body)
		assert.True(t, utf8.ValidString(text))
		if err != nil {
			assert.Equal(t, answer{}, a)
			return
		}
		assert.Equal(t, text, a.refusal)
		for _, id := range []string{a.id, a.conversationID} {
			assert.LessOrEqual(t, len(id), maxIDBytes)
			assert.True(t, utf8.ValidString(id))
		}
		again, err := parseAnswer(append([]byte("\ufeff\n"), append(body, ' ')...))
		if !strings.HasPrefix(string(body), "\ufeff") {
			require.NoError(t, err)
			assert.Equal(t, a, again)
		}
	})
}
