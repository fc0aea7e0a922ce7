package fanout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/event"
)

func TestAReaderStartsAtTheRequestedPosition(t *testing.T) {
	log := newMemoryLog(records(1, 5)...)
	log.removed = 1
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		synctest.Wait()
		for name, tt := range map[string]struct {
			start Start
			want  []uint64
		}{
			"no start: the end": {Start{}, []uint64{}},
			"the beginning":     {Start{Earliest: true}, []uint64{2, 3, 4, 5}},
			"a time":            {Start{Time: time.Unix(4, 0), Earliest: true}, []uint64{4, 5}},
			"a cursor":          {Start{Cursor: "2", Time: time.Unix(4, 0)}, []uint64{3, 4, 5}},
		} {
			r, err := f.Open(t.Context(), tt.start, event.Filter{})
			require.NoError(t, err, name)
			assert.Equal(t, tt.want, next(t, r, 0).sequences, name)
			r.Close()
		}
		_, err := f.Open(t.Context(), Start{Cursor: "none"}, event.Filter{})
		require.Error(t, err)
	})
}
