package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestATimeWithoutAZoneIsLocal(t *testing.T) {
	nairobi := time.FixedZone("EAT", 3*60*60)
	for from, want := range map[string]string{
		"2026-01-31":                    "2026-01-30T21:00:00Z",
		"2024-02-29":                    "2024-02-28T21:00:00Z",
		"2026-01-31T12:00":              "2026-01-31T09:00:00Z",
		"2026-01-31 12:00":              "2026-01-31T09:00:00Z",
		"2026-01-31T12:00:05":           "2026-01-31T09:00:05Z",
		"2026-01-31 12:00:05":           "2026-01-31T09:00:05Z",
		"2026-01-31 12:00:05.120":       "2026-01-31T09:00:05.12Z", // as tail prints it
		"2026-01-31T12:00:05Z":          "2026-01-31T12:00:05Z",
		"2026-01-31t12:00:05z":          "2026-01-31T12:00:05Z",
		"2026-01-31 12:00:05Z":          "2026-01-31T12:00:05Z",
		"2026-01-31T12:00Z":             "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:05.5+05:30":   "2026-01-31T06:30:05.5Z",
		"2026-01-31 12:00-08:00":        "2026-01-31T20:00:00Z",
		"2026-01-31T12:00:05.123456789": "2026-01-31T09:00:05.123456789Z",
	} {
		got, ok := parseTime(from, nairobi)
		assert.True(t, ok, from)
		assert.Equal(t, want, got.UTC().Format(time.RFC3339Nano), from)
		assert.False(t, mayBeCursor(from), from)
	}
}

func TestAnInvalidStartIsAUsageError(t *testing.T) {
	for _, from := range []string{
		"", " ", "2026-02-30", "2025-02-29", "2026-13-01", "2026-00-10", "12:00", "12:00:05", "2026-01-31T24:30", "2026-01-31T12",
		"2026-01-31T12:60", "2026-01-31T12:00:05+25:00", "2026-01-31  12:00", "2026-1-31", "26-01-31", "20260131", "31.01.2026", "31/01/2026",
		"2026-01", "1769817600", "5m", "-5m", "Jan 31", "10000-01-01", "2026-01-31x", "2026-01-31\n", "an event's cursor",
	} {
		for _, reader := range []string{"tail", "list-events"} {
			// The address has no listener. The command must fail before it connects.
			got := command(t, nil, reader, "--addr", "127.0.0.1:1", "--from="+from)
			assert.Equal(t, exitUsage, got.code, from)
			assert.Contains(t, got.errOut, "--from: ", from)
			if from != "" {
				assert.Contains(t, got.errOut, "2026-01-31T12:00:00Z", from)
			}
		}
	}
}

func TestACursorIsSentUnchanged(t *testing.T) {
	for _, from := range []string{"yesterday", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_", "Ag-2026-01-31"} {
		req, err := selectionFlags{From: from}.subscription()
		require.NoError(t, err, from)
		assert.Equal(t, from, req.GetCursor())
	}
}

func TestEventsAreReadFromADate(t *testing.T) {
	_, url := silentSandbox(t)
	g, r := serve(t, oneChannel(url), "--data-dir", t.TempDir()), NewRecorder(t)
	r.Post(g.webhookURL("default"), "default", received(1, "Hello")...)
	today := time.Now().UTC()
	for from, events := range map[string]int{
		today.AddDate(0, 0, -1).Format(time.DateOnly):                              1,
		today.AddDate(0, 0, 2).Format(time.DateOnly):                               0,
		today.AddDate(0, 0, 2).Format("2006-01-02 15:04"):                          0,
		today.Add(-time.Hour).Format("2006-01-02 15:04"):                           1,
		today.Add(-time.Hour).In(time.FixedZone("", -6*3600)).Format(time.RFC3339): 1,
	} {
		got := command(t, []string{"TZ=UTC"}, "list-events", "--addr", g.GRPC, "--from", from)
		require.Zero(t, got.code, got.errOut)
		var page ongairv1.ListEventsResponse
		require.NoError(t, protojson.Unmarshal([]byte(got.out), &page))
		assert.Len(t, page.GetEvents(), events, from)
	}
}
