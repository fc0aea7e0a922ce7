package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// bytesRead returns the number of bytes that the process has read from files and sockets.
func (g *gateway) bytesRead(t *testing.T) int {
	t.Helper()
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", g.cmd.Process.Pid))
	require.NoError(t, err)
	return numberAfter(t, string(io), "rchar: ")
}

// The log is larger than the ring, so that readers skip events on disk. The bytes that the process
// reads then show whether a resumed reader starts from the beginning.
func TestAFilterThatMatchesNothingAdvancesItsCursor(t *testing.T) {
	events, text := Rounds(6_000, 1_000_000), strings.Repeat("x", Rounds(8<<10, 250))
	_, sandbox := silentSandbox(t)
	g := serve(t, oneChannel(sandbox), "--data-dir", t.TempDir(), "--duplicate-window", "1s")
	c := join(t, g, 1, 0)
	c.post(t, 0, events, text)
	c.await(t, c.readers, events)

	conn, err := Dial(g.endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	client := ongairv1.NewOngairServiceClient(conn)

	filters := []struct {
		name   string
		filter *ongairv1.SubscribeRequest
	}{
		{"by contact, which is not in the subject", &ongairv1.SubscribeRequest{ExternalContactIds: []string{"nobody"}}},
		{"by type, which is in the subject", &ongairv1.SubscribeRequest{EventTypes: []ongairv1.EventType{ongairv1.EventType_EVENT_TYPE_IMAGE_RECEIVED}}},
	}
	for _, tt := range filters {
		t.Run(tt.name, func(t *testing.T) {
			// catchUp reads until no event is pending and returns the last cursor.
			catchUp := func() (cursor string) {
				stream, err := client.Subscribe(t.Context(), tt.filter)
				require.NoError(t, err)
				for pending := int32(1); pending > 0; {
					response, err := stream.Recv()
					require.NoError(t, err)
					require.Empty(t, response.GetEvents())
					cursor, pending = response.GetCursor(), response.GetPending()
				}
				return cursor
			}
			tt.filter.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
			tt.filter.HeartbeatInterval = durationpb.New(heartbeat)
			cursor := catchUp()

			before := g.bytesRead(t)
			tt.filter.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}
			assert.Equal(t, cursor, catchUp(), "the cursor is after all skipped events")
			assert.Less(t, g.bytesRead(t)-before, 1<<20, "bytes read to resume")
		})
	}
	if events > 100_000 {
		return // too many for a Recorder's memory
	}
	r := c.recorded(t, events, text)
	for _, transport := range Transports() {
		for _, tt := range filters {
			tt.filter.Start = &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST}
			r.Subscribe(tt.name, transport, g.endpoints(), tt.filter)
		}
	}
	r.Verify(g.endpoints())
}
