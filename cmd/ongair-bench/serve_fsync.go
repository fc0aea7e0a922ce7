package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// serveFsyncCmd appends each post to a file and syncs the file before it answers. This is the
// minimum cost of durable intake, one post at a time.
type serveFsyncCmd struct {
	Dir string `required:""`
}

// Run serves until stdin ends.
func (c *serveFsyncCmd) Run(ctx context.Context, io stdio) (err error) {
	ctx = untilClosed(ctx, io.in)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(c.Dir, "events"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var mu sync.Mutex
	return servePosts(ctx, func(_ context.Context, body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := file.Write(body); err != nil {
			return err
		}
		return file.Sync()
	}, func(url string) error {
		return announce(io.out, addresses{Post: url})
	})
}
