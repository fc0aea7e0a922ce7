package ongair

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	colon  = "Token token:" + testToken
	equals = "Token token=" + testToken
)

// account is an Ongair that accepts one form of the token and records the forms it received.
type account struct {
	mu      sync.Mutex
	accepts string
	status  int // status of an accepted call; 0 means 200
	got     []string
}

func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	authorization := r.Header.Get("Authorization")
	a.got = append(a.got, authorization)
	switch {
	case authorization != a.accepts:
		answering(http.StatusUnauthorized, "application/json", `{"error":"Invalid API Token"}`)(w, r)
	case a.status != 0:
		w.WriteHeader(a.status)
	default:
		answering(http.StatusOK, "application/json", answerSent)(w, r)
	}
}

// change sets the accepted form and returns the forms received since the previous change.
func (a *account) change(accepts string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.got
	a.accepts, a.got = accepts, nil
	return got
}

func TestTheDocumentedFormIsTriedFirst(t *testing.T) {
	a := &account{accepts: colon}
	_, err := send(t, newClient(t, serve(t, a.ServeHTTP)))
	require.NoError(t, err)
	assert.Equal(t, []string{colon}, a.change(""))
}

func TestTheRememberedFormFollowsTheAccount(t *testing.T) {
	a := &account{accepts: equals}
	client := newClient(t, serve(t, a.ServeHTTP))
	for _, step := range []struct {
		accepts string
		want    []string
	}{
		{equals, []string{colon, equals}},
		{equals, []string{equals}},
		{colon, []string{equals, colon}},
		{colon, []string{colon}},
		{equals, []string{colon, equals}},
	} {
		a.change(step.accepts)
		receipt, err := send(t, client)
		require.NoError(t, err)
		assert.Equal(t, "35345432", receipt.ID)
		assert.Equal(t, step.want, a.change(""))
	}
}

func TestATokenRejectedInBothFormsIsTriedOnceInEach(t *testing.T) {
	a := &account{accepts: "nothing"}
	client := newClient(t, serve(t, a.ServeHTTP))
	for range 2 { // neither form was accepted, so none is remembered
		_, err := send(t, client)
		requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED, fault.EffectNone)
		assert.Equal(t, []string{colon, equals}, a.change("nothing"))
	}
}

func TestOnlyAPinnedFormIsUsed(t *testing.T) {
	for form, want := range map[AuthForm]string{AuthColon: colon, AuthEquals: equals} {
		t.Run(form.String(), func(t *testing.T) {
			a := &account{accepts: want}
			client := newClient(t, serve(t, a.ServeHTTP), withForm(form))
			_, err := send(t, client)
			require.NoError(t, err)
			a.change("the other")
			_, err = send(t, client)
			requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED, fault.EffectNone)
			assert.Equal(t, []string{want}, a.change(""))
		})
	}
}

func TestAFormIsRememberedOnlyIfTheAnswerConfirmsIt(t *testing.T) {
	for status, remembered := range map[int]bool{
		http.StatusOK: true, http.StatusUnprocessableEntity: true, http.StatusNotFound: true,
		http.StatusProxyAuthRequired: false, http.StatusTooManyRequests: false, http.StatusRequestTimeout: false,
		http.StatusServiceUnavailable: false, http.StatusBadGateway: false, http.StatusFound: false,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			a := &account{accepts: equals, status: status}
			client := newClient(t, serve(t, a.ServeHTTP))
			_, _ = send(t, client)
			assert.Equal(t, []string{colon, equals}, a.change(equals))
			_, _ = send(t, client)
			if remembered {
				assert.Equal(t, []string{equals}, a.change(equals))
			} else {
				assert.Equal(t, []string{colon, equals}, a.change(equals))
			}
		})
	}
}

func TestConcurrentCallsFindTheFormWithoutADuplicateMessage(t *testing.T) {
	var accepted atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != equals {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		accepted.Add(1)
		answering(http.StatusOK, "application/json", answerSent)(w, r)
	})
	client := newClient(t, url)
	ctx := withinTest(t)
	const calls = 64
	var running sync.WaitGroup
	for range calls {
		running.Go(func() {
			_, err := client.Send(ctx, Text{ExternalID: testContact, Text: testText})
			assert.NoError(t, err)
		})
	}
	running.Wait()
	assert.EqualValues(t, calls, accepted.Load())
}

func TestAuthFormNames(t *testing.T) {
	for _, form := range []AuthForm{AuthAuto, AuthColon, AuthEquals} {
		got, err := ParseAuthForm(form.String())
		require.NoError(t, err)
		assert.Equal(t, form, got)
	}
	for _, name := range []string{"", "Colon", "AuthForm(3)"} {
		_, err := ParseAuthForm(name)
		require.Error(t, err, name)
	}
	assert.Equal(t, "AuthForm(-1)", AuthForm(-1).String())
}
