package servertest

import (
	"io"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
)

// canaries are what tests give to a gateway and what MUST NOT be in what it logs:
// tokens, secrets, who customers are. What they wrote is told apart by its own tests.
func canaries() []string { return []string{Token, Secret, Contact, strings.TrimPrefix(Contact, "+")} }

// AssertNoCanary asserts that a log has nothing in it that is nobody's business.
func AssertNoCanary(t T, log string) {
	t.Helper()
	for _, canary := range canaries() {
		assert.NotContains(t, log, canary, "a log with a secret, or with a customer in it")
	}
}

// checkedLog passes on what a gateway logs, and keeps it to be looked through when the
// test ends.
type checkedLog struct {
	io.Writer
	mu  sync.Mutex
	all strings.Builder
}

func newCheckedLog(t T) *checkedLog {
	l := &checkedLog{Writer: t.Output()}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		AssertNoCanary(t, l.all.String())
	})
	return l
}

// Write is safe for concurrent use.
func (l *checkedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(b)
	return l.Writer.Write(b)
}
