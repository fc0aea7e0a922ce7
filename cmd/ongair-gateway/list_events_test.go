package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestListEventsPrintsAPageAsALineOfJSON(t *testing.T) {
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	list := func(args ...string) result {
		return command(t, nil, append([]string{"list-events", "--addr", g.GRPC}, args...)...)
	}
	empty := list()
	require.Zero(t, empty.code, empty.errOut)
	assert.Regexp(t, `^\{"events":\[\],"cursor":"[\w-]{32}","pending":0\}\n$`, empty.out)

	require.Zero(t, command(t, nil, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello").code)
	type page struct {
		Events []struct {
			Cursor           string
			NotificationType string `json:"notification_type"`
		}
		Cursor  string
		Pending int
	}
	var first, second page
	got := list("--page-size", "1", "--wait", "20s")
	require.Zero(t, got.code, got.errOut)
	require.NoError(t, json.Unmarshal([]byte(got.out), &first))
	require.Len(t, first.Events, 1)
	assert.Equal(t, "MessageSent", first.Events[0].NotificationType)
	got = list("--from", first.Cursor, "--wait", "20s", "--event-types", "message_received", "--external-contact-ids", Contact[1:])
	require.Zero(t, got.code, got.errOut)
	require.NoError(t, json.Unmarshal([]byte(got.out), &second))
	require.Len(t, second.Events, 1)
	assert.Equal(t, "MessageReceived", second.Events[0].NotificationType)

	for name, args := range map[string][]string{
		"too large a page":  {"--page-size", "1001"},
		"too long a wait":   {"--wait", "2m"},
		"an invalid wait":   {"--wait", "soon"},
		"an unknown type":   {"--event-types", "video"},
		"a cursor of words": {"--from", "yesterday"},
	} {
		got := list(args...)
		assert.Equal(t, exitUsage, got.code, "%s: %s", name, got.errOut)
		assert.Empty(t, got.out)
	}
	assert.Equal(t, exitUnavailable, command(t, nil, "list-events", "--addr", "127.0.0.1:1").code, "nothing was sent")
}
