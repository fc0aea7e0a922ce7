package sandbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheHistoryKeepsTheNewestEntries(t *testing.T) {
	var h history[int]
	for i := range historyCount + 5 {
		h.add(&i, 1)
	}
	list := h.list()
	assert.Len(t, list, historyCount)
	assert.Equal(t, 5, list[0])
	assert.Equal(t, historyCount, h.bytes)
	h.clear()
	assert.NotNil(t, h.list())
	assert.Empty(t, h.list())
}

func TestTheHistoryBoundsItsBytesButKeepsTheNewestEntry(t *testing.T) {
	var h history[int]
	for i := range 3 {
		h.add(&i, historyBytes/2)
	}
	assert.Equal(t, []int{1, 2}, h.list())
	huge := 3
	h.add(&huge, historyBytes+1)
	assert.Equal(t, []int{3}, h.list())
}
