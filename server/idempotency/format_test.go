package idempotency

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Other replicas and later releases read these records. The format must never change.
func TestTheRecordFormatIsUnchanged(t *testing.T) {
	const print = "5b5f4a4c8a38ae6e6b9d4b3c9a8d6b3f1d1f0e0c1b2a39485766758493a2b1c0"
	for name, tt := range map[string]struct {
		record record
		stored string
	}{
		"a call in progress": {
			record{ID: "a1", State: stateClaimed, Fingerprint: print, Deadline: time.Date(2026, 1, 31, 12, 0, 25, 500, time.UTC)},
			`{"id":"a1","state":"claimed","fingerprint":"` + print + `","deadline":"2026-01-31T12:00:25.0000005Z"}`,
		},
		"a call that succeeded": {
			record{ID: "a2", State: stateDone, Fingerprint: print, Response: []byte{0x0a, 0x01, 0x37}},
			`{"id":"a2","state":"done","fingerprint":"` + print + `","response":"CgE3"}`,
		},
		"a call whose effect is unknown": {
			record{ID: "a3", State: stateUnknown, Fingerprint: print},
			`{"id":"a3","state":"unknown","fingerprint":"` + print + `"}`,
		},
		"a call without an effect": {
			record{ID: "a4", State: stateFree, Fingerprint: print},
			`{"id":"a4","state":"free","fingerprint":"` + print + `"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := tt.record.encode()
			require.NoError(t, err)
			assert.Equal(t, tt.stored, string(encoded))
			decoded, err := decodeRecord([]byte(tt.stored))
			require.NoError(t, err)
			assert.Equal(t, tt.record, decoded)
		})
	}
}

func TestRecordNamesAreUnchanged(t *testing.T) {
	assert.Equal(t, "ONGAIR_IDEMPOTENCY", bucket)
	key := Key{Caller: "billing", Channel: "support", Method: "Send", RequestID: "order-1017"}
	assert.Equal(t, "b963e455b024f2b82d149ecca7efc9c053cfb6eed42c1aeb25be0d1df56801b2", key.hash())
	print, err := fingerprint(&ongairv1.SendRequest{ExternalId: "+254722200200", Text: "Habari 👋"})
	require.NoError(t, err)
	assert.Equal(t, "c8d1870bfe7575ef921d8d2f017dbacab2c1d69b4dfc49fa9232475f529b2d29", print)
}
