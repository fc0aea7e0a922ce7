package event

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// The files of testdata are an event with all of its fields and its stored encoding. They must never
// change, because existing logs have such events. Add a new pair for a new field.
func TestTheStoredFormatIsUnchanged(t *testing.T) {
	text, err := os.ReadFile("testdata/stored.json")
	require.NoError(t, err)
	want := &ongairv1.Event{}
	require.NoError(t, protojson.Unmarshal(text, want))
	digits, err := os.ReadFile("testdata/stored.hex")
	require.NoError(t, err)
	stored, err := hex.DecodeString(strings.ReplaceAll(string(digits), "\n", ""))
	require.NoError(t, err)

	encoded, checksum, err := Verify(stored)
	require.NoError(t, err)
	assert.Equal(t, uint32(0x5282a089), checksum)
	got := &ongairv1.Event{}
	require.NoError(t, proto.Unmarshal(encoded, got))
	assert.Empty(t, cmp.Diff(want, got, protocmp.Transform()))

	again, err := Marshal(want)
	require.NoError(t, err)
	assert.Equal(t, hex.EncodeToString(stored), hex.EncodeToString(again))
}
