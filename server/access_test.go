package server_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/auth"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

const (
	auditorKey = "ogk_auditor-key-of-the-tests"
	billingKey = "ogk_billing-key-of-the-tests"
)

// twoChannels gives a gateway another channel, a caller who may do everything, and
// one who may read the first channel.
func twoChannels(c *server.Config) {
	c.Channels["sales"] = c.Channels[Channel]
	c.Callers = map[string]auth.Caller{
		"auditor": auth.Unrestricted(auditorKey),
		"billing": {
			KeyHashes: []auth.KeyHash{auth.HashKey(billingKey)},
			Actions:   []auth.Action{auth.ActionSubscribe},
			Channels:  []string{Channel},
		},
	}
}

func TestASubscriberGetsTheEventsOfItsChannelsAlone(t *testing.T) {
	onEachTransport(t, func(t *testing.T, transport Transport) {
		g, r := Start(t, twoChannels), NewRecorder(t)
		as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
		billing := r.Subscribe("billing", transport, as(billingKey), &ongairv1.SubscribeRequest{})
		for n := range 20 {
			channel := []string{Channel, "sales"}[n%2]
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(channel), channel, received(n, "Hi")...))
		}
		auditor := r.Subscribe("auditor", transport, as(auditorKey), earliest())
		assert.Len(t, auditor.Events(20), 20)
		cursor := auditor.Cursor()
		for i, e := range billing.Events(10) {
			assert.Equal(t, Channel, e.GetChannel())
			assert.Equal(t, fmt.Sprint(2*i), e.GetMessageReceived().GetId())
		}
		billing.Settle(cursor)
		assert.Len(t, billing.Events(10), 10, "the others are hidden, not late")

		// A cursor of somebody who saw more gives no more.
		again := r.Subscribe("billing from the auditor's cursor", transport, as(billingKey), from(auditor.Events(20)[9].GetCursor()))
		for _, e := range again.Events(5) {
			assert.Equal(t, Channel, e.GetChannel())
		}
		refused := NewRecorder(t).Subscribe("billing of sales", transport, as(billingKey), &ongairv1.SubscribeRequest{Channels: []string{"sales"}})
		assert.Equal(t, "FORBIDDEN", reasonOf(refused.Err()))
	})
}

// Every route of the HTTP port is denied to somebody without a key, and every one
// but subscribing to somebody who may do nothing else.
func TestEveryRouteAsksWhoCalls(t *testing.T) {
	g := Start(t, twoChannels)
	routes := map[string]string{
		"/v1/messages:send": http.MethodPost, "/v1/messages:sendImage": http.MethodPost, "/v1/messages:sendDocument": http.MethodPost,
		"/v1/tickets": http.MethodPost, "/v1/events:subscribe": http.MethodGet,
	}
	service := ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService")
	assert.Equal(t, service.Methods().Len(), len(routes))
	for path, method := range routes {
		for key, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, billingKey: http.StatusForbidden} {
			if key == billingKey && path == "/v1/events:subscribe" {
				path += "?channels=sales"
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.HTTP+path, http.NoBody)
			require.NoError(t, err)
			if key != "" {
				req.Header.Set("Authorization", "Bearer "+key)
			}
			response, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, want, response.StatusCode, "%s with key %q", path, key)
		}
	}
	assert.Empty(t, g.Sandbox.Requests())
}
