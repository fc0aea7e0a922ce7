package sandbox

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hello = "external_id=%2B254722200200&text=Hello"

// raw makes a send on a new connection and returns everything that it received until the connection
// ended.
func raw(t *testing.T, baseURL string) (answer string, err error) {
	t.Helper()
	conn := dial(t, baseURL)
	read, err := io.ReadAll(conn)
	return string(read), err
}

// dial makes a send on a new connection without reading the answer.
func dial(t *testing.T, baseURL string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(baseURL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	request := httptest.NewRequest(http.MethodPost, baseURL+apiPath+"/send", strings.NewReader(hello))
	request.Header.Set("Authorization", "Token token:"+token)
	request.Close = true
	require.NoError(t, request.Write(conn))
	return conn
}

func TestAFaultAnswersInsteadOfOngair(t *testing.T) {
	for name, tt := range map[string]struct {
		fault       Fault
		status      int
		body        string
		contentType string
	}{
		"429 with Retry-After": {Fault{Status: 429, Headers: map[string]string{"Retry-After": "2"}}, 429, "", ""},
		"502 with HTML":        {Fault{Status: 502, Headers: map[string]string{"content-type": "text/html"}, Body: "<html>"}, 502, "<html>", "text/html"},
		"an empty 200":         {Fault{Status: 200}, 200, "", ""},
		"200 with sent false":  {Fault{Status: 200, Body: `{"sent":false}`}, 200, `{"sent":false}`, ""},
		"10 MB":                {Fault{Status: 500, Body: strings.Repeat("x", 10_000_000)}, 500, strings.Repeat("x", 10_000_000), ""},
		"a redirect":           {Fault{Status: 302, Headers: map[string]string{"Location": "/elsewhere"}}, 302, "", ""},
		"no content":           {Fault{Status: 204}, 204, "", ""},
		"a call by its name":   {Fault{Path: "/send", Status: 500}, 500, "", ""},
		"a call by its path":   {Fault{Path: apiPath + "/send", Status: 500}, 500, "", ""},
		"an invalid fault":     {Fault{Status: 42}, 500, `{"error":"invalid fault of the sandbox: status 42 is not between 200 and 599"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			s.SetFaults(tt.fault)
			recorder := httptest.NewRecorder()
			s.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, apiPath+"/send", strings.NewReader(hello)))
			assert.Equal(t, tt.status, recorder.Code)
			assert.True(t, tt.body == recorder.Body.String(), "the body differs")
			if tt.contentType == "" {
				tt.contentType = "application/json; charset=utf-8"
			}
			assert.Equal(t, tt.contentType, recorder.Header().Get("Content-Type"))
			for name, value := range tt.fault.Headers {
				assert.Equal(t, value, recorder.Header().Get(name))
			}
			assert.Empty(t, s.state.snapshot().Messages, "no work is done")
			assert.Equal(t, tt.status, s.Requests()[0].Status)
		})
	}
}

func TestTheFirstMatchingFaultAppliesForItsNumberOfCalls(t *testing.T) {
	s := New(Config{Token: token})
	s.SetFaults(
		Fault{Path: "/send_image", Status: 501},
		Fault{Path: "/send", Times: 2, Status: 502},
		Fault{Path: "/send", Times: 1, Status: 503},
		Fault{Path: "/create_conversation", Status: 504},
	)
	var statuses []int
	for range 4 {
		status, _ := ask(s, "/send", hello)
		statuses = append(statuses, status)
	}
	assert.Equal(t, []int{502, 502, 503, 200}, statuses)
	assert.Equal(t, []Fault{{Path: "/send_image", Status: 501}, {Path: "/create_conversation", Status: 504}}, s.faults.current())

	s.SetFaults(Fault{Status: 500})
	for _, path := range []string{"/send", "/create_conversation", "/unknown"} {
		status, _ := ask(s, path, hello)
		assert.Equal(t, 500, status)
	}
	s.SetFaults()
	status, _ := ask(s, "/send", hello)
	assert.Equal(t, 200, status)
}

func TestAFaultWithAnEffectDoesTheWork(t *testing.T) {
	for name, fault := range map[string]Fault{
		"and answers something else": {Effect: true, Status: 500},
		"and resets":                 {Effect: true, Connection: ResetBeforeAnswer},
		"and closes":                 {Effect: true, Connection: CloseBeforeAnswer},
		"and sends half an answer":   {Connection: HalfAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			url, webhooks := receiver(t, http.StatusOK)
			s, baseURL := start(t, quick(url))
			s.SetFaults(fault)
			_, _ = raw(t, baseURL) // other tests check the answer
			assert.Equal(t, golden(t, "webhooks", "text_sent.form"), receive(t, webhooks).body)
			assert.Equal(t, golden(t, "webhooks", "text_answered.form"), receive(t, webhooks).body)
		})
	}
}

func TestAResetEndsTheConnectionWithRST(t *testing.T) {
	s, baseURL := start(t, Config{})
	s.SetFaults(Fault{Connection: ResetBeforeAnswer})
	answer, err := raw(t, baseURL)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Empty(t, answer)
	assertNoAnswer(t, s)
}

func TestACloseEndsTheConnectionWithFIN(t *testing.T) {
	s, baseURL := start(t, Config{})
	s.SetFaults(Fault{Connection: CloseBeforeAnswer})
	answer, err := raw(t, baseURL)
	assert.NoError(t, err)
	assert.Empty(t, answer)
	assertNoAnswer(t, s)
}

func assertNoAnswer(t *testing.T, s *Sandbox) {
	t.Helper()
	requests := s.Requests()
	require.Len(t, requests, 1, "the request was read whole, and once")
	assert.Equal(t, hello, string(requests[0].Body))
	assert.Zero(t, requests[0].Status)
	assert.Empty(t, s.state.snapshot().Messages)
}

func TestAHalfAnswerAnnouncesTheWholeLength(t *testing.T) {
	for name, tt := range map[string]struct {
		fault    Fault
		whole    string
		messages int
	}{
		"of the real answer":        {Fault{Connection: HalfAnswer}, golden(t, "answers", "sent.json"), 1},
		"of an answer of the fault": {Fault{Connection: HalfAnswer, Status: 200, Body: `{"sent":"true"}`}, `{"sent":"true"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, baseURL := start(t, Config{})
			s.SetFaults(tt.fault)
			conn := dial(t, baseURL)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.EqualValues(t, len(tt.whole), response.ContentLength)
			body, err := io.ReadAll(response.Body)
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.Equal(t, tt.whole[:len(tt.whole)/2], string(body))
			assert.Len(t, s.state.snapshot().Messages, tt.messages)
		})
	}
}

func TestAHangingCallEndsWhenItsClientDisconnects(t *testing.T) {
	for name, fault := range map[string]Fault{
		"in a hang":  {Connection: Hang},
		"in a delay": {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			s.SetFaults(fault)
			ended := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.Handler().ServeHTTP(w, r)
				close(ended)
			}))
			t.Cleanup(server.Close)
			conn := dial(t, server.URL)
			require.Eventually(t, func() bool { return len(s.Requests()) == 1 }, 10*time.Second, time.Millisecond)
			require.NoError(t, conn.Close())
			<-ended
			assertNoAnswer(t, s)
		})
	}
}

func TestAHangingCallEndsWithTheSandbox(t *testing.T) {
	for name, fault := range map[string]Fault{
		"in a hang":  {Connection: Hang},
		"in a delay": {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			s.SetFaults(fault)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			stopped := make(chan error, 1)
			go func() { stopped <- s.Run(ctx, l) }()
			conn := dial(t, "http://"+l.Addr().String())
			require.Eventually(t, func() bool { return len(s.Requests()) == 1 }, 10*time.Second, time.Millisecond)
			cancel()
			answer, err := io.ReadAll(conn)
			assert.NoError(t, err)
			assert.Empty(t, answer)
			assert.NoError(t, <-stopped)
			assertNoAnswer(t, s)
		})
	}
}

func TestADelayDelaysTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		fault         Fault
		status        int
		before, after int // messages during the delay, and after it
	}{
		"of the real answer":                     {Fault{Delay: time.Minute}, 200, 0, 1},
		"of the real answer, with the work done": {Fault{Delay: time.Minute, Effect: true}, 200, 1, 1},
		"of an answer of the fault":              {Fault{Delay: time.Minute, Status: 503}, 503, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Config{Token: token})
				s.SetFaults(tt.fault)
				begin := time.Now()
				answered := make(chan int)
				go func() {
					status, _ := ask(s, "/send", hello)
					answered <- status
				}()
				synctest.Wait()
				assert.Len(t, s.state.snapshot().Messages, tt.before)
				assert.Zero(t, s.Requests()[0].Status, "listed before it is answered")
				assert.Equal(t, tt.status, <-answered)
				assert.Equal(t, time.Minute, time.Since(begin))
				assert.Len(t, s.state.snapshot().Messages, tt.after)
			})
		})
	}
}

func TestAFaultThatCannotBreakTheConnectionIsAnsweredWith500(t *testing.T) {
	s := New(Config{Token: token})
	s.SetFaults(Fault{Connection: ResetBeforeAnswer})
	status, answer := ask(s, "/send", hello) // a recorder has no connection
	assert.Equal(t, http.StatusInternalServerError, status)
	assert.Equal(t, "the sandbox cannot break this connection: use HTTP/1\n", answer)
}

func TestAResetUnderTLSResetsTheTCPConnection(t *testing.T) {
	s := New(Config{Token: token})
	s.SetFaults(Fault{Connection: ResetBeforeAnswer})
	server := httptest.NewTLSServer(s.Handler())
	t.Cleanup(server.Close)
	response, err := server.Client().Post(server.URL+apiPath+"/send", formType, strings.NewReader(hello))
	if err == nil {
		_ = response.Body.Close()
	}
	assert.True(t, errors.Is(err, syscall.ECONNRESET), "got %v", err)
}
