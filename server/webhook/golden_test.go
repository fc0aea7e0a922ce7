package webhook

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

var update = flag.Bool("update", false, "rewrite the golden events in testdata/webhooks")

// random replaces a random id in a golden event.
const random = "random"

// postedFile is a file of testdata/webhooks. It has the relevant headers, an empty line and the body.
type postedFile struct {
	contentType string
	body        []byte
}

func readPosted(t testing.TB, file string) postedFile {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	header, body, ok := bytes.Cut(raw, []byte("\n"))
	require.True(t, ok, file)
	if len(header) == 0 {
		return postedFile{"", body}
	}
	contentType, ok := strings.CutPrefix(string(header), "Content-Type: ")
	require.True(t, ok, file)
	body, ok = bytes.CutPrefix(body, []byte("\n"))
	require.True(t, ok, file)
	return postedFile{contentType, body}
}

func goldenFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/webhooks/*.http")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// Posting each .http file must store the event in the .json file of the same name.
func TestGolden(t *testing.T) {
	for _, file := range goldenFiles(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		t.Run(name, func(t *testing.T) {
			in := readPosted(t, file)
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
			before := time.Now()
			response := post(t, url+Path(testChannel, testSecret), in.contentType, in.body)
			require.Equal(t, http.StatusOK, response.status)
			require.Len(t, log.appended(), 1)
			got := log.appended()[0]

			assert.WithinRange(t, got.GetReceiveTime().AsTime(), before.Add(-time.Millisecond), time.Now())
			checkWhole(t, in.contentType, in.body, got)
			assert.Regexp(t, "^[0-9a-f]{32}$", got.GetId())
			got.ReceiveTime = nil
			if !identified(got) {
				got.Id = random
			}
			golden := strings.TrimSuffix(file, ".http") + ".json"
			if *update {
				require.NoError(t, os.WriteFile(golden, marshalGolden(t, got), 0o644))
			}
			raw, err := os.ReadFile(golden)
			require.NoError(t, err)
			want := &ongairv1.Event{}
			require.NoError(t, protojson.Unmarshal(raw, want))
			assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
		})
	}
}

func TestEveryGoldenEventHasItsWebhook(t *testing.T) {
	events, err := filepath.Glob("testdata/webhooks/*.json")
	require.NoError(t, err)
	for _, file := range events {
		assert.FileExists(t, strings.TrimSuffix(file, ".json")+".http")
	}
}

// marshalGolden returns JSON whose spaces, unlike protojson's, do not depend on the build.
func marshalGolden(t *testing.T, e *ongairv1.Event) []byte {
	t.Helper()
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(e)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, raw, "", "  "))
	out.WriteByte('\n')
	return out.Bytes()
}

// identified reports whether a redelivery of the event has the same ID.
func identified(e *ongairv1.Event) bool {
	id, _ := typedValue(e, "id")
	switch e.GetPayload().(type) {
	case *ongairv1.Event_MessageSent, *ongairv1.Event_MessageReceived, *ongairv1.Event_ImageReceived:
		return regexp.MustCompile(`^\s*0*[1-9][0-9]*\s*$`).MatchString(id)
	}
	return false
}
