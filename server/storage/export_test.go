package storage

import "testing"

// EachStorage runs test over every kind of storage, each of them empty, and OpenEmbedded
// opens an empty embedded one. The external tests set them: they come from storagetest,
// which imports this package.
var (
	EachStorage  func(t *testing.T, test func(t *testing.T, s *Storage))
	OpenEmbedded func(t *testing.T) *Storage
)
