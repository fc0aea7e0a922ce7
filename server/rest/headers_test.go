package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/listen"
)

// docs/calls.md states the number.
func TestAURLHoldsHundredsOfContacts(t *testing.T) {
	g := start(t, withCaller, withLog(t))
	get := func(contacts int) int {
		query := url.Values{"position": {"POSITION_EARLIEST"}}
		for i := range contacts {
			query.Add("external_contact_ids", fmt.Sprintf("+2547%08d", i))
		}
		return g.do(t, http.MethodGet, "/v1/events?"+query.Encode(), "", "Authorization", "Bearer "+apiKey,
			"User-Agent", "curl/8.14.1", "Accept", "*/*").status
	}
	assert.Equal(t, http.StatusOK, get(430))
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, get(450))
}

func TestABodyHoldsEveryFilterAtItsLimit(t *testing.T) {
	g := start(t, withLog(t))
	req := &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}}
	for i := range 1000 {
		id := fmt.Sprintf("%0256d", i)
		req.ExternalContactIds = append(req.ExternalContactIds, id)
		req.ConversationIds = append(req.ConversationIds, id)
		if i < 100 {
			req.Channels = append(req.Channels, "support")
			req.EventTypes = append(req.EventTypes, ongairv1.EventType_EVENT_TYPE_CONTACT_REMOVED_FROM_GROUP)
			req.NotificationTypes = append(req.NotificationTypes, id)
		}
	}
	body, err := protojson.Marshal(req)
	require.NoError(t, err)
	require.Less(t, len(body), listen.MaxBodyBytes)
	g.openStream(t, http.MethodPost, subscribePath, string(body)).result(t)
}

func TestTheHeaderLimitAppliesToTheWholeRequest(t *testing.T) {
	const text = "GET /v1/events?channels=x HTTP/1.1\r\nHost: example.com\r\nAccept: a\r\nAccept: b\r\n\r\n"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/v1/events?channels=x", http.NoBody)
	require.NoError(t, err)
	request.RequestURI = "/v1/events?channels=x"
	request.Header["Accept"] = []string{"a", "b"}
	assert.Equal(t, len(text), headerBytes(request))
	request.RequestURI = "/" + strings.Repeat("x", 99)
	assert.Equal(t, len(text)+100-len("/v1/events?channels=x"), headerBytes(request))
}
