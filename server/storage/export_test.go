package storage

import (
	"testing"
	"time"
)

// EachStorage runs test with an empty storage of each kind. OpenEmbedded opens an empty embedded one.
// The external tests set them, because storagetest imports this package.
var (
	EachStorage  func(t *testing.T, test func(t *testing.T, s *Storage))
	OpenEmbedded func(t *testing.T) *Storage
)

// WithoutWaiting returns cfg for a start that does not wait for a server.
func WithoutWaiting(cfg Config) Config {
	cfg.startTimeout = time.Nanosecond
	return cfg
}
