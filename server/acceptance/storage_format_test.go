package acceptance

import (
	"flag"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

var writeData = flag.Bool("write-data", false, "write the data directories of testdata/format-1 if they are missing")

// forever is a retention that keeps the events of testdata, whenever the test runs.
const forever = 200 * 365 * 24 * time.Hour

// pinned returns the call whose outcome is stored in testdata.
func pinned() *ongairv1.SendRequest {
	return &ongairv1.SendRequest{Channel: Channel, ExternalId: Contact, Text: "Habari", RequestId: "pinned"}
}

// The first gateway of this format wrote the directories of testdata/format-1. They MUST NOT change.
// Every later gateway opens them, serves their events and cursors, and replays their calls.
func TestADataDirectoryOfThisFormatIsServed(t *testing.T) {
	for name, keys := range map[string][]string{"clear": nil, "encrypted": {"a-key-for-tests-of-32-characters"}} {
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join("testdata", "format-1", name)
			kept := func(dir string) func(*config.Config) {
				return func(c *config.Config) {
					c.DataDir, c.EncryptionKeys, c.RetentionAge, c.RequestIDAge = dir, keys, forever, forever
				}
			}
			if _, err := os.Stat(golden); *writeData && os.IsNotExist(err) {
				writeDirectory(t, golden, kept)
			}
			dir := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(golden, "data"))))
			want := &ongairv1.ListEventsResponse{}
			text, err := os.ReadFile(filepath.Join(golden, "events.json"))
			require.NoError(t, err)
			require.NoError(t, protojson.Unmarshal(text, want))
			require.Len(t, want.GetEvents(), 3)

			g := Start(t, kept(dir))
			conn, err := Dial(g.Endpoints())
			require.NoError(t, err)
			defer conn.Close()
			client := ongairv1.NewOngairServiceClient(conn)
			got := readAll(t, client, &ongairv1.ListEventsRequest{})
			assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
			for i, e := range want.GetEvents() {
				page := readAll(t, client, &ongairv1.ListEventsRequest{Start: &ongairv1.ListEventsRequest_Cursor{Cursor: e.GetCursor()}})
				assert.Empty(t, cmp.Diff(want.GetEvents()[i+1:], page.GetEvents(), protocmp.Transform(), cmpopts.EquateEmpty()))
			}
			response, err := client.Send(t.Context(), pinned())
			require.NoError(t, err)
			assert.True(t, response.GetReplayed())
			assert.Empty(t, g.Sandbox.Requests())
		})
	}
}

// readAll reads all pages, and returns them as one.
func readAll(t *testing.T, client ongairv1.OngairServiceClient, req *ongairv1.ListEventsRequest) *ongairv1.ListEventsResponse {
	t.Helper()
	all := &ongairv1.ListEventsResponse{}
	for {
		page, err := client.ListEvents(t.Context(), req)
		require.NoError(t, err)
		all.Events, all.Cursor = append(all.GetEvents(), page.GetEvents()...), page.GetCursor()
		if page.GetPending() == 0 {
			return all
		}
		req.Start = &ongairv1.ListEventsRequest_Cursor{Cursor: page.GetCursor()}
	}
}

// writeDirectory writes a data directory and a page of its events.
func writeDirectory(t *testing.T, golden string, kept func(string) func(*config.Config)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	g := Start(t, kept(dir))
	r := NewRecorder(t)
	for _, fields := range [][]Field{
		received(1, "Habari 👋"),
		Form("notification_type", "LocationReceived", "phone_number", "254722200200", "latitude", "-1.29", "longitude", "36.82"),
		Form("notification_type", "VideoReceived", "video", "https://example.com/cat.mp4"),
	} {
		require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, fields...))
	}
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer conn.Close()
	client := ongairv1.NewOngairServiceClient(conn)
	_, err = client.Send(t.Context(), pinned())
	require.NoError(t, err)
	page, err := client.ListEvents(t.Context(), &ongairv1.ListEventsRequest{})
	require.NoError(t, err)
	text, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true}.Marshal(page)
	require.NoError(t, err)
	g.Stop()
	require.NoError(t, os.CopyFS(filepath.Join(golden, "data"), withoutLock{os.DirFS(dir)}))
	require.NoError(t, os.WriteFile(filepath.Join(golden, "events.json"), append(text, '\n'), 0o644))
}

// withoutLock hides the lock file.
type withoutLock struct{ fs.FS }

func (w withoutLock) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	var kept []fs.DirEntry
	for _, e := range entries {
		if e.Name() != "lock" {
			kept = append(kept, e)
		}
	}
	return kept, err
}
