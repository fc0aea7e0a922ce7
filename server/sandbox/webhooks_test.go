package sandbox

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrival is a webhook and the time from the test's begin until it was posted.
type arrival struct {
	after time.Duration
	body  string
}

// inbox receives webhooks without a network, for tests in virtual time.
type inbox struct {
	mu    sync.Mutex
	begin time.Time
	takes time.Duration // the time to answer one webhook
	got   []arrival
}

func (i *inbox) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.got = append(i.got, arrival{time.Since(i.begin), string(body)})
	i.mu.Unlock()
	if !wait(r.Context(), i.takes) {
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func (i *inbox) bodies() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var bodies []string
	for _, a := range i.got {
		bodies = append(bodies, a.body)
	}
	return bodies
}

// idle is a listener without connections.
type idle struct {
	closed chan struct{}
	once   sync.Once
}

func (l *idle) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l *idle) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *idle) Addr() net.Addr { return &net.TCPAddr{} }

// startVirtual runs a sandbox in a synctest bubble until stop is called. Its webhooks go to the
// inbox. Tests call it with ask.
func startVirtual(t *testing.T, config Config, takes time.Duration) (s *Sandbox, in *inbox, stop func()) {
	t.Helper()
	in = &inbox{begin: time.Now(), takes: takes}
	config.Token, config.HTTPClient = token, &http.Client{Transport: in}
	s = New(config)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx, &idle{closed: make(chan struct{})}) }()
	return s, in, func() {
		cancel()
		assert.NoError(t, <-stopped)
	}
}

const webhookURL = "http://receiver.test/webhooks/default/secret"

func TestACallIsFollowedByItsWebhooks(t *testing.T) {
	const to = "external_id=%2B254722200200"
	for name, tt := range map[string]struct {
		path, body string
		webhooks   []string
		after      []time.Duration
	}{
		"a text": {
			"/send", to + "&text=Hello",
			[]string{"text_sent", "text_answered"}, []time.Duration{defaultSentDelay, defaultAnswerDelay},
		},
		"an image": {
			"/send_image", to + "&image=https://www.example.com/image.jpg&content_type=image/jpeg&text=A+caption",
			[]string{"image_sent", "image_answered"}, []time.Duration{defaultSentDelay, defaultAnswerDelay},
		},
		"a document": {
			"/send_document", to + "&file_url=https://www.example.com/file.pdf&caption=A+caption",
			[]string{"document_sent", "document_answered"}, []time.Duration{defaultSentDelay, defaultAnswerDelay},
		},
		"the text close": {
			"/send", to + "&text=+Close+",
			[]string{"close_sent", "ticket_closed"}, []time.Duration{defaultSentDelay, defaultSentDelay},
		},
		"a ticket": {
			"/create_conversation", to + "&message_id=1234&name=Jane+Doe&text=Hello",
			[]string{"ticket_opened"}, []time.Duration{defaultSentDelay},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL}, 0)
				status, answer := ask(s, tt.path, tt.body)
				require.Equal(t, http.StatusOK, status, answer)
				time.Sleep(time.Minute)
				stop()

				var want []arrival
				for i, file := range tt.webhooks {
					want = append(want, arrival{tt.after[i], golden(t, "webhooks", file+".form")})
				}
				assert.Equal(t, want, in.got)
			})
		})
	}
}

func TestReceiptsFollowMessageSentIfTheyAreOn(t *testing.T) {
	const to = "external_id=%2B254722200200"
	for name, tt := range map[string]struct {
		path, body string
		webhooks   []string
	}{
		"a text":         {"/send", to + "&text=Hello", []string{"text_sent", "receipt", "text_answered"}},
		"a document":     {"/send_document", to + "&file_url=https://www.example.com/file.pdf&caption=A+caption", []string{"document_sent", "receipt", "document_answered"}},
		"the text close": {"/send", to + "&text=+Close+", []string{"close_sent", "receipt", "ticket_closed"}},
		"a ticket":       {"/create_conversation", to + "&message_id=1234&name=Jane+Doe&text=Hello", []string{"ticket_opened"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL, Receipts: true}, 0)
				status, answer := ask(s, tt.path, tt.body)
				require.Equal(t, http.StatusOK, status, answer)
				time.Sleep(time.Minute)
				stop()
				var want []string
				for _, file := range tt.webhooks {
					want = append(want, golden(t, "webhooks", file+".form"))
				}
				assert.Equal(t, want, in.bodies())
			})
		})
	}
}

func TestAControlTurnsReceiptsOnAndOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL}, 0)
		for i, body := range []string{"", `{"receipts":true}`, `{"receipts":false}`} {
			if body != "" {
				status, answer := control(s, http.MethodPut, "/webhooks", body)
				require.Equal(t, http.StatusOK, status, answer)
				assert.JSONEq(t, strings.Replace(body, "}", `,"as":[]}`, 1), answer)
			}
			_, _ = ask(s, "/send", "external_id=a&text=Hello")
			time.Sleep(time.Minute)
			receipts := strings.Count(strings.Join(in.bodies(), "\n"), "notification_type=DeliveryReceipt&phone_number=a&id=")
			assert.Equal(t, min(i, 1), receipts, body)
		}
		stop()
	})
}

func TestMessageSentComesBeforeTheAnswerForAnyDelays(t *testing.T) {
	for name, delays := range map[string][2]time.Duration{
		"the defaults":                         {0, 0},
		"no delays":                            {-1, -1},
		"an answer delay below the sent delay": {500 * time.Millisecond, time.Millisecond},
		"delays beyond their bounds":           {time.Hour, time.Hour},
		"an answer at the moment of sending":   {time.Second - 1, time.Second - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, in, stop := startVirtual(t,
					Config{WebhookURL: webhookURL, SentDelay: delays[0], AnswerDelay: delays[1]}, 0)
				const calls = 50
				for range calls {
					_, _ = ask(s, "/send", "external_id=a&text=Hello")
				}
				time.Sleep(time.Minute)
				stop()

				require.Len(t, in.got, 2*calls)
				sent := 0
				for _, a := range in.got {
					if strings.Contains(a.body, "=MessageSent&") {
						assert.Less(t, a.after, time.Second)
						sent++
					} else {
						assert.Less(t, a.after, 2*time.Second)
						sent--
					}
					assert.GreaterOrEqual(t, sent, 0, "an answer came before its MessageSent")
				}
				assert.Zero(t, sent)
			})
		})
	}
}

func TestASlowReceiverGetsWebhooksOneByOneInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL}, 3*time.Second)
		for _, text := range []string{"1", "2", "3"} {
			_, _ = ask(s, "/send", "external_id=a&text="+text)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		stop()
		var texts []string
		for i, a := range in.got {
			assert.Equal(t, defaultSentDelay+time.Duration(i)*3*time.Second, a.after)
			fields, err := url.ParseQuery(a.body)
			require.NoError(t, err)
			texts = append(texts, fields.Get("text"))
		}
		assert.Equal(t, []string{"1", "2", "3", "You said: 1", "You said: 2", "You said: 3"}, texts)
	})
}

func TestASilentOrUnconnectedSandboxPostsNoWebhooks(t *testing.T) {
	for name, config := range map[string]Config{
		"silent":                {WebhookURL: webhookURL, Silent: true},
		"without a webhook URL": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, in, stop := startVirtual(t, config, 0)
				_, _ = ask(s, "/send", "external_id=a&text=Hello")
				_, _ = ask(s, "/create_conversation", "external_id=a&message_id=1")
				time.Sleep(time.Minute)
				stop()
				assert.Empty(t, in.bodies())
				assert.Empty(t, s.Deliveries())
			})
		})
	}
}

func TestASilentSandboxPostsTriggeredWebhooks(t *testing.T) {
	in := &inbox{begin: time.Now()}
	s := New(Config{Token: token, WebhookURL: webhookURL, Silent: true, HTTPClient: &http.Client{Transport: in}})
	status, err := s.Trigger(t.Context(), []Field{{"b", "1 & 2"}, {"a", "\xff"}, {"b", "+254"}, {"", ""}})
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, []string{"b=1+%26+2&a=%FF&b=%2B254&="}, in.bodies())
}

func TestWebhooksHaveTheConfiguredAccountType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL, AccountType: "WeChat"}, 0)
		_, _ = ask(s, "/send", "external_id=a&text=Hello")
		time.Sleep(time.Minute)
		stop()
		require.Len(t, in.got, 2)
		for _, a := range in.got {
			assert.Contains(t, a.body, "&account_type=WeChat")
		}
	})
}

func TestWebhooksThatAreNotDueWaitForTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, in, stop := startVirtual(t, Config{WebhookURL: webhookURL}, 0)
		_, _ = ask(s, "/send", "external_id=a&text=Hello")
		synctest.Wait()
		stop()
		time.Sleep(time.Minute)
		assert.Empty(t, in.bodies())

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, s.Run(ctx, &idle{closed: make(chan struct{})}))
		assert.Len(t, in.bodies(), 2)
	})
}
